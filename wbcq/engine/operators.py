"""The operators of a :class:`~wbcq.engine.program.Program`.

An operator computes in the dtype of its first input. On u8 it follows ``docs/design/numerics.md``
bit for bit; on f32 it is the function of the same name in float32. ``lo`` and ``hi`` clamp a u8
result, ``act_lo`` and ``act_hi`` an f32 one; the pair that does not apply keeps its default.

``table``: uint8 [256] or None. With one, the result is ``table[q]``, where q was rounded and
clamped with ``pre_scale`` and ``pre_zero_point`` in place of the output's scale and zero point: any
activation function costs one look-up and no second rounding of its argument.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

__all__ = [
    "ADAPTIVE",
    "BINARY_FUNCTIONS",
    "MAX_DIGITS",
    "RESIZE_MODES",
    "UNARY_FUNCTIONS",
    "Add",
    "AvgPool2d",
    "Binary",
    "Conv2d",
    "Dequantize",
    "Lookup",
    "MaxPool2d",
    "Mul",
    "Normalize",
    "Op",
    "Pad",
    "Quantize",
    "Rearrange",
    "Resize",
    "Softmax",
    "Unary",
    "op_inputs",
    "op_kind",
]

Pads: TypeAlias = tuple[int, int, int, int]
"""Top, left, bottom, right."""

Pair: TypeAlias = tuple[int, int]
"""Height, width."""

Table: TypeAlias = npt.NDArray[np.uint8]

ADAPTIVE: Pair = (0, 0)
"""Kernel and stride of an adaptive pool: window o of O along an axis of I pixels is from
floor(o I / O) to ceil((o + 1) I / O), this one excluded; it has no padding and no divisor."""


@dataclass(frozen=True)
class Quantize:
    """float32 to u8."""

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

    Several inputs (of one height and width) are concatenated along the channels without a copy,
    each with its own scale s_i and zero point. The weights of a dense convolution stand for the
    scale of the first input, s_0: those of input i are multiplied by s_i / s_0 before they are
    quantized. ``groups`` must be 1, or the number of input and of output channels (depthwise).

    Attributes:
        x: The input, or several.
        weight: int8 [O, KH, KW, I / groups], values in -127..127; float32 if ``x`` is f32.
        bias: int32 [O] at scale s_0 s_w[c] if ``y`` is u8 (depthwise: the scale of the input that
            holds c); float32 [O] if ``y`` is f32.
        weight_scale: float32 [O] or [1]; None if ``x`` is f32.
        lo, hi: The clamp, 0..255; a head (u8 to f32) has 0 and 255.
        residual: A tensor of ``y``'s dtype and shape that is added before the rounding, or None.
    """

    name: str
    x: str | tuple[str, ...]
    y: str
    weight: npt.NDArray[np.int8] | npt.NDArray[np.float32]
    bias: npt.NDArray[np.int32] | npt.NDArray[np.float32]
    weight_scale: npt.NDArray[np.float32] | None
    stride: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    lo: int = 0
    hi: int = 255
    residual: str | None = None
    table: Table | None = None
    pre_scale: float = 0.0
    pre_zero_point: int = 0
    act_lo: float = -math.inf
    act_hi: float = math.inf

    @property
    def xs(self) -> tuple[str, ...]:
        """The inputs, as a tuple also if there is one."""
        return (self.x,) if isinstance(self.x, str) else self.x

    @property
    def is_depthwise(self) -> bool:
        """True if output channel c reads input channel c alone."""
        return self.groups > 1 and self.weight.shape[0] == self.groups and self.weight.shape[3] == 1


@dataclass(frozen=True)
class MaxPool2d:
    """Maximum over windows, or adaptive; input and output share scale and zero point."""

    name: str
    x: str
    y: str
    kernel: Pair
    stride: Pair
    pads: Pads = (0, 0, 0, 0)
    dilation: Pair = (1, 1)


@dataclass(frozen=True, eq=False)
class AvgPool2d:
    """Average over windows (a global pool is a window of the picture's size), or adaptive.

    Attributes:
        count_include_pad: The divisor counts padding (not what lies beyond it in ceil mode).
        divisor: A fixed divisor, or 0.
    """

    name: str
    x: str
    y: str
    kernel: Pair
    stride: Pair
    pads: Pads = (0, 0, 0, 0)
    count_include_pad: bool = False
    divisor: int = 0
    lo: int = 0
    hi: int = 255
    table: Table | None = None
    pre_scale: float = 0.0
    pre_zero_point: int = 0
    act_lo: float = -math.inf
    act_hi: float = math.inf


@dataclass(frozen=True, eq=False)
class Add:
    """a + b, or a - b.

    Attributes:
        b: Of ``a``'s shape, or of height and width 1: then it is added to every pixel.
    """

    name: str
    a: str
    b: str
    y: str
    lo: int = 0
    hi: int = 255
    subtract: bool = False
    table: Table | None = None
    pre_scale: float = 0.0
    pre_zero_point: int = 0
    act_lo: float = -math.inf
    act_hi: float = math.inf


@dataclass(frozen=True, eq=False)
class Mul:
    """a * b.

    Attributes:
        b: Of ``a``'s shape, or of height and width 1 (squeeze-and-excitation).
    """

    name: str
    a: str
    b: str
    y: str
    lo: int = 0
    hi: int = 255
    table: Table | None = None
    pre_scale: float = 0.0
    pre_zero_point: int = 0
    act_lo: float = -math.inf
    act_hi: float = math.inf


