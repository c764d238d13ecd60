"""RandAugment (Cubuk et al. 2020): a few operations drawn from a list, with kornia's operations.

The list and what a magnitude means are those of the usual implementations, in which 0 changes
nothing and 30 is strongest; kornia's own ``RandAugment`` scales enhancements from 0.1 to 1.9, so
that a magnitude of 5 would darken every picture to 0.4 of its brightness.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

__all__ = ["rand_augment"]

PICTURES_ALIKE = 8
"""Pictures that share their operations (not signs and strengths): drawing them one by one would
take several times as long."""


def rand_augment(
    batch: Tensor, operations: int, magnitude: int, generator: torch.Generator
) -> Tensor:
    """Applies operations drawn with replacement from fourteen.

    Nothing, shear, translation (along each axis) and rotation; brightness, saturation, contrast,
    sharpness; posterization, solarization, automatic contrast and equalization. The strength of
    each is drawn from 0 to what the magnitude allows, in either direction.

    All aligned pictures of a cell get the same operations with the same numbers; statistics
    (equalization, automatic contrast) are each picture's own.

    Args:
        batch: float32 [N, 3 V, H, W] in 0..1: V aligned pictures of each cell.
        operations: How many.
        magnitude: 0 to 30.
        generator: Source of all randomness.

    Raises:
        ValueError: The channels are no pictures of three.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> rand_augment(torch.rand(2, 12, 32, 32), 3, 5, generator).shape
        torch.Size([2, 12, 32, 32])
    """
    if batch.shape[1] % 3:
        raise ValueError(f"{batch.shape[1]} channels; RandAugment takes pictures of 3")
    known = _operations(magnitude)
    # kornia draws from torch's global generator.
    seed = int(torch.randint(2**62, (1,), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = [
            _augmented(part, [known[k] for k in torch.randint(len(known), (operations,)).tolist()])
            for part in torch.split(batch, PICTURES_ALIKE)
        ]
    return torch.cat(parts).clamp_(0, 1)


def _augmented(part: Tensor, chosen: list[Any]) -> Tensor:
    views = list(torch.split(part, 3, dim=1))
    for make in chosen:
        if make is None:
            continue
        operation = make()
        numbers = operation.forward_parameters(views[0].shape)
        views = [operation(view, params=numbers) for view in views]
    return torch.cat(views, dim=1)


@lru_cache(maxsize=8)
def _operations(magnitude: int) -> tuple[Callable[[], Any] | None, ...]:
    """Makers of operations: kornia's remember their last parameters, so none is shared."""
    import kornia.augmentation as K

    strength = magnitude / 30
    change = 0.9 * strength
    factors = (1 - change, 1 + change)
    angle = math.degrees(math.atan(0.3 * strength))
    distance = 150 / 331 * strength

    def moved(**how: Any) -> Callable[[], Any]:
        how = {"degrees": 0.0, **how}
        return lambda: K.RandomAffine(**how, padding_mode="reflection", p=1.0)

    return (
        None,
        moved(shear=(-angle, angle, 0.0, 0.0)),
        moved(shear=(0.0, 0.0, -angle, angle)),
        moved(translate=(distance, 0.0)),
        moved(translate=(0.0, distance)),
        moved(degrees=30.0 * strength),
        lambda: K.RandomBrightness(factors, p=1.0),
        lambda: K.RandomSaturation(factors, p=1.0),
        lambda: K.RandomContrast(factors, p=1.0),
        lambda: K.RandomSharpness(factors, p=1.0),
        lambda: K.RandomPosterize((8 - round(4 * strength), 8), p=1.0),
        lambda: K.RandomSolarize((1 - strength, 1.0), (0.0, 0.0), p=1.0),
        lambda: K.RandomAutoContrast(p=1.0),
        lambda: K.RandomEqualize(p=1.0),
    )
