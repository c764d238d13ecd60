"""Which pictures train, which choose the epoch, and which are only reported."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.data.files import FilePictures, open_folder
from wbcq.data.pictures import DatasetError
from wbcq.data.public import is_bcisc, is_pbc, open_bcisc, open_pbc
from wbcq.data.tables import fold_numbers, open_fold
from wbcq.data.transforms import Preprocess

__all__ = ["Splits", "load_splits", "stratified_folds", "stratified_split"]

Fractions: TypeAlias = tuple[float, float, float]
"""Shares of train, val and test."""

Indices: TypeAlias = npt.NDArray[np.int64]

_SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


@dataclass(frozen=True)
class Splits:
    """Disjoint sets over the same classes.

    Attributes:
        train, val, test: The sets. ``val`` chooses the epoch, ``test`` is only reported.
        notes: What was left out or decided, for the user to read.
    """

    train: FilePictures
    val: FilePictures
    test: FilePictures
    notes: tuple[str, ...] = ()


def load_splits(
    root: str | Path,
    preprocess: Preprocess,
    *,
    seed: int = 0,
    fractions: Fractions = (0.7, 0.1, 0.2),
    fold: int = 0,
    columns: Sequence[str] | None = None,
) -> Splits:
    """Opens a data set and splits it.

    Five layouts are recognised:

    - pbc_wbc5 (``wbcatt/pbc_attr_v1_train.csv`` and its siblings): the published split;
    - bcisc (``sub-images/images``): split by smear;
    - folds in tables (``train_0.csv`` and ``val_0.csv``, see :func:`~wbcq.data.open_fold`): the
      table's validation part is reported, and a part of its training set chooses the epoch;
    - ``train``/``val``/``test`` folders with one folder per class each: the split is kept;
    - one folder per class: split here, stratified by class.

    Pictures that are byte for byte the same never end up in two sets.

    Args:
        root: The data set's folder.
        preprocess: Crop and size of every picture.
        seed: Chooses the pictures of each set where the data set does not.
        fractions: Shares of train, val and test where the data set does not say.
        fold: Which, of folds in tables.
        columns: Which pictures of a row to read, of folds in tables; all of them by default.

    Raises:
        DatasetError: No such folder, no pictures, fewer than two classes, or too few pictures.
    """
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; pass a folder with one subfolder per class")
    if is_pbc(root):
        sets = {split: open_pbc(root, split, preprocess) for split in _SPLIT_FOLDERS}
        return separate(sets, ["published split of the WBCAtt attribute tables"])
    if is_bcisc(root):
        return _split_by_group(open_bcisc(root, preprocess), fractions, seed)
    if fold_numbers(root):
        listed, test = open_fold(root, fold, preprocess, columns=columns)
        share = fractions[1] / (fractions[0] + fractions[1])
        fitted, chosen = map(listed.subset, held_back(listed.labels, share, listed.classes, seed))
        note = f"fold {fold}; {share:.0%} of its training pictures choose the epoch, seed {seed}"
        return separate({"train": fitted, "val": chosen, "test": test}, [note])
    folders = split_folders(root)
    if folders is not None:
        sets = {split: open_folder(path, preprocess) for split, path in folders.items()}
        return separate(sets, ["split by the train, val and test folders"])
    pictures, dropped = without_copies(open_folder(root, preprocess))
    notes = [f"{name}: left out, a byte-identical copy of {first}" for name, first in dropped]
    train, val, test = map(
        pictures.subset, stratified_split(pictures.labels, fractions, pictures.classes, seed)
    )
    notes.insert(0, f"stratified split {len(train)} / {len(val)} / {len(test)}, seed {seed}")
    return Splits(train, val, test, notes=tuple(notes))


def stratified_folds(
    labels: Indices, count: int, classes: Sequence[str], seed: int, groups: Sequence[str] = ()
) -> tuple[tuple[Indices, Indices], ...]:
    """Cuts a set into folds with the same shares of each class, and groups in one piece.

    Args:
        labels: int64 [N].
        count: Number of folds, at least 2.
        classes: Class names, for messages.
        seed: Of the shuffle.
        groups: [N], for each picture what must not be cut apart; empty if nothing.

    Returns:
        For each fold the ascending indices that train and those that validate.

    Raises:
        DatasetError: A class has fewer pictures, or the set fewer groups, than there are folds.

    Example:
        >>> labels = np.array([0, 0, 1, 1])
        >>> [len(val) for _, val in stratified_folds(labels, 2, ("a", "b"), seed=0)]
        [2, 2]
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    for label, name in enumerate(classes):
        members = int((labels == label).sum())
        if members < count:
            raise DatasetError(
                f"class {name} has {members} pictures, fewer than {count} folds; use fewer folds "
                "or add pictures"
            )
    if groups and len(set(groups)) < count:
        raise DatasetError(f"{len(set(groups))} groups cannot be dealt to {count} folds; use fewer")
    kind = StratifiedGroupKFold if groups else StratifiedKFold
    splitter = kind(n_splits=count, shuffle=True, random_state=seed)
    folds = splitter.split(np.zeros(len(labels)), labels, groups=list(groups) or None)
    return tuple((np.sort(train), np.sort(val)) for train, val in folds)


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


