"""Blocks, tails, N:M, and what is pruned of them."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from wbcq.errors import PruningError
from wbcq.pruning.allocation import global_masks, local_mask
from wbcq.pruning.patterns import Pattern

_shapes = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3), st.integers(1, 3)).map(
    torch.Size
)
_blocks = st.sampled_from(["unstructured", "1x4", "2x4", "4x4", "3x2"]).map(Pattern.parse)
_shares = st.floats(0, 1, exclude_max=True)
_seeds = st.integers(0, 2**32 - 1)


def _scores(shape: torch.Size, seed: int, *, ties: bool = False) -> torch.Tensor:
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 3, shape) if ties else generator.random(shape)
    return torch.from_numpy(np.asarray(values, np.float64))


def _each_block(pattern: Pattern, shape: torch.Size) -> list[tuple[slice, slice, int, int]]:
    """Blocks as the issue defines them, one after another: the reference."""
    return [
        (slice(o, o + pattern.outputs), slice(i, i + pattern.inputs), y, x)
        for o in range(0, shape[0], pattern.outputs)
        for i in range(0, shape[1], pattern.inputs)
        for y in range(shape[2])
        for x in range(shape[3])
    ]


@given(_shapes, _blocks, _seeds)
def test_sums_and_sizes_are_those_of_each_block(
    shape: torch.Size, pattern: Pattern, seed: int
) -> None:
    scores = _scores(shape, seed)
    blocks = _each_block(pattern, shape)
    sums = pattern.block_sums(scores).ravel()
    assert sums.tolist() == pytest.approx([float(scores[block].sum()) for block in blocks])
    sizes = pattern.block_sizes(shape).ravel().tolist()
    assert sizes == [scores[block].numel() for block in blocks]
    numbers = torch.arange(len(blocks)).reshape(pattern.block_sizes(shape).shape)
    spread = pattern.spread(numbers, shape)
    assert all(bool((spread[block] == n).all()) for n, block in enumerate(blocks))


@given(_shapes, _blocks, _shares, _seeds, st.booleans())
def test_local_masks_prune_whole_blocks_of_the_least_scores_as_many_as_asked(
    shape: torch.Size, pattern: Pattern, share: float, seed: int, ties: bool
) -> None:
    scores = _scores(shape, seed, ties=ties)
    mask = local_mask(scores, share, pattern)
    assert mask.shape == shape
    asked = min(math.floor(share * mask.numel() + 1e-6), mask.numel() - 1)
    pruned = int((~mask).sum())
    largest = int(pattern.block_sizes(shape).max())
    assert asked - largest < pruned <= asked
    assert mask.any()
    kept, gone = [], []
    for block in _each_block(pattern, shape):
        assert len(set(mask[block].ravel().tolist())) == 1, "a block is pruned as a whole"
        (kept if bool(mask[block].all()) else gone).append(float(scores[block].mean()))
    assert max(gone, default=0) <= min(kept) + 1e-12


@given(st.lists(_shapes, min_size=1, max_size=4), _blocks, _shares, _seeds)
def test_global_masks_prune_the_least_of_all_and_leave_every_layer_its_floor(
    shapes: list[torch.Size], pattern: Pattern, share: float, seed: int
) -> None:
    # Later layers matter more, so that the first ones would lose everything.
    scores = {str(n): _scores(shape, seed + n) + n for n, shape in enumerate(shapes)}
    floor = 0.1
    total = sum(shape.numel() for shape in shapes)
    largest = max(int(pattern.block_sizes(shape).max()) for shape in shapes)
    if share > 0.9 - 2 * largest * len(shapes) / total:  # perhaps more than floors leave
        with contextlib.suppress(PruningError):
            global_masks(scores, share, pattern, floor)
        return
    masks = global_masks(scores, share, pattern, floor)
    zeros = sum(int((~mask).sum()) for mask in masks.values())
    asked = math.floor(share * total + 1e-6)
    assert asked - largest < zeros <= asked
    for mask in masks.values():
        assert int(mask.sum()) >= max(1, math.ceil(floor * mask.numel()))


def test_global_masks_are_those_of_one_sorted_list() -> None:
    scores = {"a": torch.tensor([[1.0, 5.0], [3.0, 2.0]]), "b": torch.tensor([[0.5, 9.0]])}
    masks = global_masks(scores, 0.5, Pattern.parse("unstructured"), floor=0.0)
    assert masks["a"].tolist() == [[False, True], [True, False]]
    assert masks["b"].tolist() == [[False, True]]


@given(_shapes, st.sampled_from(["1:4", "2:4", "3:4", "1:2"]).map(Pattern.parse), _seeds)
def test_n_of_m_keeps_the_best_n_of_each_m(shape: torch.Size, pattern: Pattern, seed: int) -> None:
    scores = _scores(shape, seed)
    mask = local_mask(scores, 0.0, pattern)
    for o in range(shape[0]):
        for i, y, x in np.ndindex(-(-shape[1] // pattern.inputs), shape[2], shape[3]):
            piece = (o, slice(i * pattern.inputs, (i + 1) * pattern.inputs), y, x)
            group, kept = scores[piece], mask[piece]
            assert int(kept.sum()) == min(pattern.kept, len(group))
            if bool((~kept).any()):
                assert float(group[kept].min()) >= float(group[~kept].max())


@pytest.mark.parametrize("name", ["", "4", "0x4", "1x", "4:4", "4:2", "1 x 4", "unstructured2"])
def test_unknown_patterns_are_refused(name: str) -> None:
    with pytest.raises(PruningError, match="use 'unstructured', blocks"):
        Pattern.parse(name)


@pytest.mark.parametrize(
    ("layer", "pattern", "reason"),
    [
        (nn.Conv2d(3, 8, 3), "1x4", "3 input channels of an output, 1x4 needs 4"),
        (nn.Conv2d(8, 8, 3, groups=8), "1x4", "1 input channel of an output, 1x4 needs 4"),
        (nn.Conv2d(8, 8, 3, groups=8), "2:4", "1 input channel of an output, 2:4 needs 4"),
        (nn.Linear(16, 2), "4x4", "2 outputs, no blocks of 4"),
        (nn.Conv2d(12, 18, 1, groups=3), "4x4", "6 outputs of a group, no blocks of 4"),
        (nn.Conv2d(12, 18, 1, groups=3), "2x4", ""),
        (nn.Conv2d(6, 5, 3), "4x4", ""),
        (nn.Conv2d(8, 8, 3, groups=8), "unstructured", ""),
    ],
)
def test_misfits_are_explained(layer: nn.Module, pattern: str, reason: str) -> None:
    assert Pattern.parse(pattern).misfit(layer) == reason
