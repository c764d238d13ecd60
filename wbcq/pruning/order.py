"""Which input channels lie side by side where the engine computes.

Channel shuffles, splits and concatenations dissolve into the layers that read them
(:mod:`wbcq.graph.passes.slices`): such a layer reads the channels of its weight in another order,
and a block of four that are neighbours in the module's weight is scattered there. Blocks are
therefore drawn in the engine's order. ShuffleNetV2 needs this; ResNet, for example, does not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from wbcq.graph.capture import capture
from wbcq.graph.ir import Conv2d, Flatten, Graph, Linear, Node
from wbcq.graph.passes.pipeline import fold_and_fuse
from wbcq.graph.passes.slices import dissolve_channel_operators

__all__ = ["input_blocks"]


def input_blocks(
    model: nn.Module, example: Tensor | Sequence[Tensor], size: int
) -> dict[str, Tensor]:
    """The block that each input channel of a layer is in, blocks as the engine can skip them.

    Args:
        model: Any module that :func:`wbcq.quantize` takes. It is not changed.
        example: A batch of its input, or of each of its inputs.
        size: Channels of a block; the last one of each value that a layer reads may be smaller.

    Returns:
        By layer name, int64 [inputs], numbered from 0. Layers that are missing have neighbouring
        channels in blocks: depthwise and grouped ones, and those that run more than once.

    Raises:
        CaptureError, UnsupportedOperatorError: As of :func:`wbcq.quantize`.

    Example:
        >>> shuffled = nn.Sequential(nn.ChannelShuffle(2), nn.Conv2d(8, 4, 1))
        >>> input_blocks(shuffled, torch.zeros(1, 8, 2, 2), 4)
        {'1': tensor([0, 1, 0, 1, 0, 1, 0, 1])}
    """
    inputs = (example,) if isinstance(example, Tensor) else tuple(example)
    graph = fold_and_fuse(capture(model, inputs))
    uses = Counter(name for node in graph for name in node.params.values())
    # In place of each weight the number of its input channel, which passes carry along.
    tagged = dict(graph.params)
    flattened: dict[str, int] = {}
    for node in graph:
        if _is_dense(node) and uses[node.params["weight"]] == 1:
            shape = graph.params[node.params["weight"]].shape
            tags = np.arange(shape[1], dtype=np.float32).reshape(1, -1, *(1,) * (len(shape) - 2))
            tagged[node.params["weight"]] = np.broadcast_to(tags, shape).copy()
            flattened[node.name] = _pixels(graph, node)
    dissolved = dissolve_channel_operators(graph.with_nodes(graph.nodes, params=tagged))
    found = {}
    for node in dissolved:
        if node.name in flattened and isinstance(node.op, Conv2d | Linear):
            weight = dissolved.params[node.params["weight"]]
            first_tap = weight.reshape(*weight.shape[:2], -1)[0, :, 0]
            order = np.asarray(first_tap, np.int64)
            runs = [part.size for part in node.op.slices] or [len(order)]
            blocks = _blocks(order, runs, size, flattened[node.name])
            if blocks is not None:
                found[node.name] = torch.from_numpy(blocks)
    return found


def _is_dense(node: Node) -> bool:
    return isinstance(node.op, Linear) or (isinstance(node.op, Conv2d) and node.op.groups == 1)


def _pixels(graph: Graph, node: Node) -> int:
    """Of the picture whose flattened elements a linear layer reads; the engine goes by pixels."""
    if isinstance(node.op, Linear):
        producer = graph.producer(node.inputs[0])
        if producer is not None and isinstance(producer.op, Flatten):
            return math.prod(size or 1 for size in graph.values[producer.inputs[0]].shape[2:])
    return 1


def _blocks(
    tags: npt.NDArray[np.int64], runs: Sequence[int], size: int, pixels: int
) -> npt.NDArray[np.int64] | None:
    """None where channels were joined: a channel that is read twice has one column."""
    if sum(runs) != len(tags) or len(set(tags.tolist())) != len(tags) or tags.max() >= len(tags):
        return None
    if pixels > 1:  # [channels, pixels]
        tags = tags.reshape(-1, pixels).T.ravel()
        runs = [len(tags) // pixels] * pixels
    numbers, first = [], 0
    for run in runs:
        numbers.append(first + np.arange(run) // size)
        first = int(numbers[-1][-1]) + 1
    blocks = np.empty(len(tags), np.int64)
    blocks[tags] = np.concatenate(numbers)
    return blocks
