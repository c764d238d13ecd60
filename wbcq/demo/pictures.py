"""Train, validation and test pictures of the demonstration: synthetic, or a user's folder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wbcq.data.pictures import ArrayPictures, PictureSet, Progress, preload
from wbcq.data.splits import load_splits
from wbcq.data.synthetic import SyntheticWbc
from wbcq.data.transforms import Preprocess

__all__ = ["DemoPictures", "Reporter", "Stage", "load_pictures", "synthetic_pictures"]

# Numbers of the first synthetic cells of each set: far enough apart never to overlap.
_FIRST = {"train": 0, "val": 1_000_000, "test": 2_000_000}


class Stage(Protocol):
    """Progress of one step of a long job."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Tells how far the step is, with a short note such as the loss."""


class Reporter(Protocol):
    """Who is told what the demonstration does."""

    def stage(self, name: str) -> AbstractContextManager[Stage]:
        """A step that takes a while."""

    def note(self, text: str) -> None:
        """One line that the user should read."""


@dataclass(frozen=True)
class DemoPictures:
    """The three sets in memory.

    Attributes:
        train, val, test: Disjoint, over the same classes.
        preprocess: What was done to the pictures; None for synthetic ones, made to size.
        description: Where the pictures come from, for the report.
    """

    train: ArrayPictures
    val: ArrayPictures
    test: ArrayPictures
    preprocess: Preprocess | None
    description: str


def synthetic_pictures(
    counts: tuple[int, int, int], size: int, seed: int, difficulty: float, reporter: Reporter
) -> DemoPictures:
    """Renders synthetic smears.

    Args:
        counts: Cells of each class for training, validation and test.
        size: Pixels along each side.
        seed: Of the cells.
        difficulty: 0 to 1, see :func:`wbcq.data.synthetic.render_cell`.
        reporter: Told how far it is.
    """
    sets = {
        name: SyntheticWbc(count, size, seed, difficulty, first=first)
        for (name, first), count in zip(_FIRST.items(), counts, strict=True)
    }
    loaded = _preload(sets, "Rendering cells", reporter)
    return DemoPictures(
        loaded["train"],
        loaded["val"],
        loaded["test"],
        preprocess=None,
        description=f"synthetic Giemsa-like smears, difficulty {difficulty:g}, seed {seed}",
    )


def load_pictures(
    root: Path, size: int, crop: float | None, seed: int, reporter: Reporter
) -> DemoPictures:
    """Reads a folder data set, see :func:`wbcq.data.load_splits`; damaged pictures are left out.

    Args:
        root: The folder.
        size: Pixels along each side.
        crop: Share of the picture's shorter side; None for 0.75 in the pbc_wbc5 layout, whose
            cells are small in their pictures, and 1 elsewhere.
        seed: Of the split, where the data set has none of its own.
        reporter: Told how far it is and what was left out.
    """
    if crop is None:
        crop = 0.75 if (root / "wbcatt").is_dir() else 1.0
    preprocess = Preprocess(size, crop)
    splits = load_splits(root, preprocess, seed=seed)
    for note in splits.notes:
        reporter.note(note)
    sets = {"train": splits.train, "val": splits.val, "test": splits.test}
    loaded = _preload(sets, "Reading pictures", reporter)
    return DemoPictures(
        loaded["train"],
        loaded["val"],
        loaded["test"],
        preprocess=preprocess,
        description=f"{root.resolve().name}, centre crop {crop:g}",
    )


def _preload(
    sets: Mapping[str, PictureSet], title: str, reporter: Reporter
) -> dict[str, ArrayPictures]:
    total = sum(len(pictures) for pictures in sets.values())
    loaded: dict[str, ArrayPictures] = {}
    done = 0
    with reporter.stage(title) as stage:
        for name, pictures in sets.items():
            loaded[name], problems = preload(
                pictures, on_corrupt="skip", progress=_after(done, total, stage)
            )
            done += len(pictures)
            for problem in problems:
                reporter.note(f"left out of {name}: {problem}")
    return loaded


def _after(before: int, total: int, stage: Stage) -> Progress:
    return lambda done, _: stage(before + done, total)
