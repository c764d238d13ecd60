"""How a view of a tensor arranges the elements of one picture. No torch here.

A layout is a numpy array of one byte for each element of the view. Only where its elements lie
matters, never what is in them: numpy's own indexing, transposing and reshaping compute the layout
of a view of a view, and untouched memory costs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "Crop",
    "Layout",
    "as_crop",
    "channel_indices",
    "is_expanded",
    "is_whole",
    "new_layout",
    "offset_of",
    "orders_all",
    "shuffle_groups",
]

Layout: TypeAlias = npt.NDArray[np.uint8]


def new_layout(sizes: tuple[int, ...]) -> Layout:
    """The layout of a new tensor: all elements in order."""
    return np.empty(sizes, np.uint8)


def is_whole(layout: Layout, memory: Layout) -> bool:
    """True if a view has all elements of the memory in their order; its shape may differ."""
    return (
        layout.size == memory.size
        and bool(layout.flags.c_contiguous)
        and offset_of(layout, memory) == 0
    )


def orders_all(layout: Layout, memory: Layout) -> bool:
    """True if a view has each element of the memory once, in whatever order of its dimensions."""
    sizes, strides = layout.shape, layout.strides
    rising = sorted((stride, size) for size, stride in zip(sizes, strides, strict=True) if size > 1)
    expected = 1
    for stride, size in rising:
        if stride != expected:
            return False
        expected *= size
    return expected == memory.size and offset_of(layout, memory) == 0


def is_expanded(layout: Layout) -> bool:
    """True if each channel consists of copies of one pixel."""
    return (
        layout.ndim == 3
        and layout.shape[1:] != (1, 1)
        and all(s == 0 or n == 1 for s, n in zip(layout.strides[1:], layout.shape[1:], strict=True))
    )


def channel_indices(layout: Layout, memory: Layout) -> npt.NDArray[np.int64] | None:
    """Which channels a view has, in its order.

    Args:
        layout: The view; its last dimensions are whole pictures in order, the ones before them, in
            whatever shape, choose channels.
        memory: C, H, W, or K, which has K channels of one pixel.

    Returns:
        Indices of channels; None if the view is something else.
    """
    pixels = math.prod(memory.shape[1:])
    split, contiguous = layout.ndim, 1
    while contiguous < pixels and split > 0:
        split -= 1
        if layout.shape[split] != 1 and layout.strides[split] != contiguous:
            return None
        contiguous *= layout.shape[split]
    if contiguous != pixels:
        return None
    offsets = np.full((), offset_of(layout, memory), np.int64)
    for size, stride in zip(layout.shape[:split], layout.strides[:split], strict=True):
        offsets = np.add.outer(offsets, stride * np.arange(size))
    channels, remainders = np.divmod(offsets.ravel(), pixels)
    return None if remainders.any() else channels


@dataclass(frozen=True)
class Crop:
    """Every ``steps``-th pixel of an area of all the channels.

    Attributes:
        start: First row and column.
        steps: Distance of rows and columns.
        size: Number of rows and columns.
    """

    start: tuple[int, int]
    steps: tuple[int, int]
    size: tuple[int, int]


def as_crop(layout: Layout, memory: Layout) -> Crop | None:
    """What part of each picture a view shows.

    Args:
        layout: The view.
        memory: C, H, W.

    Returns:
        None if the view does not have three dimensions, all channels, and pixels in rising order.
    """
    if layout.ndim != 3 or memory.ndim != 3 or layout.shape[0] != memory.shape[0]:
        return None
    _, height, width = memory.shape
    y, x = divmod(offset_of(layout, memory), width)
    # The stride along a dimension of one element says nothing.
    strides = [
        stride if size > 1 else default
        for stride, size, default in zip(
            layout.strides, layout.shape, (height * width, width, 1), strict=True
        )
    ]
    if strides[0] != height * width or strides[1] % width or min(strides) < 1:
        return None
    steps, size = (strides[1] // width, strides[2]), (layout.shape[1], layout.shape[2])
    ends = (y + (size[0] - 1) * steps[0], x + (size[1] - 1) * steps[1])
    return Crop((y, x), steps, size) if ends[0] < height and ends[1] < width else None


def shuffle_groups(channels: npt.NDArray[np.int64], count: int) -> int | None:
    """The number of groups if the indices are a channel shuffle of ``count`` channels."""
    if len(channels) != count or count < 4 or channels[0] != 0:
        return None
    groups, remainder = divmod(count, int(channels[1])) if channels[1] > 0 else (0, 1)
    if remainder or groups < 2 or groups == count:
        return None
    shuffled = np.arange(count).reshape(groups, -1).T.ravel()
    return groups if np.array_equal(channels, shuffled) else None


def offset_of(layout: Layout, memory: Layout) -> int:
    """Where the first element of a view lies."""
    return int(layout.__array_interface__["data"][0] - memory.__array_interface__["data"][0])
