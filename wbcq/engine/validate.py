"""Checks that a program can be written, loaded and executed.

The same rules as the C++ reader's (``csrc/format/validate_*.cc``); both are described in
``docs/design/file-format.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wbcq.engine._container import MAX_RECORDS
from wbcq.engine.numerics import conv_multiplier, inverse_scale, scale_ratio
from wbcq.engine.program import (
    BATCH,
    Add,
    AvgPool2d,
    Conv2d,
    Dequantize,
    Io,
    MaxPool2d,
    Op,
    Program,
    Quantize,
    Tensor,
    op_inputs,
    op_kind,
)

__all__ = ["validate_program", "window_count"]

MAX_NAME_BYTES = 1024
MAX_DIM = 1 << 24
MAX_ELEMENTS = (1 << 31) - 1
MAX_KERNEL = 1024
MAX_DIVISOR = 1 << 24
MULTIPLIER_BOUND = 2.0**96
INT32 = np.iinfo(np.int32)


def window_count(
    size: int, kernel: int, stride: int, before: int, after: int, dilation: int = 1
) -> int:
    """The number of whole windows along one axis: a convolution's output size, at least 0.

    Example:
        >>> window_count(224, kernel=7, stride=2, before=3, after=3)
        112
    """
    room = size + before + after - dilation * (kernel - 1) - 1
    return 0 if room < 0 else room // stride + 1


def validate_program(program: Program) -> None:
    """Checks every rule of the model file that a program could break.

    Raises:
        ValueError: The message names the record, the field, its value and what it must be.
    """
    if len(program.tensors) > MAX_RECORDS or len(program.ops) > MAX_RECORDS:
        raise ValueError(f"the program has more than {MAX_RECORDS} tensors or operators")
    for index, (name, tensor) in enumerate(program.tensors.items()):
        if name != tensor.name:
            raise ValueError(f"tensor {index} {tensor.name!r} is filed under the name {name!r}")
        _check_tensor(index, tensor)
    seen: set[str] = set()
    for index, op in enumerate(program.ops):
        _check_name(f"op {index}", op.name)
        if op.name in seen:
            raise ValueError(f"op {index}: the name {op.name!r} is taken by another op")
        seen.add(op.name)
    written = _check_order(program)
    _check_outputs(program, written)


def _check_order(program: Program) -> set[str]:
    """Follows the operators; returns the names of all tensors that have a value at the end."""
    if not program.inputs:
        raise ValueError("the model has no input")
    if not program.outputs:
        raise ValueError("the model has no output")
    inputs: set[str] = set()
    for index, io in enumerate(program.inputs):
        _check_io(f"io {index} (input)", io, program)
        if io.tensor in inputs:
            raise ValueError(f"tensor {io.tensor!r} is an input twice")
        inputs.add(io.tensor)
    written = set(inputs)
    for index, op in enumerate(program.ops):
        label = f"op {index} {op.name!r} ({op_kind(op)})"
        for name in (*op_inputs(op), op.y):
            if name not in program.tensors:
                raise ValueError(f"{label}: tensor {name!r} does not exist")
        for name in op_inputs(op):
            if name not in written:
                raise ValueError(f"{label}: reads tensor {name!r} before it is written")
        if op.y in written:
            what = "which is an input" if op.y in inputs else "which is written twice"
            raise ValueError(f"{label}: writes tensor {op.y!r}, {what}")
        if isinstance(op, Quantize) and op.x not in inputs:
            raise ValueError(f"{label}: reads tensor {op.x!r}, must read an input of the model")
        _check_op(label, op, program.tensors)
        written.add(op.y)
    for name in program.tensors:
        if name not in written:
            raise ValueError(f"tensor {name!r} is never written")
    return written - inputs


def _check_outputs(program: Program, written: set[str]) -> None:
    seen: set[str] = set()
    for index, io in enumerate(program.outputs):
        _check_io(f"io {len(program.inputs) + index} (output)", io, program)
        if io.tensor in seen:
            raise ValueError(f"tensor {io.tensor!r} is an output twice")
        if io.tensor not in written:
            raise ValueError(f"tensor {io.tensor!r} is both an input and an output")
        seen.add(io.tensor)


def _check_name(label: str, name: str) -> None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{label}: the name {name!r} has no UTF-8 form") from None
    if not 1 <= size <= MAX_NAME_BYTES or "\0" in name:
        raise ValueError(
            f"{label}: the name must have 1..{MAX_NAME_BYTES} bytes, none of them zero"
        )


def _check_range(label: str, field: str, value: int, low: int, high: int) -> None:
    if not (isinstance(value, int | np.integer) and low <= value <= high):
        raise ValueError(f"{label}: {field} is {value}, must be {low}..{high}")


def _check_tensor(index: int, tensor: Tensor) -> None:
    _check_name(f"tensor {index}", tensor.name)
    label = f"tensor {index} {tensor.name!r}"
    for field in ("height", "width", "channels"):
        _check_range(label, field, getattr(tensor, field), 1, MAX_DIM)
    if tensor.height * tensor.width * tensor.channels > MAX_ELEMENTS:
        raise ValueError(f"{label}: more than {MAX_ELEMENTS} elements a picture")
    if tensor.dtype == "u8":
        with np.errstate(over="ignore"):
            scale = float(np.float32(tensor.scale))
        if not (scale > 0 and math.isfinite(scale)):
            raise ValueError(f"{label}: scale is {tensor.scale}, must be positive and finite")
        _check_range(label, "zero_point", tensor.zero_point, 0, 255)
    elif tensor.dtype == "f32":
        if tensor.scale != 0 or tensor.zero_point != 0:
            raise ValueError(f"{label}: scale and zero_point of an f32 tensor must be 0")
    else:
        raise ValueError(f"{label}: dtype is {tensor.dtype!r}, must be 'f32' or 'u8'")


def _check_io(label: str, io: Io, program: Program) -> None:
    tensor = program.tensors.get(io.tensor)
    if tensor is None:
        raise ValueError(f"{label}: tensor {io.tensor!r} does not exist")
    if tensor.dtype != "f32":
        raise ValueError(f"{label}: tensor {io.tensor!r} is {tensor.dtype}, must be f32")
    _check_range(label, "rank", len(io.shape), 2, 4)
    if io.shape[0] != BATCH:
        raise ValueError(f"{label}: dims[0] is {io.shape[0]}, must be {BATCH} (the batch)")
    picture = (tensor.channels, tensor.height, tensor.width)
    same = (
        tuple(io.shape[1:]) == picture
        if len(io.shape) == 4
        else min(io.shape[1:]) > 0 and math.prod(io.shape[1:]) == math.prod(picture)
    )
    if not same:
        dims = ", ".join(str(dim) for dim in io.shape[1:])
        raise ValueError(
            f"{label}: the shape N, {dims} is not that of tensor {io.tensor!r} "
            f"(N, C, H, W = N, {picture[0]}, {picture[1]}, {picture[2]})"
        )


def _check_op(label: str, op: Op, tensors: dict[str, Tensor]) -> None:
    y = tensors[op.y]
    match op:
        case Quantize():
            _check_convert(label, tensors[op.x], "f32", y, "u8")
            if not math.isfinite(inverse_scale(y.scale)):
                raise ValueError(f"{label}: 1 / scale is not finite for scale {y.scale}")
        case Dequantize():
            _check_convert(label, tensors[op.x], "u8", y, "f32")
        case Conv2d():
            _check_conv2d(label, op, tensors)
        case MaxPool2d() | AvgPool2d():
            _check_pool2d(label, op, tensors[op.x], y)
        case Add():
            for field, tensor in (("a", tensors[op.a]), ("b", tensors[op.b])):
                _check_dtype(label, tensor, "u8")
                _check_same_shape(label, tensor, y)
                ratio = scale_ratio(tensor.scale, y.scale)
                _check_multiplier(label, ratio, f"scale of {field} / scale of y")
            _check_dtype(label, y, "u8")
            _check_clamp(label, op.lo, op.hi)


def _check_convert(label: str, x: Tensor, x_dtype: str, y: Tensor, y_dtype: str) -> None:
    _check_dtype(label, x, x_dtype)
    _check_dtype(label, y, y_dtype)
    _check_same_shape(label, x, y)


def _check_dtype(label: str, tensor: Tensor, dtype: str) -> None:
    if tensor.dtype != dtype:
        raise ValueError(f"{label}: tensor {tensor.name!r} is {tensor.dtype}, must be {dtype}")


def _check_same_shape(label: str, a: Tensor, b: Tensor) -> None:
    if (a.height, a.width, a.channels) != (b.height, b.width, b.channels):
        raise ValueError(
            f"{label}: tensor {a.name!r} has shape N, {a.height}, {a.width}, {a.channels} but "
            f"tensor {b.name!r} has N, {b.height}, {b.width}, {b.channels}"
        )


def _check_clamp(label: str, lo: int, hi: int) -> None:
    _check_range(label, "lo", lo, 0, 255)
    _check_range(label, "hi", hi, 0, 255)
    if lo > hi:
        raise ValueError(f"{label}: lo is {lo}, must be at most hi, {hi}")


def _check_multiplier(label: str, multiplier: np.float32, what: str) -> None:
    if not multiplier < MULTIPLIER_BOUND:  # also NaN
        raise ValueError(f"{label}: {what} is {multiplier}, must be below 2^96")


def _check_geometry(label: str, op: Conv2d | MaxPool2d | AvgPool2d, kernel: Sequence[int]) -> None:
    dilation = (1, 1) if isinstance(op, AvgPool2d) else op.dilation
    for field, values in (("kernel", kernel), ("stride", op.stride), ("dilation", dilation)):
        for axis, value in zip("hw", values, strict=True):
            _check_range(label, f"{field}_{axis}", value, 1, MAX_KERNEL)
    for side, value in zip(("top", "left", "bottom", "right"), op.pads, strict=True):
        _check_range(label, f"pad_{side}", value, 0, MAX_KERNEL)


def _check_pool2d(label: str, op: MaxPool2d | AvgPool2d, x: Tensor, y: Tensor) -> None:
    _check_geometry(label, op, op.kernel)
    _check_dtype(label, x, "u8")
    _check_dtype(label, y, "u8")
    if x.channels != y.channels:
        raise ValueError(f"{label}: input has {x.channels} channels but output {y.channels}")
    dilation = (1, 1) if isinstance(op, AvgPool2d) else op.dilation
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
    if isinstance(op, AvgPool2d):
        _check_range(label, "divisor", op.divisor, 0, MAX_DIVISOR)
        _check_clamp(label, op.lo, op.hi)
        ratio = scale_ratio(x.scale, y.scale)
        _check_multiplier(label, ratio, "scale of x / scale of y")
    elif (np.float32(x.scale), x.zero_point) != (np.float32(y.scale), y.zero_point):
        raise ValueError(f"{label}: input and output must share scale and zero point")


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


def _check_conv2d(label: str, op: Conv2d, tensors: dict[str, Tensor]) -> None:
    x, y = tensors[op.x], tensors[op.y]
    is_head = y.dtype == "f32"
    _check_dtype(label, x, "u8")
    _check_array(label, "weight", op.weight, np.int8, None)
    out_channels, kernel_h, kernel_w, _ = op.weight.shape
    _check_geometry(label, op, (kernel_h, kernel_w))
    _check_clamp(label, op.lo, op.hi)
    if is_head and (op.lo, op.hi) != (0, 255):
        raise ValueError(f"{label}: lo and hi must be 0 and 255 for an f32 output")
    if is_head and op.residual is not None:
        raise ValueError(f"{label}: an f32 output cannot have a residual")
    _check_range(label, "groups", op.groups, 1, MAX_DIM)
    if x.channels % op.groups or y.channels % op.groups:
        raise ValueError(
            f"{label}: groups is {op.groups}, must divide {x.channels} input and "
            f"{y.channels} output channels"
        )
    for axis, name in enumerate(("height", "width")):
        count = window_count(
            getattr(x, name),
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
    shape = (y.channels, kernel_h, kernel_w, x.channels // op.groups)
    _check_array(label, "weight", op.weight, np.int8, shape)
    _check_array(label, "bias", op.bias, np.float32 if is_head else np.int32, (y.channels,))
    scales = 1 if op.weight_scale.shape == (1,) else out_channels
    _check_array(label, "weight_scale", op.weight_scale, np.float32, (scales,))
    _check_conv_scales(label, op, x, y)
    if op.residual is not None:
        residual = tensors[op.residual]
        _check_dtype(label, residual, "u8")
        _check_same_shape(label, residual, y)
        ratio = scale_ratio(residual.scale, y.scale)
        _check_multiplier(label, ratio, "scale of the residual / scale of y")
    _check_accumulators(label, op, x.zero_point)


def _check_array(
    label: str,
    role: str,
    array: npt.NDArray[np.generic],
    dtype: type[np.generic],
    shape: tuple[int, ...] | None,
) -> None:
    if array.dtype != dtype:
        raise ValueError(f"{label}: {role} is {array.dtype}, must be {np.dtype(dtype)}")
    if shape is None and array.ndim != 4:
        raise ValueError(f"{label}: {role} has shape {list(array.shape)}, must have 4 dimensions")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{label}: {role} has shape {list(array.shape)}, must be {list(shape)}")
    if array.size > MAX_ELEMENTS:
        raise ValueError(f"{label}: {role} has more than {MAX_ELEMENTS} elements")


def _check_conv_scales(label: str, op: Conv2d, x: Tensor, y: Tensor) -> None:
    bad = ~(np.isfinite(op.weight_scale) & (op.weight_scale > 0))
    if bad.any():
        channel = int(np.argmax(bad))
        raise ValueError(
            f"{label}: weight_scale[{channel}] is {op.weight_scale[channel]}, "
            "must be positive and finite"
        )
    is_head = y.dtype == "f32"
    multiplier = conv_multiplier(x.scale, op.weight_scale, None if is_head else y.scale)
    channel = int(np.argmax(~(multiplier < MULTIPLIER_BOUND)))
    _check_multiplier(label, multiplier[channel], f"the multiplier of channel {channel}")
    if is_head and not np.isfinite(op.bias).all():
        channel = int(np.argmin(np.isfinite(op.bias)))
        raise ValueError(f"{label}: bias[{channel}] is {op.bias[channel]}, must be finite")


def _check_accumulators(label: str, op: Conv2d, zero_point: int) -> None:
    """The accumulator of a channel fits int32 whatever the input is."""
    weights = op.weight.reshape(len(op.weight), -1)
    if (weights == -128).any():
        channel = int(np.argmax((weights == -128).any(axis=1)))
        raise ValueError(f"{label}: a weight of channel {channel} is -128, must be -127..127")
    positive = np.maximum(weights, 0).sum(axis=1, dtype=np.int64)
    negative = -np.minimum(weights, 0).sum(axis=1, dtype=np.int64)
    start = op.bias.astype(np.int64) if op.bias.dtype == np.int32 else np.int64(0)
    least = start - zero_point * positive - (255 - zero_point) * negative
    most = start + (255 - zero_point) * positive + zero_point * negative
    bad = (least < INT32.min) | (most > INT32.max)
    if bad.any():
        channel = int(np.argmax(bad))
        raise ValueError(
            f"{label}: the accumulator of channel {channel} can reach "
            f"{least[channel]}..{most[channel]}, which int32 does not hold: "
            "use a larger weight scale"
        )
