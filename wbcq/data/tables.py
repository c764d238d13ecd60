"""Pictures listed in CSV tables, with one picture in a row or several aligned ones."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from wbcq.data.files import FilePictures
from wbcq.data.pictures import DatasetError
from wbcq.data.transforms import Preprocess

__all__ = ["MODALITIES", "fold_numbers", "open_fold", "open_table", "read_rows"]

MODALITIES = ("Fluor", "Green", "Purple", "Red")
"""Columns of a multi-modal table, in the order in which multi-modal models take them."""


def open_table(
    table: str | Path,
    preprocess: Preprocess,
    *,
    columns: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    root: str | Path | None = None,
) -> FilePictures:
    r"""Opens the pictures that a CSV table lists.

    Args:
        table: Has a column ``label`` and columns of paths.
        preprocess: Crop and size of every picture.
        columns: Which paths to read: one, or several aligned pictures of each cell. By default
            ``path`` if there is such a column, otherwise all of :data:`MODALITIES`.
        classes: Class names. Labels are names, in either case, or numbers from 0; by default the
            names that occur, in alphabetical order.
        root: Folder that paths are relative to; by default the table's.

    Raises:
        DatasetError: The table cannot be read, lacks a column, has a label that is no class or a
            row without a path; names file and row.

    Example:
        >>> import tempfile, pathlib
        >>> from wbcq.data import Preprocess
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = pathlib.Path(folder) / "cells.csv"
        ...     _ = table.write_text("label,path\nneutrophil,a.png\nmonocyte,b.png\n")
        ...     pictures = open_table(table, Preprocess(64))
        >>> pictures.classes, pictures.labels.tolist()
        (('monocyte', 'neutrophil'), [1, 0])
    """
    table = Path(table)
    rows = read_rows(table, ("label", *(columns or ())))
    if columns is None:
        columns = ("path",) if "path" in rows[0] else MODALITIES
        _check_columns(table, rows[0], columns)
    names = class_names(rows) if classes is None else tuple(classes)
    labels = [_label(table, number, row["label"], names) for number, row in enumerate(rows, 2)]
    files = []
    for number, row in enumerate(rows, 2):
        paths = tuple((row[column] or "").strip() for column in columns)
        if "" in paths:
            empty = columns[paths.index("")]
            raise DatasetError(f"{table}: row {number} has no path in column {empty}")
        files.append(paths)
    return FilePictures(
        table.parent if root is None else Path(root),
        tuple(files),
        np.asarray(labels, dtype=np.int64),
        names,
        preprocess,
        origins=tuple(f"{table.name} row {number}" for number in range(2, len(rows) + 2)),
    )


def fold_numbers(root: str | Path) -> tuple[int, ...]:
    """The folds k for which ``train_{k}.csv`` and ``val_{k}.csv`` exist in a folder."""
    found = [re.fullmatch(r"train_(\d+)\.csv", path.name) for path in Path(root).glob("train_*")]
    numbers = sorted(int(match[1]) for match in found if match)
    return tuple(k for k in numbers if (Path(root) / f"val_{k}.csv").is_file())


def open_fold(
    root: str | Path,
    fold: int,
    preprocess: Preprocess,
    *,
    columns: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
) -> tuple[FilePictures, FilePictures]:
    """Opens ``train_{fold}.csv`` and ``val_{fold}.csv``; arguments as for :func:`open_table`.

    Raises:
        DatasetError: There is no such fold, or see :func:`open_table`.
    """
    root = Path(root)
    if fold not in fold_numbers(root):
        known = ", ".join(map(str, fold_numbers(root))) or "none"
        raise DatasetError(
            f"{root}: no fold {fold} (train_{fold}.csv and val_{fold}.csv); folds here: {known}"
        )
    if classes is None:
        rows = read_rows(root / f"train_{fold}.csv", ("label",))
        classes = class_names([*rows, *read_rows(root / f"val_{fold}.csv", ("label",))])
    train, val = (
        open_table(root / f"{part}_{fold}.csv", preprocess, columns=columns, classes=classes)
        for part in ("train", "val")
    )
    return train, val


def read_rows(table: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file by column.

    Raises:
        DatasetError: The file cannot be read, has no rows, lacks a column or has a short row.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DatasetError(f"{table}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table}: not a CSV table in UTF-8 ({error})") from error
    if not rows:
        raise DatasetError(f"{table}: has no rows below its header")
    _check_columns(table, rows[0], columns)
    for number, row in enumerate(rows, 2):
        if any(row[column] is None for column in columns):
            raise DatasetError(f"{table}: row {number} has fewer cells than the header")
    return rows


def _check_columns(table: Path, row: Mapping[str, str], columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in row]
    if missing:
        found = ", ".join(str(column) for column in row)
        raise DatasetError(
            f"{table}: no column {', '.join(missing)}; the header has {found}. Paths stand in a "
            f"column path, or in {', '.join(MODALITIES)}"
        )


def class_names(rows: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """The classes that rows name in their column ``label``, in alphabetical order."""
    labels = {row["label"].strip().lower() for row in rows}
    if all(label.isdecimal() for label in labels):
        return tuple(str(k) for k in range(1 + max(map(int, labels))))
    return tuple(sorted(labels))


def _label(table: Path, row: int, text: str, classes: Sequence[str]) -> int:
    name = text.strip().lower()
    known = [other.lower() for other in classes]
    if name in known:
        return known.index(name)
    if name.isdecimal() and int(name) < len(known):
        return int(name)
    raise DatasetError(
        f"{table}: row {row} has the label {text!r}; classes are {', '.join(classes)}"
    )