@dataclass(frozen=True, eq=False)
class Lookup:
    """y = table[x], u8 to u8: any function of one element, also a change of scale.

    Attributes:
        table: uint8 [256].
    """

    name: str
    x: str
    y: str
    table: Table


ResizeMode: TypeAlias = Literal["nearest", "bilinear"]
RESIZE_MODES: tuple[str, ...] = get_args(ResizeMode)
"""In the order of their codes in the file, from 0."""


@dataclass(frozen=True)
class Resize:
    """Resamples to ``y``'s height and width; input and output share scale and zero point.

    Attributes:
        align_corners: The corner pixels' centres stay where they are; bilinear only.
    """

    name: str
    x: str
    y: str
    mode: ResizeMode = "nearest"
    align_corners: bool = False


@dataclass(frozen=True)
class Pad:
    """Pixels around the picture; input and output share scale and zero point.

    Attributes:
        value: What they hold: a quantized value in 0..255 or, on f32, any float32 but NaN; None is
            real 0.
    """

    name: str
    x: str
    y: str
    pads: Pads
    value: float | None = None


UnaryFunction: TypeAlias = Literal[
    "relu",
    "relu6",
    "leaky_relu",
    "hardswish",
    "hardsigmoid",
    "silu",
    "sigmoid",
    "gelu",
    "gelu_tanh",
    "tanh",
    "exp",
    "sqrt",
    "rsqrt",
    "reciprocal",
    "neg",
    "abs",
    "clamp",
    "affine",
    "elu",
    "softplus",
    "mish",
]
UNARY_FUNCTIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(get_args(UnaryFunction), ()),
    "leaky_relu": ("slope",),
    "clamp": ("lo", "hi"),
    "affine": ("scale", "shift"),
    "elu": ("alpha",),
    "softplus": ("beta",),
}
"""Names of each function's parameters; in the order of their codes in the file, from 1."""


@dataclass(frozen=True)
class Unary:
    """A function of each element, f32 to f32.

    Attributes:
        function: A key of :data:`UNARY_FUNCTIONS`, with PyTorch's meaning; ``affine`` is
            x * scale + shift.
        parameters: The function's, float32.
    """

    name: str
    x: str
    y: str
    function: UnaryFunction
    parameters: tuple[float, ...] = ()


BinaryFunction: TypeAlias = Literal["sub", "div", "maximum", "minimum"]
BINARY_FUNCTIONS: tuple[str, ...] = get_args(BinaryFunction)
"""In the order of their codes in the file, from 1."""


@dataclass(frozen=True)
class Binary:
    """A function of two elements, f32 to f32.

    Attributes:
        b: Of ``a``'s shape, or of height and width 1.
    """

    name: str
    a: str
    b: str
    y: str
    function: BinaryFunction


@dataclass(frozen=True)
class Softmax:
    """Softmax over the channels of each pixel, f32 to f32."""

    name: str
    x: str
    y: str


@dataclass(frozen=True, eq=False)
class Normalize:
    """y = (x - mean) / sqrt(variance + eps) * weight[c] + bias[c], f32 to f32.

    Attributes:
        weight, bias: float32 [C].
        groups: 0 for the mean and variance of the channels of each pixel; else of the pixels and
            channels of each of so many groups of channels, a divisor of C.
    """

    name: str
    x: str
    y: str
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    groups: int = 0
    eps: float = 1e-5


MAX_DIGITS = 6


@dataclass(frozen=True)
class Rearrange:
    """Elements of x in another order; input and output share scale and zero point.

    Elements are counted in the order H, W, C. With the number of an element of y in digits,
    i = (d_0 size_1 + d_1) size_2 + d_2 ..., it is element offset + sum of d_k stride_k of x.

    Attributes:
        sizes: At most :data:`MAX_DIGITS`; their product is the number of elements of y. The first
            is larger than 1, as leading sizes of 1 are left out.
        strides: One for each size.
    """

    name: str
    x: str
    y: str
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0


Op: TypeAlias = (
    Quantize
    | Dequantize
    | Conv2d
    | MaxPool2d
    | AvgPool2d
    | Add
    | Lookup
    | Mul
    | Resize
    | Pad
    | Unary
    | Binary
    | Softmax
    | Normalize
    | Rearrange
)


_KINDS: dict[type, str] = {
    Quantize: "quantize",
    Dequantize: "dequantize",
    Conv2d: "conv2d",
    MaxPool2d: "max_pool2d",
    AvgPool2d: "avg_pool2d",
    Add: "add",
    Lookup: "lookup",
    Mul: "mul",
    Resize: "resize",
    Pad: "pad",
    Unary: "unary",
    Binary: "binary",
    Softmax: "softmax",
    Normalize: "normalize",
    Rearrange: "rearrange",
}


def op_kind(op: Op) -> str:
    """The operator's name in messages and listings, for example ``"conv2d"``."""
    return _KINDS[type(op)]


def op_inputs(op: Op) -> tuple[str, ...]:
    """Names of the tensors that an operator reads, in the file's order; each writes ``op.y``."""
    match op:
        case Add() | Mul() | Binary():
            return (op.a, op.b)
        case Conv2d():
            return op.xs if op.residual is None else (*op.xs, op.residual)
        case _:
            return (op.x,)
