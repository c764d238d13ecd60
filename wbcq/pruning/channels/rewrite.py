"""The graph of the smaller network, and whether another graph is the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.graph import ir
from wbcq.graph.layouts import shuffle_groups
from wbcq.pruning.channels.dependencies import Dependencies, channel_sources
from wbcq.pruning.channels.labels import Labels

__all__ = ["Kept", "is_same", "kept_indices", "shrunk_graph", "shrunk_param"]

Kept: TypeAlias = npt.NDArray[np.bool_]
"""For each label, whether its channels stay."""


def kept_indices(deps: Dependencies, kept: Kept) -> dict[str, dict[int, Labels]]:
    """For each parameter that shrinks, and each of its axes that does, the indices that stay."""
    found: dict[str, dict[int, Labels]] = {}
    for (param, axis), labels in deps.axes.items():
        if not kept[labels].all():
            found.setdefault(param, {})[axis] = np.flatnonzero(kept[labels])
    return found


def shrunk_param(
    array: npt.NDArray[np.float32], axes: Mapping[int, Labels]
) -> npt.NDArray[np.float32]:
    """The rows and columns that stay."""
    for axis, indices in axes.items():
        array = array.take(indices, axis)
    return array


def shrunk_graph(deps: Dependencies, kept: Kept) -> ir.Graph:
    """The network without the channels that go; the others keep their order.

    Args:
        deps: Of the network.
        kept: For each label.

    Returns:
        A graph with the same nodes, inputs, outputs and names.
    """
    graph, cuts = deps.graph, kept_indices(deps, kept)
    stays = {name: kept[labels] for name, labels in deps.values.items()}
    values = {}
    for name, value in graph.values.items():
        batch, _, *rest = value.shape
        values[name] = replace(value, shape=(batch, int(stays[name].sum()), *rest))
    nodes = tuple(
        replace(
            node,
            op=_shrunk_op(node.op, stays[node.inputs[0]], stays[node.output], values[node.output]),
        )
        for node in graph
    )
    params = {
        name: shrunk_param(array, cuts[name]) if name in cuts else array
        for name, array in graph.params.items()
    }
    return replace(graph, nodes=nodes, values=values, params=params)


def _shrunk_op(op: ir.Op, reads: Kept, computes: Kept, result: ir.Value) -> ir.Op:
    if isinstance(op, ir.Conv2d) and op.groups > 1:
        return replace(op, groups=op.groups * int(reads.sum()) // len(reads))
    if isinstance(op, ir.Normalize) and op.groups > 1:
        return replace(op, groups=op.groups * int(reads.sum()) // len(reads))
    if isinstance(op, ir.Reshape):
        return ir.Reshape(tuple(size or 0 for size in result.shape[1:]))
    sources = channel_sources(op, len(reads))
    if sources is None or (reads.all() and computes.all()):
        return op
    place = np.cumsum(reads) - 1
    return _chooses(place[sources[computes]], int(reads.sum()))


def _chooses(channels: Labels, count: int) -> ir.Op:
    start = int(channels[0])
    if np.array_equal(channels, np.arange(start, start + len(channels))):
        return ir.Slice(start, start + len(channels))
    groups = shuffle_groups(channels, count)
    if groups is not None:
        return ir.ChannelShuffle(groups)
    return ir.Gather(tuple(int(channel) for channel in channels))


def is_same(a: ir.Graph, b: ir.Graph) -> bool:
    """True if two graphs are the same network: nodes, names, shapes and parameters.

    Operators that choose channels are compared by what they choose.
    """
    if (a.inputs, a.outputs, len(a.nodes)) != (b.inputs, b.outputs, len(b.nodes)):
        return False
    if {k: v.shape for k, v in a.values.items()} != {k: v.shape for k, v in b.values.items()}:
        return False
    for x, y in zip(a.nodes, b.nodes, strict=True):
        if (x.name, x.inputs, x.output, x.params) != (y.name, y.inputs, y.output, y.params):
            return False
        width = a.values[x.inputs[0]].shape[1] or 0
        chosen, also_chosen = channel_sources(x.op, width), channel_sources(y.op, width)
        if chosen is None or also_chosen is None:
            if x.op != y.op:
                return False
        elif not np.array_equal(chosen, also_chosen):
            return False
    return all(np.array_equal(array, b.params[name]) for name, array in a.params.items())
