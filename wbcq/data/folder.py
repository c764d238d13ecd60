"""Picture folders: one folder per class, or the pbc_wbc5 layout with its published split."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.data.pictures import DatasetError, Picture, to_tensor
from wbcq.data.transforms import Preprocess, read_picture

if TYPE_CHECKING:
    import torch

__all__ = ["FolderPictures", "Splits", "load_splits", "open_folder", "open_pbc", "stratified_split"]

PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

Fractions: TypeAlias = tuple[float, float, float]
"""Shares of train, val and test."""

_SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_PBC_CSV = "wbcatt/pbc_attr_v1_{split}.csv"


@dataclass(frozen=True, eq=False)
class FolderPictures:
    """Picture files below one folder, decoded when asked for.

    Attributes:
        root: The folder.
        names: Paths relative to ``root``, with forward slashes.
        labels: int64 [N].
        classes: Class names.
        preprocess: Crop and size of every picture.
    """

    root: Path
    names: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    preprocess: Preprocess

    def __len__(self) -> int:
        return len(self.names)

    def picture(self, index: int) -> Picture:
        """uint8 [size, size, 3].

        Raises:
            DatasetError: The file is missing or damaged; names it.
        """
        name = self.names[index]
        return self.preprocess(read_picture(self.root / name, name))

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return to_tensor(self.picture(index)), int(self.labels[index])

    def subset(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> FolderPictures:
        """The pictures at ``indices``, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        names = tuple(self.names[i] for i in chosen)
        return FolderPictures(self.root, names, self.labels[chosen], self.classes, self.preprocess)


@dataclass(frozen=True)
class Splits:
    """Disjoint sets over the same classes.

    Attributes:
        train, val, test: The sets. ``val`` chooses the epoch, ``test`` is only reported.
        notes: What was left out or decided, for the user to read.
    """

    train: FolderPictures
    val: FolderPictures
    test: FolderPictures
    notes: tuple[str, ...] = ()


def load_splits(
    root: str | Path,
    preprocess: Preprocess,
    *,
    seed: int = 0,
    fractions: Fractions = (0.7, 0.1, 0.2),
) -> Splits:
    """Opens a data set and splits it.

    Three layouts are recognised: pbc_wbc5 (``wbcatt/pbc_attr_v1_train.csv`` and its siblings,
    whose published split is kept), ``train``/``val``/``test`` folders with one folder per class
    each (the split is kept), and one folder per class (split here, stratified by class).
    Pictures that are byte for byte the same never end up in two sets.

    Args:
        root: The data set's folder.
        preprocess: Crop and size of every picture.
        seed: Chooses the pictures of each set where the data set does not.
        fractions: Shares of train, val and test where the data set does not say.

    Raises:
        DatasetError: No such folder, no pictures, fewer than two classes, or too few pictures.
    """
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; pass a folder with one subfolder per class")
    if (root / _PBC_CSV.format(split="train")).is_file():
        sets = {split: open_pbc(root, split, preprocess) for split in _SPLIT_FOLDERS}
        return _separate(sets, ["published split of the WBCAtt attribute tables"])
    folders = {split: _first_folder(root, names) for split, names in _SPLIT_FOLDERS.items()}
    if all(folders.values()):
        sets = {split: open_folder(path, preprocess) for split, path in folders.items() if path}
        return _separate(sets, ["split by the train, val and test folders"])
    pictures, dropped = _without_copies(open_folder(root, preprocess))
    notes = [f"{name}: left out, a byte-identical copy of {first}" for name, first in dropped]
    train, val, test = stratified_split(pictures.labels, fractions, pictures.classes, seed)
    notes.insert(0, f"stratified split {len(train)} / {len(val)} / {len(test)}, seed {seed}")
    return Splits(
        pictures.subset(train), pictures.subset(val), pictures.subset(test), notes=tuple(notes)
    )


def open_folder(root: str | Path, preprocess: Preprocess) -> FolderPictures:
    """Opens a folder that holds one folder of pictures per class, in alphabetical order.

    Raises:
        DatasetError: Fewer than two class folders, or one without pictures.
    """
    root = Path(root)
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    names: list[str] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES)
        if not files:
            raise DatasetError(
                f"{folder}: no pictures ({', '.join(sorted(PICTURE_SUFFIXES))}); "
                "each folder is one class: add pictures or remove it"
            )
        names += [p.relative_to(root).as_posix() for p in files]
        labels += [label] * len(files)
    if len(folders) < 2:
        raise DatasetError(
            f"{root}: {len(folders)} class folders; put the pictures of each class into "
            "a folder with the class's name"
        )
    classes = tuple(folder.name for folder in folders)
    return FolderPictures(
        root, tuple(names), np.asarray(labels, dtype=np.int64), classes, preprocess
    )


