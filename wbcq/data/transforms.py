"""Preprocessing of pictures, the same in training and deployment, and augmentation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from wbcq.data.pictures import DatasetError, Picture

if TYPE_CHECKING:
    import torch

__all__ = ["Augment", "Preprocess", "read_picture"]


def read_picture(path: str | Path, name: str | None = None) -> Image.Image:
    """Decodes one picture file completely, as upright 8-bit RGB.

    16-bit grey pictures keep their upper 8 bits.

    Args:
        path: Any format that Pillow reads.
        name: What an error calls the picture; the path if omitted.

    Raises:
        DatasetError: The file is missing, empty, truncated or not a picture.
    """
    shown = name or str(path)
    try:
        with Image.open(path) as opened:
            opened.load()
            upright = ImageOps.exif_transpose(opened)
            if upright.mode.startswith("I;16"):
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            return upright.convert("RGB")
    except FileNotFoundError:
        raise DatasetError(f"{shown}: no such file") from None
    except UnidentifiedImageError:
        raise DatasetError(f"{shown}: not a picture that Pillow can read") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{shown}: damaged picture ({error})") from error


@dataclass(frozen=True)
class Preprocess:
    """A centred square crop, resized with antialiasing.

    Attributes:
        size: Height and width of the result in pixels.
        crop: Side of the crop as a fraction of the picture's shorter side.

    Example:
        >>> from PIL import Image
        >>> Preprocess(size=96, crop=0.5)(Image.new("RGB", (360, 363))).shape
        (96, 96, 3)
    """

    size: int
    crop: float = 1.0

    def __post_init__(self) -> None:
        if self.size < 8:
            raise ValueError(f"size is {self.size} pixels; use at least 8")
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop is {self.crop}; use a fraction in (0, 1]")

    def __call__(self, image: Image.Image) -> Picture:
        """uint8 [size, size, 3]."""
        width, height = image.size
        side = max(1, round(min(width, height) * self.crop))
        left, top = (width - side) // 2, (height - side) // 2
        box = (left, top, left + side, top + side)
        resized = image.convert("RGB").resize(
            (self.size, self.size), Image.Resampling.BILINEAR, box=box
        )
        return np.asarray(resized, dtype=np.uint8)

    def to_metadata(self) -> dict[str, Any]:
        """A JSON-serialisable record for a model file."""
        return asdict(self)

    @staticmethod
    def from_metadata(record: Mapping[str, Any]) -> Preprocess:
        """The inverse of :meth:`to_metadata`."""
        return Preprocess(size=int(record["size"]), crop=float(record["crop"]))


@dataclass(frozen=True)
class Augment:
    """Random flips, rotation, zoom and light for a batch; cells have no preferred orientation.

    Attributes:
        flip: Mirrors half of the pictures along each axis.
        rotation: Largest angle in degrees, either way.
        zoom: Largest relative change of scale, either way.
        light: Largest relative change of each channel's gain, either way.
        operations, magnitude: Of RandAugment afterwards, see
            :func:`wbcq.data.rand_augment.rand_augment`; needs kornia if ``operations`` is not 0.

    Raises:
        ValueError: A setting is out of range.
    """

    flip: bool = True
    rotation: float = 180.0
    zoom: float = 0.1
    light: float = 0.08
    operations: int = 0
    magnitude: int = 5

    def __post_init__(self) -> None:
        if self.operations < 0:
            raise ValueError(f"operations is {self.operations}; use 0 or more")
        if not 0 <= self.magnitude <= 30:
            raise ValueError(f"magnitude is {self.magnitude}; use 0 to 30")

    def __call__(self, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Augments float32 [N, C, H, W] in 0..1; borders are mirrored, so no edge appears.

        What moves pixels moves all channels alike, so aligned pictures stay aligned.
        """
        import torch
        from torch.nn import functional as F

        count, channels = batch.shape[:2]

        def symmetric(*shape: int) -> torch.Tensor:
            return torch.rand(*shape, generator=generator) * 2 - 1

        angle = symmetric(count) * math.radians(self.rotation)
        scale = 1 + symmetric(count) * self.zoom
        flips = torch.where(symmetric(count, 2) < 0, -1.0, 1.0)
        flips = flips if self.flip else torch.ones_like(flips)
        gain = 1 + symmetric(count, channels, 1, 1) * self.light

        cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
        theta = torch.zeros(count, 2, 3)
        theta[:, 0, 0], theta[:, 0, 1] = cosine * flips[:, 0], -sine * flips[:, 1]
        theta[:, 1, 0], theta[:, 1, 1] = sine * flips[:, 0], cosine * flips[:, 1]
        grid = F.affine_grid(theta.to(batch.device), list(batch.shape), align_corners=False)
        moved = F.grid_sample(
            batch, grid, mode="bilinear", padding_mode="reflection", align_corners=False
        )
        moved = (moved * gain.to(batch.device)).clamp_(0, 1)
        if self.operations:
            from wbcq.data.rand_augment import rand_augment

            moved = rand_augment(moved, self.operations, self.magnitude, generator)
        return moved
