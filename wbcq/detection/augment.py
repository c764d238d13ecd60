"""Training tiles: cut, scaled, turned, coloured, four pictures joined (mosaic)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from wbcq.data.pictures import Picture, Progress
from wbcq.detection.data.base import FieldSet

__all__ = ["Loaded", "Tile", "TileConfig", "Tiles", "load_fields"]

Rectangle: TypeAlias = tuple[int, int, int, int]

_VISIBLE = 0.35
"""Share of a cell that must be seen for it to be one; what shows less is background."""

_SMALLEST = 6.0
"""Pixels."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A picture in memory; attributes as those of FieldOfView, and its median colour."""

    picture: Picture
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    ground: npt.NDArray[np.uint8]


def load_fields(
    fields: FieldSet, *, scale: float = 1.0, progress: Progress | None = None
) -> list[Loaded]:
    """Decodes all pictures of a set.

    Args:
        fields: The set.
        scale: Factor of the pictures' size, to bring sets of different microscopes together.
        progress: Called after each picture.

    Raises:
        DatasetError: A picture is missing or damaged.
    """
    loaded = []
    for index, field in enumerate(fields.fields):
        picture = field.read()
        boxes = field.boxes
        if scale != 1:
            size = max(1, round(field.width * scale)), max(1, round(field.height * scale))
            factor = np.array([size[0] / field.width, size[1] / field.height] * 2, np.float32)
            shrunk = Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)
            picture, boxes = np.asarray(shrunk), boxes * factor
        ground = np.median(picture[::8, ::8], axis=(0, 1)).astype(np.uint8)
        loaded.append(Loaded(picture, boxes, field.labels, ground))
        if progress is not None:
            progress(index + 1, len(fields))
    return loaded


