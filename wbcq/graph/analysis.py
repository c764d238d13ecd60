"""Questions about a graph that calibration and lowering must answer in the same way."""

from __future__ import annotations

from collections.abc import Iterable

from wbcq.graph.ir import Conv2d, Flatten, Graph, Linear, MaxPool2d

__all__ = ["float_heads", "quantized_values", "shared_qparams_groups"]


def float_heads(graph: Graph) -> frozenset[str]:
    """Values that stay float in an integer program because a conv or linear layer ends there.

    A head is an output of the graph (once) that nothing reads, computed by a Conv2d or Linear
    without residual and activation: its accumulators become float without a rounding to 8 bits.
    Where only Flatten lies between the layer and the output, its values are heads too.

    Args:
        graph: Folded and fused.

    Returns:
        Names of values; calibration gives them no qparams.

    Example:
        >>> from wbcq.graph.ir import Graph, Linear, Node, Value
        >>> values = {"x": Value("x", (None, 8)), "fc": Value("fc", (None, 5))}
        >>> fc = Node("fc", Linear(), ("x",), "fc", {"weight": "fc.weight"})
        >>> graph = Graph(values, (fc,), ("x",), ("fc",), {})
        >>> float_heads(graph)
        frozenset({'fc'})
    """
    heads: set[str] = set()
    for output in graph.outputs:
        if graph.consumers(output) or graph.outputs.count(output) > 1:
            continue
        chain = [output]
        node = graph.producer(output)
        while node is not None and isinstance(node.op, Flatten):
            source = node.inputs[0]
            if len(graph.consumers(source)) != 1 or source in graph.outputs:
                break
            chain.append(source)
            node = graph.producer(source)
        if (
            node is not None
            and isinstance(node.op, (Conv2d, Linear))
            and len(node.inputs) == 1
            and node.op.activation.is_identity
        ):
            heads.update(chain)
    return frozenset(heads)


def quantized_values(graph: Graph) -> tuple[str, ...]:
    """Values that need activation qparams: all but the float heads, in execution order."""
    heads = float_heads(graph)
    names = [*graph.inputs, *(node.output for node in graph.nodes)]
    return tuple(name for name in names if name not in heads)


def shared_qparams_groups(graph: Graph) -> tuple[frozenset[str], ...]:
    """Values that must have one scale and zero point because a node only moves their bytes.

    A maximum and a flattening do not change values, so input and output are one group; groups that
    touch are joined.

    Returns:
        Disjoint sets of at least two names, ordered by their first value in execution order.
    """
    order = quantized_values(graph)
    root = {name: name for name in order}

    def find(name: str) -> str:
        while root[name] != name:
            root[name] = root[root[name]]
            name = root[name]
        return name

    for node in graph.nodes:
        if isinstance(node.op, (MaxPool2d, Flatten)) and node.output in root:
            root[find(node.output)] = find(node.inputs[0])
    return _groups((find(name), name) for name in order)


def _groups(pairs: Iterable[tuple[str, str]]) -> tuple[frozenset[str], ...]:
    groups: dict[str, set[str]] = {}
    for key, name in pairs:
        groups.setdefault(key, set()).add(name)
    return tuple(frozenset(group) for group in groups.values() if len(group) > 1)
