"""An observer that clips where clipping lowers the expected squared error of quantization."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wbcq.quant.observers.base import Observer, qparams_of_range

__all__ = ["HistogramObserver"]

# Bin widths are 2**exponent. Below the smallest one MIN_SCALE decides; above the largest one lies
# float32's own limit. Their inverses are normal float32 numbers.
_MIN_EXPONENT = -100
# Elements that are binned, or error terms that are computed, at a time.
_CHUNK = 1 << 21
# Sweeps multiply the ends of the range by powers of two. The first goes down to 2**-12 of what was
# seen: outliers of real networks are at most a few hundred times the useful range.
_COARSE = -torch.arange(49, dtype=torch.float64) / 4
_FINE = torch.arange(-8, 9, dtype=torch.float64)
_FINE_STEPS = (1 / 4, 1 / 16, 1 / 64, 1 / 256)
# With few levels the smaller side of the range is worth a whole number of them.
_SMALL_SIDE_LEVELS = 9


class HistogramObserver(Observer):
    """A histogram of everything seen, and the clipping range of least expected squared error.

    **Histogram.** Zero is on the edge of a bin and bin widths are powers of two. When the range
    grows, the width doubles until it fits and neighbouring bins merge, two into one. So no count
    is ever split by guess: the histogram is, to the bit, the one that all data at once would have
    given, whatever the order and the size of the batches. Memory is ``channels * bins`` counts,
    however much is seen. Exact zeros (half of what follows a ReLU) are not counted: every
    quantizer represents them exactly.

    **Range.** Within a bin the density is taken as uniform, and the mean of (x - Q(x))^2 over it
    is then known in closed form, rounding and saturation alike; Q is the real quantizer, with
    float32 scale and integer zero point. Its sum over the bins is minimised over both ends of the
    range. With rounding noise at its usual step^2 / 12 the objective is convex in the two ends (a
    quadratic plus two convex clipping terms), which is why sweeps over one end at a time, coarse
    to fine, find it; the integer zero point breaks that where levels are few, so that each of its
    small values is tried too.

    **Clip weight.** The errors of rounding are as good as independent and average out in the sums
    of the next layer. Those of clipping are not: they have one sign, and a bright spot is clipped
    in neighbouring pixels and related channels together. ``clip_weight`` counts the squared error
    of saturated values so many times.

    The idea is that of Sung, Shin and Hwang 2015, "Resiliency of Deep Neural Networks under
    Quantization" (step sizes of least L2 error), and of
    ``torch.ao.quantization.HistogramObserver``, which also estimates the error from a histogram
    but redistributes counts when the range grows and searches greedily by quantiles. TensorRT
    instead minimises the Kullback-Leibler divergence between the histograms before and after
    (Migacz 2017, "8-bit Inference with TensorRT"), which ignores how far a clipped value moves.

    Args:
        bins: Counts per row, at least 64; half of them or more are in use.
        clip_weight: At least 1, which is the plain squared error.
        **options: See :class:`Observer`.

    Raises:
        ValueError: If ``bins`` is less than 64 or ``clip_weight`` less than 1.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> x = torch.cat([torch.randn(10000), torch.tensor([50.0])])  # one outlier
        >>> observer = HistogramObserver(symmetric=True, bits=4)
        >>> _ = observer(x)
        >>> bool(observer.calculate_qparams()[0] < 12 / 7)
        True
    """

    counts: Tensor
    start: Tensor
    exponent: Tensor

    def __init__(self, *, bins: int = 2048, clip_weight: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        if bins < 64:
            raise ValueError(f"bins is {bins}; a histogram needs at least 64")
        if not 1 <= clip_weight < float("inf"):
            raise ValueError(f"clip_weight is {clip_weight}; it must be finite and at least 1")
        self.bins = bins
        self.clip_weight = clip_weight
        # Bin i of row c is [start[c] + i, start[c] + i + 1) * 2**exponent[c].
        self.register_buffer("counts", torch.empty((0, bins), dtype=torch.int64))
        self.register_buffer("start", torch.empty(0, dtype=torch.int64))
        self.register_buffer("exponent", torch.empty(0, dtype=torch.int64))

    def _update(self, rows: Tensor, low: Tensor, high: Tensor) -> None:
        fresh = not self.has_data
        if not fresh:
            low, high = torch.minimum(low, self.min_val), torch.maximum(high, self.max_val)
        start, exponent = _grid(low, high, self.bins)
        if fresh:
            self.counts = torch.zeros(
                (rows.shape[0], self.bins), dtype=torch.int64, device=rows.device
            )
        elif not (torch.equal(start, self.start) and torch.equal(exponent, self.exponent)):
            self.counts = self._merged_counts(start, exponent)
        self.min_val, self.max_val, self.start, self.exponent = low, high, start, exponent
        columns = max(1, _CHUNK // rows.shape[0])
        for first in range(0, rows.shape[1], columns):
            self._count(rows[:, first : first + columns])

    def _count(self, rows: Tensor) -> None:
        """Adds values [C, n] to the counts."""
        channels = rows.shape[0]
        inverse_width = _power_of_two(-self.exponent).float()
        position = torch.floor(rows * inverse_width.unsqueeze(1))
        # A product that underflows to -0 still belongs below zero.
        position = torch.where(rows < 0, position.clamp(max=-1), position)
        index = position.to(torch.int64)
        offset = torch.arange(channels, device=rows.device) * self.bins - self.start
        index += offset.unsqueeze(1)
        self.counts += torch.bincount(index.flatten(), minlength=self.counts.numel()).view(
            channels, self.bins
        )
        zeros = (rows == 0).sum(dim=1, keepdim=True)
        self.counts.scatter_add_(1, -self.start.unsqueeze(1), -zeros)

    def _merged_counts(self, start: Tensor, exponent: Tensor) -> Tensor:
        """The counts on a grid that is the same or coarser."""
        # Indices are below 2**62: a larger shift changes nothing, and beyond 63 it is undefined.
        shift = (exponent - self.exponent).clamp(max=62).unsqueeze(1)
        old = self.start.unsqueeze(1) + torch.arange(self.bins, device=start.device)
        index = (old >> shift) - start.unsqueeze(1)
        # Only empty bins can lie outside the new grid.
        index.clamp_(0, self.bins - 1)
        return torch.zeros_like(self.counts).scatter_add_(1, index, self.counts)

    def _range(self) -> tuple[Tensor, Tensor]:
        seen = torch.stack([-self.min_val.clamp(max=0.0), self.max_val.clamp(min=0.0)]).double()
        low, high = seen.new_tensor([[1], [0]]).bool(), seen.new_tensor([[0], [1]]).bool()
        both = low | high
        ends = self._swept(seen, seen, both, _COARSE)
        for step in _FINE_STEPS:
            if not self.symmetric:
                ends = self._small_side(self._small_side(ends, seen, 0), seen, 1)
            for _ in range(2):
                for moved in (both,) if self.symmetric else (high, low, both):
                    ends = self._swept(ends, seen, moved, _FINE * step)
        return -ends[0].float(), ends[1].float()

    def _swept(self, ends: Tensor, seen: Tensor, moved: Tensor, exponents: Tensor) -> Tensor:
        """The best of ends * 2**exponents; ends are distances from zero [2, C] down and up."""
        factors = torch.exp2(exponents.to(ends.device))
        candidates = ends.unsqueeze(2) * torch.where(moved.unsqueeze(2), factors, 1.0)
        return self._best(torch.minimum(candidates, torch.maximum(ends, seen).unsqueeze(2)))

    def _small_side(self, ends: Tensor, seen: Tensor, side: int) -> Tensor:
        """The best of the ranges that give one side 0, 1, 2, ... levels and keep the other end."""
        levels = torch.arange(_SMALL_SIDE_LEVELS, dtype=torch.float64, device=ends.device)
        levels = levels[levels < self.qmax - self.qmin]
        candidates = ends.unsqueeze(2).repeat(1, 1, len(levels) + 1)
        wanted = ends[1 - side].unsqueeze(1) * levels / (self.qmax - self.qmin - levels)
        candidates[side, :, 1:] = torch.where(seen[side].unsqueeze(1) > 0, wanted, 0.0)
        return self._best(candidates)

    def _best(self, candidates: Tensor) -> Tensor:
        """The candidates [2, C, K] of least error, [2, C]."""
        errors = self._expected_error(-candidates[0].float(), candidates[1].float())
        # argmin takes one of several equal ones at will; the widest range is the safest of them.
        least = errors <= errors.amin(dim=1, keepdim=True)
        best = torch.where(least, candidates.sum(dim=0), -1.0).argmax(dim=1)
        return candidates.gather(2, best.view(1, -1, 1).expand(2, -1, 1)).squeeze(2)

    def _expected_error(self, low: Tensor, high: Tensor) -> Tensor:
        """Sum over the counts of the weighted (x - Q(x))^2 for each of K ranges, float64 [C, K]."""
        scale, zero_point = qparams_of_range(
            low, high, self.qmin, self.qmax, self.symmetric, self.min_scale
        )
        step = scale.double()
        bottom, top = self.qmin - zero_point.double(), self.qmax - zero_point.double()
        width = _power_of_two(self.exponent).unsqueeze(1)
        first = self.start.unsqueeze(1)
        edges = (first + torch.arange(self.bins + 1, device=low.device)) * width
        counts = self.counts.double()
        used = max(1, _CHUNK // max(1, edges.numel()))
        errors = []
        for k in range(0, step.shape[1], used):
            part = slice(k, k + used)
            t = edges.unsqueeze(1) / step[:, part].unsqueeze(2)
            primitive = _squared_error_primitive(
                t, bottom[:, part].unsqueeze(2), top[:, part].unsqueeze(2), self.clip_weight
            )
            errors.append(torch.einsum("cb,ckb->ck", counts, primitive.diff(dim=2)))
        return torch.cat(errors, dim=1) * step**3 / width


def _power_of_two(exponent: Tensor) -> Tensor:
    """2**exponent in float64, put together from its bits: exact on every device."""
    return ((exponent + 1023) << 52).view(torch.float64)


def _grid(low: Tensor, high: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """First bin and exponent of the finest power-of-two grid on which low, 0 and high fit.

    It depends on the range alone, and a larger range never has a finer grid.
    """
    bottom, top = low.clamp(max=0.0).double(), high.clamp(min=0.0).double()
    _, exponent = torch.frexp((top - bottom) / bins)
    exponent = (exponent.to(torch.int64) - 1).clamp(min=_MIN_EXPONENT)
    exponent = torch.where(top > bottom, exponent, _MIN_EXPONENT)
    while True:
        inverse_width = _power_of_two(-exponent)
        first, last = torch.floor(bottom * inverse_width), torch.floor(top * inverse_width)
        too_fine = last - first >= bins
        if not bool(too_fine.any()):
            return first.to(torch.int64), exponent
        exponent = exponent + too_fine


def _squared_error_primitive(t: Tensor, bottom: Tensor, top: Tensor, clip_weight: float) -> Tensor:
    """Integral from 0 to t of (u - q(u))^2 du, where q rounds u and clamps it to bottom..top.

    Each of the n whole steps passed contributes 1/12; what is left, and everything beyond the
    clamp, a third of the cube of the distance to the last level.
    """
    level = torch.round(t).clamp_(bottom, top)
    rest = t - level
    integral = level.div_(12).add_(rest * rest * rest, alpha=1 / 3)
    if clip_weight != 1:
        beyond = t - t.clamp(bottom, top)
        integral.add_(beyond * beyond * beyond, alpha=(clip_weight - 1) / 3)
    return integral