def _split_by_group(pictures: FilePictures, fractions: Fractions, seed: int) -> Splits:
    """Deals whole groups to the three sets, as near to the shares as twentieths allow."""
    folds = min(20, len(set(pictures.groups)))
    parts = stratified_folds(pictures.labels, folds, pictures.classes, seed, groups=pictures.groups)
    test_folds = max(1, round(folds * fractions[2]))
    val_folds = max(1, round(folds * fractions[1]))
    held = [val for _, val in parts]
    test = np.sort(np.concatenate(held[:test_folds]))
    val = np.sort(np.concatenate(held[test_folds : test_folds + val_folds]))
    train = np.sort(np.concatenate(held[test_folds + val_folds :]))
    sets = {"train": train, "val": val, "test": test}
    chosen = {split: pictures.subset(part) for split, part in sets.items()}
    sizes = " / ".join(str(len(part)) for part in chosen.values())
    return separate(chosen, [f"split {sizes} by smear, seed {seed}"])


def held_back(
    labels: Indices, share: float, classes: Sequence[str], seed: int
) -> tuple[Indices, Indices]:
    """Holds back a share of each class, at least one picture, to choose the epoch.

    Returns:
        Ascending indices of those that train and those that are held back.

    Raises:
        DatasetError: A class has fewer than two pictures.
    """
    rng = np.random.default_rng(seed)
    held: list[int] = []
    for label, name in enumerate(classes):
        members = rng.permutation(np.flatnonzero(labels == label))
        if len(members) < 2:
            raise DatasetError(
                f"class {name} has {len(members)} training pictures; at least 2 are needed, one "
                "to train and one to choose the epoch"
            )
        held.extend(members[: max(1, round(len(members) * share))])
    val = np.sort(np.asarray(held, dtype=np.int64))
    return np.setdiff1d(np.arange(len(labels)), val), val


def split_folders(root: Path) -> dict[str, Path] | None:
    """The folders of a data set that is split into train, val and test; None if one is missing."""
    found = {}
    for split, names in _SPLIT_FOLDERS.items():
        present = [root / name for name in names if (root / name).is_dir()]
        if not present:
            return None
        found[split] = present[0]
    return found


def _digests(pictures: FilePictures) -> list[str]:
    """Of all views of each picture; of its names where a file is missing, which preload reports."""
    digests = []
    for views in pictures.files:
        digest = hashlib.sha256()
        for name in views:
            try:
                digest.update((pictures.root / name).read_bytes())
            except OSError:
                digest.update(name.encode())
        digests.append(digest.hexdigest())
    return digests


def without_copies(
    pictures: FilePictures,
) -> tuple[FilePictures, list[tuple[str, str]]]:
    """Drops pictures that are byte for byte an earlier one; names each and the earlier one."""
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


def separate(sets: dict[str, FilePictures], notes: list[str]) -> Splits:
    """Drops pictures from an earlier set whose bytes are also in a later one: test stays whole."""
    classes = {split: pictures.classes for split, pictures in sets.items()}
    if len(set(classes.values())) != 1:
        listed = "; ".join(f"{split}: {', '.join(names)}" for split, names in classes.items())
        raise DatasetError(f"the sets have different classes ({listed}); give all the same folders")
    later: dict[str, str] = {}
    separated: dict[str, FilePictures] = {}
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
