"""Fake quantization: float tensors that hold only the values that integers could."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wbcq.quant.observers import MinMaxObserver, Observer
from wbcq.quant.qparams import QParams

__all__ = ["FakeQuantize", "fake_quantize"]


class _FakeQuantizeFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int
    ) -> Tensor:
        q = torch.round(x * scale.reciprocal()).add_(zero_point)
        ctx.save_for_backward((q >= qmin) & (q <= qmax))
        # fmax and fmin give the bound for NaN, as the engine and PyTorch do; clamp would keep NaN.
        q = torch.fmin(torch.fmax(q, q.new_tensor(qmin)), q.new_tensor(qmax))
        return q.sub_(zero_point).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        (inside,) = ctx.saved_tensors
        return grads[0] * inside, None, None, None, None


def fake_quantize(
    x: Tensor, scale: Tensor, zero_point: Tensor, qmin: int, qmax: int, axis: int | None = None
) -> Tensor:
    """Quantizes and dequantizes: (clamp(rne(x / scale) + zero_point) - zero_point) * scale.

    The gradient is that of the straight-through estimator (Bengio et al. 2013, "Estimating or
    Propagating Gradients Through Stochastic Neurons"): 1 where x is inside the integer range, 0
    where it saturates. Equal to ``torch.fake_quantize_per_tensor_affine`` and, with ``axis``, to
    ``torch.fake_quantize_per_channel_affine``, forward and backward; values beyond int64 saturate.

    Args:
        x: Any shape; float32, or a narrower type that is computed with as float32.
        scale: float32, [] or, with ``axis``, [C].
        zero_point: int32, the shape of ``scale``.
        qmin: Smallest quantized value.
        qmax: Largest quantized value.
        axis: Channel axis of ``x``, or None.

    Returns:
        A tensor of the shape and dtype of ``x``.

    Example:
        >>> x = torch.tensor([-1.0, 0.26, 0.74, 9.0])
        >>> fake_quantize(x, torch.tensor(0.5), torch.tensor(0), 0, 15)
        tensor([0.0000, 0.5000, 0.5000, 7.5000])
    """
    if axis is not None:
        shape = [1] * x.dim()
        shape[axis] = -1
        scale, zero_point = scale.view(shape), zero_point.view(shape)
    apply: Callable[..., Tensor] = _FakeQuantizeFunction.apply
    return apply(x.float(), scale, zero_point, qmin, qmax).to(x.dtype)


class FakeQuantize(nn.Module):
    """Watches a tensor, chooses its quantization parameters and simulates them.

    Both halves are switched on their own: to calibrate, observe only; to train, both; to finish
    training, :meth:`freeze`. The switches, the parameters and the observer's state are in buffers,
    so that ``state_dict`` restores a run where it stopped.

    Args:
        observer: Chooses scale and zero point; :class:`MinMaxObserver` by default.

    Example:
        >>> fake_quant = FakeQuantize(MinMaxObserver(bits=4))
        >>> fake_quant(torch.tensor([0.0, 0.52, 1.5]))
        tensor([0.0000, 0.5000, 1.5000])
        >>> fake_quant.freeze()(torch.tensor([2.0]))
        tensor([1.5000])
    """

    scale: Tensor
    zero_point: Tensor
    observer_enabled: Tensor
    fake_quant_enabled: Tensor

    def __init__(self, observer: Observer | None = None) -> None:
        super().__init__()
        self.observer = MinMaxObserver() if observer is None else observer
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("zero_point", torch.zeros((), dtype=torch.int32))
        self.register_buffer("observer_enabled", torch.tensor(True))
        self.register_buffer("fake_quant_enabled", torch.tensor(True))

    def forward(self, x: Tensor) -> Tensor:
        """Observes ``x`` and returns it as the integers would represent it, as far as enabled.

        Raises:
            CalibrationError: If the observer is enabled and ``x`` holds NaN or infinity.
        """
        if self.observer_enabled:
            self.observer(x.detach())
            if self.observer.has_data:
                self.scale, self.zero_point = self.observer.calculate_qparams()
        if not self.fake_quant_enabled:
            return x
        return fake_quantize(
            x,
            self.scale,
            self.zero_point,
            self.observer.qmin,
            self.observer.qmax,
            self.observer.axis if self.scale.dim() else None,
        )

    def enable_observer(self, enabled: bool = True) -> FakeQuantize:
        """Lets the observer update scale and zero point at every call, or not. Returns itself."""
        self.observer_enabled.fill_(enabled)
        return self

    def enable_fake_quant(self, enabled: bool = True) -> FakeQuantize:
        """Quantizes at every call, or passes values through. Returns itself."""
        self.fake_quant_enabled.fill_(enabled)
        return self

    def freeze(self) -> FakeQuantize:
        """Keeps scale and zero point as they are and quantizes with them. Returns itself."""
        return self.enable_observer(False).enable_fake_quant(True)

    def qparams(self) -> QParams:
        """The quantization parameters in use, as numpy arrays."""
        return QParams(
            scale=self.scale.cpu().numpy().astype(np.float32),
            zero_point=self.zero_point.cpu().numpy().astype(np.int32),
            qmin=self.observer.qmin,
            qmax=self.observer.qmax,
            axis=self.observer.axis,
        )

    def extra_repr(self) -> str:
        """Switches, for ``repr``."""
        return (
            f"observer_enabled={bool(self.observer_enabled)}, "
            f"fake_quant_enabled={bool(self.fake_quant_enabled)}"
        )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Scale and zero point get their channels with the first data.
        for name in ("scale", "zero_point"):
            saved = state_dict.get(prefix + name)
            if isinstance(saved, Tensor) and saved.dim() <= 1:
                setattr(self, name, getattr(self, name).new_empty(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)
