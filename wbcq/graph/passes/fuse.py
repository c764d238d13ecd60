"""Activations and residual sums move into the layer that can compute them in its one rounding."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from wbcq.graph.analysis import is_float_node
from wbcq.graph.functions import Function, saturation
from wbcq.graph.ir import (
    Activation,
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    Clamp,
    Conv2d,
    Flatten,
    Functions,
    Graph,
    Linear,
    MaxPool2d,
    Mul,
    Node,
    Normalize,
    Rearrange,
    Reshape,
    Sub,
    Unary,
    residual,
)
from wbcq.graph.passes.readers import sole_producer

__all__ = ["fuse_activations", "fuse_residuals"]

_Fusable: TypeAlias = Conv2d | Linear | Add | Sub | Mul | AvgPool2d | AdaptiveAvgPool2d | Normalize
_MOVES = (Flatten, Rearrange, Reshape)


def fuse_activations(graph: Graph) -> Graph:
    """Moves each Clamp (ReLU, ReLU6, hardtanh) and Unary into the node that computes its input.

    That node must be able to (Conv2d, Linear, Add, Sub, Mul, Normalize, average pools; a Clamp also
    takes another Clamp) and have no other reader. Moving elements commutes with what is done to
    single numbers, and a maximum with a clamp, so that the latter also moves through MaxPool2d:
    conv, max pool, ReLU becomes conv with ReLU, max pool.

    Where a function is constant beyond some bounds, as hard-swish is below -3, its argument is
    clamped to them, so that it needs no quantization steps there. A function of a Conv2d or Linear
    that gives an output of the network is not fused: it is computed in float.

    Returns:
        An equivalent graph; the Clamp and Unary nodes that are left have a shared input or one that
        is not computed by such a node.
    """
    for node in graph:
        if isinstance(node.op, Clamp):
            graph = _fuse_clamp(graph, node.output)
        elif isinstance(node.op, Unary):
            graph = _fuse_unary(graph, node.output)
    return graph


def fuse_residuals(graph: Graph) -> Graph:
    """Turns layer + Add into the layer with one more input, the residual.

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
    last = node = sole_producer(graph, clamp.inputs[0])
    while node is not None and isinstance(node.op, (MaxPool2d, *_MOVES)):
        node = sole_producer(graph, node.inputs[0])
    if node is None or last is None:
        return graph
    op, bounds = node.op, clamp.op.activation
    if isinstance(op, Clamp):
        fused = replace(node, op=Clamp(_compose(op.activation, bounds)))
    elif isinstance(op, Unary):
        fused = replace(node, op=Unary((*op.functions, _as_function(bounds))))
    elif not isinstance(op, _Fusable):
        return graph
    elif op.functions:
        fused = replace(node, op=replace(op, functions=(*op.functions, _as_function(bounds))))
    else:
        fused = replace(node, op=replace(op, activation=_compose(op.activation, bounds)))
    return _replaced(graph, fused, last, clamp)


def _fuse_unary(graph: Graph, output: str) -> Graph:
    unary = graph.producer(output)
    assert unary is not None
    assert isinstance(unary.op, Unary)
    last = node = sole_producer(graph, unary.inputs[0])
    while node is not None and isinstance(node.op, _MOVES):
        node = sole_producer(graph, node.inputs[0])
    if node is None or last is None or not isinstance(node.op, _Fusable):
        return graph
    if isinstance(node.op, (Conv2d, Linear)) and _only_leaves(graph, output):
        return graph
    functions, op, pre_activation = unary.op.functions, node.op, node.pre_activation
    if not op.functions:
        pre_activation = node.output
        if not is_float_node(node):
            op = replace(op, activation=_compose(op.activation, _useful_range(functions)))
    op = replace(op, functions=(*op.functions, *functions))
    fused = replace(node, op=op, pre_activation=pre_activation)
    if last is node:
        return _replaced(graph, fused, last, unary)
    # The value before the function keeps its name, and the one after it gets a new one.
    renamed = f"{node.output}.activated"
    while renamed in graph.values:
        renamed += "'"
    values = {**graph.values, renamed: replace(graph.values[node.output], name=renamed)}
    nodes = []
    for old in graph:
        if old.output == node.output:
            nodes.append(replace(fused, output=renamed))
        elif old.output != unary.output:
            inputs = tuple(renamed if name == node.output else name for name in old.inputs)
            is_last = old.output == last.output
            nodes.append(
                replace(old, inputs=inputs, output=unary.output if is_last else old.output)
            )
    return graph.with_nodes(tuple(nodes), values=values)


def _replaced(graph: Graph, fused: Node, last: Node, activation: Node) -> Graph:
    """A graph with ``fused`` for the node of its output, and ``last`` in the activation's place."""
    changed = {fused.output: fused}
    changed[last.output] = replace(changed.get(last.output, last), output=activation.output)
    return graph.with_nodes(
        tuple(changed.get(n.output, n) for n in graph if n.output != activation.output)
    )


def _only_leaves(graph: Graph, value: str) -> bool:
    """True if a value, or a view of it, is an output and nothing else reads it."""
    readers = graph.consumers(value)
    if not readers:
        return True
    return len(readers) == 1 and (
        isinstance(readers[0].op, _MOVES) and _only_leaves(graph, readers[0].output)
    )


def _as_function(bounds: Activation) -> Function:
    return Function("clamp", (bounds.low, bounds.high))


def _useful_range(functions: Functions) -> Activation:
    return Activation(*saturation(functions[0]))


def _fuse_add(graph: Graph, add: Node, op: Add) -> Graph:
    order = {node.output: index for index, node in enumerate(graph)}
    layers = [layer for value in add.inputs if (layer := sole_producer(graph, value))]
    candidates = [layer for layer in layers if _takes_residual(layer)]
    if not candidates or _broadcasts(graph, add):
        return graph
    layer = max(candidates, key=lambda candidate: order[candidate.output])
    other = add.inputs[1] if layer.output == add.inputs[0] else add.inputs[0]
    assert isinstance(layer.op, (Conv2d, Linear))
    fused = replace(
        layer,
        op=replace(layer.op, activation=op.activation, functions=op.functions),
        inputs=(*layer.inputs, other),
        output=add.output,
        pre_activation=add.pre_activation,
    )
    return graph.with_nodes(
        tuple(
            fused if node.output == add.output else node
            for node in graph
            if node.output != layer.output
        )
    )


def _broadcasts(graph: Graph, add: Node) -> bool:
    return len({graph.values[name].shape for name in (*add.inputs, add.output)}) > 1


def _takes_residual(layer: Node) -> bool:
    return (
        isinstance(layer.op, (Conv2d, Linear))
        and layer.op.activation.is_identity
        and not layer.op.functions
        and residual(layer) is None
    )


def _compose(first: Activation, second: Activation) -> Activation:
    """The clamp that does what two clamps in a row do."""

    def clamp(bound: float) -> float:
        return min(max(bound, second.low), second.high)

    return Activation(clamp(first.low), clamp(first.high))
