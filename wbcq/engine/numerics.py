"""The float32 operations of ``docs/design/numerics.md``, one at a time.

Everything that rounds is here, for the oracle and for the checks of a program. numpy computes each
operation on its own, so nothing is contracted into a fused multiply-add.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["conv_multiplier", "inverse_scale", "round_clamp", "scale_ratio"]

Float32Array: TypeAlias = npt.NDArray[np.float32]


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


def conv_multiplier(
    x_scale: float, weight_scale: Float32Array, y_scale: float | None
) -> Float32Array:
    """m[c] = (s_x * s_w[c]) / s_y, in this order; without the division for a float head.

    Args:
        x_scale: Scale of the input.
        weight_scale: float32 [O] or [1].
        y_scale: Scale of the output, or None for a head.

    Returns:
        float32, the shape of ``weight_scale``.
    """
    with np.errstate(all="ignore"):
        multiplier: Float32Array = np.float32(x_scale) * weight_scale.astype(np.float32)
        if y_scale is not None:
            multiplier = multiplier / np.float32(y_scale)
        return multiplier


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
