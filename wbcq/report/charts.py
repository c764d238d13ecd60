"""Figures of experiments: shares, scatter, lines and dots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wbcq.report.plots import blank_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Point", "dots", "heat", "lines", "panels", "scatter", "stacked_bars"]

_COLOURS = ("#2f6db3", "#d9822b", "#3f8f5f", "#8a5fb3", "#c2453f", "#8a8a8a", "#b8a13a", "#3aa6b8")
_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")


@dataclass(frozen=True)
class Point:
    """Of a scatter figure.

    Attributes:
        x, y: Where it lies.
        area: What its area is proportional to, such as megabytes.
        name: Written beside it.
        series: Points of one series have one colour.
    """

    x: float
    y: float
    area: float
    name: str
    series: str


def stacked_bars(path: str | Path, bars: Mapping[str, Sequence[int]], parts: Sequence[str]) -> None:
    """Draws the shares of parts as horizontal bars, with counts where there is room.

    Args:
        path: Where to write.
        bars: By name: one count per part.
        parts: Names of the parts.
    """
    figure = blank_figure(8.0, 1.1 + 0.3 * len(bars))
    axis = figure.subplots()
    places = range(len(bars))[::-1]
    left = [0.0] * len(bars)
    totals = [max(sum(counts), 1) for counts in bars.values()]
    for number, part in enumerate(parts):
        shares = [100 * bar[number] / t for bar, t in zip(bars.values(), totals, strict=True)]
        axis.barh(places, shares, left=left, height=0.7, color=_colour(number), label=part)
        for place, start, share, bar in zip(places, left, shares, bars.values(), strict=True):
            if share >= 5:
                middle = start + share / 2
                text = str(bar[number])
                axis.text(middle, place, text, ha="center", va="center", fontsize=8, color="white")
        left = [start + share for start, share in zip(left, shares, strict=True)]
    axis.set_yticks(places, list(bars), fontsize=9)
    axis.set_xlim(0, 100)
    axis.set_xlabel("share of the pictures, %", fontsize=9)
    axis.tick_params(labelsize=9, length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(parts), fontsize=9, frameon=False)
    save_figure(figure, path)


def scatter(path: str | Path, points: Sequence[Point], x: str, y: str, area: str) -> None:
    """Draws named points whose areas mean something; equal names are joined by a line.

    Args:
        path: Where to write.
        points: At least one.
        x: Title of the horizontal axis, which is logarithmic.
        y: Title of the vertical axis.
        area: What areas mean.
    """
    figure = blank_figure(8.0, 5.0)
    axis = figure.subplots()
    largest = max(point.area for point in points)
    by_name: dict[str, list[Point]] = {}
    for point in points:
        by_name.setdefault(point.name, []).append(point)
    for group in by_name.values():
        axis.plot(
            [p.x for p in group], [p.y for p in group], color="#c8c8c8", linewidth=1, zorder=1
        )
    for number, series in enumerate(dict.fromkeys(point.series for point in points)):
        members = [point for point in points if point.series == series]
        axis.scatter(
            [p.x for p in members],
            [p.y for p in members],
            s=[20 + 600 * p.area / largest for p in members],
            color=_colour(number),
            alpha=0.75,
            edgecolors="white",
            label=series,
            zorder=2,
        )
    axis.set_xscale("log")
    axis.margins(x=0.15, y=0.12)
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
    axis.tick_params(labelsize=9)
    axis.grid(color="#eeeeee", zorder=0)
    axis.spines[["top", "right"]].set_visible(False)
    legend = axis.legend(fontsize=9, frameon=False, title=f"area: {area}", title_fontsize=8)
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set(sizes=[60])
    _name_points(axis, {name: (group[0].x, group[0].y) for name, group in by_name.items()})
    save_figure(figure, path)


def _name_points(axis: Axes, places: Mapping[str, tuple[float, float]], size: float = 8) -> None:
    """Writes names beside points, above or below one another where they would overlap."""
    figure = axis.get_figure(root=True)
    assert figure is not None
    # Settles where points are; names would move them again.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    taken: list[tuple[float, float, float]] = []  # left, right and height, in points
    for name, place in sorted(places.items(), key=lambda item: item[1]):
        left, height = (72 / figure.dpi * value for value in axis.transData.transform(place))
        right = left + 0.62 * size * len(name)
        shifts = sorted((5 + 1.5 * size * k for k in range(-12, 13)), key=lambda s: abs(s - 5))
        free = (
            shift
            for shift in shifts
            if not any(
                left < end and start < right and abs(height + shift - level) < 1.45 * size
                for start, end, level in taken
            )
        )
        shift = next(free, 5.0)
        taken.append((left, right, height + shift))
        far = abs(shift - 5) > 2 * size
        axis.annotate(
            name,
            place,
            xytext=(7, shift),
            textcoords="offset points",
            fontsize=size,
            arrowprops={"arrowstyle": "-", "color": "#c8c8c8", "linewidth": 0.7} if far else None,
        )


def lines(
    path: str | Path,
    ticks: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    x: str,
    y: str,
) -> None:
    """Draws one line per series over named places; places without a value are passed over.

    Args:
        path: Where to write.
        ticks: Names of the places.
        series: By name: one value or None per place.
        x: Title of the horizontal axis.
        y: Title of the vertical axis.
    """
    figure = blank_figure(6.4, 3.8)
    axis = figure.subplots()
    for number, (name, values) in enumerate(series.items()):
        known = [(place, value) for place, value in enumerate(values) if value is not None]
        axis.plot(
            [place for place, _ in known],
            [value for _, value in known],
            color=_colour(number),
            marker=_marker(number),
            markersize=5,
            label=name,
        )
    axis.set_xticks(range(len(ticks)), list(ticks), fontsize=9)
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
    axis.tick_params(labelsize=9)
    axis.grid(axis="y", color="#eeeeee")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=9, frameon=False)
    save_figure(figure, path)


def panels(
    path: str | Path,
    drawn: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    x: str,
    y: str,
    *,
    from_zero: bool = False,
) -> None:
    """Draws a panel of lines for each name, two beside one another; a series has one colour.

    Args:
        path: Where to write.
        drawn: By name of a panel and of a series: points (x, y) from left to right.
        x: Title of the horizontal axes.
        y: Title of the vertical axes.
        from_zero: Whether vertical axes begin at 0, so that shares of an amount can be seen.
    """
    columns = min(2, len(drawn))
    rows = -(-len(drawn) // columns)
    figure = blank_figure(1.6 + 4.4 * columns, 0.9 + 2.9 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    numbers: dict[str, int] = {}
    for axis, (title, series) in zip(axes, drawn.items(), strict=False):
        for name, points in series.items():
            number = numbers.setdefault(name, len(numbers))
            axis.plot(
                [point[0] for point in points],
                [point[1] for point in points],
                color=_colour(number),
                marker=_marker(number),
                markersize=4,
                label=name,
            )
        axis.set_title(title, fontsize=9, loc="left")
        axis.set_xlabel(x, fontsize=9)
        axis.set_ylabel(y, fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(color="#eeeeee")
        axis.spines[["top", "right"]].set_visible(False)
        if from_zero:
            axis.set_ylim(bottom=0)
    for axis in axes[len(drawn) :]:
        axis.set_visible(False)
    handles = {}
    for axis in axes:
        handles.update(
            {label: h for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
        )
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside upper center",
        ncols=min(len(handles) or 1, 5),
        fontsize=8,
        frameon=False,
    )
    save_figure(figure, path)


def dots(
    path: str | Path,
    names: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    x: str,
    *,
    reference: float | None = None,
) -> None:
    """Draws a row of marks for each name, one mark per series.

    Args:
        path: Where to write.
        names: Of the rows, from above.
        series: By name: one value or None per row.
        x: Title of the axis.
        reference: Where a vertical line is drawn.
    """
    figure = blank_figure(8.0, 1.2 + 0.42 * len(names))
    axis = figure.subplots()
    places = list(range(len(names)))[::-1]
    if reference is not None:
        axis.axvline(reference, color="#b0b0b0", linewidth=1)
    count = len(series)
    for number, (name, values) in enumerate(series.items()):
        shift = 0.5 * (0.5 - (number + 0.5) / count)
        known = [(v, p + shift) for v, p in zip(values, places, strict=True) if v is not None]
        axis.scatter(
            [value for value, _ in known],
            [place for _, place in known],
            s=32,
            color=_colour(number),
            marker=_marker(number),
            label=name,
            zorder=3,
        )
    axis.set_yticks(places, list(names), fontsize=9)
    axis.set_ylim(-0.6, len(names) - 0.4)
    axis.set_xlabel(x, fontsize=9)
    axis.tick_params(labelsize=9, length=0)
    axis.grid(color="#eeeeee", zorder=0)
    axis.spines[["top", "right", "left"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=min(count, 4), fontsize=8, frameon=False)
    save_figure(figure, path)


def heat(
    path: str | Path,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float]],
    x: str,
    title: str,
) -> None:
    """Draws a table of numbers as colours, darker for larger, with the numbers in it.

    Args:
        path: Where to write.
        rows: Names, from above.
        columns: Names, from the left.
        values: One row of numbers for each of ``rows``.
        x: Title of the columns.
        title: What the numbers are.
    """
    figure = blank_figure(2.8 + 0.8 * len(columns), 1.2 + 0.2 * len(rows))
    axis = figure.subplots()
    largest = max((max(row) for row in values), default=0.0) or 1.0
    axis.imshow(values, cmap="Blues", aspect="auto", vmin=0, vmax=largest)
    for place, row in enumerate(values):
        for column, value in enumerate(row):
            colour = "white" if value > 0.6 * largest else "#333333"
            text = f"{value:.3g}"
            axis.text(column, place, text, ha="center", va="center", fontsize=7, color=colour)
    axis.set_xticks(range(len(columns)), list(columns), fontsize=8)
    axis.set_yticks(range(len(rows)), list(rows), fontsize=7)
    axis.set_xlabel(x, fontsize=9)
    axis.set_title(title, fontsize=9, loc="left")
    axis.tick_params(length=0)
    axis.spines[["top", "right", "left", "bottom"]].set_visible(False)
    save_figure(figure, path)


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _marker(number: int) -> str:
    return _MARKERS[number % len(_MARKERS)]
