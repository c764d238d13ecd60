"""Removal of nodes that compute nothing or that nothing needs."""

from __future__ import annotations

from dataclasses import replace

from wbcq.graph.ir import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    Clamp,
    Flatten,
    Graph,
    MaxPool2d,
    Node,
)

__all__ = ["remove_dead_nodes", "remove_identities"]


def remove_identities(graph: Graph) -> Graph:
    """Removes nodes whose output equals their input; its readers read the input instead.

    These are Clamp without bounds, pools with a 1x1 window at stride 1, adaptive pools to the size
    that the picture has, and Flatten of N, C. An output of the graph may become another value.
    """
    renamed: dict[str, str] = {}
    nodes = []
    for old in graph:
        node = replace(old, inputs=tuple(renamed.get(name, name) for name in old.inputs))
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
    if isinstance(op, Clamp):
        return op.activation.is_identity
    if isinstance(op, Flatten):
        return len(graph.values[node.inputs[0]].shape) == 2
    if isinstance(op, AdaptiveAvgPool2d):
        shape = graph.values[node.inputs[0]].shape
        return op.activation.is_identity and shape[2:] == op.output_size
    if isinstance(op, MaxPool2d):
        return _is_one_pixel(op)
    if isinstance(op, AvgPool2d):
        return _is_one_pixel(op) and op.divisor in (0, 1) and op.activation.is_identity
    return False


def _is_one_pixel(op: MaxPool2d | AvgPool2d) -> bool:
    return op.kernel == (1, 1) and op.stride == (1, 1) and op.pads == (0, 0, 0, 0)
