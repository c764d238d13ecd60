"""Windows over pictures, in numpy: what convolutions and pools have in common."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.engine.operators import AvgPool2d, Pads, Pair
from wbcq.engine.program import Tensor

__all__ = ["average_sums", "taps"]

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
