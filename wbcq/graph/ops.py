"""The operators of a graph: frozen dataclasses whose type is the key for every dispatch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.graph.functions import Function

__all__ = [
    "IDENTITY",
    "RELU",
    "RELU6",
    "Activation",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "Add",
    "AvgPool2d",
    "BatchNorm",
    "ChannelAffine",
    "ChannelRange",
    "ChannelShuffle",
    "Clamp",
    "Concat",
    "Conv2d",
    "Div",
    "Flatten",
    "Functions",
    "Gather",
    "Linear",
    "MaxPool2d",
    "Mul",
    "Normalize",
    "Op",
    "Pad",
    "Pads",
    "Pair",
    "Rearrange",
    "Reshape",
    "Resize",
    "Slice",
    "Softmax",
    "Sub",
    "Unary",
]

Pair: TypeAlias = tuple[int, int]
Pads: TypeAlias = tuple[int, int, int, int]
"""Top, left, bottom, right."""


@dataclass(frozen=True)
class Activation:
    """A clamp that is fused into the node before it: ReLU is (0, inf), ReLU6 is (0, 6)."""

    low: float = -math.inf
    high: float = math.inf

    @property
    def is_identity(self) -> bool:
        """True if it changes nothing."""
        return self.low == -math.inf and self.high == math.inf


IDENTITY = Activation()
RELU = Activation(0.0)
RELU6 = Activation(0.0, 6.0)


Functions: TypeAlias = tuple[Function, ...]
"""Applied one after the other, the first one first."""


@dataclass(frozen=True)
class ChannelRange:
    """Channels ``start`` to ``stop - 1`` of a node's input number ``index``."""

    index: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of channels."""
        return self.stop - self.start


@dataclass(frozen=True)
class Op:
    """Base of all operators. Attributes only: inputs and parameters belong to the node.

    An operator with ``activation`` and ``functions`` computes z, clamps it to ``activation`` and
    then applies the functions; ``Node.pre_activation`` names the value between the two.
    """


@dataclass(frozen=True)
class Conv2d(Op):
    """Convolution. Params ``weight`` [O, I / groups, KH, KW], optional ``bias`` [O].

    Inputs are the operands, one unless there are slices, and, once fused, the residual:
    z = conv(x) + bias [+ residual].

    Attributes:
        slices: x is the concatenation of these channel ranges of the operands; empty if x is the
            only operand. Every operand is in a slice. Only for groups 1 and for depthwise
            convolutions (groups = I = O), whose channel c reads channel c of the concatenation.
    """

    stride: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    activation: Activation = IDENTITY
    functions: Functions = ()
    slices: tuple[ChannelRange, ...] = ()

    @property
    def operands(self) -> int:
        """The number of inputs that are not the residual."""
        return _operands(self.slices)


@dataclass(frozen=True)
class Linear(Op):
    """z = x W^T + b [+ residual]. Params ``weight`` [O, I], optional ``bias`` [O].

    Attributes:
        slices: As those of Conv2d.
    """

    activation: Activation = IDENTITY
    functions: Functions = ()
    slices: tuple[ChannelRange, ...] = ()

    @property
    def operands(self) -> int:
        """The number of inputs that are not the residual."""
        return _operands(self.slices)


def _operands(slices: tuple[ChannelRange, ...]) -> int:
    return 1 + max((piece.index for piece in slices), default=0)


@dataclass(frozen=True)
class BatchNorm(Op):
    """Evaluation-mode batch normalization over axis 1.

    Params ``running_mean``, ``running_var`` and optional ``weight``, ``bias``, each [C].
    """

    eps: float = 1e-5


@dataclass(frozen=True)
class ChannelAffine(Op):
    """y = x * weight + bias for each channel (axis 1). Params ``weight``, ``bias``, each [C]."""


@dataclass(frozen=True)
class Clamp(Op):
    """A standalone ReLU, ReLU6 or hardtanh."""

    activation: Activation = RELU


@dataclass(frozen=True)
class Unary(Op):
    """Standalone elementwise functions."""

    functions: Functions


@dataclass(frozen=True)
class Add(Op):
    """z = a + b. b has a's shape, or is N, C, 1, 1 and the same for all pixels."""

    activation: Activation = IDENTITY
    functions: Functions = ()


