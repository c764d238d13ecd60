"""Limits of the model file and small checks that validation consists of.

Each check raises ValueError with a message that begins with ``label``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wbcq.engine.program import Add, AvgPool2d, Conv2d, Mul, Tensor

MAX_NAME_BYTES = 1024
MAX_INPUTS = 256
MAX_DIM = 1 << 24
MAX_ELEMENTS = (1 << 31) - 1
MAX_KERNEL = 1024
MAX_DIVISOR = 1 << 24
INT32_MAX = (1 << 31) - 1
MULTIPLIER_BOUND = 2.0**96


def check_name(label: str, name: str) -> None:
    """A string that a file can hold as a name."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{label}: the name {name!r} has no UTF-8 form") from None
    if not 1 <= size <= MAX_NAME_BYTES or "\0" in name:
        raise ValueError(
            f"{label}: the name must have 1..{MAX_NAME_BYTES} bytes, none of them zero"
        )


def check_range(label: str, field: str, value: float, low: int, high: int) -> None:
    """An integer in ``low..high``."""
    if not (isinstance(value, int | np.integer) and low <= value <= high):
        raise ValueError(f"{label}: {field} is {value}, must be {low}..{high}")


def check_dtype(label: str, tensor: Tensor, dtype: str) -> None:
    """The dtype of a tensor."""
    if tensor.dtype != dtype:
        raise ValueError(f"{label}: tensor {tensor.name!r} is {tensor.dtype}, must be {dtype}")


def shape_text(tensor: Tensor) -> str:
    """A tensor's shape as messages have it."""
    return f"N, {tensor.height}, {tensor.width}, {tensor.channels}"


def same_shape(a: Tensor, b: Tensor) -> bool:
    """Equal in height, width and channels."""
    return (a.height, a.width, a.channels) == (b.height, b.width, b.channels)


def check_same_shape(label: str, a: Tensor, b: Tensor) -> None:
    """Two tensors of one shape."""
    if not same_shape(a, b):
        raise ValueError(
            f"{label}: tensor {a.name!r} has shape {shape_text(a)} but tensor {b.name!r} has "
            f"{shape_text(b)}"
        )


def check_same_channels(label: str, x: Tensor, y: Tensor) -> None:
    """Input and output with as many channels."""
    if x.channels != y.channels:
        raise ValueError(f"{label}: input has {x.channels} channels but output {y.channels}")


def same_qparams(a: Tensor, b: Tensor) -> bool:
    """Equal scale (in float32) and zero point; true of any two f32 tensors."""
    return (np.float32(a.scale), a.zero_point) == (np.float32(b.scale), b.zero_point)


def check_same_qparams(label: str, x: Tensor, y: Tensor) -> None:
    """Input and output of an operator that keeps values as they are."""
    if not same_qparams(x, y):
        raise ValueError(f"{label}: input and output must share scale and zero point")


def check_scale(label: str, field: str, value: float) -> None:
    """A scale: positive and finite in float32."""
    with np.errstate(over="ignore"):
        scale = float(np.float32(value))
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError(f"{label}: {field} is {value}, must be positive and finite")


def check_clamp(label: str, lo: int, hi: int) -> None:
    """Bounds of a u8 result."""
    check_range(label, "lo", lo, 0, 255)
    check_range(label, "hi", hi, 0, 255)
    if lo > hi:
        raise ValueError(f"{label}: lo is {lo}, must be at most hi, {hi}")


def check_multiplier(label: str, multiplier: np.float32, what: str) -> None:
    """A factor of requantization: below 2^96, so that no product overflows."""
    if not multiplier < MULTIPLIER_BOUND:  # also NaN
        raise ValueError(f"{label}: {what} is {multiplier}, must be below 2^96")


def check_array(
    label: str,
    role: str,
    array: npt.NDArray[np.generic] | None,
    dtype: type[np.generic],
    shape: tuple[int, ...] | None,
) -> None:
    """A constant's dtype and shape; without a shape, that it has four dimensions."""
    if array is None or array.dtype != dtype:
        actual = "missing" if array is None else array.dtype
        raise ValueError(f"{label}: {role} is {actual}, must be {np.dtype(dtype)}")
    if shape is None and array.ndim != 4:
        raise ValueError(f"{label}: {role} has shape {list(array.shape)}, must have 4 dimensions")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{label}: {role} has shape {list(array.shape)}, must be {list(shape)}")
    if array.size > MAX_ELEMENTS:
        raise ValueError(f"{label}: {role} has more than {MAX_ELEMENTS} elements")


def check_finite(label: str, role: str, array: npt.NDArray[np.generic]) -> None:
    """No NaN, no infinity."""
    finite = np.isfinite(array)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"{label}: {role}{list(where)} is {array[where]}, must be finite")


def check_requantize(
    label: str, op: Conv2d | AvgPool2d | Add | Mul, y: Tensor, *, is_float: bool
) -> tuple[float, int]:
    """Checks the clamp and the table of an operator on u8 (not a head) or on f32.

    Returns:
        Scale and zero point of what the operator rounds to, before its table.
    """
    if is_float:
        if not op.act_lo <= op.act_hi:  # also NaN
            raise ValueError(f"{label}: act_lo is {op.act_lo}, must be at most act_hi, {op.act_hi}")
        if (op.lo, op.hi) != (0, 255):
            raise ValueError(f"{label}: lo and hi must be 0 and 255 on f32: use act_lo and act_hi")
        if op.table is not None:
            raise ValueError(f"{label}: an operator on f32 cannot have a table")
    else:
        check_clamp(label, op.lo, op.hi)
        if (op.act_lo, op.act_hi) != (-math.inf, math.inf):
            raise ValueError(f"{label}: act_lo and act_hi must be infinite on u8: use lo and hi")
    if op.table is None:
        if op.pre_scale != 0 or op.pre_zero_point != 0:
            raise ValueError(f"{label}: pre_scale and pre_zero_point must be 0 without a table")
        return y.scale, y.zero_point
    check_array(label, "table", op.table, np.uint8, (256,))
    check_scale(label, "pre_scale", op.pre_scale)
    check_range(label, "pre_zero_point", op.pre_zero_point, 0, 255)
    return op.pre_scale, op.pre_zero_point


def check_geometry(
    label: str,
    kernel: Sequence[int],
    stride: Sequence[int],
    pads: Sequence[int],
    dilation: Sequence[int],
) -> None:
    """Attributes of the window of a convolution or pool."""
    for field, values in (("kernel", kernel), ("stride", stride), ("dilation", dilation)):
        for axis, value in zip("hw", values, strict=True):
            check_range(label, f"{field}_{axis}", value, 1, MAX_KERNEL)
    for side, value in zip(("top", "left", "bottom", "right"), pads, strict=True):
        check_range(label, f"pad_{side}", value, 0, MAX_KERNEL)


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
