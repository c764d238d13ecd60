"""Who reads a value."""

from __future__ import annotations

from wbcq.graph.ir import Graph, Node

__all__ = ["read_count", "sole_producer"]


def read_count(graph: Graph, value: str) -> int:
    """How often nodes and the caller read a value."""
    reads = sum(node.inputs.count(value) for node in graph)
    return reads + graph.outputs.count(value)


def sole_producer(graph: Graph, value: str) -> Node | None:
    """The node that computes a value which one node reads once and which is no output."""
    if read_count(graph, value) != 1 or value in graph.outputs:
        return None
    return graph.producer(value)