def open_pbc(root: str | Path, split: str, preprocess: Preprocess) -> FolderPictures:
    """Opens one published split of PBC: the rows of its attribute table whose picture exists.

    Args:
        root: Holds ``wbcatt/pbc_attr_v1_{split}.csv`` and the pictures its ``path`` column names.
        split: ``"train"``, ``"val"`` or ``"test"``.
        preprocess: Crop and size of every picture.

    Raises:
        DatasetError: The table is missing or lacks a column, or no picture of it exists.
    """
    root = Path(root)
    table = root / _PBC_CSV.format(split=split)
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DatasetError(f"{table}: cannot be read ({error.strerror})") from error
    if not rows or not {"label", "path"} <= rows[0].keys():
        raise DatasetError(f"{table}: needs rows with the columns label and path")
    classes = tuple(sorted({row["label"].lower() for row in rows}))
    present = [row for row in rows if (root / row["path"]).is_file()]
    if not present:
        raise DatasetError(f"{table}: none of its {len(rows)} pictures exists below {root}")
    labels = [classes.index(row["label"].lower()) for row in present]
    return FolderPictures(
        root,
        tuple(row["path"] for row in present),
        np.asarray(labels, dtype=np.int64),
        classes,
        preprocess,
    )


def stratified_split(
    labels: npt.NDArray[np.int64],
    fractions: Fractions,
    classes: Sequence[str],
    seed: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Splits each class by the same shares; every class has a picture in every part.

    Args:
        labels: int64 [N].
        fractions: Positive shares of the three parts, summing to 1.
        classes: Class names, for messages.
        seed: Of the shuffle.

    Returns:
        Ascending indices of the three parts.

    Raises:
        DatasetError: A class has fewer than three pictures.
        ValueError: The shares are not positive or do not sum to 1.
    """
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"fractions are {fractions}; use three positive shares that sum to 1")
    rng = np.random.default_rng(seed)
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for label, name in enumerate(classes):
        members = rng.permutation(np.flatnonzero(labels == label))
        if len(members) < 3:
            raise DatasetError(
                f"class {name} has {len(members)} pictures; at least 3 are needed to split it "
                "into train, val and test"
            )
        val = max(1, round(len(members) * fractions[1]))
        test = max(1, round(len(members) * fractions[2]))
        test = min(test, len(members) - val - 1) if val + test >= len(members) else test
        parts[1].extend(members[:val])
        parts[2].extend(members[val : val + test])
        parts[0].extend(members[val + test :])
    train, val_part, test_part = (np.sort(np.asarray(p, dtype=np.int64)) for p in parts)
    return train, val_part, test_part


def _first_folder(root: Path, names: Iterable[str]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def _digests(pictures: FolderPictures) -> list[str]:
    digests = []
    for name in pictures.names:
        try:
            digests.append(hashlib.sha256((pictures.root / name).read_bytes()).hexdigest())
        except OSError as error:
            raise DatasetError(f"{name}: cannot be read ({error.strerror})") from error
    return digests


def _without_copies(
    pictures: FolderPictures,
) -> tuple[FolderPictures, list[tuple[str, str]]]:
    first: dict[str, str] = {}
    kept: list[int] = []
    dropped: list[tuple[str, str]] = []
    for index, (name, digest) in enumerate(zip(pictures.names, _digests(pictures), strict=True)):
        if digest in first:
            dropped.append((name, first[digest]))
        else:
            first[digest] = name
            kept.append(index)
    return pictures.subset(kept), dropped


def _separate(sets: dict[str, FolderPictures], notes: list[str]) -> Splits:
    """Drops pictures from an earlier set whose bytes are also in a later one: test stays whole."""
    classes = {split: pictures.classes for split, pictures in sets.items()}
    if len(set(classes.values())) != 1:
        listed = "; ".join(f"{split}: {', '.join(names)}" for split, names in classes.items())
        raise DatasetError(f"the sets have different classes ({listed}); give all the same folders")
    later: dict[str, str] = {}
    separated: dict[str, FolderPictures] = {}
    for split in ("test", "val", "train"):
        pictures = sets[split]
        digests = _digests(pictures)
        kept = [i for i, digest in enumerate(digests) if digest not in later]
        notes += [
            f"{pictures.names[i]}: left out of {split}, a byte-identical copy of {later[digest]}"
            for i, digest in enumerate(digests)
            if digest in later
        ]
        separated[split] = pictures.subset(kept)
        later.update(zip(digests, pictures.names, strict=True))
    return Splits(separated["train"], separated["val"], separated["test"], notes=tuple(notes))
