"""What each operator of a program must satisfy, convolutions excepted."""

from __future__ import annotations

import math

import numpy as np

from wbcq.engine._checks import (
    INT32_MAX,
    MAX_DIM,
    MAX_DIVISOR,
    MAX_KERNEL,
    check_array,
    check_dtype,
    check_finite,
    check_geometry,
    check_multiplier,
    check_range,
    check_requantize,
    check_same_channels,
    check_same_qparams,
    check_same_shape,
    same_shape,
    shape_text,
    window_count,
)
from wbcq.engine._validate_conv2d import check_conv2d
from wbcq.engine.numerics import inverse_scale, mul_multiplier, scale_ratio
from wbcq.engine.operators import BINARY_FUNCTIONS, MAX_DIGITS, RESIZE_MODES, UNARY_FUNCTIONS
from wbcq.engine.program import (
    Add,
    AvgPool2d,
    Binary,
    Conv2d,
    Dequantize,
    Lookup,
    MaxPool2d,
    Mul,
    Normalize,
    Op,
    Pad,
    Quantize,
    Rearrange,
    Resize,
    Softmax,
    Tensor,
    Unary,
)

__all__ = ["check_op"]


def check_op(label: str, op: Op, tensors: dict[str, Tensor]) -> None:
    """Checks one operator whose tensors exist; ValueError with a message that begins ``label``."""
    y = tensors[op.y]
    match op:
        case Quantize():
            _check_convert(label, tensors[op.x], "f32", y, "u8")
            if not math.isfinite(inverse_scale(y.scale)):
                raise ValueError(f"{label}: 1 / scale is not finite for scale {y.scale}")
        case Dequantize():
            _check_convert(label, tensors[op.x], "u8", y, "f32")
        case Lookup():
            _check_convert(label, tensors[op.x], "u8", y, "u8")
            check_array(label, "table", op.table, np.uint8, (256,))
        case Conv2d():
            check_conv2d(label, op, tensors)
        case MaxPool2d() | AvgPool2d():
            _check_pool2d(label, op, tensors[op.x], y)
        case Add() | Mul():
            _check_arithmetic(label, op, tensors[op.a], tensors[op.b], y)
        case Resize():
            _check_resize(label, op, tensors[op.x], y)
        case Pad():
            _check_pad(label, op, tensors[op.x], y)
        case Unary():
            _check_convert(label, tensors[op.x], "f32", y, "f32")
            _check_function(label, op)
        case Binary():
            check_dtype(label, tensors[op.a], "f32")
            _check_operands(label, tensors[op.a], tensors[op.b], y)
            if op.function not in BINARY_FUNCTIONS:
                raise ValueError(f"{label}: function is {op.function!r}, unknown")
        case Softmax():
            _check_convert(label, tensors[op.x], "f32", y, "f32")
        case Normalize():
            _check_convert(label, tensors[op.x], "f32", y, "f32")
            _check_normalize(label, op, y.channels)
        case Rearrange():
            check_dtype(label, y, tensors[op.x].dtype)
            check_same_qparams(label, tensors[op.x], y)
            _check_rearrange(label, op, tensors[op.x], y)


def _check_convert(label: str, x: Tensor, x_dtype: str, y: Tensor, y_dtype: str) -> None:
    check_dtype(label, x, x_dtype)
    check_dtype(label, y, y_dtype)
    check_same_shape(label, x, y)


def _check_operands(label: str, a: Tensor, b: Tensor, y: Tensor) -> None:
    """One dtype; ``b`` has the shape of ``a`` or is broadcast over its pixels."""
    check_dtype(label, b, a.dtype)
    check_dtype(label, y, a.dtype)
    check_same_shape(label, a, y)
    if not same_shape(a, b) and (b.height, b.width, b.channels) != (1, 1, a.channels):
        raise ValueError(
            f"{label}: tensor {a.name!r} has shape {shape_text(a)} but tensor {b.name!r} has "
            f"{shape_text(b)}, must have the same or N, 1, 1, {a.channels}"
        )


