"""The integer program: what a model file holds, the C++ engine runs and the oracle defines.

A :class:`Program` is the result of lowering a calibrated graph. It has no torch in it. Its records
mirror ``csrc/format/format.h`` one to one; numerics are defined in ``docs/design/numerics.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "BATCH",
    "Add",
    "AvgPool2d",
    "Conv2d",
    "Dequantize",
    "Io",
    "MaxPool2d",
    "Op",
    "Program",
    "Quantize",
    "Tensor",
    "op_inputs",
    "op_kind",
]

BATCH = -1
"""The first dimension of every tensor: the number of pictures, known when a program runs."""

Pads: TypeAlias = tuple[int, int, int, int]
"""Top, left, bottom, right."""


@dataclass(frozen=True)
class Tensor:
    """An activation, logical layout N, H, W, C (a matrix N, K is N, 1, 1, K).

    Attributes:
        name: Unique in its program.
        dtype: ``"u8"`` or ``"f32"``.
        height, width, channels: Each at least 1.
        scale: float32 value of one step; u8 only.
        zero_point: The quantized value of real 0, in 0..255; u8 only.
    """

    name: str
    dtype: Literal["u8", "f32"]
    height: int
    width: int
    channels: int
    scale: float = 0.0
    zero_point: int = 0


@dataclass(frozen=True)
class Quantize:
    """A float32 graph input to u8."""

    name: str
    x: str
    y: str


@dataclass(frozen=True)
class Dequantize:
    """u8 to float32."""

    name: str
    x: str
    y: str


@dataclass(frozen=True, eq=False)
class Conv2d:
    """Convolution with everything fused into its one rounding; a linear layer is a 1x1 Conv2d.

    Attributes:
        weight: int8 [O, KH, KW, I / groups], values in -127..127.
        bias: int32 [O] if ``y`` is u8, float32 [O] if ``y`` is f32 (a head).
        weight_scale: float32 [O] or [1].
        lo, hi: The clamp, 0..255; a head has 0 and 255.
        residual: A u8 tensor of ``y``'s shape that is added before the rounding, or None.
    """

    name: str
    x: str
    y: str
    weight: npt.NDArray[np.int8]
    bias: npt.NDArray[np.int32] | npt.NDArray[np.float32]
    weight_scale: npt.NDArray[np.float32]
    stride: tuple[int, int] = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    lo: int = 0
    hi: int = 255
    residual: str | None = None


@dataclass(frozen=True)
class MaxPool2d:
    """Maximum over windows; input and output share scale and zero point."""

    name: str
    x: str
    y: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: Pads = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class AvgPool2d:
    """Average over windows (a global pool is a window of the picture's size).

    Attributes:
        count_include_pad: The divisor counts padding (not what lies beyond it in ceil mode).
        divisor: A fixed divisor, or 0.
    """

    name: str
    x: str
    y: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: Pads = (0, 0, 0, 0)
    count_include_pad: bool = False
    divisor: int = 0
    lo: int = 0
    hi: int = 255


@dataclass(frozen=True)
class Add:
    """A free-standing addition of two u8 tensors of one shape."""

    name: str
    a: str
    b: str
    y: str
    lo: int = 0
    hi: int = 255


Op: TypeAlias = Quantize | Dequantize | Conv2d | MaxPool2d | AvgPool2d | Add


_KINDS: dict[type, str] = {
    Quantize: "quantize",
    Dequantize: "dequantize",
    Conv2d: "conv2d",
    MaxPool2d: "max_pool2d",
    AvgPool2d: "avg_pool2d",
    Add: "add",
}


def op_kind(op: Op) -> str:
    """The operator's name in messages and listings, for example ``"conv2d"``."""
    return _KINDS[type(op)]


def op_inputs(op: Op) -> tuple[str, ...]:
    """Names of the tensors that an operator reads, in the file's order; each writes ``op.y``."""
    if isinstance(op, Add):
        return (op.a, op.b)
    if isinstance(op, Conv2d) and op.residual is not None:
        return (op.x, op.residual)
    return (op.x,)


@dataclass(frozen=True)
class Io:
    """A tensor that the caller sees, its elements in PyTorch's order N, C, H, W.

    Attributes:
        tensor: Name of an f32 tensor; an output is written by an operator.
        shape: With :data:`BATCH` first. Four dimensions are N, C, H, W; two or three are another
            view of as many elements (N, C of a 1x1 picture, for example).
    """

    tensor: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Program:
    """Operators in execution order over named tensors.

    Attributes:
        tensors: By name.
        ops: In execution order; every tensor is written once, before it is read.
        inputs, outputs: What the caller sees.
        metadata: JSON-serialisable; free-form (classes, preprocessing, calibration record).
    """

    tensors: dict[str, Tensor]
    ops: tuple[Op, ...]
    inputs: tuple[Io, ...]
    outputs: tuple[Io, ...]
    metadata: dict[str, Any] = field(default_factory=dict)
