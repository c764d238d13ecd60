"""Weights of ShuffleNetV2 in the layout of its authors, for the one of :mod:`wbcq.models`.

In the authors' code a block begins with the channel shuffle: even channels pass by, odd ones go
through the branch. Here, as in torchvision, a block ends with it: of its input, the first half
passes by. Both are the same networks with their channels in other orders, worked out here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

__all__ = ["from_authors_layout", "is_authors_layout"]

_BLOCK = re.compile(r"stage(\d)\.(\d+)\.")


def is_authors_layout(state: Mapping[str, Tensor]) -> bool:
    """Whether names of parameters are those of the authors' code."""
    return "first_conv.0.weight" in state and "stage2.0.branch_main.0.weight" in state


def from_authors_layout(state: Mapping[str, Tensor], *, bgr: bool = True) -> dict[str, Tensor]:
    """Renames and reorders the stem and the stages.

    Args:
        state: In the authors' layout; what is no stem or stage is left out.
        bgr: The network was trained on pictures in the order blue, green, red, as OpenCV reads
            them; the result takes red, green, blue.

    Returns:
        Weights that compute the same features, in another order of channels.
    """
    moved = {
        name.replace("first_conv", "conv1"): tensor
        for name, tensor in state.items()
        if name.startswith("first_conv.")
    }
    if bgr:
        moved["conv1.0.weight"] = moved["conv1.0.weight"].flip(1)
    order = list(range(len(moved["conv1.0.weight"])))
    for stage in (2, 3, 4):
        found = (_BLOCK.match(name) for name in state)
        depth = 1 + max(int(m[2]) for m in found if m and int(m[1]) == stage)
        blocks = [_block(state, f"stage{stage}.{index}.") for index in range(depth)]
        order = _move_stage(f"stage{stage}.", blocks, order, moved)
    return moved


def _block(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}


def _move_stage(
    prefix: str,
    blocks: Sequence[Mapping[str, Tensor]],
    order: list[int],
    moved: dict[str, Tensor],
) -> list[int]:
    """Adds a stage's weights to ``moved``.

    ``order`` tells which channel of the authors' each of our channels is, of the stage's input;
    returned is the same of its output.
    """
    width = len(blocks[0]["branch_main.6.weight"])
    depth = len(blocks)
    for index, block in enumerate(blocks):
        # Slots of equal fate (when a later block reads them) stand for each other.
        ours = _ranked([_our_fate(2 * slot + 1, width, depth - index) for slot in range(width)])
        theirs = _ranked([_their_fate(width + i, width, depth - index) for i in range(width)])
        produced = [0] * width
        for slot, source in zip(ours, theirs, strict=True):
            produced[slot] = source
        if index == 0:
            passed = [0] * width
            ours = _ranked([_our_fate(2 * slot, width, depth) for slot in range(width)])
            theirs = _ranked([_their_fate(i, width, depth) for i in range(width)])
            for slot, source in zip(ours, theirs, strict=True):
                passed[slot] = source
            read = order
            _move_branch(block, "branch_proj", f"{prefix}0.branch1", moved, depthwise_first=read)
            _reorder(moved, f"{prefix}0.branch1", 2, 3, passed)
        else:
            # Of the authors' channels 2 i pass to i; 2 i + 1 are read as i.
            passed = [channel // 2 for channel in order[:width]]
            read = [channel // 2 for channel in order[width:]]
        name = f"{prefix}{index}.branch2"
        _move_branch(block, "branch_main", name, moved, inputs=read)
        _reorder(moved, name, 5, 6, produced)
        halves = zip(passed, (width + channel for channel in produced), strict=True)
        order = [channel for pair in halves for channel in pair]
    return order


def _move_branch(
    block: Mapping[str, Tensor],
    theirs: str,
    ours: str,
    moved: dict[str, Tensor],
    *,
    inputs: Sequence[int] = (),
    depthwise_first: Sequence[int] = (),
) -> None:
    """Copies a branch whose input's channels come in another order."""
    for name, tensor in block.items():
        if name.startswith(f"{theirs}."):
            moved[ours + name[len(theirs) :]] = tensor
    if inputs:
        key = f"{ours}.0.weight"
        moved[key] = moved[key][:, torch.tensor(inputs)]
    if depthwise_first:
        _reorder(moved, ours, 0, 1, depthwise_first)
        key = f"{ours}.2.weight"
        moved[key] = moved[key][:, torch.tensor(depthwise_first)]


def _reorder(
    moved: dict[str, Tensor], branch: str, conv: int, norm: int, order: Sequence[int]
) -> None:
    """Puts the outputs of a convolution and its normalization into another order."""
    index = torch.tensor(order)
    for name in moved:
        belongs = name == f"{branch}.{conv}.weight" or name.startswith(f"{branch}.{norm}.")
        if belongs and moved[name].ndim:
            moved[name] = moved[name][index]


def _ranked(fates: Sequence[int]) -> list[int]:
    return sorted(range(len(fates)), key=lambda slot: fates[slot])


def _our_fate(position: int, width: int, blocks: int) -> int:
    """How many blocks a channel passes by until one reads it; ``position`` is in a block's output.

    The first half of an input passes by, and the shuffle puts channel i of it at 2 i.
    """
    for passed in range(blocks - 1):
        if position >= width:
            return passed
        position *= 2
    return blocks


def _their_fate(position: int, width: int, blocks: int) -> int:
    """The same in the authors' code: even channels pass by, channel 2 i to i."""
    for passed in range(blocks - 1):
        if position % 2:
            return passed
        position //= 2
    return blocks
