"""What can be removed: sets of channels that go together, and what they cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from wbcq.graph import ir
from wbcq.pruning.channels.dependencies import Dependencies
from wbcq.pruning.channels.labels import LOCKED, Labels
from wbcq.pruning.channels.rewrite import Kept

__all__ = ["Costs", "Family", "channels_removed", "families", "label_count", "layers_of"]


@dataclass(frozen=True)
class Family:
    """Sets of channels that run through the same values, of which at least one must stay.

    Attributes:
        labels: One for each set.
        rows: For each weight that computes such channels, how many rows each set has.
        layers: The names of their layers.
    """

    labels: Labels
    rows: tuple[tuple[str, int], ...]
    layers: tuple[str, ...]

    @property
    def width(self) -> int:
        """The number of channels that one set takes from a layer (the widest, if they differ)."""
        return max(count for _, count in self.rows)

    @property
    def channels(self) -> int:
        """The number of channels in all."""
        return len(self.labels) * sum(count for _, count in self.rows)


def label_count(deps: Dependencies) -> int:
    """One more than the largest label."""
    return 1 + max(int(labels.max()) for labels in (*deps.values.values(), *deps.axes.values()))


def layers_of(graph: ir.Graph) -> dict[str, ir.Node]:
    """Weights of convolutions and linear layers, and the first node that uses each."""
    found: dict[str, ir.Node] = {}
    for node in graph:
        if isinstance(node.op, (ir.Conv2d, ir.Linear)):
            found.setdefault(node.params["weight"], node)
    return found


def families(deps: Dependencies, skip: Collection[str] = ()) -> tuple[Family, ...]:
    """All that can be removed.

    Args:
        deps: Of the network.
        skip: Names of layers whose outputs stay as they are.

    Returns:
        In the order of the network; a set whose channels no layer computes is in none, nor are
        sets without which nothing would be left.
    """
    layers = layers_of(deps.graph)
    places: defaultdict[int, set[str]] = defaultdict(set)
    for name, labels in deps.values.items():
        for label in np.unique(labels).tolist():
            places[label].add(name)
    rows: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for (param, axis), labels in deps.axes.items():
        if axis == 0 and param in layers:
            for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
                rows[int(label)][param] = int(count)
    skipped = {
        label
        for (param, axis), labels in deps.axes.items()
        if axis == 0 and param in layers and layers[param].name in skip
        for label in labels.tolist()
    }
    members: defaultdict[tuple[frozenset[str], tuple[tuple[str, int], ...]], list[int]] = (
        defaultdict(list)
    )
    for label in sorted(rows):
        if label != LOCKED and label not in skipped:
            members[frozenset(places[label]), tuple(rows[label].items())].append(label)
    return tuple(
        Family(np.array(labels, np.int64), key, tuple(layers[param].name for param, _ in key))
        for (_, key), labels in members.items()
        if len(labels) > 1
    )


class Costs:
    """Multiplications of a network without some of its channels."""

    def __init__(self, deps: Dependencies) -> None:
        self._layers: list[tuple[int, Labels, Labels, int]] = []
        for node in deps.graph:
            if not isinstance(node.op, (ir.Conv2d, ir.Linear)):
                continue
            weight = deps.graph.params[node.params["weight"]]
            pixels = [size or 0 for size in deps.graph.values[node.output].shape[2:]]
            groups = node.op.groups if isinstance(node.op, ir.Conv2d) else 1
            area = int(np.prod([*pixels, *weight.shape[2:]]))
            rows, columns = deps.values[node.output], deps.values[node.inputs[0]]
            # Groups that stay are as wide as they were.
            self._layers.append((area, rows, columns, groups))

    def macs(self, kept: Kept | None = None) -> int:
        """Multiply-accumulates of one picture; of the whole network if ``kept`` is None."""
        total = 0
        for area, rows, columns, groups in self._layers:
            outputs = len(rows) if kept is None else int(kept[rows].sum())
            inputs = len(columns) // groups
            if groups == 1 and kept is not None:
                inputs = int(kept[columns].sum())
            total += area * outputs * inputs
        return total


def channels_removed(found: Collection[Family], kept: Kept) -> int:
    """How many channels of layers go."""
    return sum(
        int((~kept[family.labels]).sum()) * family.channels // len(family.labels)
        for family in found
    )
