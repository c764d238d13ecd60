"""The nodes that compute a view of a value which is not the value itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.graph.ir import (
    ChannelShuffle,
    Conv2d,
    Flatten,
    Gather,
    MaxPool2d,
    Op,
    Rearrange,
    Reshape,
    Resize,
    Slice,
)
from wbcq.graph.layouts import (
    Crop,
    Layout,
    as_crop,
    channel_indices,
    is_expanded,
    is_whole,
    offset_of,
    shuffle_groups,
)

__all__ = ["Step", "Steps", "view_steps"]


@dataclass(frozen=True)
class Step:
    """A node.

    Attributes:
        op: The operator.
        sizes: Of its result, without the batch.
        window: Of a Conv2d that only chooses pixels.
        start: Row and column that it chooses in each window.
    """

    op: Op
    sizes: tuple[int, ...]
    window: tuple[int, int] = (1, 1)
    start: tuple[int, int] = (0, 0)

    @property
    def weight(self) -> npt.NDArray[np.float32] | None:
        """[C, 1, KH, KW] with a single one for each channel."""
        if not isinstance(self.op, Conv2d):
            return None
        weight = np.zeros((self.op.groups, 1, *self.window), np.float32)
        weight[:, :, self.start[0], self.start[1]] = 1.0
        return weight


Steps: TypeAlias = tuple[Step, ...]


def view_steps(
    layout: Layout, memory: Layout, *, any_shape: bool = False, hint: tuple[int, ...] = ()
) -> Steps:
    """What computes a view.

    Args:
        layout: The view.
        memory: The layout of the value: C, H, W or K.
        any_shape: The result may have another shape than the view, with the same elements in the
            same order.
        hint: The shape that it should rather have then.

    Returns:
        Nodes, each of which reads the result of the one before.
    """
    if is_whole(layout, memory):
        return () if any_shape else _relabel(memory.shape, layout.shape)
    if is_expanded(layout):
        pixel = view_steps(layout[:, :1, :1], memory)
        size = (layout.shape[1], layout.shape[2])
        return (*pixel, Step(Resize(size), layout.shape))
    channels = channel_indices(layout, memory)
    if channels is not None:
        step = _choose(channels, memory.shape)
        return (step,) if any_shape else (step, *_relabel(step.sizes, layout.shape))
    crop = as_crop(layout, memory)
    if crop is not None:
        return _cut(crop, memory.shape)
    # A value has one or three dimensions.
    shape = hint if any_shape and len(hint) in (1, 3) else layout.shape
    sizes = shape if len(shape) in (1, 3) else _as_picture(shape)
    op = Rearrange(sizes, layout.shape, layout.strides, offset_of(layout, memory))
    return (Step(op, sizes), *(() if any_shape else _relabel(sizes, layout.shape)))


def _as_picture(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Three dimensions of as many elements in the same order."""
    if len(sizes) < 3:
        return (*sizes, *[1] * (3 - len(sizes)))
    return (math.prod(sizes[:-2]), *sizes[-2:])


def _relabel(before: tuple[int, ...], after: tuple[int, ...]) -> Steps:
    if before == after:
        return ()
    return (Step(Flatten() if len(after) == 1 else Reshape(after), after),)


def _choose(channels: npt.NDArray[np.int64], sizes: tuple[int, ...]) -> Step:
    chosen = (len(channels), *sizes[1:])
    groups = shuffle_groups(channels, sizes[0])
    if groups is not None:
        return Step(ChannelShuffle(groups), chosen)
    start, stop = int(channels[0]), int(channels[-1]) + 1
    if np.array_equal(channels, np.arange(start, stop)):
        return Step(Slice(start, stop), chosen)
    return Step(Gather(tuple(int(channel) for channel in channels)), chosen)


def _cut(crop: Crop, sizes: tuple[int, ...]) -> Steps:
    """Every n-th pixel is a maximum over windows of one; what starts elsewhere, a convolution."""
    area = (sizes[0], *crop.size)
    # The smallest window that has the first pixel and as many positions as are wanted.
    window = [
        max(start + 1, size - out * step + 1)
        for size, start, step, out in zip(sizes[1:], crop.start, crop.steps, crop.size, strict=True)
    ]
    if window == [1, 1]:
        return (Step(MaxPool2d((1, 1), crop.steps), area),)
    op = Conv2d(crop.steps, groups=sizes[0])
    return (Step(op, area, (window[0], window[1]), crop.start),)
