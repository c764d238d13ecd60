"""Anchors of a data set: k-means over box sizes with distance 1 - IoU.

Redmon and Farhadi, "YOLO9000", 2017, section 2: Euclidean distance would favour large boxes.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["HeadAnchors", "head_anchors", "kmeans_anchors", "size_iou"]

Sizes: TypeAlias = npt.NDArray[np.float64]
HeadAnchors: TypeAlias = tuple[tuple[tuple[float, float], ...], ...]
"""For each head its anchors' widths and heights in pixels."""

_STEPS = 100


def size_iou(first: Sizes, second: Sizes) -> Sizes:
    """Intersection over union of boxes with a common middle, [N, M] of sizes [N, 2] and [M, 2]."""
    common = np.minimum(first[:, None], second[None]).prod(axis=2)
    union = first.prod(axis=1)[:, None] + second.prod(axis=1)[None] - common
    ratio: Sizes = common / union
    return ratio


def kmeans_anchors(sizes: npt.ArrayLike, count: int, *, seed: int = 0) -> Sizes:
    """Representative box sizes, the smallest area first.

    Args:
        sizes: Width and height of each box of the training pictures, [N, 2], above 0.
        count: How many anchors.
        seed: Of the first choice, which is as k-means++ makes it.

    Returns:
        float64 [count, 2]; each is the median of the boxes nearest to it. Where there are fewer
        different boxes than anchors, some repeat at other scales.

    Raises:
        ValueError: No boxes, or one without area.

    Example:
        >>> sizes = [(10, 10), (11, 10), (40, 20), (41, 20), (42, 20)]
        >>> kmeans_anchors(sizes, 2).tolist()
        [[10.5, 10.0], [41.0, 20.0]]
    """
    boxes = np.asarray(sizes, np.float64).reshape(-1, 2)
    if count < 1 or not len(boxes) or not (boxes > 0).all():
        raise ValueError(f"{len(boxes)} boxes for {count} anchors; pass boxes with an area")
    rng = np.random.default_rng(seed)
    centres = boxes[[int(rng.integers(len(boxes)))]]
    while len(centres) < count:
        far = (1 - size_iou(boxes, centres).max(axis=1)) ** 2
        if far.sum() < 1e-12:  # nothing new is left
            centres = np.concatenate([centres, centres[-1:] * 1.25])
            continue
        chosen = int(rng.choice(len(boxes), p=far / far.sum()))
        centres = np.concatenate([centres, boxes[[chosen]]])
    nearest = np.full(len(boxes), -1)
    for _ in range(_STEPS):
        before, nearest = nearest, size_iou(boxes, centres).argmax(axis=1)
        if (before == nearest).all():
            break
        for k in range(count):
            mine = boxes[nearest == k]
            if len(mine):
                centres[k] = np.median(mine, axis=0)
    return centres[np.argsort(centres.prod(axis=1), kind="stable")]


def head_anchors(sizes: npt.ArrayLike, heads: int, each: int = 3, *, seed: int = 0) -> HeadAnchors:
    """Anchors for each head, the largest for the first, which has the widest stride.

    Example:
        >>> head_anchors([(10, 10), (40, 20)], heads=2, each=1)
        (((40.0, 20.0),), ((10.0, 10.0),))
    """
    found = kmeans_anchors(sizes, heads * each, seed=seed).round(1)
    dealt = found.reshape(heads, each, 2)[::-1].tolist()
    return tuple(tuple((width, height) for width, height in head) for head in dealt)
