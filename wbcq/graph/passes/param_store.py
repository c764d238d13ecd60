"""Parameters of a graph that a pass rewrites."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import numpy.typing as npt

from wbcq.graph.ir import Graph, Node, Params

__all__ = ["ParamStore"]


class ParamStore:
    """Rewrites parameters of single nodes without changing what other nodes read.

    A rewritten parameter keeps its qualified name unless another node reads it too (a module that
    is called twice, tied weights); then the copy is named after the node.

    Args:
        graph: The graph that the pass starts from.
    """

    def __init__(self, graph: Graph) -> None:
        self._old = graph.params
        self._readers = Counter(name for node in graph for name in set(node.params.values()))
        self._new: dict[str, npt.NDArray[np.float32]] = {}

    @property
    def params(self) -> Params:
        """Old and new parameters."""
        return {**self._old, **self._new}

    def get(self, node: Node, role: str) -> npt.NDArray[np.float64] | None:
        """A parameter as it is now, in float64; None if the node has none of that role."""
        name = node.params.get(role)
        if name is None:
            return None
        return np.asarray(self._new.get(name, self._old.get(name)), dtype=np.float64)

    def put(self, node: Node, role: str, array: npt.NDArray[np.float64]) -> str:
        """Rounds a node's new parameter to float32, stores it and returns its name."""
        name = node.params.get(role)
        if name is None or (name not in self._new and self._readers[name] > 1):
            name = self._fresh(node.name, role)
        self._new[name] = np.ascontiguousarray(array, dtype=np.float32)
        return name

    def _fresh(self, node: str, role: str) -> str:
        for count in itertools.count():
            name = f"{node}@{count}.{role}" if count else f"{node}.{role}"
            if name not in self._old and name not in self._new:
                break
        return name
