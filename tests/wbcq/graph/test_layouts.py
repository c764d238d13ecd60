"""What views are recognized: against an array that knows where each element came from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbcq.graph.ir import (
    ChannelShuffle,
    Conv2d,
    Flatten,
    Gather,
    MaxPool2d,
    Rearrange,
    Reshape,
    Resize,
    Slice,
)
from wbcq.graph.layouts import (
    as_crop,
    channel_indices,
    is_expanded,
    is_whole,
    new_layout,
    shuffle_groups,
)
from wbcq.graph.views import Step, view_steps


def views(rearrange: Any, sizes: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """The layout of a view, its memory, and for each element of the view its index in memory."""
    memory = new_layout(sizes)
    numbers = np.arange(memory.size).reshape(sizes)
    return rearrange(memory), memory, rearrange(numbers)


@st.composite
def rearrangements(draw: st.DrawFn) -> Any:
    """A chain of indexing, transposing and reshaping that never needs a copy."""
    sizes = (
        draw(st.integers(1, 4)) * draw(st.sampled_from([1, 2, 3])),
        draw(st.integers(1, 5)),
        draw(st.integers(1, 5)),
    )
    steps: list[Any] = []
    probe = new_layout(sizes)
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["slice", "swap", "split", "flip", "flat"]))
        axis = draw(st.integers(0, probe.ndim - 1))
        size = probe.shape[axis]
        if kind == "slice":
            start = draw(st.integers(0, size - 1))
            stop = draw(st.integers(start + 1, size))
            step = draw(st.integers(1, 2))
            index = (*[slice(None)] * axis, slice(start, stop, step))
            steps.append(lambda x, index=index: x[index])
        elif kind == "swap":
            other = draw(st.integers(0, probe.ndim - 1))
            steps.append(lambda x, a=axis, b=other: x.swapaxes(a, b))
        elif kind == "flip":
            steps.append(lambda x, axis=axis: np.flip(x, axis))
        elif kind == "split" and size % 2 == 0 and probe.ndim < 5:
            shape = (*probe.shape[:axis], 2, size // 2, *probe.shape[axis + 1 :])
            steps.append(lambda x, shape=shape: x.reshape(shape))
        elif kind == "flat" and probe.flags.c_contiguous:
            steps.append(lambda x: x.reshape(-1))
        else:
            continue
        probe = steps[-1](probe)

    def rearrange(x: Any) -> Any:
        for step in steps:
            x = step(x)
        return x

    return rearrange, sizes


@given(rearrangements())
def test_channel_indices_are_right_where_found(drawn: Any) -> None:
    layout, memory, numbers = views(*drawn)
    found = channel_indices(layout, memory)
    pixels = int(np.prod(memory.shape[1:]))
    blocks = numbers.reshape(-1, pixels) if numbers.size % pixels == 0 else None
    if found is not None:
        assert blocks is not None
        expected = found[:, None] * pixels + np.arange(pixels)
        np.testing.assert_array_equal(blocks, expected)
    elif blocks is not None and numbers.ndim == 3 and numbers.shape[1:] == memory.shape[1:]:
        starts = blocks[:, :1]
        is_choice = (
            np.array_equal(blocks, starts + np.arange(pixels)) and not (starts % pixels).any()
        )
        assert not is_choice, "a choice of channels was not seen"


@given(rearrangements())
def test_crops_are_right_where_found(drawn: Any) -> None:
    layout, memory, numbers = views(*drawn)
    crop = as_crop(layout, memory)
    if crop is None:
        return
    original = np.arange(memory.size).reshape(memory.shape)
    rows, columns = (
        slice(start, start + (size - 1) * step + 1, step)
        for start, step, size in zip(crop.start, crop.steps, crop.size, strict=True)
    )
    np.testing.assert_array_equal(original[:, rows, columns], numbers)


@given(rearrangements())
def test_whole_views_have_all_elements_in_order(drawn: Any) -> None:
    layout, memory, numbers = views(*drawn)
    assert is_whole(layout, memory) == np.array_equal(numbers.ravel(), np.arange(memory.size))


@pytest.mark.parametrize(
    ("rearrange", "steps"),
    [
        (lambda x: x, ()),
        (lambda x: x.reshape(-1), (Step(Flatten(), (72,)),)),
        (lambda x: x.reshape(8, 9), (Step(Reshape((8, 9)), (8, 9)),)),
        (lambda x: x[2:5], (Step(Slice(2, 5), (3, 3, 3)),)),
        (lambda x: x[3], (Step(Slice(3, 4), (1, 3, 3)), Step(Reshape((3, 3)), (3, 3)))),
        (lambda x: x[::2], (Step(Gather((0, 2, 4, 6)), (4, 3, 3)),)),
        (lambda x: x[::-1][:2], (Step(Gather((7, 6)), (2, 3, 3)),)),
        (lambda x: x[:, ::2, ::2], (Step(MaxPool2d((1, 1), (2, 2)), (8, 2, 2)),)),
        (
            lambda x: x[:, 1:, :2],
            (Step(Conv2d(groups=8), (8, 2, 2), window=(2, 2), start=(1, 0)),),
        ),
        (
            lambda x: x.swapaxes(1, 2),
            (Step(Rearrange((8, 3, 3), (8, 3, 3), (9, 1, 3)), (8, 3, 3)),),
        ),
        (
            lambda x: x[:4, 1:],
            (Step(Rearrange((4, 2, 3), (4, 2, 3), (9, 3, 1), 3), (4, 2, 3)),),
        ),
        (
            lambda x: x.swapaxes(0, 1)[1],
            (
                Step(Rearrange((8, 3, 1), (8, 3), (9, 1), 3), (8, 3, 1)),
                Step(Reshape((8, 3)), (8, 3)),
            ),
        ),
    ],
)
def test_nodes_of_views(rearrange: Any, steps: Any) -> None:
    memory = new_layout((8, 3, 3))
    assert view_steps(rearrange(memory), memory) == steps


def test_a_copied_shuffle() -> None:
    memory = new_layout((8, 3, 3))
    layout = memory.reshape(4, 2, 3, 3).swapaxes(0, 1)
    steps = view_steps(layout, memory, any_shape=True)
    assert steps == (Step(ChannelShuffle(4), (8, 3, 3)),)


def test_expanded_pixels() -> None:
    memory = new_layout((4, 1, 1))
    layout = np.broadcast_to(memory, (4, 5, 6))
    assert is_expanded(layout)
    assert view_steps(layout, memory) == (Step(Resize((5, 6)), (4, 5, 6)),)
    assert not is_expanded(memory)


@pytest.mark.parametrize(("groups", "count"), [(2, 4), (2, 116), (3, 12), (4, 8), (58, 116)])
def test_shuffles_are_recognized(groups: int, count: int) -> None:
    channels = np.arange(count).reshape(groups, -1).T.ravel()
    assert shuffle_groups(channels, count) == groups
    channels[[-1, -2]] = channels[[-2, -1]]
    assert shuffle_groups(channels, count) is None


def test_the_window_that_crops() -> None:
    weight = Step(Conv2d(groups=2), (2, 1, 1), window=(2, 3), start=(1, 0)).weight
    assert weight is not None
    assert weight.shape == (2, 1, 2, 3)
    assert weight.sum() == 2
    assert (weight[:, 0, 1, 0] == 1).all()
