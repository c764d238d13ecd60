"""Recognises a data set's layout."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from wbcq.data.files import FilePictures, open_folder
from wbcq.data.pictures import DatasetError
from wbcq.data.public import is_bcisc, is_pbc, open_bcisc, open_pbc
from wbcq.data.sources.base import OnCorrupt, Source
from wbcq.data.sources.files import (
    FileSource,
    folds_of_pool,
    folds_of_tables,
    folds_with_fixed_test,
)
from wbcq.data.sources.synthetic import FOLDS, SyntheticSource
from wbcq.data.splits import split_folders
from wbcq.data.tables import MODALITIES, class_names, fold_numbers, open_table, read_rows
from wbcq.data.transforms import Preprocess

__all__ = ["open_source"]

_ANY = Preprocess(64)
"""Of pictures that are listed, not yet decoded; the size is chosen when a fold is loaded."""

_PBC_CROP = 0.75
"""A cell of PBC is small in its picture."""


def open_source(
    data: str | Path | None,
    *,
    preset: str = "balanced",
    seed: int = 0,
    scale: float = 1.0,
    difficulty: float | None = None,
    folds: int = FOLDS,
    crop: float | None = None,
    classes: Sequence[str] | None = None,
    on_corrupt: OnCorrupt = "skip",
) -> Source:
    """Opens a data set, or makes one.

    Layouts, in the order in which they are tried:

    - None: synthetic cells, see :class:`~wbcq.data.sources.SyntheticSource`;
    - a CSV file with columns ``label`` and ``path``, or ``label`` and modalities (``Fluor``,
      ``Green``, ``Purple``, ``Red``): stratified folds;
    - pbc_wbc5: its published test part in every fold; fold 0 has the published validation part,
      the others draw one anew;
    - bcisc: folds of whole smears;
    - ``train_{k}.csv`` and ``val_{k}.csv``: these folds; ``val_{k}`` is reported, and a part of
      ``train_{k}`` chooses the epoch;
    - ``train``, ``val`` and ``test`` folders of one folder per class each: as pbc_wbc5;
    - a folder with a single CSV file: as that file;
    - one folder per class: stratified folds.

    Args:
        data: Folder or table; None for synthetic cells.
        preset: Of synthetic cells, ``"balanced"`` or ``"study"``.
        seed: Of synthetic cells and of all draws.
        scale: Factor of the number of synthetic cells.
        difficulty: Of synthetic cells, 0 to 1; None for the preset's.
        folds: How many, where the data set does not say.
        crop: Share of a picture's shorter side; None for 0.75 in the pbc_wbc5 layout, else 1.
        classes: Class names of tables, in the order wanted; other labels are refused. None for
            those that occur, in alphabetical order.
        on_corrupt: ``"skip"`` unreadable pictures with a note, or ``"raise"`` and name them.

    Raises:
        DatasetError: There is no such data set, or it cannot be used; names file and row.
        ValueError: A setting is out of range.
    """
    if data is None:
        return SyntheticSource(preset, seed, scale, difficulty)
    if folds < 2:
        raise ValueError(f"folds is {folds}; use at least 2")
    if on_corrupt not in ("skip", "raise"):
        raise ValueError(f"on_corrupt is {on_corrupt!r}; use 'skip' or 'raise'")
    path = Path(data)
    name = path.resolve().name
    if path.is_file():
        return _table(path, folds, seed, crop, classes, on_corrupt)
    if not path.is_dir():
        raise DatasetError(
            f"{path}: no such file or folder; pass a folder with one subfolder per class, or a "
            "CSV table"
        )
    if is_pbc(path):
        parts = {part: partial(open_pbc, path, part, _ANY) for part in ("train", "val", "test")}
        split = folds_with_fixed_test(
            lambda: {part: opened() for part, opened in parts.items()},
            folds,
            seed,
            "published split of the WBCAtt attribute tables",
        )
        return FileSource(
            name,
            "PBC in the layout of WBCAtt, stained smears",
            parts["test"]().classes,
            ("stain",),
            _PBC_CROP if crop is None else crop,
            split,
            on_corrupt,
        )
    if is_bcisc(path):
        return _pool(
            name, "BCISC, stained smears", open_bcisc(path, _ANY), folds, seed, crop, on_corrupt
        )
    if fold_numbers(path):
        return _fold_tables(path, seed, crop, classes, on_corrupt)
    folders = split_folders(path)
    if folders is not None:
        split = folds_with_fixed_test(
            lambda: {part: open_folder(folder, _ANY) for part, folder in folders.items()},
            folds,
            seed,
            "split by the train, val and test folders",
        )
        found = open_folder(folders["train"], _ANY).classes
        about = "train, val and test folders"
        return FileSource(name, about, found, ("stain",), crop or 1.0, split, on_corrupt)
    tables = sorted(path.glob("*.csv"))
    if len(tables) == 1:
        return _table(tables[0], folds, seed, crop, classes, on_corrupt)
    return _pool(name, "a folder per class", open_folder(path, _ANY), folds, seed, crop, on_corrupt)


def _pool(
    name: str,
    about: str,
    pictures: FilePictures,
    folds: int,
    seed: int,
    crop: float | None,
    on_corrupt: OnCorrupt,
    views: tuple[str, ...] = ("stain",),
) -> FileSource:
    split = folds_of_pool(pictures, folds, seed)
    return FileSource(name, about, pictures.classes, views, crop or 1.0, split, on_corrupt)


def _table(
    table: Path,
    folds: int,
    seed: int,
    crop: float | None,
    classes: Sequence[str] | None,
    on_corrupt: OnCorrupt,
) -> FileSource:
    columns = _picture_columns(table)
    pictures = open_table(table, _ANY, columns=columns, classes=classes)
    views = _views(columns)
    about = f"table {table.name}"
    name = table.resolve().stem
    return _pool(name, about, pictures, folds, seed, crop, on_corrupt, views)


def _fold_tables(
    root: Path,
    seed: int,
    crop: float | None,
    classes: Sequence[str] | None,
    on_corrupt: OnCorrupt,
) -> FileSource:
    folds = fold_numbers(root)
    tables = [root / f"{part}_{fold}.csv" for fold in folds for part in ("train", "val")]
    columns = _picture_columns(tables[0])
    if classes is None:
        # Names come from training tables, so that a misspelt label elsewhere is refused.
        listed = [row for table in tables[::2] for row in read_rows(table, ("label",))]
        classes = class_names(listed)
    split = folds_of_tables(root, folds, columns, tuple(classes), seed)
    about = f"{len(folds)} folds in tables"
    return FileSource(
        root.resolve().name, about, tuple(classes), _views(columns), crop or 1.0, split, on_corrupt
    )


def _picture_columns(table: Path) -> tuple[str, ...]:
    """The columns of paths: ``path``, or the modalities that the table has."""
    header = read_rows(table, ("label",))[0]
    columns = ("path",) if "path" in header else tuple(c for c in MODALITIES if c in header)
    if not columns:
        raise DatasetError(
            f"{table}: no column of pictures; the header has {', '.join(header)}. Paths stand in a "
            f"column path, or in {', '.join(MODALITIES)}"
        )
    return columns


def _views(columns: Sequence[str]) -> tuple[str, ...]:
    return ("stain",) if columns == ("path",) else tuple(column.lower() for column in columns)
