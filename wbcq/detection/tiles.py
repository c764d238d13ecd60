"""Large pictures in overlapping windows, and one list of cells again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.detection.boxes import Detections, areas, intersections

__all__ = ["Window", "merge_windows", "windows"]

Mask: TypeAlias = npt.NDArray[np.bool_]

_NEAR = 2.0
"""A box that ends so many pixels from a window's border may go on beyond it."""

_INSIDE = 0.6
"""Share of a cut box that lies in another window's box of the same cell."""


@dataclass(frozen=True)
class Window:
    """A square part of a picture; it may reach beyond a picture that is smaller.

    Attributes:
        x, y: Upper left corner in the picture's pixels.
        size: Height and width.
    """

    x: int
    y: int
    size: int

    def cuts(self, boxes: npt.NDArray[np.float32], height: int, width: int) -> Mask:
        """Which boxes of this window may go on in the picture beyond the window's border.

        Args:
            boxes: float32 [N, 4] in the picture's pixels.
            height: Of the picture.
            width: Of the picture.
        """
        mask: Mask = np.zeros(len(boxes), np.bool_)
        for axis, start, extent in ((0, self.x, width), (1, self.y, height)):
            if start > 0:
                mask |= boxes[:, axis] <= start + _NEAR
            if start + self.size < extent:
                mask |= boxes[:, 2 + axis] >= start + self.size - _NEAR
        return mask


def windows(height: int, width: int, size: int, overlap: int) -> list[Window]:
    """Evenly spread windows that cover a picture.

    Args:
        height: Of the picture.
        width: Of the picture.
        size: Of a window.
        overlap: Least number of pixels that neighbours share. What is no larger lies in one window
            as a whole.

    Returns:
        Row by row; a single one where the picture is no larger than a window.

    Raises:
        ValueError: The picture has no pixels, or ``overlap`` is not in 0..size - 1.

    Example:
        >>> [window.x for window in windows(400, 1000, 512, 128)]
        [0, 244, 488]
    """
    if height < 1 or width < 1:
        raise ValueError(f"a picture of {height}x{width} pixels has no windows")
    if not 0 <= overlap < size:
        raise ValueError(f"overlap is {overlap}; use 0 to {size - 1} for windows of {size} pixels")
    ys, xs = (_starts(extent, size, overlap) for extent in (height, width))
    return [Window(x, y, size) for y in ys for x in xs]


def _starts(extent: int, size: int, overlap: int) -> list[int]:
    if extent <= size:
        return [0]
    steps = math.ceil((extent - size) / (size - overlap))
    return [(extent - size) * step // steps for step in range(steps + 1)]


def merge_windows(
    parts: Sequence[Detections],
    places: Sequence[Window],
    height: int,
    width: int,
    overlap: float = 0.45,
    *,
    across_classes: bool = False,
) -> Detections:
    """One list of the cells of all windows, each cell once.

    A cell in the overlap of two windows is found in both, and where a border cuts it, as a smaller
    box in one. Whole boxes come first, then better scores; a box is dropped if it overlaps with one
    that is kept from another window, or is cut and lies mostly inside it. Boxes of one window are
    left as they are.

    Args:
        parts: For each window its cells after suppression, boxes in the window's pixels.
        places: The windows.
        height: Of the picture.
        width: Of the picture.
        overlap: Intersection over union above which two boxes are one cell.
        across_classes: Whether boxes of different classes may be one cell.

    Returns:
        Boxes in the picture's pixels and cut at its border, the best score first.
    """
    moved = [part.moved(window.x, window.y) for part, window in zip(parts, places, strict=True)]
    cut = [
        window.cuts(part.boxes, height, width) for part, window in zip(moved, places, strict=True)
    ]
    source = np.repeat(np.arange(len(moved)), [len(part) for part in moved])
    rest = Detections.concatenate(moved)
    is_cut = np.concatenate(cut) if cut else np.empty(0, np.bool_)
    order = np.lexsort((-rest.scores, is_cut))
    rest, is_cut, source = rest[order], is_cut[order], source[order]
    kept = []
    while len(rest):
        kept.append(rest[:1])
        again = (source != source[0]) & _is_same(rest, is_cut, overlap)
        if not across_classes:
            again &= rest.classes == rest.classes[0]
        again[0] = True
        rest, is_cut, source = rest[~again], is_cut[~again], source[~again]
    found = Detections.concatenate(kept).clipped(height, width)
    return found[np.argsort(-found.scores, kind="stable")]


def _is_same(rest: Detections, is_cut: Mask, overlap: float) -> Mask:
    """Which boxes show the cell of the first one."""
    common = intersections(rest.boxes[:1], rest.boxes)[0]
    area = areas(rest.boxes)
    over: Mask = common > overlap * (area[0] + area - common)
    inside: Mask = is_cut & (common > _INSIDE * area)
    return over | inside
