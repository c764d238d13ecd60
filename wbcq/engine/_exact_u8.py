"""Operators on u8, bit for bit, and those that only move values of either dtype."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.engine._windows import average_sums, highest, taps
from wbcq.engine.numerics import (
    bilinear_taps,
    conv_input_scale,
    conv_multiplier,
    inverse_scale,
    mul_multiplier,
    nearest_indices,
    round_clamp,
    scale_ratio,
)
from wbcq.engine.program import (
    Add,
    AvgPool2d,
    Conv2d,
    MaxPool2d,
    Mul,
    Op,
    Pad,
    Rearrange,
    Resize,
    Tensor,
)

__all__ = [
    "compute",
    "dequantize",
    "head",
    "look_up",
    "max_pool2d",
    "pad",
    "quantize",
    "rearrange",
    "resize_bilinear",
    "resize_nearest",
    "round_clamp",
]

Array: TypeAlias = npt.NDArray[Any]


def quantize(x: Array, y: Tensor) -> Array:
    """clamp(rne(x * (1 / s)) + z, 0, 255)."""
    with np.errstate(over="ignore"):  # infinity is clamped like any large value
        return round_clamp(x * inverse_scale(y.scale), y.zero_point)


def _centered(x: Array, tensor: Tensor) -> Array:
    """Q - z, int32."""
    centered: Array = x.astype(np.int32) - np.int32(tensor.zero_point)
    return centered


def dequantize(x: Array, tensor: Tensor) -> Array:
    """float(q - z) * s."""
    with np.errstate(over="ignore"):
        result: Array = _centered(x, tensor).astype(np.float32) * np.float32(tensor.scale)
    return result


def look_up(table: Array, x: Array) -> Array:
    """table[x]."""
    result: Array = table[x]
    return result


def compute(op: Op, values: list[Array], xs: list[Tensor], y: Tensor) -> Array:
    """An operator that rounds once and then, perhaps, looks the result up in its table."""
    assert isinstance(op, Conv2d | AvgPool2d | Add | Mul)
    scale, zero_point = y.scale, y.zero_point
    if op.table is not None:
        scale, zero_point = op.pre_scale, op.pre_zero_point
    steps = _steps(op, values, xs, y, scale)
    result = round_clamp(steps, zero_point, op.lo, op.hi)
    return result if op.table is None else look_up(op.table, result)


def _steps(
    op: Conv2d | AvgPool2d | Add | Mul, values: list[Array], xs: list[Tensor], y: Tensor, s: float
) -> Array:
    """The result before rounding, in steps of the scale ``s``."""
    result: Array
    match op:
        case Conv2d():
            assert op.weight_scale is not None
            count = len(op.xs)
            multiplier = conv_multiplier(conv_input_scale(op, xs[:count]), op.weight_scale, s)
            result = _accumulator(op, values[:count], xs[:count], y).astype(np.float32) * multiplier
            if op.residual is not None:
                result = result + _rescaled(values[-1], xs[-1], s)
            return result
        case AvgPool2d():
            sums, divisor = average_sums(op, _centered(values[0], xs[0]), y)
            factor = scale_ratio(xs[0].scale, s) / divisor.astype(np.float32)
            result = sums.astype(np.float32) * factor
            return result
        case Add():
            a, b = (_rescaled(value, x, s) for value, x in zip(values, xs, strict=True))
            return a - b if op.subtract else a + b
        case Mul():
            product = _centered(values[0], xs[0]) * _centered(values[1], xs[1])
            return product.astype(np.float32) * mul_multiplier(xs[0].scale, xs[1].scale, s)


def _rescaled(x: Array, tensor: Tensor, scale: float) -> Array:
    """float(q - z) * (s / scale): an operand of an addition, in steps of ``scale``."""
    result: Array = _centered(x, tensor).astype(np.float32) * scale_ratio(tensor.scale, scale)
    return result


def _accumulator(op: Conv2d, values: list[Array], xs: list[Tensor], y: Tensor) -> Array:
    """Sum of (x - z) * w, plus the bias unless it is float: int32 [N, H, W, O].

    Padding has the value z of its input, which contributes nothing.
    """
    out_channels, *kernel, group_inputs = op.weight.shape
    weight = op.weight.astype(np.float64).reshape(op.groups, -1, *kernel, group_inputs)
    inputs = [_centered(value, x) for value, x in zip(values, xs, strict=True)]
    picture = np.concatenate(inputs, axis=3).astype(np.float64)
    sums: Array = np.zeros((op.groups, len(picture) * y.height * y.width, weight.shape[1]))
    size = (kernel[0], kernel[1])
    for (ky, kx), tap in taps(picture, size, op.stride, op.pads, op.dilation, y, fill=0):
        pixels = tap.reshape(-1, op.groups, group_inputs)
        sums += pixels.transpose(1, 0, 2) @ weight[:, :, ky, kx].transpose(0, 2, 1)
    shape = (len(picture), y.height, y.width, out_channels)
    accumulator: Array = sums.transpose(1, 0, 2).reshape(shape)
    if op.bias.dtype == np.int32:
        accumulator = accumulator + op.bias
    limits = np.iinfo(np.int32)
    if accumulator.min() < limits.min or accumulator.max() > limits.max:
        raise OverflowError(f"{op.name}: an accumulator left int32, which validation excludes")
    integers: Array = accumulator.astype(np.int32)
    return integers


def head(op: Conv2d, values: list[Array], xs: list[Tensor], y: Tensor) -> Array:
    """float(acc) * (s_x s_w) + b."""
    assert op.weight_scale is not None
    multiplier = conv_multiplier(conv_input_scale(op, xs), op.weight_scale, None)
    accumulator = _accumulator(op, values, xs, y)
    with np.errstate(over="ignore"):
        result: Array = accumulator.astype(np.float32) * multiplier + op.bias
    return result


def max_pool2d(op: MaxPool2d, x: Array, y: Tensor) -> Array:
    """The maximum of the taps inside the picture, of either dtype."""
    return highest(op, x, y)


def pad(op: Pad, x: Array, tensor: Tensor) -> Array:
    """The picture with pixels of one value around it, of either dtype."""
    top, left, bottom, right = op.pads
    value = tensor.zero_point if op.value is None else op.value
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def rearrange(op: Rearrange, x: Array, y: Tensor) -> Array:
    """Elements in another order, of either dtype."""
    numbers = np.array(op.offset)
    for size, stride in zip(op.sizes, op.strides, strict=True):
        numbers = np.add.outer(numbers, stride * np.arange(size))
    elements = x.reshape(len(x), -1)[:, numbers.ravel()]
    result: Array = elements.reshape(len(x), y.height, y.width, y.channels)
    return result


def resize_nearest(x: Array, y: Tensor) -> Array:
    """Copies of pixels, of either dtype."""
    rows = nearest_indices(x.shape[1], y.height)
    columns = nearest_indices(x.shape[2], y.width)
    result: Array = x[:, rows][:, :, columns]
    return result


def resize_bilinear(op: Resize, x: Array, y: Tensor) -> Array:
    """((v00 (1 - fx) + v01 fx) (1 - fy)) + ((v10 (1 - fx) + v11 fx) fy) of float(v), float32."""
    row0, row1, fy = bilinear_taps(x.shape[1], y.height, op.align_corners)
    column0, column1, fx = bilinear_taps(x.shape[2], y.width, op.align_corners)
    fx, fy = fx[:, np.newaxis], fy[:, np.newaxis, np.newaxis]
    values = x.astype(np.float32)

    def along_row(rows: Array) -> Array:
        picture = values[:, rows]
        result: Array = picture[:, :, column0] * (1 - fx) + picture[:, :, column1] * fx
        return result

    result: Array = along_row(row0) * (1 - fy) + along_row(row1) * fy
    return result
