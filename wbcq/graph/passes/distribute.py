"""Operators that treat channels alike move from a concatenation to what is concatenated.

There, an activation can be fused into the layer that computes each part, and the concatenation
itself can dissolve into the layers that read it.
"""

from __future__ import annotations

from dataclasses import replace

from wbcq.graph.ir import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    Clamp,
    Concat,
    Flatten,
    Graph,
    MaxPool2d,
    Node,
    Resize,
    Unary,
    Value,
)
from wbcq.graph.passes.readers import sole_producer

__all__ = ["distribute_over_concat"]

_CHANNELWISE = (AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, Clamp, MaxPool2d, Resize, Unary)


def distribute_over_concat(graph: Graph) -> Graph:
    """Turns f(concat(a, b)) into concat(f(a), f(b)) where nothing else reads the concatenation.

    f is a function of single numbers, a pool or a resize, or the flattening of one pixel.
    """
    nodes: dict[str, Node] = {}
    values = dict(graph.values)
    names = {node.name for node in graph}
    for node in graph:
        concat = nodes.get(node.inputs[0]) if node.inputs else None
        if (
            concat is None
            or not isinstance(concat.op, Concat)
            or not _is_channelwise(graph, node)
            or sole_producer(graph, concat.output) is None
        ):
            nodes[node.output] = node
            continue
        del nodes[concat.output]
        parts = []
        for index, part in enumerate(concat.inputs):
            output, name = f"{node.output}.{index}", f"{node.name}.{index}"
            while output in values or name in names:
                output, name = output + "'", name + "'"
            names.add(name)
            shape = (None, graph.values.get(part, values[part]).shape[1])
            values[output] = Value(output, (*shape, *values[node.output].shape[2:]))
            nodes[output] = replace(node, name=name, inputs=(part,), output=output)
            parts.append(output)
        nodes[node.output] = replace(concat, inputs=tuple(parts), output=node.output)
    return graph.with_nodes(tuple(nodes.values()), values=values)


def _is_channelwise(graph: Graph, node: Node) -> bool:
    if isinstance(node.op, Flatten):
        return graph.values[node.inputs[0]].shape[2:] == (1, 1)
    return isinstance(node.op, _CHANNELWISE)
