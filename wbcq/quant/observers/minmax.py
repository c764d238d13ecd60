"""Observers that keep a minimum and a maximum."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wbcq.quant.observers.base import Observer

__all__ = ["MinMaxObserver", "MovingAverageMinMaxObserver"]


class MinMaxObserver(Observer):
    """The smallest and the largest value ever seen.

    Equal to ``torch.ao.quantization.MinMaxObserver`` and ``PerChannelMinMaxObserver``, except that
    tiny ranges keep their own scale (see :data:`MIN_SCALE`).

    Example:
        >>> observer = MinMaxObserver()
        >>> _ = observer(torch.tensor([-1.0, 0.0, 4.1]))
        >>> scale, zero_point = observer.calculate_qparams()
        >>> round(float(scale), 3), int(zero_point)
        (0.02, 50)
    """

    def _update(self, rows: Tensor, low: Tensor, high: Tensor) -> None:
        if self.has_data:
            low, high = torch.minimum(low, self.min_val), torch.maximum(high, self.max_val)
        self.min_val, self.max_val = low, high


class MovingAverageMinMaxObserver(Observer):
    """Exponential moving averages of each batch's minimum and maximum.

    Equal to ``torch.ao.quantization.MovingAverageMinMaxObserver`` and its per-channel twin (Jacob
    et al. 2018, "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", section 3.1). The result depends on the order of the
    batches.

    Args:
        averaging_constant: Weight of the newest batch, in (0, 1].
        **options: See :class:`Observer`.

    Raises:
        ValueError: If ``averaging_constant`` is not in (0, 1].
    """

    def __init__(self, *, averaging_constant: float = 0.01, **options: Any) -> None:
        super().__init__(**options)
        if not 0 < averaging_constant <= 1:
            raise ValueError(f"averaging_constant is {averaging_constant}; it must be in (0, 1]")
        self.averaging_constant = averaging_constant

    def _update(self, rows: Tensor, low: Tensor, high: Tensor) -> None:
        if self.has_data:
            low = self.min_val + self.averaging_constant * (low - self.min_val)
            high = self.max_val + self.averaging_constant * (high - self.max_val)
        self.min_val, self.max_val = low, high