def _check_arithmetic(label: str, op: Add | Mul, a: Tensor, b: Tensor, y: Tensor) -> None:
    _check_operands(label, a, b, y)
    scale, _ = check_requantize(label, op, y, is_float=a.dtype == "f32")
    if a.dtype == "f32":
        return
    if isinstance(op, Mul):
        multiplier = mul_multiplier(a.scale, b.scale, scale)
        check_multiplier(label, multiplier, "scale of a * scale of b / scale of the result")
        return
    for field, tensor in (("a", a), ("b", b)):
        ratio = scale_ratio(tensor.scale, scale)
        check_multiplier(label, ratio, f"scale of {field} / scale of the result")


def _check_resize(label: str, op: Resize, x: Tensor, y: Tensor) -> None:
    check_dtype(label, y, x.dtype)
    check_same_channels(label, x, y)
    check_same_qparams(label, x, y)
    if op.mode not in RESIZE_MODES:
        raise ValueError(f"{label}: mode is {op.mode!r}, must be one of {list(RESIZE_MODES)}")
    if op.align_corners and op.mode != "bilinear":
        raise ValueError(f"{label}: align_corners is set, which {op.mode} does not have")


def _check_pad(label: str, op: Pad, x: Tensor, y: Tensor) -> None:
    check_dtype(label, y, x.dtype)
    check_same_channels(label, x, y)
    check_same_qparams(label, x, y)
    for side, value in zip(("top", "left", "bottom", "right"), op.pads, strict=True):
        check_range(label, f"pad_{side}", value, 0, MAX_KERNEL)
    top, left, bottom, right = op.pads
    for name, size in (("height", x.height + top + bottom), ("width", x.width + left + right)):
        if getattr(y, name) != size:
            raise ValueError(f"{label}: output {name} is {getattr(y, name)}, must be {size}")
    if op.value is None:
        return
    if x.dtype == "u8":
        check_range(label, "value", op.value, 0, 255)
    elif math.isnan(op.value):
        raise ValueError(f"{label}: value is {op.value}, must not be NaN")


def _check_function(label: str, op: Unary) -> None:
    if op.function not in UNARY_FUNCTIONS:
        raise ValueError(f"{label}: function is {op.function!r}, unknown")
    names = UNARY_FUNCTIONS[op.function]
    if len(op.parameters) != len(names):
        raise ValueError(
            f"{label}: {op.function} has {len(op.parameters)} parameters, must be {len(names)}"
        )
    with np.errstate(over="ignore"):
        values = [float(np.float32(value)) for value in op.parameters]
    for name, value in zip(names, values, strict=True):
        if math.isnan(value) or (math.isinf(value) and op.function != "clamp"):
            raise ValueError(f"{label}: {name} of {op.function} is {value}, must be finite")
    if op.function == "clamp" and values[0] > values[1]:
        raise ValueError(f"{label}: lo of clamp is {values[0]}, must be at most hi, {values[1]}")
    if op.function == "softplus" and not values[0] > 0:
        raise ValueError(f"{label}: beta of softplus is {values[0]}, must be positive")


def _check_normalize(label: str, op: Normalize, channels: int) -> None:
    check_range(label, "groups", op.groups, 0, MAX_DIM)
    if op.groups and channels % op.groups:
        raise ValueError(f"{label}: {op.groups} groups do not divide {channels} channels")
    if not 0 <= np.float32(op.eps) < math.inf:
        raise ValueError(f"{label}: eps is {op.eps}, must be finite and at least 0")
    for role, array in (("weight", op.weight), ("bias", op.bias)):
        check_array(label, role, array, np.float32, (channels,))
        check_finite(label, role, array)


