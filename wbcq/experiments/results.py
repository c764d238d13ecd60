"""What an experiment leaves: JSON for programs, Markdown and a figure for people."""

from __future__ import annotations

import datetime
import json
import math
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wbcq.experiments.settings import Settings
from wbcq.experiments.store import Store, versions
from wbcq.experiments.units import Unit
from wbcq.report.files import write_text
from wbcq.report.tables import Cell, Column, Table

__all__ = ["Row", "Spread", "View", "conditions", "doubt", "score_columns", "write_results"]

Row = Mapping[str, Cell]
"""By column; a cell that is None is empty."""


@dataclass(frozen=True)
class Spread:
    """A figure over folds: its mean, and its sample standard deviation if there are several.

    Example:
        >>> Spread.of([0.9, 0.92], factor=100)
        Spread(mean=91.0, deviation=1.4142135623730951)
        >>> Spread.of([]).mean is None
        True
    """

    mean: float | None
    deviation: float | None

    @classmethod
    def of(cls, values: Iterable[float | None], factor: float = 1.0) -> Spread:
        """Of the values that are there."""
        known = [factor * value for value in values if value is not None]
        return cls(
            statistics.fmean(known) if known else None,
            statistics.stdev(known) if len(known) > 1 else None,
        )


@dataclass(frozen=True)
class View:
    """How a column is shown.

    Attributes:
        title: Key of a row; also the heading.
        format: Of numbers.
        spread: Key of the standard deviation, shown after the mean.
    """

    title: str
    format: str = ""
    spread: str = ""

    def cell(self, row: Row) -> Cell:
        """What is shown of a row."""
        value, deviation = row.get(self.title), row.get(self.spread)
        if isinstance(value, (int, float)) and isinstance(deviation, (int, float)):
            return f"{value:{self.format}} ± {deviation:{self.format}}"
        return value


def score_columns(results: Sequence[Mapping[str, Any]]) -> dict[str, Cell]:
    """What every table says of a row's results, one per fold."""
    accuracy = Spread.of((result["accuracy"] for result in results), 100)
    f1 = Spread.of(result["macro_f1"] for result in results)
    flips = (result["flips"] / result["pictures"] for result in results if "flips" in result)
    return {
        "accuracy %": accuracy.mean,
        "accuracy % sd": accuracy.deviation,
        "macro F1": f1.mean,
        "macro F1 sd": f1.deviation,
        "flips %": Spread.of(flips, 100).mean,
        "folds": len(results),
    }


def doubt(results: Sequence[Mapping[str, Any]]) -> float | None:
    """Half of the 95 % interval of a loss of accuracy in points, as other pictures could shift it.

    From the decisions that differ (McNemar 1947); the mean over folds, as folds may share pictures.

    Example:
        >>> round(doubt([{"lost": 9, "gained": 3, "pictures": 1000}]), 2)
        0.68
    """

    def half(lost: int, gained: int, count: int) -> float:
        return 1.96 * math.sqrt(lost + gained - (lost - gained) ** 2 / count) / count

    told = (half(r["lost"], r["gained"], r["pictures"]) for r in results if "lost" in r)
    return Spread.of(told, 100).mean


def write_results(
    settings: Settings,
    store: Store,
    name: str,
    title: str,
    rows: Sequence[Row],
    views: Sequence[View],
    units: Sequence[Unit],
    *,
    notes: Sequence[str] = (),
    figure: Callable[[Path], None] | None = None,
    more_figures: Mapping[str, str] | None = None,
    data: str | None = None,
) -> None:
    """Writes ``<name>.json``, ``<name>.md`` and ``<name>.png`` into the experiments' folder.

    Args:
        settings: What was run.
        store: Where results are.
        name: Of the experiment.
        title: Its heading.
        rows: Of its table.
        views: Which columns the Markdown table shows.
        units: Of the experiment; those without a result are named.
        notes: What a reader must know.
        data: Where its data come from and how they are used, if not from ``settings.source``.
        figure: Draws the figure into a file; left out where there are no rows.
        more_figures: What further figures, which the experiment drew itself, show, by the name of
            their file without its suffix.
    """
    done = store.results(units)
    missing = [unit.key for unit in units if unit.key not in done]
    about = conditions(settings, done)
    record = {
        "name": name,
        "title": title,
        "settings": settings.to_dict(),
        "source": data or settings.source.description,
        "conditions": about,
        "views": [asdict(view) for view in views],
        "rows": [{key: _finite(cell) for key, cell in row.items()} for row in rows],
        "notes": list(notes),
        "figures": dict(more_figures or {}),
        "units": list(done),
        "missing": missing,
    }
    write_text(store.out / f"{name}.json", json.dumps(record, indent=1, allow_nan=False) + "\n")
    table = Table([Column(view.title, view.format) for view in views])
    for row in rows:
        table.add(*(view.cell(row) for view in views))
    lacking = [f"Without these units, which did not end: {', '.join(missing)}."] if missing else []
    text = [
        f"# {title}",
        table.to_markdown(),
        *notes,
        *(f"![{shown}]({stem}.png)" for stem, shown in (more_figures or {}).items()),
        *lacking,
        _sentence(data or _cells(settings), settings.seed, about),
    ]
    if figure is not None and rows:
        figure(store.out / f"{name}.png")
        text.insert(2, f"![{title}]({name}.png)")
    write_text(store.out / f"{name}.md", "\n\n".join(text) + "\n")


def conditions(settings: Settings, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Where and when: processor, instruction set, threads, versions, date."""
    isas = {str(result["isa"]) for result in results.values() if "isa" in result}
    return {
        "cpu": _cpu_name(),
        "isa": ", ".join(sorted(isas)),
        "threads": settings.threads,
        "versions": versions(),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def _cells(settings: Settings) -> str:
    folds = "one fold" if settings.folds == 1 else f"{settings.folds} folds"
    return (
        f"{settings.source.description}; {folds}, {settings.size}x{settings.size} pixels, "
        f"{settings.epochs} epoch{'s' * (settings.epochs > 1)}, recipe {settings.recipe!r}"
    )


def _sentence(data: str, seed: int, about: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    engine = f" ({about['isa']})" if about["isa"] else ""
    threads = "one thread" if about["threads"] == 1 else f"{about['threads']} threads"
    return (
        f"Data: {data}, seed {seed}. Made on {about['date']} on {about['cpu']}{engine} with "
        f"{threads}; {packages}."
    )


def _finite(cell: Cell) -> Cell:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _cpu_name() -> str:
    """The processor's own name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
