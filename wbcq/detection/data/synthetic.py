"""Synthetic smears as a source of fields of view: rendered once, kept in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from wbcq.data.pictures import Picture
from wbcq.data.synthetic.smear_writing import SmearSet
from wbcq.data.synthetic.smears import OBJECTS
from wbcq.detection.data.base import FieldOfView, FieldSet, FieldSets
from wbcq.report.reporter import SILENT, Reporter

__all__ = ["synthetic_fields"]

_FIRST = {"train": 0, "val": 1_000_000, "test": 2_000_000}
"""Numbers of pictures, so that no part has one of another and none changes with their counts."""


def synthetic_fields(
    smears: SmearSet, counts: tuple[int, int, int], *, reporter: Reporter = SILENT
) -> FieldSets:
    """Renders the three parts of a set; labels index ``OBJECTS``.

    Args:
        smears: How the pictures are; ``count`` and ``first`` are not used.
        counts: Pictures of train, val and test.
        reporter: Told how far it is.
    """
    parts: dict[str, FieldSet] = {}
    done = 0
    with reporter.stage("Rendering smears") as stage:
        for (name, first), count in zip(_FIRST.items(), counts, strict=True):
            part = replace(smears, count=max(1, count), first=first)
            fields = []
            for index in range(count):
                fields.append(_field(part, index))
                done += 1
                stage(done, sum(counts))
            parts[name] = FieldSet(OBJECTS, tuple(fields))
    description = (
        f"synthetic smears, {smears.width}x{smears.height} pixels, difficulty "
        f"{smears.difficulty:g}, seed {smears.seed}"
    )
    return FieldSets(parts["train"], parts["val"], parts["test"], description)


def _field(smears: SmearSet, index: int) -> FieldOfView:
    smear = smears.render(index)
    name = f"smear/seed{smears.seed}-{smears.first + index:07d}"
    read: Callable[[], Picture] = partial(_same, smear.picture)
    return FieldOfView(name, smears.width, smears.height, smear.boxes, smear.labels, read)


def _same(picture: Picture) -> Picture:
    return picture