def _check_rearrange(label: str, op: Rearrange, x: Tensor, y: Tensor) -> None:
    if len(op.sizes) != len(op.strides) or len(op.sizes) > MAX_DIGITS:
        raise ValueError(
            f"{label}: {len(op.sizes)} sizes and {len(op.strides)} strides, must be as many and at "
            f"most {MAX_DIGITS}"
        )
    check_range(label, "offset", op.offset, 0, INT32_MAX)
    for digit, (size, stride) in enumerate(zip(op.sizes, op.strides, strict=True)):
        check_range(label, f"size_{digit}", size, 1, INT32_MAX)
        check_range(label, f"stride_{digit}", stride, -INT32_MAX - 1, INT32_MAX)
    count, wanted = math.prod(op.sizes), y.height * y.width * y.channels
    if count != wanted:
        raise ValueError(
            f"{label}: the product of the sizes is {count}, the output has {wanted} elements"
        )
    ends = [(size - 1) * stride for size, stride in zip(op.sizes, op.strides, strict=True)]
    lowest = op.offset + sum(end for end in ends if end < 0)
    highest = op.offset + sum(end for end in ends if end > 0)
    elements = x.height * x.width * x.channels
    if lowest < 0 or highest >= elements:
        raise ValueError(f"{label}: reads elements {lowest}..{highest} of an input of {elements}")


def _check_pool2d(label: str, op: MaxPool2d | AvgPool2d, x: Tensor, y: Tensor) -> None:
    check_dtype(label, y, x.dtype)
    check_same_channels(label, x, y)
    _check_windows(label, op, x, y)
    if isinstance(op, MaxPool2d):
        check_same_qparams(label, x, y)
        return
    check_range(label, "divisor", op.divisor, 0, MAX_DIVISOR)
    scale, _ = check_requantize(label, op, y, is_float=x.dtype == "f32")
    if x.dtype == "u8":
        check_multiplier(label, scale_ratio(x.scale, scale), "scale of x / scale of the result")


def _check_windows(label: str, op: MaxPool2d | AvgPool2d, x: Tensor, y: Tensor) -> None:
    dilation = (1, 1) if isinstance(op, AvgPool2d) else op.dilation
    if 0 in (*op.kernel, *op.stride):
        _check_adaptive(label, op, x, y)
        return
    check_geometry(label, op.kernel, op.stride, op.pads, dilation)
    for axis, name in enumerate(("height", "width")):
        _check_pool_axis(
            label,
            name,
            size=getattr(x, name),
            out=getattr(y, name),
            kernel=op.kernel[axis],
            stride=op.stride[axis],
            before=op.pads[axis],
            after=op.pads[2 + axis],
            dilation=dilation[axis],
        )


def _check_adaptive(label: str, op: MaxPool2d | AvgPool2d, x: Tensor, y: Tensor) -> None:
    """No geometry of its own; windows of at most in / out + 2 pixels."""
    if isinstance(op, AvgPool2d):
        others: tuple[int, ...] = (op.count_include_pad, op.divisor)
    else:
        others = (op.dilation != (1, 1),)
    if any((*op.kernel, *op.stride, *op.pads, *others)):
        raise ValueError(
            f"{label}: an adaptive pool (a kernel or stride is 0) has kernel, stride, padding and "
            "divisor 0 and dilation 1"
        )
    for name in ("height", "width"):
        size, out = getattr(x, name), getattr(y, name)
        if size // out + 2 > MAX_KERNEL:
            raise ValueError(
                f"{label}: adaptive windows of {size} / {out} pixels, must be below "
                f"{MAX_KERNEL - 1}"
            )


def _check_pool_axis(
    label: str,
    name: str,
    *,
    size: int,
    out: int,
    kernel: int,
    stride: int,
    before: int,
    after: int,
    dilation: int,
) -> None:
    """Every window has a tap inside the picture; one that leaves the padded picture is the last."""
    room = size + before + after - dilation * (kernel - 1) - 1
    whole = window_count(size, kernel, stride, before, after, dilation)
    part_left = room > (whole - 1) * stride and whole * stride < size + before
    if out != whole and not (out == whole + 1 and part_left):
        raise ValueError(
            f"{label}: output {name} is {out}, the geometry gives {whole} "
            f"(or {whole + 1} in ceil mode, if a part of a window is left)"
        )
    if (out - 1) * stride - before >= size:
        raise ValueError(
            f"{label}: the last window along {name} lies in the padding: reduce the padding"
        )
    for start in range(-before, min(0, out * stride - before), stride):
        tap = -(start // dilation)  # the first one that is not before the picture
        if tap >= kernel or start + tap * dilation >= size:
            raise ValueError(
                f"{label}: the window at {name} {start} has no tap inside the picture: "
                "reduce the padding"
            )
