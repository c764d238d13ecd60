"""The typed graph that every later step reads and writes. There is no torch in it.

A :class:`Graph` is a list of :class:`Node` in execution order over named :class:`Value` objects.
Values have PyTorch's layout (N, C, H, W or N, C; inputs and outputs of the graph also N, C, L).
What a node does is its ``op``, one of the operators of :mod:`wbcq.graph.ops`, which can be had from
here too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.graph.functions import Function
from wbcq.graph.ops import (
    IDENTITY,
    RELU,
    RELU6,
    Activation,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    Add,
    AvgPool2d,
    BatchNorm,
    ChannelAffine,
    ChannelRange,
    ChannelShuffle,
    Clamp,
    Concat,
    Conv2d,
    Div,
    Flatten,
    Functions,
    Gather,
    Linear,
    MaxPool2d,
    Mul,
    Normalize,
    Op,
    Pad,
    Pads,
    Pair,
    Rearrange,
    Reshape,
    Resize,
    Slice,
    Softmax,
    Sub,
    Unary,
)

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
    "Function",
    "Functions",
    "Gather",
    "Graph",
    "Linear",
    "MaxPool2d",
    "Mul",
    "Node",
    "Normalize",
    "Op",
    "Pad",
    "Pads",
    "Pair",
    "Params",
    "Rearrange",
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
