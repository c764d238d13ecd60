"""Figures as PNG, SVG or PDF files; the format follows the file's suffix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wbcq.report.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "blank_figure",
    "comparison",
    "confusion_matrices",
    "contact_sheet",
    "save_figure",
    "training_curve",
]

_BLUE, _ORANGE, _GREEN, _GREY = "#2f6db3", "#d9822b", "#3f8f5f", "#8a8a8a"


def confusion_matrices(
    path: str | Path, matrices: Mapping[str, npt.NDArray[np.int64]], classes: Sequence[str]
) -> None:
    """Draws one confusion matrix per model, side by side.

    Args:
        path: Where to write.
        matrices: By model name; int64 [C, C], rows are true classes. Cells show counts, shades
            show shares of the row.
        classes: C names.
    """
    figure = blank_figure(3.4 * len(matrices) + 0.8, 3.8)
    axes = figure.subplots(1, len(matrices), squeeze=False)[0]
    short = [name[:3].capitalize() for name in classes]
    for position, (axis, (title, counts)) in enumerate(zip(axes, matrices.items(), strict=True)):
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(*counts.shape):
            axis.text(
                column,
                row,
                str(counts[row, column]),
                ha="center",
                va="center",
                fontsize=9,
                color="white" if shares[row, column] > 0.5 else "black",
            )
        axis.set_title(title, fontsize=10)
        axis.set_xticks(range(len(short)), short, fontsize=9)
        labels = list(classes) if position == 0 else [""] * len(classes)
        axis.set_yticks(range(len(short)), labels, fontsize=9)
        axis.set_xlabel("decision", fontsize=9)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    axes[0].set_ylabel("true class", fontsize=9)
    save_figure(figure, path)


def comparison(
    path: str | Path,
    names: Sequence[str],
    accuracy: Sequence[float],
    milliseconds: Sequence[float],
    megabytes: Sequence[float],
) -> None:
    """Draws accuracy, time and size of several models as three rows of bars.

    Args:
        path: Where to write.
        names: Of the models.
        accuracy: In percent.
        milliseconds: Per batch.
        megabytes: File sizes.
    """
    figure = blank_figure(9.0, 0.9 + 0.45 * len(names))
    panels = (
        ("accuracy, %", accuracy, _GREEN, "{:.2f}"),
        ("ms per batch of 8", milliseconds, _BLUE, "{:.1f}"),
        ("file, MB", megabytes, _ORANGE, "{:.1f}"),
    )
    places = np.arange(len(names))[::-1]
    for axis, (title, values, colour, form) in zip(figure.subplots(1, 3), panels, strict=True):
        axis.barh(places, values, color=colour, height=0.62)
        highest = max(values)
        for place, value in zip(places, values, strict=True):
            axis.text(value + 0.02 * highest, place, form.format(value), va="center", fontsize=9)
        axis.set_xlim(0, 1.28 * highest)
        axis.set_title(title, fontsize=10, loc="left")
        shown = list(names) if axis.get_subplotspec().is_first_col() else [""] * len(names)
        axis.set_yticks(places, shown, fontsize=9)
        axis.set_xticks([])
        axis.tick_params(length=0)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
    save_figure(figure, path)


def training_curve(
    path: str | Path, loss: Sequence[float], accuracy: Sequence[float], best_epoch: int
) -> None:
    """Draws loss and validation accuracy by epoch.

    Args:
        path: Where to write.
        loss: Mean training loss of each epoch.
        accuracy: Validation accuracy of each epoch, 0..1.
        best_epoch: Index of the epoch whose weights were kept.
    """
    from matplotlib.ticker import MaxNLocator

    figure = blank_figure(5.4, 3.2)
    left = figure.subplots()
    right = left.twinx()
    epochs = np.arange(1, len(loss) + 1)
    left.plot(epochs, loss, color=_GREY, marker="o", markersize=3)
    right.plot(epochs, [100 * a for a in accuracy], color=_BLUE, marker="o", markersize=3)
    right.axvline(best_epoch + 1, color=_ORANGE, linewidth=1, linestyle=":")
    left.set_xlabel("epoch", fontsize=9)
    left.set_ylabel("training loss", color=_GREY, fontsize=9)
    right.set_ylabel("validation accuracy, %", color=_BLUE, fontsize=9)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in (left, right):
        axis.spines["top"].set_visible(False)
        axis.tick_params(labelsize=9)
    save_figure(figure, path)


def contact_sheet(
    path: str | Path,
    rows: Mapping[str, Sequence[npt.NDArray[np.uint8]]],
    *,
    columns: Sequence[str] = (),
    scale: float = 1.0,
) -> None:
    """Draws rows of pictures with a name before each row.

    Args:
        path: Where to write.
        rows: By name; uint8 [H, W, 1 or 3], all of one height and width.
        columns: Headings of the columns, if any.
        scale: Pixels of the figure per pixel of a picture.
    """
    from matplotlib.textpath import TextPath

    count = max(len(pictures) for pictures in rows.values())
    height, width = next(iter(rows.values()))[0].shape[:2]
    dpi, head_inches = 100, 0.3 if columns else 0.05
    name_inches = max(
        1.15, 0.2 + max(TextPath((0, 0), name, size=10).get_extents().width / 72 for name in rows)
    )
    across = name_inches + count * (width * scale + 3) / dpi
    down = head_inches + len(rows) * (height * scale + 3) / dpi
    figure = blank_figure(across, down, layout="none")
    for r, (name, pictures) in enumerate(rows.items()):
        bottom = 1 - (head_inches + (r + 1) * (height * scale + 3) / dpi) / down
        middle = bottom + height * scale / dpi / down / 2
        figure.text(0.08 / across, middle, name, fontsize=10, va="center")
        for k, picture in enumerate(pictures):
            start = (name_inches + k * (width * scale + 3) / dpi) / across
            size = (width * scale / dpi / across, height * scale / dpi / down)
            axis = figure.add_axes((start, bottom, *size))
            grey = picture.shape[2] == 1
            shown = picture[..., 0] if grey else picture
            axis.imshow(shown, cmap="gray" if grey else None, vmin=0, vmax=255)
            axis.set_axis_off()
            if r == 0 and k < len(columns):
                axis.set_title(columns[k], fontsize=10, pad=3)
    save_figure(figure, path, dpi=dpi, tight=False)


def blank_figure(width: float, height: float, layout: Any = "constrained") -> Figure:
    """A figure of so many inches without pyplot."""
    # No global state, no display, safe in any thread.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)


def save_figure(figure: Figure, path: str | Path, dpi: int = 150, tight: bool = True) -> None:
    """Writes a figure, whole or not at all; the suffix says in which format."""
    with replacing(path) as temporary:
        # Constrained layout clips the titles of pictures with a fixed aspect.
        box = "tight" if tight else None
        figure.savefig(temporary, dpi=dpi, bbox_inches=box, pad_inches=0.08)
