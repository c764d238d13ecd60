"""What all observers share: integer range, checks, state, and range to quantization parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wbcq.errors import CalibrationError
from wbcq.quant.qparams import QParams

__all__ = ["MIN_SCALE", "Observer", "integer_range", "qparams_of_range"]

MIN_SCALE = 2.0**-40
"""Smallest scale that an observer returns.

Products s_x s_w stay normal float32 numbers and multipliers s_x s_w / s_y finite, yet channels
whose weights are tiny because folded batch normalization divided by a large variance keep all
their levels.
"""


def integer_range(bits: int, symmetric: bool) -> tuple[int, int]:
    """Smallest and largest quantized value.

    Args:
        bits: 2 to 8.
        symmetric: Signed and symmetric around 0, as weights are; otherwise unsigned.

    Raises:
        ValueError: If ``bits`` is not in 2..8.

    Example:
        >>> integer_range(8, symmetric=True), integer_range(8, symmetric=False)
        ((-127, 127), (0, 255))
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= 8:
        raise ValueError(f"bits is {bits!r}; quantized values have 2 to 8 bits")
    if symmetric:
        limit = 2 ** (bits - 1) - 1
        return -limit, limit
    return 0, 2**bits - 1


def qparams_of_range(
    low: Tensor, high: Tensor, qmin: int, qmax: int, symmetric: bool, min_scale: float = MIN_SCALE
) -> tuple[Tensor, Tensor]:
    """Scale and zero point with which ``qmin..qmax`` spans ``low..high`` and real 0.

    Args:
        low: Lower ends of the ranges, float32, any shape.
        high: Upper ends, the same shape.
        qmin: Smallest quantized value.
        qmax: Largest quantized value.
        symmetric: Give ``qmin`` and ``qmax`` opposite real values; the zero point is their middle.
        min_scale: Lower bound of the scale.

    Returns:
        Scale (float32) and zero point (int32), of the shape of ``low``.
    """
    low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    if symmetric:
        scale = torch.maximum(-low, high) / (float(qmax - qmin) / 2)
        scale = scale.clamp(min=min_scale)
        return scale, torch.full_like(scale, (qmin + qmax) // 2, dtype=torch.int32)
    scale = ((high - low) / float(qmax - qmin)).clamp(min=min_scale)
    zero_point = (qmin - torch.round(low / scale)).clamp(qmin, qmax)
    return scale, zero_point.to(torch.int32)


class Observer(nn.Module, ABC):
    """Base of the observers: a module that returns its input unchanged and remembers its range.

    State lives in registered buffers: it is saved by ``state_dict``, restored by
    ``load_state_dict`` (also into a fresh observer that does not know its number of channels yet),
    copied by ``copy.deepcopy`` and moved by ``.to(device)``. An observer that was restored goes on
    as if it had never stopped.

    Args:
        bits: 2 to 8.
        symmetric: Signed with zero point 0 (weights) instead of unsigned affine (activations).
        axis: Channel axis, or None for one scale for the whole tensor.
        min_scale: Lower bound of the scale.
        name: Of the layer or tensor that is observed; appears in errors.

    Raises:
        ValueError: If ``bits`` or ``min_scale`` is out of range.
    """

    min_val: Tensor
    max_val: Tensor

    def __init__(
        self,
        *,
        bits: int = 8,
        symmetric: bool = False,
        axis: int | None = None,
        min_scale: float = MIN_SCALE,
        name: str = "",
    ) -> None:
        super().__init__()
        self.qmin, self.qmax = integer_range(bits, symmetric)
        if not 2.0**-60 <= min_scale < float("inf"):
            raise ValueError(f"min_scale is {min_scale}; it must be finite and at least 2**-60")
        self.bits = bits
        self.symmetric = symmetric
        self.axis = axis
        self.min_scale = min_scale
        self.name = name
        # One row per channel, or one for the tensor. No rows: nothing observed yet.
        self.register_buffer("min_val", torch.empty(0))
        self.register_buffer("max_val", torch.empty(0))

    @property
    def has_data(self) -> bool:
        """Whether anything has been observed."""
        return self.min_val.numel() > 0

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Observes a tensor.

        Args:
            x: Any shape, any floating-point dtype; computed with as float32.

        Returns:
            ``x`` itself.

        Raises:
            CalibrationError: If ``x`` holds NaN or infinity; names the observed value.
            ValueError: If ``x`` has no channel axis, or not the number of channels seen before.
        """
        if x.numel() == 0:
            return x
        rows = self._rows(x.detach())
        low, high = torch.aminmax(rows, dim=1)
        if not bool(torch.isfinite(low).all() & torch.isfinite(high).all()):
            raise CalibrationError(self._describe_non_finite(rows))
        self._update(rows, low, high)
        return x

    @abstractmethod
    def _update(self, rows: Tensor, low: Tensor, high: Tensor) -> None:
        """Takes in finite values [C, n] and their minima and maxima [C]."""

    def _range(self) -> tuple[Tensor, Tensor]:
        """The range to quantize, each [C]."""
        return self.min_val, self.max_val

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Quantization parameters of what was observed.

        Returns:
            Scale (float32) and zero point (int32): [] for a tensor, [C] for channels.

        Raises:
            CalibrationError: If nothing was observed, or the range exceeds float32.
        """
        if not self.has_data:
            raise CalibrationError(
                f"{self._subject()} was never observed; run data through its observer first"
            )
        low, high = self._range()
        scale, zero_point = qparams_of_range(
            low, high, self.qmin, self.qmax, self.symmetric, self.min_scale
        )
        if not bool(torch.isfinite(scale).all()):
            raise CalibrationError(
                f"{self._subject()} spans {float(low.min())} to {float(high.max())}, more than "
                "float32 can hold; scale the network's inputs or weights down"
            )
        if self.axis is None:
            return scale.reshape(()), zero_point.reshape(())
        return scale, zero_point

    def qparams(self) -> QParams:
        """The same as :meth:`calculate_qparams`, as numpy arrays with the integer range."""
        scale, zero_point = self.calculate_qparams()
        return QParams(
            scale=scale.cpu().numpy().astype(np.float32),
            zero_point=zero_point.cpu().numpy().astype(np.int32),
            qmin=self.qmin,
            qmax=self.qmax,
            axis=self.axis,
        )

    def reset(self) -> None:
        """Forgets everything observed."""
        for name, buffer in self.named_buffers(recurse=False):
            setattr(self, name, buffer.new_empty((0, *buffer.shape[1:])))

    def extra_repr(self) -> str:
        """Settings, for ``repr``."""
        kind = "symmetric" if self.symmetric else "affine"
        return f"bits={self.bits}, {kind}, axis={self.axis}, name={self.name!r}"

    def _rows(self, x: Tensor) -> Tensor:
        if self.axis is None:
            return x.reshape(1, -1).float()
        if not -x.dim() <= self.axis < x.dim():
            raise ValueError(f"{self._subject()} of shape {tuple(x.shape)} has no axis {self.axis}")
        rows = x.movedim(self.axis, 0).flatten(1) if x.dim() > 1 else x.unsqueeze(1)
        if self.has_data and rows.shape[0] != self.min_val.shape[0]:
            raise ValueError(
                f"{self._subject()} has {rows.shape[0]} channels along axis {self.axis}; earlier "
                f"batches had {self.min_val.shape[0]}"
            )
        return rows.float()

    def _subject(self) -> str:
        return f"the value of {self.name!r}" if self.name else "the observed value"

    def _describe_non_finite(self, rows: Tensor) -> str:
        nans, infs = int(torch.isnan(rows).sum()), int(torch.isinf(rows).sum())
        return (
            f"{self._subject()} holds {nans} NaN and {infs} infinite of {rows.numel()} elements; "
            "check the pictures and the model's weights"
        )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # The number of rows is known only once data were seen.
        for name, buffer in self.named_buffers(recurse=False):
            saved = state_dict.get(prefix + name)
            if isinstance(saved, Tensor) and saved.shape[1:] == buffer.shape[1:]:
                setattr(self, name, buffer.new_empty(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)
