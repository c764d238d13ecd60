"""What was counted: records of pictures and of all of them, as JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wbcq.differential.cells import Cell
from wbcq.differential.statistics import Differential, differential
from wbcq.version import __version__

__all__ = ["Count", "PictureResult", "cells_csv", "counts_csv"]


@dataclass(frozen=True)
class PictureResult:
    """One picture's cells, or why there are none.

    Attributes:
        picture: Its name, as the user gave it.
        width, height: Pixels.
        cells: In the order of their numbers, from 1.
        notes: What was converted.
        sha256: Of the file.
        seconds: Decoding and counting.
        error: Why it could not be counted; empty if it was.
    """

    picture: str
    width: int = 0
    height: int = 0
    cells: tuple[Cell, ...] = ()
    notes: tuple[str, ...] = ()
    sha256: str = ""
    seconds: float = 0.0
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """What JSON holds."""
        if self.error:
            return {"picture": self.picture, "error": self.error}
        return {
            "picture": self.picture,
            "width": self.width,
            "height": self.height,
            "notes": list(self.notes),
            "sha256": self.sha256,
            "seconds": round(self.seconds, 3),
            "cells": [cell.to_json() for cell in self.cells],
        }

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> PictureResult:
        """The inverse of :meth:`to_json` of a picture that was counted.

        Raises:
            KeyError: Something is missing.
            TypeError: Something is of another kind.
            ValueError: As TypeError.
        """
        return PictureResult(
            str(record["picture"]),
            int(record["width"]),
            int(record["height"]),
            tuple(Cell.from_json(cell) for cell in record["cells"]),
            tuple(str(note) for note in record["notes"]),
            str(record["sha256"]),
            float(record["seconds"]),
        )

    def renamed(self, picture: str) -> PictureResult:
        """The same result under another name."""
        return replace(self, picture=picture)


@dataclass(frozen=True)
class Count:
    """The differential of several pictures.

    Attributes:
        classes: In order.
        pictures: In the order given.
        resumed: How many of them were counted by an earlier run.
        about: Models and rules, for the record.
    """

    classes: tuple[str, ...]
    pictures: tuple[PictureResult, ...]
    resumed: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Of all pictures."""
        return tuple(cell for picture in self.pictures for cell in picture.cells)

    @property
    def failed(self) -> tuple[PictureResult, ...]:
        """Pictures that could not be counted."""
        return tuple(picture for picture in self.pictures if picture.error)

    @property
    def repeated(self) -> tuple[tuple[str, str], ...]:
        """Pictures with the contents of an earlier one, and that one: their cells count twice."""
        first: dict[str, str] = {}
        pairs = []
        for result in self.pictures:
            if (
                not result.error
                and first.setdefault(result.sha256, result.picture) != result.picture
            ):
                pairs.append((result.picture, first[result.sha256]))
        return tuple(pairs)

    def differential(self) -> Differential:
        """Counts and shares of all pictures."""
        return differential(self.cells, self.classes)

    def to_json(self) -> dict[str, Any]:
        """What JSON holds."""
        return {
            "wbcq": __version__,
            **self.about,
            "differential": self.differential().to_json(),
            "failed": [result.to_json() for result in self.failed],
            "repeated": [list(pair) for pair in self.repeated],
            "pictures": [result.to_json() for result in self.pictures if not result.error],
        }


def cells_csv(count: Count) -> str:
    """A line for each cell: picture, number, class, confidence, score, box, review, shares."""
    names = {name for cell in count.cells for name in cell.shares}
    shared = sorted(names, key=_rank(count.classes))
    head = ("picture", "cell", "class", "confidence", "score", "x1", "y1", "x2", "y2", "review")
    rows: list[list[object]] = [[*head, *(f"share {name}" for name in shared)]]
    for result in count.pictures:
        for number, cell in enumerate(result.cells, 1):
            shares = [f"{cell.shares[name]:.4f}" if name in cell.shares else "" for name in shared]
            rows.append(
                [
                    _text(result.picture),
                    number,
                    _text(cell.kind),
                    f"{cell.confidence:.4f}",
                    f"{cell.score:.4f}",
                    *cell.box,
                    " ".join(cell.review),
                    *shares,
                ]
            )
    return _csv(rows)


def counts_csv(count: Count) -> str:
    """A line for each picture and one for all: cells of each class, and the shares' intervals."""
    whole = count.differential()
    names = [line.name for line in whole.classes]
    rows: list[list[object]] = [["picture", "total", *map(_text, names), "review", "error"]]
    for result in count.pictures:
        part = differential(result.cells, count.classes)
        counts: list[object] = [line.count for line in part.classes]
        numbers = [""] * (len(names) + 2) if result.error else [part.total, *counts, part.review]
        rows.append([_text(result.picture), *numbers, _text(result.error)])
    rows.append(["all", whole.total, *(line.count for line in whole.classes), whole.review, ""])
    for title, values in (
        ("all, %", [None if c.share is None else 100 * c.share for c in whole.classes]),
        ("all, 95 % interval from", [100 * c.low for c in whole.classes]),
        ("all, 95 % interval to", [100 * c.high for c in whole.classes]),
    ):
        rows.append([title, "", *("" if v is None else f"{v:.2f}" for v in values), "", ""])
    return _csv(rows)


def _rank(classes: Sequence[str]) -> Any:
    order = {name: index for index, name in enumerate(classes)}
    return lambda name: (order.get(name, len(order)), name)


def _text(value: str) -> str:
    """A name that a spreadsheet does not take for a formula."""
    return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _csv(rows: Sequence[Sequence[object]]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()
