"""The float32 operations of ``docs/design/numerics.md``, one at a time.

Everything that rounds is here, for the oracle and for the checks of a program. numpy computes each
operation on its own, so nothing is contracted into a fused multiply-add.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.engine.program import Conv2d, Tensor

__all__ = [
    "adaptive_windows",
    "bilinear_taps",
    "conv_input_scale",
    "conv_multiplier",
    "inverse_scale",
    "mul_multiplier",
    "nearest_indices",
    "round_clamp",
    "scale_ratio",
]

Float32Array: TypeAlias = npt.NDArray[np.float32]
IndexArray: TypeAlias = npt.NDArray[np.int64]


def scale_ratio(numerator: float, denominator: float) -> np.float32:
    """s_x / s_y in float32.

    Example:
        >>> float(scale_ratio(0.5, 0.25))
        2.0
    """
    with np.errstate(all="ignore"):
        ratio: np.float32 = np.float32(numerator) / np.float32(denominator)
        return ratio


def inverse_scale(scale: float) -> np.float32:
    """1 / s in float32: what a quantization multiplies by."""
    return scale_ratio(1.0, scale)


def conv_input_scale(op: Conv2d, xs: Sequence[Tensor]) -> Float32Array:
    """The scale s_x of a convolution's accumulators.

    Args:
        op: A convolution of u8.
        xs: Its inputs.

    Returns:
        float32 [1], the scale of the first input; or, of a depthwise convolution, [O]: the scale of
        the input that each channel reads.
    """
    if not op.is_depthwise:
        return np.array([xs[0].scale], np.float32)
    return np.repeat(np.array([x.scale for x in xs], np.float32), [x.channels for x in xs])


def conv_multiplier(
    x_scale: float | Float32Array, weight_scale: Float32Array, y_scale: float | None
) -> Float32Array:
    """m[c] = (s_x * s_w[c]) / s_y, in this order; without the division for a float head.

    Args:
        x_scale: Scale of the input, or from :func:`conv_input_scale`.
        weight_scale: float32 [O] or [1].
        y_scale: Scale of the result, or None for a head.

    Returns:
        float32 [O] or [1].
    """
    with np.errstate(all="ignore"):
        multiplier: Float32Array = np.float32(x_scale) * weight_scale.astype(np.float32)
        if y_scale is not None:
            multiplier = multiplier / np.float32(y_scale)
        return multiplier


def mul_multiplier(a_scale: float, b_scale: float, y_scale: float) -> np.float32:
    """M = (s_a * s_b) / s_y, in this order."""
    with np.errstate(all="ignore"):
        multiplier: np.float32 = np.float32(a_scale) * np.float32(b_scale) / np.float32(y_scale)
        return multiplier


def adaptive_windows(size: int, out: int) -> list[tuple[int, int]]:
    """First pixel and end of each window of an adaptive pool along an axis of ``size`` pixels.

    Example:
        >>> adaptive_windows(7, 3), adaptive_windows(2, 3)
        ([(0, 3), (2, 5), (4, 7)], [(0, 1), (0, 2), (1, 2)])
    """
    return [(o * size // out, -(-(o + 1) * size // out)) for o in range(out)]


def nearest_indices(size: int, out: int) -> IndexArray:
    """For each of ``out`` pixels along an axis: the one of ``size`` that it copies.

    Example:
        >>> nearest_indices(2, 5)
        array([0, 0, 0, 1, 1])
    """
    step = np.float32(size) / np.float32(out)
    indices = np.floor(np.arange(out).astype(np.float32) * step).astype(np.int64)
    clipped: IndexArray = np.minimum(indices, size - 1)
    return clipped


def bilinear_taps(
    size: int, out: int, align_corners: bool
) -> tuple[IndexArray, IndexArray, Float32Array]:
    """For each of ``out`` pixels along an axis: the two of ``size`` around it.

    Returns:
        The first, the second, and the weight of the second.

    Example:
        >>> bilinear_taps(2, 4, align_corners=False)
        (array([0, 0, 0, 1]), array([1, 1, 1, 1]), array([0.  , 0.25, 0.75, 0.25], dtype=float32))
    """
    pixels = np.arange(out).astype(np.float32)
    if align_corners:
        step = np.float32(size - 1) / np.float32(out - 1) if out > 1 else np.float32(0)
        position = pixels * step
    else:
        step = np.float32(size) / np.float32(out)
        position = (pixels + np.float32(0.5)) * step - np.float32(0.5)
        position = np.maximum(position, np.float32(0))
    first = np.minimum(np.floor(position).astype(np.int64), size - 1)
    second = np.minimum(first + 1, size - 1)
    weight = np.minimum(position - first.astype(np.float32), np.float32(1))
    return first, second, weight


def round_clamp(
    value: Float32Array, zero_point: int, lo: int = 0, hi: int = 255
) -> npt.NDArray[np.uint8]:
    """clamp(rne(value) + zero_point, lo, hi); NaN gives lo.

    The clamp comes before the conversion to an integer, so nothing ever overflows.

    Example:
        >>> round_clamp(np.array([0.5, 1.5, 300.0, np.nan], np.float32), zero_point=10)
        array([ 10,  12, 255,   0], dtype=uint8)
    """
    rounded = np.rint(value)
    bounded = np.fmin(np.fmax(rounded, np.float32(lo - zero_point)), np.float32(hi - zero_point))
    quantized: npt.NDArray[np.uint8] = (bounded.astype(np.int32) + zero_point).astype(np.uint8)
    return quantized
