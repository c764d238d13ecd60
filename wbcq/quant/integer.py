"""Float parameters to the integers of ``docs/design/numerics.md``, in numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wbcq.engine.numerics import round_clamp, scale_ratio
from wbcq.graph.ir import Activation
from wbcq.quant.qparams import QParams

__all__ = ["accumulator_range", "clamp_bounds", "quantize_bias", "quantize_weight"]

_INT32 = np.iinfo(np.int32)


def quantize_weight(weight: npt.NDArray[np.float32], qparams: QParams) -> npt.NDArray[np.int8]:
    """Rounds weights: clamp(rne(w * (1 / s)), qmin, qmax), both operations in float32.

    These are the bits of ``torch.quantize_per_channel`` and ``torch.quantize_per_tensor``, which
    multiply by the reciprocal too; w / s would differ by a step near halves.

    Args:
        weight: Channels on axis 0.
        qparams: For axis 0 or for the whole tensor; zero points are 0.

    Returns:
        int8, the shape of ``weight``.

    Example:
        >>> params = QParams(np.float32([0.5, 0.1]), np.int32([0, 0]), -127, 127, axis=0)
        >>> quantize_weight(np.float32([[1.0, -0.25], [0.25, 99.0]]), params)
        array([[  2,   0],
               [  2, 127]], dtype=int8)
    """
    scale = qparams.scale.astype(np.float32).reshape(-1, *[1] * (weight.ndim - 1))
    with np.errstate(over="ignore", divide="ignore"):
        scaled = weight * (np.float32(1.0) / scale)
    clamped = np.clip(np.rint(scaled), qparams.qmin, qparams.qmax)
    quantized: npt.NDArray[np.int8] = clamped.astype(np.int8)
    return quantized


def quantize_bias(
    bias: npt.NDArray[np.float32], input_scale: float, weight_scale: npt.NDArray[np.float32]
) -> npt.NDArray[np.int32]:
    """Rounds biases: rne(b / (s_x s_w)) in float64, clamped to int32.

    Args:
        bias: [O].
        input_scale: Scale of the layer's input.
        weight_scale: [O] or [1].

    Example:
        >>> quantize_bias(np.float32([1.0, -0.75]), 0.5, np.float32([0.5]))
        array([ 4, -3], dtype=int32)
    """
    step = np.float64(input_scale) * weight_scale.astype(np.float64)
    rounded = np.rint(bias.astype(np.float64) / step)
    quantized: npt.NDArray[np.int32] = np.clip(rounded, _INT32.min, _INT32.max).astype(np.int32)
    return quantized


def clamp_bounds(activation: Activation, qparams: QParams) -> tuple[int, int]:
    """The clamp of an activation function in the integers of its output.

    Example:
        >>> from wbcq.graph.ir import RELU6
        >>> clamp_bounds(RELU6, QParams(np.float32(0.05), np.int32(10), 0, 255))
        (10, 130)
    """
    scale, zero_point = float(qparams.scale), int(qparams.zero_point)
    bounds = np.array(
        [scale_ratio(activation.low, scale), scale_ratio(activation.high, scale)], np.float32
    )
    lo, hi = round_clamp(bounds, zero_point, qparams.qmin, qparams.qmax)
    return int(lo), int(hi)


def accumulator_range(
    weight: npt.NDArray[np.int8], bias: npt.NDArray[np.int32], zero_point: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The least and the largest accumulator of each channel, whatever the input is.

    Args:
        weight: Channels on axis 0.
        bias: [O].
        zero_point: Of the input, whose quantized values are 0..255.

    Returns:
        int64 [O] each.
    """
    flat = weight.reshape(len(weight), -1)
    positive = np.maximum(flat, 0).sum(axis=1, dtype=np.int64)
    negative = -np.minimum(flat, 0).sum(axis=1, dtype=np.int64)
    below, above = zero_point, 255 - zero_point
    start = bias.astype(np.int64)
    return start - below * positive - above * negative, start + above * positive + below * negative
