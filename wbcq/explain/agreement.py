"""How much two sets of heat maps agree."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Agreement", "agreement", "energy_inside", "top_share"]

Maps = npt.NDArray[np.floating]
Masks = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Agreement:
    """Of two maps of each picture.

    Attributes:
        correlation: float64 [N], Pearson's, over pixels: -1 to 1.
        iou: float64 [N], intersection over union of the pixels that are hottest in each.
        energy: float64 [N], share of the second map's sum that lies on the hottest pixels of the
            first.
        share: Which pixels count as hottest.
    """

    correlation: Numbers
    iou: Numbers
    energy: Numbers
    share: float


def agreement(reference: Maps, other: Maps, *, share: float = 0.2) -> Agreement:
    """Compares maps of the same pictures.

    A map without contrast correlates fully with another such map and not at all with any other.

    Args:
        reference: [N, H, W], 0 or more.
        other: Of the same shape.
        share: Part of the pixels that counts as hottest.

    Raises:
        ValueError: Other shapes, negative or not finite values, or ``share`` outside (0, 1).

    Example:
        >>> import numpy as np
        >>> maps = np.random.default_rng(0).random((2, 8, 8))
        >>> agreement(maps, maps).iou.tolist()
        [1.0, 1.0]
    """
    reference, other = _checked(reference, "reference"), _checked(other, "other")
    if reference.shape != other.shape:
        raise ValueError(
            f"maps of {reference.shape} and {other.shape}; compare maps of the same pictures"
        )
    first, second = top_share(reference, share), top_share(other, share)
    both = (first & second).sum((1, 2))
    either = (first | second).sum((1, 2))
    return Agreement(
        _correlation(reference, other), both / either, energy_inside(other, first), share
    )


def top_share(maps: Maps, share: float) -> Masks:
    """The hottest pixels of each map, bool [N, H, W]: exactly that share of them, rounded up.

    Raises:
        ValueError: ``share`` is not inside (0, 1).
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; use a part of the pixels between 0 and 1")
    count, height, width = maps.shape
    kept = math.ceil(share * height * width)
    order = np.argsort(-maps.reshape(count, -1), axis=1, kind="stable")
    masks = np.zeros((count, height * width), dtype=np.bool_)
    np.put_along_axis(masks, order[:, :kept], True, axis=1)
    return masks.reshape(maps.shape)


def energy_inside(maps: Maps, masks: Masks) -> Numbers:
    """Share of each map's sum inside a mask (the pointing game by energy of Wang et al. 2020).

    Args:
        maps: [N, H, W], 0 or more.
        masks: bool [N, H, W], for example where the cell is.

    Returns:
        float64 [N]; 0 for a map of zeros.

    Raises:
        ValueError: Other shapes, or negative or not finite values.
    """
    maps = _checked(maps, "maps")
    if masks.shape != maps.shape:
        raise ValueError(f"masks of {masks.shape} for maps of {maps.shape}; pass one for each")
    total = maps.sum((1, 2))
    inside = np.where(masks, maps, 0).sum((1, 2))
    result: Numbers = np.divide(inside, total, out=np.zeros_like(total), where=total > 0)
    return result


def _correlation(first: Numbers, second: Numbers) -> Numbers:
    x = first - first.mean((1, 2), keepdims=True)
    y = second - second.mean((1, 2), keepdims=True)
    norm = np.sqrt((x * x).sum((1, 2)) * (y * y).sum((1, 2)))
    both_flat = ~x.any((1, 2)) & ~y.any((1, 2))
    result: Numbers = np.zeros(len(norm), np.float64)
    np.divide((x * y).sum((1, 2)), norm, out=result, where=norm > 0)
    result[both_flat] = 1
    return result


def _checked(maps: Maps, name: str) -> Numbers:
    values: Numbers = np.asarray(maps, dtype=np.float64)
    if values.ndim != 3 or not np.isfinite(values).all() or (values < 0).any():
        raise ValueError(f"{name}: pass finite heat maps [N, H, W] of 0 or more, not {maps.shape}")
    return values
