"""Train, validation and test pictures of the demonstration: synthetic, or a user's folder."""

from __future__ import annotations

from pathlib import Path

from wbcq.data.sources.base import Sets, load_into_memory
from wbcq.data.splits import load_splits
from wbcq.data.synthetic import SyntheticWbc
from wbcq.data.transforms import Preprocess
from wbcq.report.reporter import Reporter

__all__ = ["load_pictures", "synthetic_pictures"]

# Numbers of the first synthetic cells of each set: far enough apart never to overlap.
_FIRST = {"train": 0, "val": 1_000_000, "test": 2_000_000}


def synthetic_pictures(
    counts: tuple[int, int, int], size: int, seed: int, difficulty: float, reporter: Reporter
) -> Sets:
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
    loaded, _ = load_into_memory(sets, "Rendering cells", reporter)
    return Sets(
        loaded["train"],
        loaded["val"],
        loaded["test"],
        preprocess=None,
        description=f"synthetic Giemsa-like smears, difficulty {difficulty:g}, seed {seed}",
    )


def load_pictures(root: Path, size: int, crop: float | None, seed: int, reporter: Reporter) -> Sets:
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
    loaded, _ = load_into_memory(sets, "Reading pictures", reporter)
    return Sets(
        loaded["train"],
        loaded["val"],
        loaded["test"],
        preprocess=preprocess,
        description=f"{root.resolve().name}, centre crop {crop:g}",
    )
