"""Layers whose pruned weights are zero whatever is done to their parameters.

A masked layer is the layer that it was, of a subclass of its class, with a buffer ``weight_mask``
beside its ``weight``. The parameter keeps its name, so optimizers, state dicts and files of weights
look as before; what reads ``layer.weight`` gets the parameter with zeros where the mask is False.
Gradients are therefore zero there, and no momentum or weight decay of any optimizer can bring a
pruned weight back. Unlike what ``torch.nn.utils.parametrize`` makes, a masked layer can be pickled
and loads weights of the dense layer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from wbcq.errors import PruningError

__all__ = [
    "MASK",
    "Prunable",
    "is_masked",
    "mask_of",
    "remove_mask",
    "set_mask",
    "settle",
    "weight_of",
]

MASK = "weight_mask"
"""Name of the buffer; bool, of the weight's shape, False where pruned."""

Prunable = (nn.Conv1d, nn.Conv2d, nn.Linear)
"""Layers that can be pruned: their weights are [outputs, inputs, *kernel]."""


class _Masked(nn.Module):
    """Comes before the layer's own class in its bases."""

    weight_mask: Tensor

    @property
    def weight(self) -> Tensor:
        parameter = self._parameters["weight"]
        assert parameter is not None
        return torch.where(self.weight_mask, parameter, 0.0)

    def extra_repr(self) -> str:
        sparsity = 1 - float(self.weight_mask.float().mean())
        return f"{super().extra_repr()}, sparsity={sparsity:.3f}"

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class is made at run time: pickle and copy find it through its base.
        return _restore, (type(self).__bases__[1],), self.__dict__.copy()

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        settle(self)
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *others: Any) -> None:
        key = prefix + MASK
        dense = key not in state_dict
        if dense:  # weights of the dense layer: the mask stays
            state_dict[key] = self.weight_mask
        try:
            super()._load_from_state_dict(state_dict, prefix, *others)
        finally:
            if dense:
                del state_dict[key]
        settle(self)


_CLASSES: dict[Any, type[Any]] = {}


def _masked_class(base: type[Any]) -> type[Any]:
    if base not in _CLASSES:
        # The same name: settings that choose layers by their type mean masked ones too.
        _CLASSES[base] = type(base.__name__, (_Masked, base), {"__module__": base.__module__})
    return _CLASSES[base]


def _restore(base: type[nn.Module]) -> nn.Module:
    masked: nn.Module = object.__new__(_masked_class(base))
    return masked


def is_masked(module: nn.Module) -> bool:
    """Whether a layer has a mask."""
    return isinstance(module, _Masked)


def mask_of(module: nn.Module) -> Tensor | None:
    """The mask of a layer, bool of its weight's shape, False where pruned; None if it has none."""
    return module.weight_mask if isinstance(module, _Masked) else None


def set_mask(module: nn.Module, mask: Tensor, name: str = "") -> None:
    """Gives a layer a mask, or another one, in place.

    Args:
        module: Of :data:`Prunable`, with a weight of its own.
        mask: Of the weight's shape; what is zero or False is pruned.
        name: Of the layer, for messages.

    Raises:
        PruningError: The layer cannot be pruned, the mask has another shape or prunes everything.
    """
    parameter = module._parameters.get("weight")
    if parameter is None or not isinstance(module, Prunable):
        kinds = ", ".join(kind.__name__ for kind in Prunable)
        raise PruningError(
            f"layer {name!r} is a {type(module).__name__} without a weight that can be pruned; "
            f"masks are for {kinds}"
        )
    if mask.shape != parameter.shape:
        raise PruningError(
            f"mask of layer {name!r} has shape {list(mask.shape)}, its weight "
            f"{list(parameter.shape)}. Remedy: pass a mask of the weight's shape"
        )
    # Laid out in memory as the weight is: channels_last stays so.
    mask = torch.empty_like(parameter, dtype=torch.bool, requires_grad=False).copy_(mask.detach())
    if not mask.any():
        raise PruningError(
            f"mask of layer {name!r} leaves none of its {mask.numel()} weights. Remedy: keep some, "
            "or remove the layer"
        )
    if isinstance(module, _Masked):
        module.weight_mask.copy_(mask)
    else:
        module.__class__ = _masked_class(type(module))
        module.register_buffer(MASK, mask)
    settle(module)


def settle(module: nn.Module) -> None:
    """Writes the zeros of a masked layer into its parameter too."""
    if isinstance(module, _Masked):
        parameter = module._parameters["weight"]
        assert parameter is not None
        with torch.no_grad():
            pruned = ~module.weight_mask
            if bool(parameter[pruned].any()):
                parameter.masked_fill_(pruned, 0.0)


def remove_mask(module: nn.Module) -> None:
    """Makes a masked layer the plain layer that it was, with zeros in its weight, in place."""
    if isinstance(module, _Masked):
        settle(module)
        del module._buffers[MASK]
        module.__class__ = type(module).__bases__[1]


def weight_of(module: nn.Module) -> Tensor:
    """The weight that a layer computes with, its zeros included, without a gradient."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.detach()
