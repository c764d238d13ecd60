"""PyTorch's own static INT8 quantization, to compare with."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["engine_name", "freeze", "quantize_with_pytorch"]


def engine_name() -> str:
    """The best of PyTorch's integer backends on this machine: ``"x86"``, or ``"qnnpack"`` on ARM.

    Raises:
        RuntimeError: PyTorch was built without one.
    """
    supported = torch.backends.quantized.supported_engines
    for name in ("x86", "fbgemm", "qnnpack"):
        if name in supported:
            return name
    raise RuntimeError(f"PyTorch has no integer backend here, only {', '.join(supported)}")


def quantize_with_pytorch(
    model: nn.Module, batches: Sequence[tuple[Tensor, ...]], *, per_channel: bool
) -> torch.jit.ScriptModule:
    """FX graph mode with PyTorch's default settings for this machine's backend.

    Activations have histogram observers, 7 bits on x86 where its backend asks for that.

    Args:
        model: In evaluation mode; it is not changed.
        batches: Calibration data.
        per_channel: One scale of weights for each output channel, or one for each tensor.

    Returns:
        Traced and frozen, as it is deployed and as it is fastest.
    """
    from torch.ao.quantization import QConfig, default_weight_observer
    from torch.ao.quantization.qconfig_mapping import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    engine = engine_name()
    torch.backends.quantized.engine = engine
    mapping: Any = get_default_qconfig_mapping(engine)
    if not per_channel:  # convolutions and linear layers have no setting but the global one
        activation = mapping.global_qconfig.activation
        per_tensor = QConfig(activation, default_weight_observer)  # type: ignore[no-untyped-call]
        mapping.set_global(per_tensor)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # these functions will move to another package
        prepared = prepare_fx(copy.deepcopy(model).eval(), mapping, batches[0])
        for inputs in batches:
            prepared(*inputs)
        return freeze(convert_fx(prepared), batches[0])


def freeze(module: nn.Module, inputs: tuple[Tensor, ...]) -> torch.jit.ScriptModule:
    """A module as TorchScript with its constants folded: PyTorch without Python's share."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(module.eval(), inputs)  # type: ignore[no-untyped-call]
        frozen: torch.jit.ScriptModule = torch.jit.freeze(traced)
    return frozen