@dataclass(frozen=True)
class Sub(Op):
    """z = a - b, with b as in Add."""

    activation: Activation = IDENTITY
    functions: Functions = ()


@dataclass(frozen=True)
class Mul(Op):
    """z = a * b, with b as in Add."""

    activation: Activation = IDENTITY
    functions: Functions = ()


@dataclass(frozen=True)
class Div(Op):
    """z = a / b, with b as in Add. Has no integer form."""

    activation: Activation = IDENTITY
    functions: Functions = ()


@dataclass(frozen=True)
class Softmax(Op):
    """Softmax over the channels (axis 1). Has no integer form."""


@dataclass(frozen=True)
class Normalize(Op):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias. Has no integer form.

    Optional params ``weight`` and ``bias``, each [C] (axis 1).

    Attributes:
        groups: 0 for the mean and variance of the channels of each pixel (layer normalization);
            else of the pixels and channels of each of so many groups (group normalization).
    """

    groups: int = 0
    eps: float = 1e-5
    activation: Activation = IDENTITY
    functions: Functions = ()


@dataclass(frozen=True)
class MaxPool2d(Op):
    """Maximum over windows."""

    kernel: Pair
    stride: Pair
    pads: Pads = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False


@dataclass(frozen=True)
class AvgPool2d(Op):
    """Average over windows; ``divisor`` 0 means the window's own count."""

    kernel: Pair
    stride: Pair
    pads: Pads = (0, 0, 0, 0)
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor: int = 0
    activation: Activation = IDENTITY
    functions: Functions = ()


@dataclass(frozen=True)
class AdaptiveAvgPool2d(Op):
    """Average pool to a fixed output size; (1, 1) is the global pool."""

    output_size: Pair = (1, 1)
    activation: Activation = IDENTITY
    functions: Functions = ()


@dataclass(frozen=True)
class AdaptiveMaxPool2d(Op):
    """Maximum over windows, as many as the output has pixels."""

    output_size: Pair


@dataclass(frozen=True)
class Resize(Op):
    """Up- or downsampling of height and width.

    Attributes:
        output_size: Height and width.
        mode: ``"nearest"`` reads pixel floor(o * step); ``"bilinear"`` interpolates at
            (o + 0.5) * step - 0.5, or at o * (in - 1) / (out - 1) with ``align_corners``.
        steps: Input pixels for one output pixel, vertically and horizontally; None is in / out.
    """

    output_size: Pair
    mode: Literal["nearest", "bilinear"] = "nearest"
    align_corners: bool = False
    steps: tuple[float, float] | None = None


@dataclass(frozen=True)
class Pad(Op):
    """A constant around a picture; -inf, which no maximum sees, only before a MaxPool2d."""

    pads: Pads
    value: float = 0.0


@dataclass(frozen=True)
class Flatten(Op):
    """N, C, H, W to N, C * H * W (C outermost, as PyTorch does)."""


@dataclass(frozen=True)
class Reshape(Op):
    """Another view of the same elements in PyTorch's order.

    Attributes:
        sizes: Without the batch.
    """

    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Rearrange(Op):
    """Elements in another order: y.flat[i] = x.flat[offset + sum of digits of i times strides].

    Attributes:
        sizes: Of the result, without the batch.
        digits: How the number of an element of the result is split; their product is that of the
            sizes.
        strides: In elements of x, one for each digit.
        offset: Of the first element.
    """

    sizes: tuple[int, ...]
    digits: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    def numbers(self) -> npt.NDArray[np.int64]:
        """Which element of x each element of the result is, in their order."""
        numbers = np.full((), self.offset, np.int64)
        for size, stride in zip(self.digits, self.strides, strict=True):
            numbers = np.add.outer(numbers, stride * np.arange(size))
        return numbers.ravel()


@dataclass(frozen=True)
class Concat(Op):
    """Inputs one after the other along the channels (axis 1)."""


@dataclass(frozen=True)
class Slice(Op):
    """Channels ``start`` to ``stop - 1`` (axis 1)."""

    start: int
    stop: int


@dataclass(frozen=True)
class ChannelShuffle(Op):
    """Output channel i * groups + g is input channel g * (C / groups) + i."""

    groups: int


@dataclass(frozen=True)
class Gather(Op):
    """Output channel i is input channel ``channels[i]``."""

    channels: tuple[int, ...]
