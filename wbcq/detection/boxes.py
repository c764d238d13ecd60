"""Boxes of cells, how much they overlap, and which of overlapping ones stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Detections", "intersections", "iou", "nms"]

Boxes: TypeAlias = npt.NDArray[np.float32]
Numbers: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Detections:
    """Cells found in one picture.

    Attributes:
        boxes: float32 [N, 4]: x1, y1, x2, y2 in pixels; x to the right, y down, 0 at the picture's
            upper left corner, so that a box of a whole picture is 0, 0, width, height.
        scores: float32 [N], 0 to 1.
        classes: int64 [N].

    Raises:
        ValueError: Shapes or dtypes are others.

    Example:
        >>> Detections.empty()
        Detections(0 cells)
    """

    boxes: Boxes
    scores: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        count = len(self.scores)
        for name, array, shape, dtype in (
            ("boxes", self.boxes, (count, 4), np.float32),
            ("scores", self.scores, (count,), np.float32),
            ("classes", self.classes, (count,), np.int64),
        ):
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(
                    f"{name} is {array.dtype} {list(array.shape)}, must be "
                    f"{np.dtype(dtype)} {list(shape)}"
                )

    @staticmethod
    def empty() -> Detections:
        """No cells."""
        return Detections(
            np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64)
        )

    @staticmethod
    def concatenate(parts: Sequence[Detections]) -> Detections:
        """All of several, in their order."""
        if not parts:
            return Detections.empty()
        return Detections(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.classes for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: npt.NDArray[Any] | slice) -> Detections:
        """Some of them, by a mask, indices or a slice."""
        return Detections(self.boxes[index], self.scores[index], self.classes[index])

    def __repr__(self) -> str:
        return f"Detections({len(self)} cells)"

    def moved(self, x: float, y: float) -> Detections:
        """The same cells with boxes shifted by so many pixels."""
        offset = np.array([x, y, x, y], np.float32)
        return Detections(self.boxes + offset, self.scores, self.classes)

    def clipped(self, height: int, width: int) -> Detections:
        """Boxes cut at the picture's border; those wholly outside are left out."""
        limits = np.array([width, height, width, height], np.float32)
        boxes = np.minimum(np.maximum(self.boxes, np.float32(0)), limits)
        inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return Detections(boxes, self.scores, self.classes)[inside]


def intersections(first: Boxes, second: Boxes) -> Numbers:
    """Common area of each box of one set with each of another.

    Args:
        first: float32 [N, 4].
        second: float32 [M, 4].

    Returns:
        float64 [N, M] in square pixels.
    """
    a, b = first.astype(np.float64)[:, None], second.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    sides = np.maximum(sides, 0)
    area: Numbers = sides[..., 0] * sides[..., 1]
    return area


def areas(boxes: Boxes) -> Numbers:
    """float64 [N] in square pixels; 0 for a box without extent."""
    sides = np.maximum(boxes[:, 2:].astype(np.float64) - boxes[:, :2], 0)
    area: Numbers = sides[:, 0] * sides[:, 1]
    return area


def iou(first: Boxes, second: Boxes) -> Numbers:
    """Intersection over union of each box of one set with each of another.

    Args:
        first: float32 [N, 4].
        second: float32 [M, 4].

    Returns:
        float64 [N, M], 0 to 1; 0 where both boxes have no extent.

    Example:
        >>> import numpy as np
        >>> boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2]], np.float32)
        >>> iou(boxes[:1], boxes).round(3).tolist()
        [[1.0, 0.333]]
    """
    common = intersections(first, second)
    union = areas(first)[:, None] + areas(second)[None] - common
    ratio: Numbers = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return ratio


def nms(
    detections: Detections, overlap: float = 0.45, *, across_classes: bool = False
) -> Detections:
    """Greedy non-maximum suppression: of overlapping boxes the one with the best score stays.

    Args:
        detections: Of one picture.
        overlap: Intersection over union above which two boxes are one cell.
        across_classes: Whether boxes of different classes suppress each other too, as they must
            where each cell is counted once.

    Returns:
        What stays, the best score first; equal scores in the order given.

    Raises:
        ValueError: ``overlap`` is not in 0..1.
    """
    if not 0 <= overlap <= 1:
        raise ValueError(f"overlap is {overlap}; use an intersection over union of 0 to 1")
    rest = detections[np.argsort(-detections.scores, kind="stable")]
    kept = []
    while len(rest):
        kept.append(rest[:1])
        again = iou(rest.boxes[:1], rest.boxes)[0] > overlap
        if not across_classes:
            again &= rest.classes == rest.classes[0]
        again[0] = True
        rest = rest[~again]
    return Detections.concatenate(kept)
