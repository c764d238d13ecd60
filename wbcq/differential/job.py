"""Many pictures: one after the other, resuming, past those that cannot be read."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wbcq.differential.cells import Cell
from wbcq.differential.counter import CellCounter
from wbcq.differential.draw import (
    SHEET_CELL,
    Picture,
    annotate,
    class_colours,
    contact_sheet,
    thumbnails,
)
from wbcq.differential.pictures import MAX_PIXELS, PictureError, open_field
from wbcq.differential.results import Count, PictureResult, cells_csv, counts_csv
from wbcq.report.files import replacing, write_text
from wbcq.report.reporter import SILENT, Reporter

__all__ = ["count_pictures", "find_pictures"]

_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_STRIP = 16
"""Cells in a row of the picture that keeps the cells of a field of view."""

_MOST_ON_SHEET = 240


def find_pictures(paths: Sequence[str | Path], *, out: str | Path | None = None) -> list[Path]:
    """Files as given, and all pictures in and below folders, by name; each once.

    Args:
        paths: Files or folders.
        out: Where results go; pictures below it are not counted.

    Raises:
        PictureError: A folder has no pictures.
    """
    below = None if out is None else Path(out).resolve()
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            found.setdefault(path.resolve(), path)
            continue
        inside = [
            file
            for file in sorted(path.rglob("*"))
            if file.suffix.lower() in _SUFFIXES
            and not any(part.startswith(".") for part in file.relative_to(path).parts)
            and (below is None or below not in file.resolve().parents)
            and file.is_file()
        ]
        if not inside:
            raise PictureError(
                f"{path}: no pictures in this folder ({', '.join(sorted(_SUFFIXES))})"
            )
        for file in inside:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def count_pictures(
    counter: CellCounter,
    paths: Sequence[Path],
    *,
    out: str | Path | None = None,
    max_pixels: int = MAX_PIXELS,
    reporter: Reporter = SILENT,
) -> Count:
    """Counts the white cells of pictures, and writes what it finds.

    Into ``out`` go ``differential.json``, ``cells.csv``, ``counts.csv``, ``pictures/`` with an
    annotated picture and a record of each, and ``sheets/`` with the cells of each class, the least
    sure first. A picture whose contents, models and rules are those of a record there is not
    counted again, so that an interrupted run goes on where it stopped.

    Args:
        counter: What counts.
        paths: Files; those that cannot be counted are told in the result, the others counted.
        out: A folder, made if it is missing; None writes nothing.
        max_pixels: Larger pictures are refused.
        reporter: Told how far it is.

    Raises:
        OSError: The folder cannot be written.
    """
    store = None if out is None else _Store(Path(out), counter)
    results, resumed = [], 0
    with reporter.stage("count cells") as progress:
        for index, path in enumerate(paths):
            progress(index, len(paths), str(path))
            result, known = _count_one(counter, path, store, max_pixels)
            results.append(result)
            resumed += known
        cells = sum(len(result.cells) for result in results)
        progress(len(paths), len(paths), f"{cells} cells in {len(paths)} pictures")
    count = Count(counter.classes, tuple(results), resumed, _about(counter))
    if store is not None:
        store.write(count)
    return count


def _count_one(
    counter: CellCounter, path: Path, store: _Store | None, max_pixels: int
) -> tuple[PictureResult, bool]:
    """The result, and whether an earlier run had it."""
    start = time.perf_counter()
    try:
        digest = _sha256(path)
        known = None if store is None else store.find(path, digest)
        if known is not None:
            return known, True
        field = open_field(path, max_pixels=max_pixels)
        cells = tuple(counter.count(field.pixels))
    except (PictureError, OSError, MemoryError) as error:
        return PictureResult(str(path), error=_why(path, error)), False
    height, width = field.pixels.shape[:2]
    seconds = time.perf_counter() - start
    result = PictureResult(str(path), width, height, cells, field.notes, digest, seconds)
    if store is not None:
        store.keep(result, field.pixels)
    return result, False


def _why(path: Path, error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"{path}: not enough memory. Remedy: cut it into parts"
    if isinstance(error, OSError):
        return f"{path}: {(error.strerror or str(error)).lower()}"
    return " ".join(str(error).split())


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _about(counter: CellCounter) -> dict[str, Any]:
    models = {"detector": counter.detector.model}
    if counter.rules.by != "detector" and counter.classifier is not None:
        models["classifier"] = counter.classifier.model
    named = {
        role: str(model.metadata.get("name") or model.metadata.get("model") or "model")
        for role, model in models.items()
    }
    return {"models": named, "rules": vars(counter.rules)}


class _Store:
    """A folder of results."""

    def __init__(self, out: Path, counter: CellCounter) -> None:
        self.out, self._classes = out, counter.classes
        self._fingerprint = counter.fingerprint()
        (out / "pictures").mkdir(parents=True, exist_ok=True)

    def find(self, path: Path, digest: str) -> PictureResult | None:
        """What an earlier run with the same models and rules found; a damaged record is none."""
        place = self._place(str(path), digest)
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            record = json.loads(place.with_suffix(".json").read_text(encoding="utf-8"))
            result = PictureResult.from_json(record["result"])
            same = record["fingerprint"] == self._fingerprint and result.sha256 == digest
            if same and all(file.exists() for file in _pictures_of(place)):
                return result.renamed(str(path))
        return None

    def keep(self, result: PictureResult, picture: Picture) -> None:
        """Writes the annotated picture and the cells, then the record."""
        place = self._place(result.picture, result.sha256)
        marked, cells = _pictures_of(place)
        with replacing(marked) as temporary:
            annotate(picture, result.cells, self._classes).save(temporary, quality=90)
        with replacing(cells) as temporary:
            _strip(thumbnails(picture, result.cells)).save(temporary, quality=92)
        record = {"fingerprint": self._fingerprint, "result": result.to_json()}
        write_text(place.with_suffix(".json"), json.dumps(record, indent=1) + "\n")

    def write(self, count: Count) -> None:
        """Writes what is about all pictures."""
        write_text(self.out / "differential.json", json.dumps(count.to_json(), indent=1) + "\n")
        write_text(self.out / "cells.csv", cells_csv(count))
        write_text(self.out / "counts.csv", counts_csv(count))
        for name, colour in class_colours(count.classes).items():
            sheet = self.out / "sheets" / f"{_slug(name)}.jpg"
            chosen = [
                (cell, result, number)
                for result in count.pictures
                for number, cell in enumerate(result.cells)
                if cell.kind == name
            ]
            if chosen:
                self._write_sheet(sheet, name, colour, chosen)
            else:
                sheet.unlink(missing_ok=True)  # of an earlier run with other pictures

    def _write_sheet(
        self, path: Path, name: str, colour: str, chosen: list[tuple[Cell, PictureResult, int]]
    ) -> None:
        chosen = sorted(chosen, key=lambda item: item[0].confidence)
        shown = chosen[:_MOST_ON_SHEET]
        pictures = self._cells_of([(result, number) for _, result, number in shown])
        entries = [
            (picture, f"{100 * cell.confidence:.0f} %  #{number + 1}", bool(cell.review))
            for picture, (cell, _, number) in zip(pictures, shown, strict=True)
        ]
        few = f", the {len(shown)} least sure" if len(shown) < len(chosen) else ""
        page = contact_sheet(f"{name}: {len(chosen)}{few}", entries, colour=colour)
        with replacing(path) as temporary:
            page.save(temporary, quality=90)

    def _cells_of(self, wanted: Sequence[tuple[PictureResult, int]]) -> list[Picture]:
        """Thumbnails; each field's file is read once."""
        found: dict[tuple[str, int], Picture] = {}
        for result in {id(result): result for result, _ in wanted}.values():
            _, path = _pictures_of(self._place(result.picture, result.sha256))
            with Image.open(path) as opened:
                strip = np.asarray(opened.convert("RGB"))
            for owner, number in wanted:
                if owner is result:
                    row, column = divmod(number, _STRIP)
                    y, x = row * SHEET_CELL, column * SHEET_CELL
                    cell = strip[y : y + SHEET_CELL, x : x + SHEET_CELL]
                    found[result.picture, number] = cell.copy()
        return [found[result.picture, number] for result, number in wanted]

    def _place(self, picture: str, digest: str) -> Path:
        # By contents: a moved folder resumes too, and pictures of one name stay apart.
        return self.out / "pictures" / f"{_slug(Path(picture).stem)}-{digest[:12]}"


def _pictures_of(place: Path) -> tuple[Path, Path]:
    """The annotated picture and the cells."""
    return place.with_name(f"{place.name}.jpg"), place.with_name(f"{place.name}-cells.jpg")


def _strip(cells: Picture) -> Image.Image:
    rows = max(1, -(-len(cells) // _STRIP))
    sheet = np.full((rows * SHEET_CELL, _STRIP * SHEET_CELL, 3), 255, np.uint8)
    for index, cell in enumerate(cells):
        row, column = divmod(index, _STRIP)
        y, x = row * SHEET_CELL, column * SHEET_CELL
        sheet[y : y + SHEET_CELL, x : x + SHEET_CELL] = cell
    return Image.fromarray(sheet)


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)[:60].strip("._") or "picture"