@dataclass(frozen=True)
class TileConfig:
    """How training tiles are made.

    Attributes:
        size: Height and width in pixels, a multiple of 32.
        zoom: Least and largest factor of scale.
        mosaic: Share of tiles of four pictures (Bochkovskiy et al. 2020, "YOLOv4").
        light: Largest relative change of each channel's gain, and of contrast, either way.
        near: Share of windows around a cell; the others lie anywhere.
        balance: Cells that windows lie around are of each class equally often.

    Raises:
        ValueError: A setting is out of range.
    """

    size: int = 416
    zoom: tuple[float, float] = (0.6, 1.6)
    mosaic: float = 0.5
    light: float = 0.15
    near: float = 0.75
    balance: bool = True

    def __post_init__(self) -> None:
        if self.size < 64 or self.size % 32:
            raise ValueError(f"size is {self.size}; use a multiple of 32 from 64 on")
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise ValueError(f"zoom is {self.zoom}; use two rising factors above 0")
        for name in ("mosaic", "light", "near"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use a share in [0, 1]")


@dataclass(frozen=True, eq=False)
class Tile:
    """One training picture.

    Attributes:
        picture: uint8 [size, size, 3].
        boxes: float32 [N, 4], x1 y1 x2 y2 in its pixels.
        labels: int64 [N].
    """

    picture: Picture
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


class Tiles:
    """Draws training tiles from pictures in memory.

    Args:
        fields: The pictures.
        config: How.
    """

    def __init__(self, fields: Sequence[Loaded], config: TileConfig) -> None:
        self.fields = fields
        self.config = config
        cells = [(k, b, int(label)) for k, f in enumerate(fields) for b, label in _indexed(f)]
        self._cells = np.array(cells, np.int64).reshape(-1, 3)
        classes = np.unique(self._cells[:, 2])
        self._by_class = [np.flatnonzero(self._cells[:, 2] == c) for c in classes]

    def draw(self, rng: np.random.Generator) -> Tile:
        """A random tile; the generator's state alone decides which."""
        size = self.config.size
        canvas = np.empty((size, size, 3), np.uint8)
        boxes: list[npt.NDArray[np.float32]] = []
        labels: list[npt.NDArray[np.int64]] = []
        for left, top, right, bottom in self._quarters(rng):
            field, middle = self._subject(rng)
            zoom = float(np.exp(rng.uniform(*np.log(self.config.zoom))))
            part, found, kinds = _window(field, middle, (right - left, bottom - top), zoom)
            canvas[top:bottom, left:right] = part
            boxes.append(found + np.array([left, top, left, top], np.float32))
            labels.append(kinds)
        picture, turned = _turned(rng, canvas, np.concatenate(boxes))
        return Tile(_coloured(rng, picture, self.config.light), turned, np.concatenate(labels))

    def _quarters(self, rng: np.random.Generator) -> list[Rectangle]:
        size = self.config.size
        if rng.random() >= self.config.mosaic:
            return [(0, 0, size, size)]
        x, y = (int(v) for v in rng.uniform(0.3, 0.7, 2) * size)
        return [(0, 0, x, y), (x, 0, size, y), (0, y, x, size), (x, y, size, size)]

    def _subject(self, rng: np.random.Generator) -> tuple[Loaded, tuple[float, float]]:
        """A picture, and a point in it."""
        if len(self._cells) and rng.random() < self.config.near:
            if self.config.balance:
                group = self._by_class[int(rng.integers(len(self._by_class)))]
                chosen = self._cells[group[int(rng.integers(len(group)))]]
            else:
                chosen = self._cells[int(rng.integers(len(self._cells)))]
            field = self.fields[int(chosen[0])]
            x1, y1, x2, y2 = (float(v) for v in field.boxes[int(chosen[1])])
            off = rng.uniform(-1.2, 1.2, 2)
            return field, ((x1 + x2) / 2 + off[0] * (x2 - x1), (y1 + y2) / 2 + off[1] * (y2 - y1))
        field = self.fields[int(rng.integers(len(self.fields)))]
        height, width = field.picture.shape[:2]
        return field, (float(rng.uniform(0, width)), float(rng.uniform(0, height)))


def _indexed(field: Loaded) -> list[tuple[int, int]]:
    return list(enumerate(field.labels.tolist()))


def _window(
    field: Loaded, middle: tuple[float, float], size: tuple[int, int], zoom: float
) -> tuple[Picture, npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Part of a picture around a point, its boxes and labels; beyond it lies its ground."""
    height, width = field.picture.shape[:2]
    start = []
    for point, extent, wanted in zip(middle, (width, height), size, strict=True):
        span = wanted / zoom
        # As much of the picture as there is, rather than its ground.
        low, high = min(0.0, extent - span), max(0.0, extent - span)
        start.append(min(max(point - span / 2, low), high))
    x0, y0 = start
    part = np.empty((size[1], size[0], 3), np.uint8)
    part[:] = field.ground
    # Whole target pixels that lie in the picture, and where they come from.
    left, top = (max(0, int(np.ceil(-s * zoom))) for s in (x0, y0))
    right = min(size[0], int(np.floor((width - x0) * zoom)))
    bottom = min(size[1], int(np.floor((height - y0) * zoom)))
    if right > left and bottom > top:
        box = (x0 + left / zoom, y0 + top / zoom, x0 + right / zoom, y0 + bottom / zoom)
        box = (max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height))
        seen = _resized(field.picture, box, (right - left, bottom - top))
        part[top:bottom, left:right] = seen
    moved = (field.boxes - np.array([x0, y0, x0, y0], np.float32)) * np.float32(zoom)
    limits = np.array([*size, *size], np.float32)
    cut = np.clip(moved, 0, limits)
    sides, whole = cut[:, 2:] - cut[:, :2], moved[:, 2:] - moved[:, :2]
    kept = (sides >= _SMALLEST).all(axis=1)
    kept &= sides.prod(axis=1) >= _VISIBLE * whole.prod(axis=1)
    return part, cut[kept], field.labels[kept]


def _resized(
    picture: Picture, box: tuple[float, float, float, float], size: tuple[int, int]
) -> Picture:
    x, y = int(box[0]), int(box[1])
    # Only what is needed becomes a PIL picture, which copies.
    part = picture[y : int(np.ceil(box[3])), x : int(np.ceil(box[2]))]
    inner = (box[0] - x, box[1] - y, box[2] - x, box[3] - y)
    resized = Image.fromarray(part).resize(size, Image.Resampling.BILINEAR, box=inner)
    return np.asarray(resized)


def _turned(
    rng: np.random.Generator, picture: Picture, boxes: npt.NDArray[np.float32]
) -> tuple[Picture, npt.NDArray[np.float32]]:
    """One of the eight ways in which a square can lie; cells have no preferred one."""
    size = len(picture)
    mirror_x, mirror_y, transpose = (bool(v) for v in rng.integers(0, 2, 3))
    if mirror_x:
        picture = picture[:, ::-1]
        boxes = np.stack([size - boxes[:, 2], boxes[:, 1], size - boxes[:, 0], boxes[:, 3]], 1)
    if mirror_y:
        picture = picture[::-1]
        boxes = np.stack([boxes[:, 0], size - boxes[:, 3], boxes[:, 2], size - boxes[:, 1]], 1)
    if transpose:
        picture = picture.transpose(1, 0, 2)
        boxes = boxes[:, [1, 0, 3, 2]]
    return picture, boxes


def _coloured(rng: np.random.Generator, picture: Picture, light: float) -> Picture:
    """Another lamp, stain and camera: each channel's curve changes, and the depth of colour."""
    if not light:
        return np.ascontiguousarray(picture)
    gain = np.exp(rng.uniform(-light, light, 3)).astype(np.float32)
    contrast = np.float32(np.exp(rng.uniform(-2 * light, 2 * light)))
    depth = np.float32(np.exp(rng.uniform(-2 * light, 2 * light)))
    pixels = picture.astype(np.float32) / np.float32(255)
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = grey + depth * (pixels - grey)
    # Of absorbed light, so that the empty ground stays bright as its lamp.
    np.clip(pixels, 1 / 255, None, out=pixels)
    pixels = gain * pixels**contrast
    coloured: Picture = (np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)
    return coloured
