"""What the page shows of one picture, as JSON: pictures inside it are data URIs."""

from __future__ import annotations

import base64
import io
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from wbcq.differential import Cell, CellCounter, Count, FieldOfView, PictureResult
from wbcq.differential.attention import Attention
from wbcq.differential.classifier import cut_out
from wbcq.differential.draw import class_colours, thumbnails
from wbcq.differential.results import cells_csv
from wbcq.version import __version__

__all__ = ["Answerer"]

Picture = npt.NDArray[np.uint8]

_PREVIEW = 1600
_CELL = 112
_MOST_CELLS = 400
_MOST_MAPS = 120

_BLUR = ImageFilter.GaussianBlur(1.2)
_WARM, _HOT = np.array((214, 64, 16), np.float32), np.array((255, 226, 64), np.float32)


class Answerer:
    """Counts pictures for the page.

    Args:
        counter: What counts; a classifier of it also explains where it looks.
    """

    def __init__(self, counter: CellCounter) -> None:
        self._counter = counter
        self._attention: Attention | None = None
        if counter.classifier is not None:
            try:
                self._attention = Attention(counter.classifier)
            except ValueError:
                self._attention = None  # the page says that there are no maps

    def about(self) -> dict[str, Any]:
        """The models and rules, for the page."""
        counter = self._counter
        models = [counter.detector.model]
        if counter.classifier is not None:
            models.append(counter.classifier.model)
        return {
            "wbcq": __version__,
            "models": [str(model.metadata.get("model") or "model") for model in models],
            "isa": counter.detector.model.isa,
            "by": counter.rules.by,
            "threshold": counter.rules.threshold,
            "review": counter.rules.review,
            "classes": list(counter.classes),
            "maps": self._attention is not None,
        }

    def answer(self, field: FieldOfView, name: str) -> dict[str, Any]:
        """Counts one picture.

        Args:
            field: The picture.
            name: What the user calls it.
        """
        start = time.perf_counter()
        picture = field.pixels
        height, width = picture.shape[:2]
        cells = tuple(self._counter.count(picture))
        result = PictureResult(name, width, height, cells, field.notes)
        count = Count(self._counter.classes, (result,))
        whole = count.differential()
        colours = class_colours(self._counter.classes)
        lines = [{**line, "colour": colours[line["name"]]} for line in whole.to_json()["classes"]]
        thumbnails, maps = self._views(picture, cells)
        return {
            "name": name,
            "width": width,
            "height": height,
            "notes": list(field.notes),
            "preview": _jpeg(_reduced(picture), 85),
            "classes": lines,
            "total": whole.total,
            "review": whole.review,
            "cells": [
                {**cell.to_json(), "number": number, "picture": thumbnail, "map": heat}
                for number, (cell, thumbnail, heat) in enumerate(
                    zip(cells, thumbnails, maps, strict=True), 1
                )
            ],
            "csv": cells_csv(count),
            "seconds": round(time.perf_counter() - start, 3),
        }

    def _views(
        self, picture: Picture, cells: tuple[Cell, ...]
    ) -> tuple[list[str | None], list[str | None]]:
        """Of each cell its picture, and where the classifier looks; None beyond the limits."""
        boxes = np.array([cell.box for cell in cells[:_MOST_CELLS]], np.float32).reshape(-1, 4)
        crops = thumbnails(picture, cells[:_MOST_CELLS], _CELL)
        pictures: list[str | None] = [_jpeg(Image.fromarray(crop), 88) for crop in crops]
        maps: list[str | None] = []
        classifier = self._counter.classifier
        if self._attention is not None and classifier is not None:
            explained = [cell.kind in classifier.classes for cell in cells[:_MOST_MAPS]]
            labels = np.array(
                [
                    classifier.classes.index(cell.kind) if known else 0
                    for cell, known in zip(cells, explained, strict=False)
                ],
                np.int64,
            )
            chosen, scale = boxes[:_MOST_MAPS], self._counter.rules.scale
            heats = self._attention.maps(picture, chosen, labels, scale)
            views = cut_out(picture, chosen, _CELL, classifier.sides(chosen, scale))
            maps = [
                _jpeg(_overlay(view, heat), 85) if known else None
                for view, heat, known in zip(views, heats, explained, strict=True)
            ]
        pictures += [None] * (len(cells) - len(pictures))
        maps += [None] * (len(cells) - len(maps))
        return pictures, maps


def _reduced(picture: Picture) -> Image.Image:
    image = Image.fromarray(picture)
    image.thumbnail((_PREVIEW, _PREVIEW), Image.Resampling.BILINEAR)
    return image


def _overlay(crop: Picture, heat: npt.NDArray[np.float32]) -> Image.Image:
    """A grey cell under its map."""
    size = crop.shape[0]
    # The maps of shifted crops differ a little: as a grid that means nothing.
    blurred = Image.fromarray(np.rint(255 * heat).astype(np.uint8)).filter(_BLUR)
    smooth = blurred.resize((size, size), Image.Resampling.BICUBIC)
    weight = np.asarray(smooth, np.float32)[..., None] / 255
    grey = crop.astype(np.float32).mean(axis=2, keepdims=True)
    colour = _WARM + (_HOT - _WARM) * weight
    mixed = grey * (1 - 0.8 * weight) + colour * 0.8 * weight
    return Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))


def _jpeg(image: Image.Image, quality: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
