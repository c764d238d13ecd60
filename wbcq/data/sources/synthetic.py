"""Synthetic cells as a source: balanced, or with the study's imbalance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from wbcq.data.pictures import ArrayPictures
from wbcq.data.sources.base import IntArray, Sets, check_choice, load_into_memory
from wbcq.data.splits import held_back
from wbcq.data.synthetic import ALIGNED, CLASSES, SyntheticWbc
from wbcq.report.reporter import SILENT, Reporter

__all__ = ["FOLDS", "PRESETS", "SyntheticSource", "cells_of_preset", "test_fold"]

FOLDS = 5

PRESETS: dict[str, tuple[tuple[int, ...], float]] = {
    "balanced": ((300, 300, 300, 300, 300), 0.7),
    "study": ((47, 677, 4448, 124, 9616), 0.7),
}
"""Cells of each class in all folds together, and difficulty."""

FEWEST = 2 * FOLDS
"""Cells of a class however small the scale: two in each test part, some to choose the epoch."""

VALIDATION_SHARE = 0.1


def cells_of_preset(preset: str, scale: float = 1.0) -> tuple[int, ...]:
    """Cells of each class, all folds together.

    Raises:
        ValueError: Unknown preset, or a scale that is not positive.

    Example:
        >>> cells_of_preset("study")
        (47, 677, 4448, 124, 9616)
        >>> cells_of_preset("study", 0.1)
        (10, 68, 445, 12, 962)
    """
    if preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}; choose one of {', '.join(PRESETS)}")
    if not scale > 0:
        raise ValueError(f"scale is {scale}; use a positive number")
    return tuple(max(FEWEST, round(count * scale)) for count in PRESETS[preset][0])


def test_fold(labels: IntArray) -> IntArray:
    """For each cell the fold that tests it: cells of a class in order, sizes as in the study.

    The first folds take one more where a class cannot be divided: of 47 basophils the study's
    validation parts have 10, 10, 9, 9 and 9.
    """
    folds = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        for fold, part in enumerate(np.array_split(members, FOLDS)):
            folds[part] = fold
    return folds


@dataclass(frozen=True, eq=False)
class SyntheticSource:
    """Synthetic cells, see :mod:`wbcq.data.synthetic`; every cell is in the test part of one fold.

    The pictures of the last modality and size stay in memory, as all folds share them.

    Attributes:
        preset: ``"balanced"``, or ``"study"`` with its imbalance and fold sizes.
        seed: Of the cells and of the choice of validation cells.
        scale: Factor of the number of cells.
        difficulty: 0 to 1; None for the preset's.
    """

    preset: Literal["balanced", "study"] | str = "balanced"
    seed: int = 0
    scale: float = 1.0
    difficulty: float | None = None
    _rendered: dict[tuple[str, int], ArrayPictures] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        self.cells("stain", 16)  # refuses what is out of range

    @property
    def name(self) -> str:
        """``"synthetic"``."""
        return "synthetic"

    @property
    def description(self) -> str:
        """Preset, number of cells, difficulty and seed."""
        counts = " : ".join(map(str, cells_of_preset(self.preset, self.scale)))
        return (
            f"synthetic Giemsa-like smears, preset {self.preset} ({counts} cells), difficulty "
            f"{self._difficulty:g}, seed {self.seed}"
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Five classes."""
        return CLASSES

    @property
    def modalities(self) -> tuple[str, ...]:
        """The four aligned ones and the stain."""
        return (*ALIGNED, "stain")

    @property
    def folds(self) -> tuple[int, ...]:
        """Five."""
        return tuple(range(FOLDS))

    def cells(self, modality: str, size: int) -> SyntheticWbc:
        """The cells of all folds."""
        return SyntheticWbc(
            cells_of_preset(self.preset, self.scale), size, self.seed, self._difficulty, modality
        )

    def parts(self, fold: int) -> dict[str, IntArray]:
        """Indices into :meth:`cells` of ``"train"``, ``"val"`` and ``"test"``."""
        check_choice(self, fold, "all")
        labels = self.cells("stain", 16).labels
        tested = test_fold(labels) == fold
        rest = np.flatnonzero(~tested)
        train, val = held_back(labels[rest], VALIDATION_SHARE, CLASSES, self.seed + fold)
        return {"train": rest[train], "val": rest[val], "test": np.flatnonzero(tested)}

    def labels(self, fold: int) -> dict[str, IntArray]:
        """Labels of each part."""
        labels = self.cells("stain", 16).labels
        return {split: labels[part] for split, part in self.parts(fold).items()}

    def load(
        self, fold: int, modality: str, *, size: int, reporter: Reporter | None = None
    ) -> Sets:
        """Renders the cells of all folds, unless they still are in memory, and cuts one out."""
        check_choice(self, fold, modality)
        parts = self.parts(fold)
        if (modality, size) not in self._rendered:
            self._rendered.clear()
            loaded, _ = load_into_memory(
                {"cells": self.cells(modality, size)}, "Rendering cells", reporter or SILENT
            )
            self._rendered[modality, size] = loaded["cells"]
        pool = self._rendered[modality, size]
        return Sets(
            pool.subset(parts["train"]),
            pool.subset(parts["val"]),
            pool.subset(parts["test"]),
            preprocess=None,
            description=f"{self.description}, {modality}, fold {fold}",
        )

    @property
    def _difficulty(self) -> float:
        if self.difficulty is not None:
            return self.difficulty
        cells_of_preset(self.preset)  # refuses an unknown one
        return PRESETS[self.preset][1]
