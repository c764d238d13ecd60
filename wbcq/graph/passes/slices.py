"""Concatenation, splitting and shuffling of channels dissolve into the layers that read them.

The result of a Concat, Slice, ChannelShuffle or Gather is a list of channels of other values; these
operators only rewrite such lists. A dense convolution or linear layer reads a list as slices of
several values: the order of its weights' input channels is free, so each value is read in few
contiguous ranges, whatever the order of the list. A depthwise convolution reads a list in that
order too and computes its output in it; the list of its output says which channel is where. No
byte is moved, and every value keeps its own range.

Only what needs its operand in memory in a given order brings such an operator back, in its cheapest
form: a Slice, a Concat of slices, or, for an arbitrary order, a 1x1 convolution with ones.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from wbcq.graph.channel_lists import Channel, as_slices, by_source, pieces
from wbcq.graph.ir import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    ChannelShuffle,
    Clamp,
    Concat,
    Conv2d,
    Flatten,
    Gather,
    Graph,
    Linear,
    MaxPool2d,
    Node,
    Op,
    Pad,
    Resize,
    Slice,
    Unary,
    Value,
    residual,
)
from wbcq.graph.passes.param_store import ParamStore

__all__ = ["dissolve_channel_operators"]

_CHANNELWISE = (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    Clamp,
    MaxPool2d,
    Pad,
    Resize,
    Unary,
)
_MAX_PARTS = 8
"""A pool or function of a list is computed for each value of it by itself, up to so many."""


def dissolve_channel_operators(graph: Graph) -> Graph:
    """Removes Concat, Slice, ChannelShuffle and Gather as far as their readers allow.

    Args:
        graph: Folded and fused.

    Returns:
        An equivalent graph. Concat and Slice are left only before what needs memory (arithmetic,
        grouped convolutions, outputs of the graph); ChannelShuffle and Gather never are.
    """
    return _Dissolver(graph).graph()


class _Dissolver:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._store = ParamStore(graph)
        self._values = dict(graph.values)
        self._nodes: list[Node] = []
        self._names = {node.name for node in graph}
        self._lists: dict[str, list[Channel]] = {}
        """Values that are not computed, or whose channels are computed in another order."""
        self._in_memory: dict[str, str] = {}

    def graph(self) -> Graph:
        for node in self._graph:
            if isinstance(node.op, (Concat, Slice, ChannelShuffle, Gather)):
                self._lists[node.output] = self._rewritten(node, node.op)
            elif self._reads_list(node) and isinstance(node.op, (Conv2d, Linear)):
                self._layer(node, node.op)
            elif self._reads_list(node) and self._is_channelwise(node):
                self._channelwise(node)
            else:
                self._nodes.append(
                    replace(node, inputs=tuple(self._memory(name) for name in node.inputs))
                )
        outputs = tuple(self._memory(name) for name in self._graph.outputs)
        return self._graph.with_nodes(
            tuple(self._nodes), params=self._store.params, values=self._values, outputs=outputs
        )

    # Lists.

    def _reads_list(self, node: Node) -> bool:
        return any(name in self._lists for name in node.inputs)

    def _width(self, value: str) -> int:
        return self._values[value].shape[1] or 0

    def _channels(self, value: str) -> list[Channel]:
        if value in self._lists:
            return self._lists[value]
        return [(value, channel) for channel in range(self._width(value))]

    def _rewritten(self, node: Node, op: Op) -> list[Channel]:
        if isinstance(op, Concat):
            return [channel for name in node.inputs for channel in self._channels(name)]
        channels = self._channels(node.inputs[0])
        if isinstance(op, Slice):
            return channels[op.start : op.stop]
        if isinstance(op, Gather):
            return [channels[index] for index in op.channels]
        assert isinstance(op, ChannelShuffle)
        size = len(channels) // op.groups
        return [channels[g * size + i] for i in range(size) for g in range(op.groups)]

    # Layers.

    def _layer(self, node: Node, op: Conv2d | Linear) -> None:
        added = residual(node)
        tail = () if added is None else (self._memory(added),)
        channels = self._operand(node, op)
        if isinstance(op, Conv2d) and op.groups > 1:
            if len(channels) == op.groups and self._weight(node).shape[:2] == (op.groups, 1):
                self._depthwise(node, op, channels, tail)
                return
            if op.slices:
                raise ValueError(f"grouped convolution '{node.name}' reads several values")
            self._nodes.append(replace(node, inputs=(self._memory(node.inputs[0]), *tail)))
            return
        order = by_source(channels)
        weight = self._weight(node)
        # A channel that occurs twice is read once, with the sum of its weights.
        unique = list(dict.fromkeys(channels[i] for i in order))
        columns = np.zeros((weight.shape[0], len(unique), *weight.shape[2:]))
        position = {channel: index for index, channel in enumerate(unique)}
        for index, channel in enumerate(channels):
            columns[:, position[channel]] += weight[:, index]
        params = {**node.params, "weight": self._store.put(node, "weight", columns)}
        self._append_layer(node, op, unique, tail, params, node.output)

    def _depthwise(
        self, node: Node, op: Conv2d, channels: list[Channel], tail: tuple[str, ...]
    ) -> None:
        order = by_source(channels)
        natural, sorted_count = (
            len(pieces(listed)) for listed in (channels, [channels[i] for i in order])
        )
        if tail or natural <= sorted_count:
            order = list(range(len(channels)))
        params = dict(node.params)
        for role in ("weight", "bias"):
            array = self._store.get(node, role)
            if array is not None:
                params[role] = self._store.put(node, role, array[order])
        self._append_layer(node, op, [channels[i] for i in order], tail, params, node.output)
        if order != sorted(order):
            listed: list[Channel] = [(node.output, 0)] * len(order)
            for position, channel in enumerate(order):
                listed[channel] = (node.output, position)
            self._lists[node.output] = listed

    def _append_layer(
        self,
        node: Node,
        op: Conv2d | Linear,
        channels: list[Channel],
        tail: tuple[str, ...],
        params: dict[str, str],
        output: str,
    ) -> None:
        widths = {source: self._width(source) for source, _ in channels}
        operands, slices = as_slices(channels, widths)
        self._nodes.append(
            replace(
                node,
                op=replace(op, slices=slices),
                inputs=(*operands, *tail),
                params=params,
                output=output,
            )
        )

    def _operand(self, node: Node, op: Conv2d | Linear) -> list[Channel]:
        if not op.slices:
            return self._channels(node.inputs[0])
        found: list[Channel] = []
        for part in op.slices:
            found += self._channels(node.inputs[part.index])[part.start : part.stop]
        return found

    def _weight(self, node: Node) -> npt.NDArray[np.float64]:
        weight = self._store.get(node, "weight")
        assert weight is not None
        return weight

    # Operators that treat channels alike.

    def _is_channelwise(self, node: Node) -> bool:
        if isinstance(node.op, Flatten):
            return self._graph.values[node.inputs[0]].shape[2:] == (1, 1)
        return isinstance(node.op, _CHANNELWISE)

    def _channelwise(self, node: Node) -> None:
        """Computes the operator for each value of the list, or for the list in memory."""
        channels = self._channels(node.inputs[0])
        distinct = sorted(set(channels))
        parts = pieces(distinct)
        if len(parts) > _MAX_PARTS or len({part.source for part in parts}) < len(parts):
            self._nodes.append(replace(node, inputs=(self._memory(node.inputs[0]),)))
            return
        where: dict[Channel, Channel] = {}
        for index, part in enumerate(parts):
            listed = [(part.source, channel) for channel in range(part.start, part.stop)]
            name = node.name if len(parts) == 1 else self._unique_name(f"{node.name}.{index}")
            output = node.output
            if len(parts) > 1 or listed != channels:
                output = self._new_value(f"{node.output}.{index}", node.output, len(listed))
            source = self._contiguous(node, part.source, part.start, part.stop)
            self._nodes.append(replace(node, name=name, inputs=(source,), output=output))
            where.update({channel: (output, i) for i, channel in enumerate(listed)})
        if len(parts) > 1 or where[channels[0]][0] != node.output:
            self._lists[node.output] = [where[channel] for channel in channels]

    # Memory.

    def _memory(self, value: str) -> str:
        """The name of a value that has a list's channels in its order."""
        if value not in self._lists:
            return value
        if value not in self._in_memory:
            self._in_memory[value] = self._materialized(value)
        return self._in_memory[value]

    def _materialized(self, value: str) -> str:
        channels = self._lists[value]
        parts = pieces(channels)
        node = self._graph.producer(value)
        assert node is not None
        whole = parts[0]
        if len(parts) == 1 and whole.stop - whole.start == self._width(whole.source):
            return whole.source
        # Its own names may be those of the node or value whose channels are in another order.
        output, name = value, node.name
        if any(made.output == value for made in self._nodes):
            output = self._new_value(value, value, len(channels))
        if any(made.name == name for made in self._nodes):
            name = self._unique_name(name)
        made = Node(name, Concat(), (), output, {}, node.source)
        if len(parts) > 1 and len(parts) > max(_MAX_PARTS, len(channels) // 16):
            self._append_permutation(made, channels)
        elif len(parts) == 1:
            op = Slice(whole.start, whole.stop)
            self._nodes.append(replace(made, op=op, inputs=(whole.source,)))
        else:
            inputs = tuple(self._contiguous(node, p.source, p.start, p.stop) for p in parts)
            self._nodes.append(replace(made, inputs=inputs))
        return output

    def _append_permutation(self, made: Node, channels: list[Channel]) -> None:
        unique = [channels[i] for i in by_source(channels)]
        unique = list(dict.fromkeys(unique))
        position = {channel: index for index, channel in enumerate(unique)}
        weight = np.zeros((len(channels), len(unique)))
        weight[np.arange(len(channels)), [position[channel] for channel in channels]] = 1.0
        op: Conv2d | Linear = Linear()
        if len(self._values[made.output].shape) == 4:
            op, weight = Conv2d(), weight[:, :, None, None]
        params = {"weight": self._store.put(made, "weight", weight)}
        self._append_layer(made, op, unique, (), params, made.output)

    def _contiguous(self, node: Node, source: str, start: int, stop: int) -> str:
        """The name of a value that has a piece of another."""
        if (start, stop) == (0, self._width(source)):
            return source
        key = f"{source}[{start}:{stop}]"
        if key not in self._in_memory:
            name = self._unique_name(f"{source}.slice")
            output = self._new_value(name, source, stop - start)
            made = Node(name, Slice(start, stop), (source,), output, {}, node.source)
            self._nodes.append(made)
            self._in_memory[key] = output
        return self._in_memory[key]

    def _new_value(self, name: str, like: str, channels: int) -> str:
        while name in self._values:
            name += "'"
        shape = self._values[like].shape
        self._values[name] = Value(name, (None, channels, *shape[2:]))
        return name

    def _unique_name(self, name: str) -> str:
        while name in self._names:
            name += "'"
        self._names.add(name)
        return name
