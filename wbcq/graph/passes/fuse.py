"""Activations and residual sums move into the layer that can compute them in its one rounding."""

from __future__ import annotations

from dataclasses import replace

from wbcq.graph.ir import (
    Activation,
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    Clamp,
    Conv2d,
    Flatten,
    Graph,
    Linear,
    MaxPool2d,
    Node,
)

__all__ = ["fuse_activations", "fuse_residuals"]


def fuse_activations(graph: Graph) -> Graph:
    """Moves each Clamp (ReLU, ReLU6, hardtanh) into the node that computes its input.

    That node must be able to clamp (Conv2d, Linear, Add, average pools, another Clamp) and have no
    other reader. A maximum and a flattening commute with a clamp, so it also moves through
    MaxPool2d and Flatten: conv, max pool, ReLU becomes conv with ReLU, max pool.

    Returns:
        An equivalent graph; the Clamp nodes that are left have a shared input.
    """
    for node in graph:
        if isinstance(node.op, Clamp):
            graph = _fuse_clamp(graph, node.output)
    return graph


def fuse_residuals(graph: Graph) -> Graph:
    """Turns layer + Add into the layer with a second input, the residual.

    A Conv2d or Linear can take a residual if it has no activation and no residual yet and only the
    Add reads it. If both operands come from such layers, the later one takes the other's output.
    The layer then runs where the Add did, so the residual is there.

    Args:
        graph: With activations fused, so that an Add brings its own along.
    """
    for node in graph:
        if isinstance(node.op, Add):
            graph = _fuse_add(graph, node, node.op)
    return graph


def _fuse_clamp(graph: Graph, output: str) -> Graph:
    clamp = graph.producer(output)
    assert clamp is not None
    assert isinstance(clamp.op, Clamp)
    last = node = _sole_producer(graph, clamp.inputs[0])
    while node is not None and isinstance(node.op, (MaxPool2d, Flatten)):
        node = _sole_producer(graph, node.inputs[0])
    if node is None or last is None:
        return graph
    op = node.op
    if not isinstance(op, (Conv2d, Linear, Add, AvgPool2d, AdaptiveAvgPool2d, Clamp)):
        return graph
    fused = replace(node, op=replace(op, activation=_compose(op.activation, clamp.op.activation)))
    changed = {node.output: fused}
    changed[last.output] = replace(changed.get(last.output, last), output=clamp.output)
    return graph.with_nodes(
        tuple(changed.get(n.output, n) for n in graph if n.output != clamp.output)
    )


def _fuse_add(graph: Graph, add: Node, op: Add) -> Graph:
    order = {node.output: index for index, node in enumerate(graph)}
    layers = [layer for value in add.inputs if (layer := _sole_producer(graph, value))]
    candidates = [layer for layer in layers if _takes_residual(layer)]
    if not candidates:
        return graph
    layer = max(candidates, key=lambda candidate: order[candidate.output])
    residual = add.inputs[1] if layer.output == add.inputs[0] else add.inputs[0]
    assert isinstance(layer.op, (Conv2d, Linear))
    fused = replace(
        layer,
        op=replace(layer.op, activation=op.activation),
        inputs=(layer.inputs[0], residual),
        output=add.output,
    )
    return graph.with_nodes(
        tuple(
            fused if node.output == add.output else node
            for node in graph
            if node.output != layer.output
        )
    )


def _takes_residual(layer: Node) -> bool:
    return (
        isinstance(layer.op, (Conv2d, Linear))
        and layer.op.activation.is_identity
        and len(layer.inputs) == 1
    )


def _sole_producer(graph: Graph, value: str) -> Node | None:
    """The node that computes a value which is read exactly once and is no output of the graph."""
    reads = sum(node.inputs.count(value) for node in graph)
    if reads != 1 or value in graph.outputs:
        return None
    return graph.producer(value)


def _compose(first: Activation, second: Activation) -> Activation:
    """The clamp that does what two clamps in a row do."""

    def clamp(bound: float) -> float:
        return min(max(bound, second.low), second.high)

    return Activation(clamp(first.low), clamp(first.high))
