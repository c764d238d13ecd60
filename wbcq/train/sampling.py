"""Samples of training pictures."""

from __future__ import annotations

import numpy as np

from wbcq.data.pictures import ArrayPictures

__all__ = ["balanced_sample"]


def balanced_sample(pictures: ArrayPictures, count: int, seed: int) -> ArrayPictures:
    """Pictures drawn without replacement, equally many of each class as far as there are.

    Args:
        pictures: What to draw from.
        count: How many; all if there are fewer.
        seed: Of the draw.

    Example:
        >>> import numpy as np
        >>> pixels = np.zeros((5, 8, 8, 3), np.uint8)
        >>> labels = np.array([0, 0, 0, 0, 1])
        >>> pictures = ArrayPictures(pixels, labels, ("a", "b"), tuple("vwxyz"))
        >>> sorted(balanced_sample(pictures, 2, seed=0).labels.tolist())
        [0, 1]
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pictures))
    rank = np.zeros(len(pictures), dtype=np.int64)
    for label in range(len(pictures.classes)):
        members = order[pictures.labels[order] == label]
        rank[members] = np.arange(len(members))
    return pictures.subset(order[np.argsort(rank[order], kind="stable")][:count])
