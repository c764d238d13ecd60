"""What every source of cells has in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.data.pictures import ArrayPictures, DatasetError, PictureSet, Progress, preload
from wbcq.data.transforms import Preprocess
from wbcq.report.reporter import Reporter, Stage

__all__ = ["ALIGNED", "IntArray", "OnCorrupt", "Sets", "Source", "check_choice", "load_into_memory"]

IntArray: TypeAlias = npt.NDArray[np.int64]

OnCorrupt: TypeAlias = Literal["skip", "raise"]

ALIGNED = ("fluor", "green", "purple", "red")
"""The four pictures of one cell that modality ``"all"`` stacks, in the order of MM-MIMO3."""


@dataclass(frozen=True, eq=False)
class Sets:
    """The three parts of one fold in memory.

    Attributes:
        train, val, test: Disjoint, over the same classes. ``val`` chooses the epoch, ``test`` is
            only reported.
        preprocess: What was done to the pictures; None for synthetic ones, made to size.
        description: Where the pictures come from, for reports.
        notes: What was left out or decided.
    """

    train: ArrayPictures
    val: ArrayPictures
    test: ArrayPictures
    preprocess: Preprocess | None
    description: str
    notes: tuple[str, ...] = ()


class Source(Protocol):
    """Where cells come from, cut into folds."""

    @property
    def name(self) -> str:
        """For example ``"synthetic"`` or the folder's name."""

    @property
    def description(self) -> str:
        """One line for reports; tells which modalities are simulated."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; label k is ``classes[k]``."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """What :meth:`load` can be asked for, apart from ``"all"``."""

    @property
    def folds(self) -> tuple[int, ...]:
        """Numbers of the folds."""

    def load(
        self, fold: int, modality: str, *, size: int, reporter: Reporter | None = None
    ) -> Sets:
        """The pictures of one fold.

        Args:
            fold: One of :attr:`folds`.
            modality: One of :attr:`modalities`: uint8 [N, size, size, 3]. Or ``"all"``: the four of
                :data:`ALIGNED` as 12 channels.
            size: Height and width in pixels.
            reporter: Told how far it is and what was left out.

        Raises:
            DatasetError: The data cannot be used; names file and row.
        """

    def labels(self, fold: int) -> dict[str, IntArray]:
        """Labels of ``"train"``, ``"val"`` and ``"test"``, without decoding pictures."""


def check_choice(source: Source, fold: int, modality: str) -> None:
    """Refuses a fold or a modality that a source does not have."""
    if fold not in source.folds:
        raise DatasetError(
            f"{source.name}: no fold {fold}; folds are {', '.join(map(str, source.folds))}"
        )
    missing = [name for name in ALIGNED if name not in source.modalities]
    if modality == "all" and missing:
        raise DatasetError(
            f"{source.name}: modality all needs four aligned pictures of each cell, but there is "
            f"no {', '.join(missing)}; there is {', '.join(source.modalities)}"
        )
    if modality not in (*source.modalities, "all"):
        raise DatasetError(
            f"{source.name}: no modality {modality!r}; choose all or one of "
            f"{', '.join(source.modalities)}"
        )


def load_into_memory(
    sets: Mapping[str, PictureSet],
    title: str,
    reporter: Reporter,
    on_corrupt: OnCorrupt = "skip",
) -> tuple[dict[str, ArrayPictures], tuple[str, ...]]:
    """Decodes or renders sets under one progress bar.

    Returns:
        The sets, and a note for each picture that was left out.

    Raises:
        DatasetError: Unreadable pictures with ``"raise"``, or a class of the training set has none
            left.
    """
    total = sum(len(pictures) for pictures in sets.values())
    loaded: dict[str, ArrayPictures] = {}
    notes: list[str] = []
    done = 0
    with reporter.stage(title) as stage:
        for name, pictures in sets.items():
            loaded[name], problems = preload(
                pictures, on_corrupt=on_corrupt, progress=_after(done, total, stage)
            )
            done += len(pictures)
            notes += [f"left out of {name}: {problem}" for problem in problems]
    for note in notes:
        reporter.note(note)
    if "train" in loaded:
        refuse_empty_classes(loaded["train"].labels, loaded["train"].classes, "of the training set")
    return loaded, tuple(notes)


def refuse_empty_classes(labels: IntArray, classes: Sequence[str], where: str) -> None:
    """Refuses a class that no picture belongs to: it cannot be learned."""
    counts = np.bincount(labels, minlength=len(classes))
    empty = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if empty:
        raise DatasetError(
            f"class {', '.join(empty)} {where} has no pictures; add pictures of it or leave it out "
            "of the classes"
        )


def _after(before: int, total: int, stage: Stage) -> Progress:
    return lambda done, _: stage(before + done, total)
