"""Ranges of activations and weights while a network trains."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from wbcq.quant.fake_quant import fake_quantize
from wbcq.quant.observers import OBSERVERS, Observer
from wbcq.quant.observers.base import integer_range, qparams_of_range
from wbcq.quant.qparams import QParams

__all__ = ["ActivationRange", "WeightRange"]


class ActivationRange(nn.Module):
    """Rounds an activation to a range that follows the network, until it is frozen.

    It starts at what calibration found. While it follows, one training batch in ``interval`` is
    observed in the same way as in calibration, and the range moves a tenth of the way there.

    Args:
        qparams: From calibration; one scale.
        make_observer: Makes the observer of calibration.
        interval: In training batches, at least 1.
    """

    scale: Tensor
    zero_point: Tensor
    ends: Tensor
    seen: Tensor
    frozen: Tensor

    def __init__(
        self, qparams: QParams, make_observer: Callable[[], Observer], interval: int = 20
    ) -> None:
        super().__init__()
        if interval < 1:
            raise ValueError(f"interval is {interval}, must be at least 1")
        self.qmin, self.qmax = qparams.qmin, qparams.qmax
        self.interval = interval
        self._make_observer = make_observer
        self.register_buffer("scale", torch.tensor(qparams.scale))
        self.register_buffer("zero_point", torch.tensor(qparams.zero_point))
        self.register_buffer("ends", self._ends_of(self.scale, self.zero_point))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("frozen", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        """The values that integers can represent; gradients pass straight through."""
        if self.training and not self.frozen:
            self.seen += 1
            if int(self.seen) % self.interval == 0:
                self._move_towards(x.detach())
        return fake_quantize(x, self.scale, self.zero_point, self.qmin, self.qmax)

    def qparams(self) -> QParams:
        """The range in numpy."""
        scale, zero_point = self.scale.cpu().numpy(), self.zero_point.cpu().numpy()
        return QParams(scale.copy(), zero_point.copy(), self.qmin, self.qmax)

    @torch.no_grad()
    def _move_towards(self, x: Tensor, share: float = 0.1) -> None:
        observer = self._make_observer().to(x.device)
        observer(x)
        self.ends.lerp_(self._ends_of(*observer.calculate_qparams()), share)
        low, high = self.ends
        scale, zero_point = qparams_of_range(low, high, self.qmin, self.qmax, symmetric=False)
        self.scale.copy_(scale)
        self.zero_point.copy_(zero_point)

    def _ends_of(self, scale: Tensor, zero_point: Tensor) -> Tensor:
        """Least and greatest real value that quantized values stand for, [2]."""
        levels = torch.tensor([self.qmin, self.qmax], device=scale.device)
        return (levels - zero_point) * scale


class WeightRange(nn.Module):
    """Rounds weights in the steps that lowering will choose for them.

    Args:
        observer: Name of the observer, see :class:`wbcq.QuantConfig`.
        bits: 2 to 8.
        per_channel: One scale for each output channel, or one for all.
    """

    def __init__(self, observer: str, bits: int, per_channel: bool) -> None:
        super().__init__()
        self.bits = bits
        self._observer = observer
        self.axis = 0 if per_channel else None
        self.qmin, self.qmax = integer_range(bits, symmetric=True)

    def forward(self, weight: Tensor, ratio: Tensor | None = None) -> Tensor:
        """Rounds [O, ...].

        Args:
            weight: Output channels first.
            ratio: What the weights are multiplied by before they are rounded, or None for 1.
        """
        scaled = weight if ratio is None else weight * ratio
        with torch.no_grad():
            observer = OBSERVERS[self._observer](bits=self.bits, symmetric=True, axis=self.axis).to(
                weight.device
            )
            observer(scaled)
            scale, zero_point = observer.calculate_qparams()
        rounded = fake_quantize(scaled, scale, zero_point, self.qmin, self.qmax, self.axis)
        return rounded if ratio is None else rounded / ratio
