"""Picture files as a source: how each layout is cut into folds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from wbcq.data.files import FilePictures
from wbcq.data.sources.base import (
    ALIGNED,
    IntArray,
    OnCorrupt,
    Sets,
    check_choice,
    load_into_memory,
    refuse_empty_classes,
)
from wbcq.data.sources.colour import SIMULATED, simulate_modality
from wbcq.data.splits import Splits, held_back, separate, stratified_folds, without_copies
from wbcq.data.tables import open_fold
from wbcq.data.transforms import Preprocess
from wbcq.report.reporter import SILENT, Reporter

__all__ = ["FileSource", "folds_of_pool", "folds_of_tables", "folds_with_fixed_test"]

VALIDATION_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class FileSource:
    """Picture files, decoded when a fold is loaded.

    Attributes:
        name: Of the folder or table.
        about: Where the pictures come from.
        classes: Class names.
        views: Which modality each file of a row is. A single ``"stain"`` gives the others too, as
            a stand-in.
        crop: Share of a picture's shorter side that is kept.
        split: By fold, how to get its parts; called when the fold is asked for first.
        on_corrupt: ``"skip"`` unreadable pictures with a note, or ``"raise"`` and name them.
    """

    name: str
    about: str
    classes: tuple[str, ...]
    views: tuple[str, ...]
    crop: float
    split: Mapping[int, Callable[[], Splits]]
    on_corrupt: OnCorrupt = "skip"
    _splits: dict[int, Splits] = field(default_factory=dict, init=False, repr=False)

    @property
    def simulated(self) -> bool:
        """Whether the four modalities are made from colour pictures."""
        return self.views == ("stain",)

    @property
    def description(self) -> str:
        """Name, origin and crop."""
        crop = f", centre crop {self.crop:g}" if self.crop != 1 else ""
        return f"{self.name}: {self.about}{crop}" + (f"; {SIMULATED}" if self.simulated else "")

    @property
    def modalities(self) -> tuple[str, ...]:
        """The views, or a stand-in for them."""
        return (*ALIGNED, "stain") if self.simulated else self.views

    @property
    def folds(self) -> tuple[int, ...]:
        """Numbers of the folds."""
        return tuple(self.split)

    def labels(self, fold: int) -> dict[str, IntArray]:
        """Labels of each part; no picture is decoded."""
        splits = self._opened(fold)
        return {name: getattr(splits, name).labels for name in ("train", "val", "test")}

    def load(
        self, fold: int, modality: str, *, size: int, reporter: Reporter | None = None
    ) -> Sets:
        """Decodes the pictures of one fold."""
        check_choice(self, fold, modality)
        reporter = reporter or SILENT
        splits = self._opened(fold)
        for note in splits.notes:
            reporter.note(note)
        preprocess = Preprocess(size, self.crop)
        chosen = {
            name: self._views(getattr(splits, name), modality, preprocess)
            for name in ("train", "val", "test")
        }
        loaded, left_out = load_into_memory(chosen, "Reading pictures", reporter, self.on_corrupt)
        if self.simulated:
            loaded = {
                name: replace(part, pixels=simulate_modality(part.pixels, modality))
                for name, part in loaded.items()
            }
        return Sets(
            loaded["train"],
            loaded["val"],
            loaded["test"],
            preprocess=preprocess,
            description=f"{self.description}; {modality}, fold {fold}",
            notes=(*splits.notes, *left_out),
        )

    def _opened(self, fold: int) -> Splits:
        check_choice(self, fold, self.modalities[0])
        if fold not in self._splits:
            splits = self.split[fold]()
            refuse_empty_classes(
                splits.train.labels, self.classes, f"in the training part of {self.name}"
            )
            self._splits[fold] = splits
        return self._splits[fold]

    def _views(self, pictures: FilePictures, modality: str, preprocess: Preprocess) -> FilePictures:
        if self.simulated:
            return replace(pictures, preprocess=preprocess)
        wanted = ALIGNED if modality == "all" else (modality,)
        columns = [self.views.index(name) for name in wanted]
        files = tuple(tuple(row[k] for k in columns) for row in pictures.files)
        return replace(pictures, files=files, preprocess=preprocess)


def folds_of_pool(pictures: FilePictures, count: int, seed: int) -> dict[int, Callable[[], Splits]]:
    """Stratified folds of one set: each picture is tested in one of them.

    Byte-identical copies are left out. Pictures of one group stay in one part.
    """
    cut: list[tuple[FilePictures, tuple[str, ...], tuple[tuple[IntArray, IntArray], ...]]] = []

    def prepared() -> tuple[FilePictures, tuple[str, ...], tuple[tuple[IntArray, IntArray], ...]]:
        if not cut:
            kept, dropped = without_copies(pictures)
            notes = tuple(
                f"{name}: left out, a byte-identical copy of {of}" for name, of in dropped
            )
            folds = stratified_folds(kept.labels, count, kept.classes, seed, kept.groups)
            cut.append((kept, notes, folds))
        return cut[0]

    def split(fold: int) -> Splits:
        kept, notes, folds = prepared()
        rest, test = folds[fold]
        pool = kept.subset(rest)
        train, val = _validation_part(pool, VALIDATION_SHARE, seed + fold)
        how = "whole groups" if kept.groups else "stratified"
        note = f"fold {fold} of {count}, {how}, seed {seed}"
        return Splits(pool.subset(train), pool.subset(val), kept.subset(test), notes=(note, *notes))

    return {fold: partial(split, fold) for fold in range(count)}


def folds_with_fixed_test(
    open_sets: Callable[[], dict[str, FilePictures]], count: int, seed: int, kind: str
) -> dict[int, Callable[[], Splits]]:
    """Folds of a data set with a split of its own: all report its test part.

    Fold 0 is its own split; the others draw train and val anew from these two.

    Args:
        open_sets: Gives the data set's own ``train``, ``val`` and ``test``.
        count: Number of folds.
        seed: Of the draws.
        kind: What the split is called, for a note.
    """

    @cache
    def opened() -> Splits:
        return separate(open_sets(), [kind])

    def split(fold: int) -> Splits:
        own = opened()
        if fold == 0:
            return own
        # A pair of copies within the training part could come apart.
        pool, dropped = without_copies(_joined(own.train, own.val))
        share = len(own.val) / (len(own.train) + len(own.val))
        train, val = held_back(pool.labels, share, pool.classes, seed + fold)
        drawn = f"fold {fold}: train and val drawn anew, seed {seed + fold}"
        return Splits(
            pool.subset(train),
            pool.subset(val),
            own.test,
            notes=(*own.notes, drawn, *_copies(dropped)),
        )

    return {fold: partial(split, fold) for fold in range(count)}


def folds_of_tables(
    root: Path,
    folds: tuple[int, ...],
    columns: tuple[str, ...],
    classes: tuple[str, ...],
    seed: int,
) -> dict[int, Callable[[], Splits]]:
    """Folds in tables: their validation part is reported, a part of train chooses the epoch."""

    def split(fold: int) -> Splits:
        listed, test = open_fold(root, fold, Preprocess(64), columns=columns, classes=classes)
        refuse_empty_classes(listed.labels, classes, f"in {root / f'train_{fold}.csv'}")
        train, val = held_back(listed.labels, VALIDATION_SHARE, classes, seed + fold)
        note = (
            f"fold {fold}: val_{fold}.csv is the test part; {VALIDATION_SHARE:.0%} of "
            f"train_{fold}.csv choose the epoch, seed {seed + fold}"
        )
        sets = {"train": listed.subset(train), "val": listed.subset(val), "test": test}
        return separate(sets, [note])

    return {fold: partial(split, fold) for fold in folds}


def _copies(dropped: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(f"{name}: left out, a byte-identical copy of {of}" for name, of in dropped)


def _validation_part(pool: FilePictures, share: float, seed: int) -> tuple[IntArray, IntArray]:
    if not pool.groups:
        return held_back(pool.labels, share, pool.classes, seed)
    parts = min(round(1 / share), len(set(pool.groups)))
    return stratified_folds(pool.labels, parts, pool.classes, seed, pool.groups)[0]


def _joined(first: FilePictures, second: FilePictures) -> FilePictures:
    if first.root == second.root:
        files = (*first.files, *second.files)
        root = first.root
    else:
        root = Path()
        files = tuple(
            tuple(str(part.root / name) for name in row)
            for part in (first, second)
            for row in part.files
        )
    labels = np.concatenate([first.labels, second.labels])
    return replace(first, root=root, files=files, labels=labels, groups=(), origins=())
