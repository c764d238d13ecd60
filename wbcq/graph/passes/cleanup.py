"""Removal of nodes that compute nothing or that nothing needs."""

from __future__ import annotations

from dataclasses import replace

from wbcq.graph.functions import Function
from wbcq.graph.ir import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    Add,
    AvgPool2d,
    ChannelShuffle,
    Clamp,
    Concat,
    Div,
    Flatten,
    Gather,
    Graph,
    MaxPool2d,
    Mul,
    Node,
    Pad,
    Reshape,
    Resize,
    Slice,
    Sub,
    Unary,
)

__all__ = ["remove_dead_nodes", "remove_identities"]


def remove_identities(graph: Graph) -> Graph:
    """Removes nodes whose output equals their input; its readers read the input instead.

    These are Clamp without bounds, Unary without functions, pools with a 1x1 window at stride 1,
    adaptive pools and resizes to the size that the picture has, Pad by nothing, views in the shape
    that the value has, and operators that keep all channels in their order. An output of the graph
    may become another value. What reads a Resize of a single pixel as the second operand of
    arithmetic reads the pixel instead.
    """
    renamed: dict[str, str] = {}
    nodes = []
    for old in graph:
        inputs = tuple(renamed.get(name, name) for name in old.inputs)
        node = _with_pixel(graph, replace(old, inputs=inputs))
        if _is_identity(graph, node):
            renamed[node.output] = node.inputs[0]
        else:
            nodes.append(node)
    outputs = tuple(renamed.get(name, name) for name in graph.outputs)
    return graph.with_nodes(tuple(nodes), outputs=outputs)


def remove_dead_nodes(graph: Graph) -> Graph:
    """Removes nodes that no output depends on."""
    needed = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if node.output in needed:
            needed.update(node.inputs)
            kept.append(node)
    return graph.with_nodes(tuple(reversed(kept)))


def _is_identity(graph: Graph, node: Node) -> bool:
    op = node.op
    before, after = graph.values[node.inputs[0]].shape, graph.values[node.output].shape
    if isinstance(op, Clamp):
        return op.activation.is_identity
    if isinstance(op, Unary):
        return not op.functions or op.functions == (Function("affine", (1.0, 0.0)),)
    if isinstance(op, AdaptiveAvgPool2d):
        return op.activation.is_identity and before == after
    if isinstance(op, (AdaptiveMaxPool2d, Flatten, Reshape, Resize, Slice)):
        return before == after
    if isinstance(op, Concat):
        return len(node.inputs) == 1
    if isinstance(op, Pad):
        return op.pads == (0, 0, 0, 0)
    if isinstance(op, ChannelShuffle):
        return op.groups in (1, before[1])
    if isinstance(op, Gather):
        return op.channels == tuple(range(before[1] or 0))
    if isinstance(op, MaxPool2d):
        return _is_one_pixel(op)
    if isinstance(op, AvgPool2d):
        return _is_one_pixel(op) and op.divisor in (0, 1) and op.activation.is_identity
    return False


def _with_pixel(graph: Graph, node: Node) -> Node:
    """A node that broadcasts one pixel instead of reading copies of it."""
    if not isinstance(node.op, (Add, Sub, Mul, Div)):
        return node
    producer = graph.producer(node.inputs[1])
    if producer is None or not isinstance(producer.op, Resize):
        return node
    pixel = producer.inputs[0]
    if graph.values[pixel].shape[2:] != (1, 1):
        return node
    return replace(node, inputs=(node.inputs[0], pixel))


def _is_one_pixel(op: MaxPool2d | AvgPool2d) -> bool:
    return op.kernel == (1, 1) and op.stride == (1, 1) and op.pads == (0, 0, 0, 0)
