"""Which channels stand or fall together: a union-find over labels."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["LOCKED", "LabelSets", "Labels"]

Labels: TypeAlias = npt.NDArray[np.int64]
"""One label for each channel."""

LOCKED = 0
"""The label of channels that are never removed."""


class LabelSets:
    """Labels and their unions; :data:`LOCKED` is one of them.

    Example:
        >>> sets = LabelSets()
        >>> a, b = sets.new(3), sets.new(3)
        >>> sets.join(a, b)
        >>> bool((sets.find(a) == sets.find(b)).all())
        True
    """

    def __init__(self) -> None:
        self._parent = [LOCKED]

    def __len__(self) -> int:
        return len(self._parent)

    def new(self, count: int) -> Labels:
        """So many labels that nothing is joined with."""
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        return np.arange(start, start + count)

    def join(self, a: Labels, b: Labels) -> None:
        """Joins a[i] with b[i] for all i; the arrays are equally long."""
        for left, right in zip(a.tolist(), b.tolist(), strict=True):
            self._unite(left, right)

    def join_all(self, labels: Labels) -> None:
        """Makes one set of all labels."""
        for label in labels.tolist()[1:]:
            self._unite(int(labels[0]), label)

    def lock(self, labels: Labels) -> None:
        """Joins all labels with :data:`LOCKED`."""
        for label in labels.tolist():
            self._unite(LOCKED, label)

    def find(self, labels: Labels) -> Labels:
        """One label for each set: the smallest in it."""
        return np.array([self._root(label) for label in labels.tolist()], np.int64)

    def _unite(self, a: int, b: int) -> None:
        a, b = self._root(a), self._root(b)
        self._parent[max(a, b)] = min(a, b)

    def _root(self, label: int) -> int:
        parent = self._parent
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = parent[label]
        return label
