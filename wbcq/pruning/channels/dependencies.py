"""Which channels of a network stand or fall together.

Each channel of each value and each row and column of each parameter has a label. A function for
each operator says how the labels of its result follow from those of what it reads, and which of
them must be one: the two sides of an addition, a value and the gates it is multiplied with, all
inputs and outputs of one group of a convolution. Slices, concatenations and shuffles only rearrange
labels, so that nothing needs to be known about them.

A channel is *removed* if whoever computes it does not, and whoever reads it does without its
column of weights; pruning is therefore exact by definition: the smaller network computes what the
large one computes with zeros in these columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np

from wbcq.graph import ir
from wbcq.pruning.channels.labels import LOCKED, Labels, LabelSets

__all__ = ["Axis", "Dependencies", "channel_sources", "dependencies"]

Axis: TypeAlias = tuple[str, int]
"""A parameter and one of its dimensions."""


@dataclass(frozen=True)
class Dependencies:
    """Labels of a network; equal labels stand or fall together, :data:`LOCKED` ones stand.

    Attributes:
        graph: As it was captured.
        values: For each value, a label for each channel (axis 1).
        axes: For parameters' dimensions that shrink, a label for each index.
    """

    graph: ir.Graph
    values: Mapping[str, Labels]
    axes: Mapping[Axis, Labels]


def dependencies(graph: ir.Graph, own: Collection[str]) -> Dependencies:
    """Propagates labels through a graph.

    Args:
        graph: As it was captured, before any pass.
        own: Names of the parameters and buffers that can be cut. What is computed from these or
            built into ``forward`` cannot: channels that it belongs to are locked.

    Returns:
        Labels. Inputs and outputs of the network, and channels that a layer normalization or
        softmax weighs against each other, are locked.
    """
    tracer = _Tracer(graph, own)
    for node in graph:
        tracer.trace(node)
    for name in graph.outputs:
        tracer.sets.lock(tracer.values[name])
    return Dependencies(
        graph,
        {name: tracer.sets.find(labels) for name, labels in tracer.values.items()},
        {axis: tracer.sets.find(labels) for axis, labels in tracer.axes.items()},
    )


def channel_sources(op: ir.Op, count: int) -> Labels | None:
    """Which input channel each output channel of an operator that only chooses channels is.

    Args:
        op: Of one input.
        count: Number of channels of the input.

    Returns:
        None for other operators.
    """
    if isinstance(op, ir.Slice):
        return np.arange(op.start, op.stop)
    if isinstance(op, ir.ChannelShuffle):
        sources: Labels = np.arange(count).reshape(op.groups, -1).T.ravel()
        return sources
    if isinstance(op, ir.Gather):
        return np.array(op.channels, np.int64)
    return None


class _Tracer:
    """Labels while they are being joined."""

    def __init__(self, graph: ir.Graph, own: Collection[str]) -> None:
        self.graph = graph
        self.own = own
        self.sets = LabelSets()
        self.axes: dict[Axis, Labels] = {}
        self.values = {name: self.locked(self.width(name)) for name in graph.inputs}

    def trace(self, node: ir.Node) -> None:
        rule = _RULES.get(type(node.op), _opaque)
        self.values[node.output] = rule(self, node, node.op)

    def width(self, value: str) -> int:
        return self.graph.values[value].shape[1] or 0

    def locked(self, count: int) -> Labels:
        return np.full(count, LOCKED, np.int64)

    def axis(self, param: str, axis: int) -> Labels:
        if (param, axis) not in self.axes:
            self.axes[param, axis] = self.sets.new(self.graph.params[param].shape[axis])
        return self.axes[param, axis]

    def owns(self, node: ir.Node) -> bool:
        return all(name in self.own for name in node.params.values())


OpT = TypeVar("OpT", bound=ir.Op)
_Rule: TypeAlias = Callable[[_Tracer, ir.Node, OpT], Labels]
_RULES: dict[type[ir.Op], _Rule[ir.Op]] = {}
"""Operator to the function that gives the labels of its result."""


def _follows(*ops: type[OpT]) -> Callable[[_Rule[OpT]], _Rule[OpT]]:
    def register(rule: _Rule[OpT]) -> _Rule[OpT]:
        for op in ops:
            _RULES[op] = rule  # type: ignore[assignment]
        return rule

    return register


def _opaque(tracer: _Tracer, node: ir.Node, op: ir.Op) -> Labels:
    """Nothing is known about which channels belong together."""
    for name in node.inputs:
        tracer.sets.lock(tracer.values[name])
    return tracer.locked(tracer.width(node.output))


@_follows(
    ir.AdaptiveAvgPool2d,
    ir.AdaptiveMaxPool2d,
    ir.AvgPool2d,
    ir.Clamp,
    ir.MaxPool2d,
    ir.Pad,
    ir.Resize,
    ir.Unary,
)
def _channelwise(tracer: _Tracer, node: ir.Node, op: ir.Op) -> Labels:
    return tracer.values[node.inputs[0]]


@_follows(ir.Add, ir.Div, ir.Mul, ir.Sub)
def _elementwise(tracer: _Tracer, node: ir.Node, op: ir.Op) -> Labels:
    a, b = (tracer.values[name] for name in node.inputs)
    tracer.sets.join(a, b)
    return a


@_follows(ir.Conv2d)
def _conv2d(tracer: _Tracer, node: ir.Node, op: ir.Conv2d) -> Labels:
    return _layer(tracer, node, op, op.groups)


@_follows(ir.Linear)
def _linear(tracer: _Tracer, node: ir.Node, op: ir.Linear) -> Labels:
    return _layer(tracer, node, op, 1)


def _layer(tracer: _Tracer, node: ir.Node, op: ir.Op, groups: int) -> Labels:
    if not tracer.owns(node):
        return _opaque(tracer, node, op)
    x, weight = tracer.values[node.inputs[0]], node.params["weight"]
    rows = tracer.axis(weight, 0)
    if groups == 1:
        tracer.sets.join(x, tracer.axis(weight, 1))
    else:
        # Groups stay as wide as they are: all of one group goes, or nothing.
        for inputs, outputs in zip(x.reshape(groups, -1), rows.reshape(groups, -1), strict=True):
            tracer.sets.join_all(np.concatenate([inputs, outputs]))
    if "bias" in node.params:
        tracer.sets.join(rows, tracer.axis(node.params["bias"], 0))
    return rows


@_follows(ir.BatchNorm, ir.ChannelAffine)
def _normalization(tracer: _Tracer, node: ir.Node, op: ir.Op) -> Labels:
    x = tracer.values[node.inputs[0]]
    for name in node.params.values():
        if name in tracer.own:
            tracer.sets.join(x, tracer.axis(name, 0))
        else:
            tracer.sets.lock(x)
    return x


@_follows(ir.Normalize)
def _group_normalization(tracer: _Tracer, node: ir.Node, op: ir.Normalize) -> Labels:
    x = _normalization(tracer, node, op)
    if op.groups == 0:
        tracer.sets.lock(x)
    else:
        for group in x.reshape(op.groups, -1):
            tracer.sets.join_all(group)
    return x


@_follows(ir.Concat)
def _concat(tracer: _Tracer, node: ir.Node, op: ir.Op) -> Labels:
    return np.concatenate([tracer.values[name] for name in node.inputs])


@_follows(ir.ChannelShuffle, ir.Gather, ir.Slice)
def _chosen(tracer: _Tracer, node: ir.Node, op: ir.Op) -> Labels:
    x = tracer.values[node.inputs[0]]
    sources = channel_sources(op, len(x))
    assert sources is not None
    if len(np.unique(sources)) == len(sources):
        return x[sources]
    # Copies (a gate for all channels) can go one by one; what they are copies of stays.
    tracer.sets.lock(x)
    return tracer.sets.new(len(sources))


@_follows(ir.Flatten, ir.Reshape)
def _reshaped(tracer: _Tracer, node: ir.Node, op: ir.Op) -> Labels:
    """Kept where whole channels stay together; in front, or each as a run of channels."""
    x = tracer.values[node.inputs[0]]
    before, after = (
        tuple(size or 0 for size in tracer.graph.values[name].shape[1:])
        for name in (node.inputs[0], node.output)
    )
    if before[0] == after[0]:
        return x
    if len(after) == 1 or math.prod(after[1:]) == 1:
        return np.repeat(x, math.prod(before[1:]))
    return _opaque(tracer, node, op)
