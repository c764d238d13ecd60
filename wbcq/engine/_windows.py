"""Windows over pictures, in numpy: what convolutions and pools have in common."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.engine.numerics import adaptive_windows
from wbcq.engine.operators import ADAPTIVE, AvgPool2d, MaxPool2d, Pads, Pair
from wbcq.engine.program import Tensor

__all__ = ["average_sums", "highest", "taps"]

Array: TypeAlias = npt.NDArray[Any]


def taps(
    picture: Array,
    kernel: Pair,
    stride: Pair,
    pads: Pads,
    dilation: Pair,
    y: Tensor,
    fill: float,
) -> Iterator[tuple[Pair, Array]]:
    """For each position of the kernel: the pixels it meets, [N, y.height, y.width, C]."""
    extent = [
        (out - 1) * step + (size - 1) * spread + 1
        for out, size, step, spread in zip(
            (y.height, y.width), kernel, stride, dilation, strict=True
        )
    ]
    top, left, _, _ = pads
    # In ceil mode windows reach past the padding; a floor may leave some of it unused.
    bottom = max(0, extent[0] - top - picture.shape[1])
    right = max(0, extent[1] - left - picture.shape[2])
    padded = np.pad(picture, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    for ky in range(kernel[0]):
        for kx in range(kernel[1]):
            y0, x0 = ky * dilation[0], kx * dilation[1]
            rows = slice(y0, y0 + (y.height - 1) * stride[0] + 1, stride[0])
            columns = slice(x0, x0 + (y.width - 1) * stride[1] + 1, stride[1])
            yield (ky, kx), padded[:, rows, columns]


def average_sums(op: AvgPool2d, picture: Array, y: Tensor) -> tuple[Array, Array]:
    """Sums over the windows of a pool, and what they are divided by."""
    if op.kernel == ADAPTIVE:
        counted = np.ones((1, *picture.shape[1:3], 1), np.int32)
        return _adaptive(picture, y, np.sum), _adaptive(counted, y, np.sum)

    def window_sums(values: Array, pads: Pads) -> Array:
        tap_values = (v for _, v in taps(values, op.kernel, op.stride, pads, (1, 1), y, fill=0))
        total: Array = functools.reduce(np.add, tap_values)
        return total

    ones = np.ones((1, *picture.shape[1:3], 1), np.int32)
    if op.divisor:
        divisor: Array = np.array(op.divisor)
    elif op.count_include_pad:
        # Padding counts, what lies beyond it (ceil mode) does not.
        top, left, bottom, right = op.pads
        padded = np.pad(ones, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=1)
        divisor = window_sums(padded, (0, 0, 0, 0))
    else:
        divisor = window_sums(ones, op.pads)
    return window_sums(picture, op.pads), divisor


def highest(op: MaxPool2d, picture: Array, y: Tensor) -> Array:
    """The maximum of the taps of each window that are inside the picture."""
    if op.kernel == ADAPTIVE:
        return _adaptive(picture, y, np.max)
    lowest = 0 if picture.dtype == np.uint8 else -np.inf
    windows = taps(picture, op.kernel, op.stride, op.pads, op.dilation, y, fill=lowest)
    result: Array = functools.reduce(np.maximum, (pixels for _, pixels in windows))
    return result


def _adaptive(picture: Array, y: Tensor, reduce: Callable[..., Array]) -> Array:
    for axis, out in ((1, y.height), (2, y.width)):
        windows = adaptive_windows(picture.shape[axis], out)
        parts = [picture.take(range(*window), axis) for window in windows]
        picture = np.stack([reduce(part, axis) for part in parts], axis)
    return picture
