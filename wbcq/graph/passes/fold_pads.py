"""Padding becomes part of the convolution or pool that reads it."""

from __future__ import annotations

import math
from dataclasses import replace

from wbcq.graph.ir import (
    Activation,
    AdaptiveMaxPool2d,
    AvgPool2d,
    Concat,
    Conv2d,
    Graph,
    MaxPool2d,
    Node,
    Op,
    Pad,
    Pads,
    Slice,
)

__all__ = ["fold_pads"]


def fold_pads(graph: Graph) -> Graph:
    """Removes Pad before convolutions, before averages that count padding, and before maxima.

    Zeros do not change the maximum of numbers that cannot be negative, so there a window may as
    well have nothing where the padding was; -inf changes no maximum.

    Args:
        graph: With activations fused, from which it is seen what cannot be negative.

    Returns:
        An equivalent graph; a Pad stays where something else reads it.
    """
    nodes: list[Node] = []
    producers: dict[str, Node] = {}
    for node in graph:
        pad = producers.get(node.inputs[0]) if node.inputs else None
        if pad is not None and isinstance(pad.op, Pad):
            op = _padded(graph, node.op, pad, pad.op)
            if op is not None:
                node = replace(node, op=op, inputs=(pad.inputs[0], *node.inputs[1:]))
        nodes.append(node)
        producers[node.output] = node
    read = {name for node in nodes for name in node.inputs} | set(graph.outputs)
    kept = (n for n in nodes if not isinstance(n.op, Pad) or n.output in read)
    return graph.with_nodes(tuple(kept))


def _padded(graph: Graph, op: Op, node: Node, pad: Pad) -> Op | None:
    pads = pad.pads
    if pad.value != (-math.inf if isinstance(op, MaxPool2d) and pad.value else 0.0):
        return None
    if isinstance(op, Conv2d):
        return replace(op, pads=_sum(op.pads, pads))
    if not isinstance(op, (AvgPool2d, MaxPool2d)) or op.ceil_mode:
        return None
    total = _sum(op.pads, pads)
    if any(side >= kernel for side, kernel in zip(total, (*op.kernel, *op.kernel), strict=True)):
        return None  # A window could lie in the padding alone.
    if isinstance(op, AvgPool2d):
        is_counted = op.count_include_pad or op.pads == (0, 0, 0, 0)
        return replace(op, pads=total, count_include_pad=True) if is_counted else None
    # A dilated window could step over all the pixels.
    if op.dilation == (1, 1) and (pad.value < 0 or _is_nonnegative(graph, node.inputs[0])):
        return replace(op, pads=total)
    return None


def _sum(a: Pads, b: Pads) -> Pads:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3])


def _is_nonnegative(graph: Graph, value: str) -> bool:
    node = graph.producer(value)
    if node is None:
        return False
    if isinstance(node.op, Pad) and node.op.value < 0:
        return False
    if isinstance(node.op, (AdaptiveMaxPool2d, MaxPool2d, Slice, Pad, Concat)):
        return all(_is_nonnegative(graph, name) for name in node.inputs)
    activation = getattr(node.op, "activation", None)
    functions = getattr(node.op, "functions", ())
    return isinstance(activation, Activation) and activation.low >= 0 and not functions
