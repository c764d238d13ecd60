"""The typed graph that every later step reads and writes. There is no torch in it.

A :class:`Graph` is a list of :class:`Node` in execution order over named :class:`Value` objects.
Values have PyTorch's layout (N, C, H, W or N, C). What a node does is its ``op``: one of the frozen
dataclasses below, whose type is the key for every dispatch (executors, lowering, observers).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.graph.functions import Function

__all__ = [
    "Activation",
    "AdaptiveAvgPool2d",
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
    "Function",
    "Gather",
    "Graph",
    "Linear",
    "MaxPool2d",
    "Mul",
    "Node",
    "Op",
    "Pad",
    "Params",
    "Reshape",
    "Resize",
    "Slice",
    "Softmax",
    "SourceLocation",
    "Sub",
    "Unary",
    "Value",
    "residual",
]

Pair: TypeAlias = tuple[int, int]
Pads: TypeAlias = tuple[int, int, int, int]
"""Top, left, bottom, right."""
Params: TypeAlias = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class SourceLocation:
    """Where a node came from.

    Attributes:
        module: Qualified module path, for example ``layer1.0.conv1``; empty at the top level.
        line: ``file:line`` of the user's code, or empty when unknown.
    """

    module: str = ""
    line: str = ""

    def __str__(self) -> str:
        where = self.module or "<top level>"
        return f"{where} ({self.line})" if self.line else where


@dataclass(frozen=True)
class Value:
    """A tensor that flows between nodes.

    Attributes:
        name: Unique in its graph.
        shape: PyTorch's order; ``None`` first, for the batch.
        dtype: ``"float32"`` for every value that a network computes with.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"


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


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        name: Unique in its graph; the module path where there is one.
        op: What it does.
        inputs: Names of values.
        output: Name of the value that it computes.
        params: Role (``"weight"``, ``"bias"``, ...) to qualified name in ``Graph.params``.
        source: Where it came from.
        pre_activation: Name of the value that ``op.functions`` are applied to; None without fused
            functions. No node reads it, but it has a range of its own.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    output: str
    params: Mapping[str, str] = field(default_factory=dict)
    source: SourceLocation = SourceLocation()
    pre_activation: str | None = None


def residual(node: Node) -> str | None:
    """The value that a fused Conv2d or Linear adds before its activation, or None."""
    if isinstance(node.op, (Conv2d, Linear)) and len(node.inputs) > node.op.operands:
        return node.inputs[-1]
    return None


@dataclass(frozen=True)
class Graph:
    """A network.

    Attributes:
        values: By name.
        nodes: In execution order; each value is computed once, before it is used.
        inputs: Names of the values that the caller gives.
        outputs: Names of the values that the caller gets.
        params: float32 arrays by qualified name, as in the module's ``state_dict``.
    """

    values: Mapping[str, Value]
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: Params

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def producer(self, value: str) -> Node | None:
        """The node that computes a value; None for an input of the graph."""
        return next((node for node in self.nodes if node.output == value), None)

    def consumers(self, value: str) -> tuple[Node, ...]:
        """Nodes that read a value, in execution order."""
        return tuple(node for node in self.nodes if value in node.inputs)

    def param(self, node: Node, role: str) -> npt.NDArray[np.float32] | None:
        """A node's parameter by role; None if it has none."""
        name = node.params.get(role)
        return None if name is None else self.params[name]

    def with_nodes(
        self,
        nodes: tuple[Node, ...],
        *,
        params: Params | None = None,
        values: Mapping[str, Value] | None = None,
        outputs: tuple[str, ...] | None = None,
    ) -> Graph:
        """A copy with other nodes; values and parameters that nothing uses any more are dropped."""
        all_params = self.params if params is None else params
        all_values = self.values if values is None else values
        outs = self.outputs if outputs is None else outputs
        used_params = {name for node in nodes for name in node.params.values()}
        used_values = {*self.inputs, *outs, *(node.output for node in nodes)}
        used_values.update(node.pre_activation for node in nodes if node.pre_activation)
        return replace(
            self,
            nodes=nodes,
            outputs=outs,
            params={k: v for k, v in all_params.items() if k in used_params},
            values={k: v for k, v in all_values.items() if k in used_values},
        )
