"""Synthetic cells at a glance."""

from __future__ import annotations

from pathlib import Path

from wbcq.data.synthetic.cells import CLASSES
from wbcq.data.synthetic.dataset import ALIGNED, render_cell

__all__ = ["write_sheet"]


def write_sheet(
    path: str | Path, *, difficulty: float, size: int = 96, seed: int = 0, stained: int = 5
) -> None:
    """Draws a row for each class: cells under white light, then one in each modality.

    Args:
        path: A PNG, SVG or PDF file.
        difficulty: 0 to 1.
        size: Pixels of a picture.
        seed: Of the cells.
        stained: How many cells under white light; the last is the one in all modalities.
    """
    from wbcq.report.plots import contact_sheet

    rows = {}
    for name in CLASSES:
        cells = [
            render_cell(
                name,
                size=size,
                seed=seed,
                index=index,
                difficulty=difficulty,
                modalities=("stain", *ALIGNED),
            )
            for index in range(stained)
        ]
        rows[name] = [
            *(cell["stain"] for cell in cells),
            *(cells[-1][modality] for modality in ALIGNED),
        ]
    titles = [*[""] * (stained - 1), "stain", *ALIGNED]
    contact_sheet(path, rows, columns=titles)
