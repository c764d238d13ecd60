"""Questions about a graph that calibration and lowering must answer in the same way."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from wbcq.graph.ir import (
    AdaptiveMaxPool2d,
    Concat,
    Conv2d,
    Div,
    Flatten,
    Graph,
    Linear,
    MaxPool2d,
    Node,
    Normalize,
    Pad,
    Rearrange,
    Reshape,
    Resize,
    Slice,
    Softmax,
    Unary,
    residual,
)

__all__ = [
    "float_heads",
    "float_values",
    "is_float_node",
    "is_move",
    "is_relabelling",
    "quantized_values",
    "shared_qparams_groups",
]

_MOVES = (AdaptiveMaxPool2d, Flatten, MaxPool2d, Pad, Rearrange, Reshape, Resize, Slice)
"""Operators whose results have the scale and zero point of their input."""


_FOLLOWS = (Flatten, Rearrange, Reshape, Unary)
"""Operators that compute in float32 where their input is float32."""


def is_float_node(node: Node) -> bool:
    """True if a node has no integer form and computes in float32."""
    return isinstance(node.op, (Div, Normalize, Softmax))


def is_move(node: Node) -> bool:
    """True if a node only moves or chooses among values, so that its result has their scale."""
    return isinstance(node.op, _MOVES)


def float_values(graph: Graph, float_nodes: frozenset[str] = frozenset()) -> frozenset[str]:
    """Values that are only ever float32, and need no quantization parameters.

    A value is float if it leaves the network or enters float nodes and nothing else, and comes
    from a float node, or from a Conv2d or Linear without residual and activation, whose
    accumulators become float without a rounding to 8 bits. Where only Flatten, Reshape or
    elementwise functions (Unary) lie in between, their values are float too.

    Args:
        graph: Folded and fused.
        float_nodes: Names of nodes that compute in float32 beside those that always do.

    Example:
        >>> from wbcq.graph.ir import Graph, Linear, Node, Value
        >>> values = {"x": Value("x", (None, 8)), "fc": Value("fc", (None, 5))}
        >>> fc = Node("fc", Linear(), ("x",), "fc", {"weight": "fc.weight"})
        >>> graph = Graph(values, (fc,), ("x",), ("fc",), {})
        >>> float_values(graph)
        frozenset({'fc'})
    """

    def is_float(node: Node) -> bool:
        return node.name in float_nodes or is_float_node(node)

    wanted: dict[str, bool] = {}
    for node in reversed(graph.nodes):
        name = node.output
        readers = graph.consumers(name)
        views = [reader for reader in readers if isinstance(reader.op, (Flatten, Reshape))]
        count = graph.outputs.count(name)
        wanted[name] = (
            (bool(readers) or count == 1)
            and count <= 1
            and not (views and count)
            and all(
                is_float(reader) or (isinstance(reader.op, _FOLLOWS) and wanted[reader.output])
                for reader in readers
            )
        )
    found: set[str] = set()
    for node in graph.nodes:
        if wanted[node.output] and (
            is_float(node)
            or _is_head(node)
            or (isinstance(node.op, _FOLLOWS) and node.inputs[0] in found)
        ):
            found.add(node.output)
    return frozenset(found)


def float_heads(graph: Graph, float_nodes: frozenset[str] = frozenset()) -> frozenset[str]:
    """Those of the float values that a Conv2d or Linear computes, and their other views."""
    values = float_values(graph, float_nodes)
    heads: set[str] = set()
    for node in graph:
        is_view = isinstance(node.op, (Flatten, Reshape)) and node.inputs[0] in heads
        is_head = _is_head(node) and node.name not in float_nodes
        if node.output in values and (is_head or is_view):
            heads.add(node.output)
    return frozenset(heads)


def quantized_values(graph: Graph, float_nodes: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Values that need activation qparams: all but the float ones, in execution order.

    A value to which a node's fused functions are applied stands before the node's output.
    """
    floats = float_values(graph, float_nodes)
    names = list(graph.inputs)
    for node in graph:
        is_float = node.name in float_nodes or is_float_node(node)
        if node.pre_activation is not None and not is_float:
            names.append(node.pre_activation)
        names.append(node.output)
    return tuple(name for name in names if name not in floats)


def shared_qparams_groups(
    graph: Graph, float_nodes: frozenset[str] = frozenset()
) -> tuple[frozenset[str], ...]:
    """Values that must have one scale and zero point because a node only moves their bytes.

    A maximum, a flattening, zero padding, resizing and a slice of the channels keep values as they
    are, so input and output are one group; groups that touch are joined. What a Concat alone reads,
    and what is computed rather than moved, is rounded to the scale of the concatenation at once,
    which is better than rounding twice; whether other inputs of a Concat do so too is measured
    (:mod:`wbcq.quant.concat_parts`).

    Returns:
        Disjoint sets of at least two names, ordered by their first value in execution order.
    """
    order = quantized_values(graph, float_nodes)
    root = {name: name for name in order}

    def find(name: str) -> str:
        while root[name] != name:
            root[name] = root[root[name]]
            name = root[name]
        return name

    for node in graph:
        if node.output not in root or node.name in float_nodes:
            continue
        for source in node.inputs:
            joined = is_move(node)
            joined |= isinstance(node.op, Concat) and _is_placed(graph, source)
            if joined and source in root:
                root[find(node.output)] = find(source)
    return _groups((find(name), name) for name in order)


def is_relabelling(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """True if a Reshape moves nothing in memory where the channels are innermost.

    Args:
        before: C, H, W, or C, L, or K, without the batch.
        after: The same, of as many elements.

    Example:
        >>> is_relabelling((8, 2, 3), (8, 6, 1)), is_relabelling((8, 1, 1), (1, 1, 8))
        (True, True)
        >>> is_relabelling((8, 2, 3), (48,))
        False
    """
    if len(before) > 3 or len(after) > 3:
        return False
    return bool(np.array_equal(_channels_last_order(before), _channels_last_order(after)))


def _channels_last_order(shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    elements = np.arange(math.prod(shape)).reshape(shape)
    return np.moveaxis(elements, 0, -1).ravel()


def _is_head(node: Node) -> bool:
    return (
        isinstance(node.op, (Conv2d, Linear))
        and residual(node) is None
        and node.op.activation.is_identity
        and not node.op.functions
    )


def _is_placed(graph: Graph, value: str) -> bool:
    """True if a value may be computed right where a Concat needs it."""
    producer = graph.producer(value)
    reads = sum(node.inputs.count(value) for node in graph)
    return (
        producer is not None
        and reads == 1
        and value not in graph.outputs
        and not isinstance(producer.op, (*_MOVES, Concat))
    )


def _groups(pairs: Iterable[tuple[str, str]]) -> tuple[frozenset[str], ...]:
    groups: dict[str, set[str]] = {}
    for key, name in pairs:
        groups.setdefault(key, set()).add(name)
    return tuple(frozenset(group) for group in groups.values() if len(group) > 1)
