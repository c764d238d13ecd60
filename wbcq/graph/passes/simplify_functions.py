"""Chains of elementwise operators become one function each, and functions that have names get them.

A network may spell hard-swish as ``x * relu6(x + 3) / 6`` and SiLU as ``x * sigmoid(x)``. As one
function of one number, either is a table of 256 bytes in the integer program.
"""

from __future__ import annotations

import math
from dataclasses import replace

from wbcq.graph.functions import Function
from wbcq.graph.ir import Clamp, Functions, Graph, Mul, Node, Unary
from wbcq.graph.passes.readers import sole_producer

__all__ = ["simplify_functions"]

_GATES: dict[tuple[str, ...], str] = {
    ("hardsigmoid",): "hardswish",
    ("sigmoid",): "silu",
    ("softplus", "tanh"): "mish",
}
"""Functions g to the name of x * g(x)."""


def simplify_functions(graph: Graph) -> Graph:
    """Joins Unary nodes with the Unary and Clamp nodes after them, and recognizes x * g(x).

    Args:
        graph: As captured.

    Returns:
        An equivalent graph.
    """
    nodes: dict[str, Node] = {}
    for node in graph:
        nodes[node.output] = _gated(graph, nodes, _joined(graph, nodes, node))
    return graph.with_nodes(tuple(nodes.values()))


def _joined(graph: Graph, nodes: dict[str, Node], node: Node) -> Node:
    """A node with the functions of the Unary before it, which goes."""
    functions = _functions(node)
    if not functions:
        return node
    before = nodes.get(node.inputs[0])
    if (
        before is not None
        and isinstance(before.op, Unary)
        and sole_producer(graph, node.inputs[0]) is not None
    ):
        del nodes[before.output]
        functions = (*before.op.functions, *functions)
        return replace(node, op=Unary(_simplified(functions)), inputs=before.inputs)
    if isinstance(node.op, Unary):
        return replace(node, op=Unary(_simplified(functions)))
    return node


def _functions(node: Node) -> Functions:
    if isinstance(node.op, Unary):
        return node.op.functions
    if isinstance(node.op, Clamp):
        return (Function("clamp", (node.op.activation.low, node.op.activation.high)),)
    return ()


def _gated(graph: Graph, nodes: dict[str, Node], node: Node) -> Node:
    """The function that a product of x and a function of x is."""
    if not isinstance(node.op, Mul) or not node.op.activation.is_identity:
        return node
    if node.inputs[0] == node.inputs[1]:
        return replace(node, op=Unary((Function("square"),)), inputs=node.inputs[:1])
    for x, gate in (node.inputs, node.inputs[::-1]):
        unary = nodes.get(gate)
        if (
            unary is not None
            and isinstance(unary.op, Unary)
            and unary.inputs == (x,)
            and sole_producer(graph, gate) is not None
        ):
            product = _times_x(unary.op.functions)
            if product is not None:
                del nodes[gate]
                return replace(node, op=Unary(_simplified(product)), inputs=(x,))
    return node


def _times_x(functions: Functions) -> Functions | None:
    """The functions whose result is x g(x)."""
    before: Functions = ()
    after: Functions = ()
    if functions and functions[0].name == "affine" and functions[0].parameters[1] == 0:
        # With u = a x, x g(u) is u g(u) / a.
        scale = functions[0].parameters[0]
        if scale == 0:
            return None
        before, functions = functions[:1], functions[1:]
        after = (Function("affine", (1.0 / scale, 0.0)),)
    if functions and functions[-1].name == "affine" and functions[-1].parameters[1] == 0:
        functions, after = functions[:-1], (functions[-1], *after)
    name = _GATES.get(tuple(function.name for function in functions))
    return None if name is None else (*before, Function(name), *after)


def _simplified(functions: Functions) -> Functions:
    """Fewer functions that do the same."""
    result: list[Function] = []
    for function in functions:
        result.append(function)
        while _shortened(result):
            pass
    return tuple(result)


def _shortened(chain: list[Function]) -> bool:
    """Replaces the end of a chain; False if there is nothing to do."""
    last = chain[-1]
    if last == Function("affine", (1.0, 0.0)) and len(chain) > 1:
        del chain[-1]
        return True
    if len(chain) < 2 or chain[-2].name != "affine":
        return False
    scale, shift = chain[-2].parameters
    if last.name == "affine":
        outer, offset = last.parameters
        chain[-2:] = [Function("affine", (scale * outer, shift * outer + offset))]
        return True
    if last.name == "clamp" and last.parameters[0] == 0.0:
        # clamp(x k + 3 k, 0, 6 k) is 6 k hardsigmoid(x).
        high = last.parameters[1]
        if math.isclose(shift, high / 2, rel_tol=1e-6) and math.isclose(
            scale, high / 6, rel_tol=1e-6
        ):
            chain[-2:] = [Function("hardsigmoid"), Function("affine", (high, 0.0))]
            return True
    return False
