"""What a convolution of a program must satisfy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wbcq.engine._checks import (
    MAX_DIM,
    MAX_INPUTS,
    MULTIPLIER_BOUND,
    check_array,
    check_dtype,
    check_finite,
    check_geometry,
    check_multiplier,
    check_range,
    check_requantize,
    check_same_shape,
    shape_text,
    window_count,
)
from wbcq.engine.numerics import conv_input_scale, conv_multiplier, scale_ratio
from wbcq.engine.program import Conv2d, Tensor

__all__ = ["check_conv2d"]

INT32 = np.iinfo(np.int32)
Int64Array = npt.NDArray[np.int64]


def check_conv2d(label: str, op: Conv2d, tensors: dict[str, Tensor]) -> None:
    """Checks a convolution; ValueError with a message that begins with ``label``."""
    xs, y = [tensors[x] for x in op.xs], tensors[op.y]
    _check_inputs(label, op, xs)
    channels = sum(x.channels for x in xs)
    is_float = xs[0].dtype == "f32"
    check_array(label, "weight", op.weight, np.float32 if is_float else np.int8, None)
    check_geometry(label, op.weight.shape[1:3], op.stride, op.pads, op.dilation)
    _check_groups(label, op, xs, channels, y)
    for axis, name in enumerate(("height", "width")):
        count = window_count(
            getattr(xs[0], name),
            op.weight.shape[1 + axis],
            op.stride[axis],
            op.pads[axis],
            op.pads[2 + axis],
            op.dilation[axis],
        )
        if getattr(y, name) != count:
            raise ValueError(
                f"{label}: output {name} is {getattr(y, name)}, the geometry gives {count}"
            )
    shape = (y.channels, *op.weight.shape[1:3], channels // op.groups)
    check_array(label, "weight", op.weight, op.weight.dtype.type, shape)
    if is_float:
        _check_float(label, op, y)
    else:
        _check_u8(label, op, xs, y)
    if op.residual is not None:
        check_dtype(label, tensors[op.residual], y.dtype)
        check_same_shape(label, tensors[op.residual], y)
        if not is_float:
            scale = y.scale if op.table is None else op.pre_scale
            ratio = scale_ratio(tensors[op.residual].scale, scale)
            check_multiplier(label, ratio, "scale of the residual / scale of the result")


def _check_inputs(label: str, op: Conv2d, xs: list[Tensor]) -> None:
    count = len(xs) + (op.residual is not None)
    if not xs or count > MAX_INPUTS:
        raise ValueError(f"{label}: {count} inputs, must be 1..{MAX_INPUTS}")
    for x in xs[1:]:
        check_dtype(label, x, xs[0].dtype)
        if (x.height, x.width) != (xs[0].height, xs[0].width):
            raise ValueError(
                f"{label}: tensor {xs[0].name!r} has shape {shape_text(xs[0])} but tensor "
                f"{x.name!r} has {shape_text(x)}: inputs must agree in height and width"
            )


def _check_groups(label: str, op: Conv2d, xs: list[Tensor], channels: int, y: Tensor) -> None:
    check_range(label, "groups", op.groups, 1, MAX_DIM)
    if channels % op.groups or y.channels % op.groups:
        raise ValueError(
            f"{label}: groups is {op.groups}, must divide {channels} input and "
            f"{y.channels} output channels"
        )
    is_depthwise = op.groups == channels == y.channels
    if len(xs) > 1 and op.groups > 1 and not is_depthwise:
        raise ValueError(
            f"{label}: {len(xs)} inputs with {op.groups} groups: several inputs need 1 group, or "
            "as many as input and output channels"
        )


def _check_float(label: str, op: Conv2d, y: Tensor) -> None:
    check_dtype(label, y, "f32")
    check_array(label, "bias", op.bias, np.float32, (y.channels,))
    if op.weight_scale is not None:
        raise ValueError(f"{label}: float weights cannot have a weight_scale")
    check_requantize(label, op, y, is_float=True)
    check_finite(label, "weight", op.weight)
    check_finite(label, "bias", op.bias)


def _check_u8(label: str, op: Conv2d, xs: list[Tensor], y: Tensor) -> None:
    is_head = y.dtype == "f32"
    scale, _ = check_requantize(label, op, y, is_float=False)
    if is_head and ((op.lo, op.hi) != (0, 255) or op.table is not None):
        raise ValueError(f"{label}: lo and hi must be 0 and 255, and no table, for an f32 output")
    if is_head and op.residual is not None:
        raise ValueError(f"{label}: an f32 output cannot have a residual")
    check_array(label, "bias", op.bias, np.float32 if is_head else np.int32, (y.channels,))
    if is_head:
        check_finite(label, "bias", op.bias)
    per_tensor = op.weight_scale is not None and op.weight_scale.shape == (1,)
    check_array(
        label, "weight_scale", op.weight_scale, np.float32, (1 if per_tensor else y.channels,)
    )
    assert op.weight_scale is not None
    bad = ~(np.isfinite(op.weight_scale) & (op.weight_scale > 0))
    if bad.any():
        channel = int(np.argmax(bad))
        raise ValueError(
            f"{label}: weight_scale[{channel}] is {op.weight_scale[channel]}, "
            "must be positive and finite"
        )
    multiplier = conv_multiplier(
        conv_input_scale(op, xs), op.weight_scale, None if is_head else scale
    )
    channel = int(np.argmax(~(multiplier < MULTIPLIER_BOUND)))
    check_multiplier(label, multiplier[channel], f"the multiplier of channel {channel}")
    _check_accumulators(label, op, xs)


def _check_accumulators(label: str, op: Conv2d, xs: list[Tensor]) -> None:
    """The accumulator of a channel fits int32 whatever the inputs are."""
    minus_128 = (op.weight == -128).reshape(len(op.weight), -1).any(axis=1)
    if minus_128.any():
        channel = int(np.argmax(minus_128))
        raise ValueError(f"{label}: a weight of channel {channel} is -128, must be -127..127")
    start = op.bias.astype(np.int64) if op.bias.dtype == np.int32 else np.int64(0)
    least = most = np.zeros(len(op.weight), np.int64) + start
    first = 0
    for x in xs:
        # Of a depthwise convolution the input's channels are output channels.
        last = first + x.channels
        if op.is_depthwise:
            positive, negative = np.zeros_like(least), np.zeros_like(least)
            positive[first:last], negative[first:last] = _weight_sums(op.weight[first:last])
        elif len(xs) > 1:
            positive, negative = _weight_sums(op.weight[..., first:last])
        else:
            positive, negative = _weight_sums(op.weight)
        least = least - x.zero_point * positive - (255 - x.zero_point) * negative
        most = most + (255 - x.zero_point) * positive + x.zero_point * negative
        first = last
    bad = (least < INT32.min) | (most > INT32.max)
    if bad.any():
        channel = int(np.argmax(bad))
        raise ValueError(
            f"{label}: the accumulator of channel {channel} can reach "
            f"{least[channel]}..{most[channel]}, which int32 does not hold: "
            "use a larger weight scale"
        )


def _weight_sums(weight: npt.NDArray[np.generic]) -> tuple[Int64Array, Int64Array]:
    """Per output channel: the sums of the positive and of the negated negative weights."""
    flat = weight.reshape(len(weight), -1)
    positive: Int64Array = np.maximum(flat, 0).sum(axis=1, dtype=np.int64)
    negative: Int64Array = -np.minimum(flat, 0).sum(axis=1, dtype=np.int64)
    return positive, negative
