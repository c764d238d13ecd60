"""The report of a folder of experiments: one HTML page that needs nothing else."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from wbcq.report.contents import Contents, Experiment, Explained, Form, ReportError, read_contents
from wbcq.report.files import write_text
from wbcq.report.inline import heat_overlay, picture_uri, png_uri, themed_svg

__all__ = ["ReportError", "render", "write_report"]

_COMPARED = ("FP32", "INT8, PTQ per tensor", "INT8, PTQ per channel", "INT8, QAT")
"""Forms whose recalls stand beside each other; all have confusion matrices."""

_IN_SHORT = ("FP32", "INT8, PTQ per channel", "INT8, QAT")
"""Forms whose accuracy is told beside the network's name."""

_NOISY = 20.0
"""Decibels below which a layer's error is marked: a tenth of its signal's amplitude."""

_FULL_BAR = 60.0
"""Decibels of a bar of full width."""


def write_report(folder: str | Path, out: str | Path | None = None) -> Path:
    """Writes one self-contained page about what ``wbcq reproduce`` left in a folder.

    Parts that are missing or damaged are left out, with a line that tells how to make them.

    Args:
        folder: Where the experiments wrote.
        out: The page; ``report.html`` in the folder by default.

    Returns:
        The page's path.

    Raises:
        ReportError: No such folder, or no results in it.
        OSError: The page cannot be written; what was there stays.
    """
    contents = read_contents(folder)
    path = Path(folder) / "report.html" if out is None else Path(out)
    write_text(path, render(contents))
    return path


def render(contents: Contents) -> str:
    """The page's text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("wbcq.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    experiments = list(contents.experiments.values())
    return environment.get_template("report.html").render(
        folder=str(contents.folder),
        about=_about(experiments[-1]),
        tiles=_tiles(contents),
        scatter=_scatter(contents),
        experiments=[_table(experiment) for experiment in experiments],
        networks=[_network(arch, forms) for arch, forms in contents.forms.items()],
        explained=[_heat(one) for one in contents.explained],
        missing=contents.missing,
        damaged=contents.damaged,
        noisy=_NOISY,
    )


# The head of the page.


def _about(experiment: Experiment) -> dict[str, str]:
    """Where the figures come from, as pairs of words."""
    record = experiment.record
    settings, conditions = record.get("settings", {}), record.get("conditions", {})
    found = {"Data": str(record.get("source", ""))}
    if settings.get("size"):
        found["Pictures"] = f"{settings['size']}x{settings['size']} pixels"
    for key in ("folds", "epochs", "recipe", "seed"):
        if key in settings:
            found[key.capitalize()] = str(settings[key])
    if conditions.get("cpu"):
        isa = f" ({conditions['isa']})" if conditions.get("isa") else ""
        threads = conditions.get("threads")
        found["Machine"] = f"{conditions['cpu']}{isa}, {threads} thread{'s' * (threads != 1)}"
    versions = conditions.get("versions", {})
    found["Software"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    found["Date"] = str(conditions.get("date", ""))
    return {name: text for name, text in found.items() if text}


@dataclass(frozen=True)
class _Tile:
    number: str
    text: str


def _tiles(contents: Contents) -> list[_Tile]:
    """INT8 per channel against PyTorch's FP32, from the table of the quantization experiment."""
    experiment = contents.experiments.get("quantization")
    pairs = [] if experiment is None else _pairs(experiment.rows)
    losses = [(full["accuracy %"] - int8["accuracy %"], arch) for arch, full, int8 in pairs]
    if not losses:
        return []
    worst, arch = max(losses)
    smaller = statistics.median(full["MB"] / int8["MB"] for _, full, int8 in pairs)
    loss_text = f"the largest loss of accuracy by INT8, of {len(pairs)} networks: {arch}"
    tiles = [
        _Tile(f"{worst:.2f} points", loss_text),
        _Tile(f"{smaller:.1f} times", "smaller files, median"),
    ]
    timed = [(full, int8) for _, full, int8 in pairs if full.get("ms") and int8.get("ms")]
    if timed:
        faster = statistics.median(full["ms"] / int8["ms"] for full, int8 in timed)
        tiles.append(_Tile(f"{faster:.1f} times", "faster than PyTorch's FP32, median"))
    return tiles


def _pairs(
    rows: Sequence[Mapping[str, Any]],
) -> list[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Network, its row in PyTorch's FP32 and its row in our INT8 per channel."""
    full, int8 = {}, {}
    for row in rows:
        if not all(isinstance(row.get(key), (int, float)) for key in ("accuracy %", "MB")):
            continue
        form = row.get("type"), row.get("method"), row.get("engine")
        if form == ("FP32", "", "PyTorch"):
            full[str(row["architecture"])] = row
        elif form == ("INT8", "PTQ per channel", "wbcq"):
            int8[str(row["architecture"])] = row
    return [(arch, full[arch], row) for arch, row in int8.items() if arch in full]


def _scatter(contents: Contents) -> str:
    """Accuracy against time, areas are sizes; empty where nothing was timed."""
    from wbcq.report.charts import Point, scatter

    points: list[Point] = []
    for name in ("quantization", "models"):
        experiment = contents.experiments.get(name)
        for row in experiment.rows if experiment is not None and not points else ():
            method = row.get("method") or ("PTQ per channel" if row.get("type") == "INT8" else "")
            ours = row.get("engine", "wbcq") == "wbcq"
            if ours and row.get("type") == "FP32" and "engine" in row:
                continue  # PyTorch's own is the baseline
            if not ours and row.get("type") != "FP32":
                continue
            ms, accuracy, size = (row.get(key) for key in ("ms", "accuracy %", "MB"))
            if ms is not None and accuracy is not None and size is not None:
                label = f"{row.get('type')} {method}".strip()
                arch = str(row.get("architecture"))
                points.append(Point(float(ms), float(accuracy), float(size), arch, label))
    if not points:
        return ""
    return themed_svg(
        lambda path: scatter(path, points, "ms for a batch of 8", "accuracy, %", "MB"), "scatter"
    )


# Tables.


def _table(experiment: Experiment) -> dict[str, Any]:
    record = experiment.record
    views = {str(view["title"]): view for view in record.get("views", ())}
    shown = [
        column
        for column in experiment.columns
        if any(row.get(column) not in (None, "") for row in experiment.rows)
    ]
    rows = [
        [_cell(row, column, views.get(column, {})) for column in shown] for row in experiment.rows
    ]
    numeric = [
        all(isinstance(row.get(column), (int, float, type(None))) for row in experiment.rows)
        for column in shown
    ]
    first = [row[0] for row in rows]
    grouped = len(set(first)) < len(first)
    return {
        "name": experiment.name,
        "begins": [grouped and k > 0 and first[k - 1] != name for k, name in enumerate(first)],
        "title": experiment.title,
        "columns": shown,
        "numeric": numeric,
        "rows": rows,
        "notes": [_prose(str(note)) for note in record.get("notes", ())],
        "lacking": [str(key) for key in record.get("missing", ())],
        "figures": [(title, png_uri(file)) for title, file in experiment.figures],
    }


def _prose(text: str) -> Markup:
    """A sentence of Markdown whose only marks are `code`."""
    parts = text.split("`")
    marked = [
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    ]
    return Markup("").join(marked)


def _cell(row: Mapping[str, Any], column: str, view: Mapping[str, Any]) -> str:
    value = row.get(column)
    if value is None:
        return ""
    if isinstance(value, (str, bool)):
        return str(value)
    form = str(view.get("format") or "") or _format(value)
    deviation = row.get(str(view.get("spread") or f"{column} sd"))
    spread = f" ± {deviation:{form}}" if isinstance(deviation, (int, float)) else ""
    return f"{value:{form}}{spread}"


def _format(value: float) -> str:
    if isinstance(value, int):
        return "d"
    return ".1f" if abs(value) >= 100 else ".2f" if abs(value) >= 1 else ".4f"


# Networks.


def _network(arch: str, forms: Sequence[Form]) -> dict[str, Any]:
    compared = [form for form in forms if form.label in _COMPARED] or list(forms)
    lows = [recall.low for form in compared for recall in form.recalls]
    start = math.floor(10 * min(lows, default=0)) / 10
    return {
        "name": arch,
        "accuracies": [
            (form.label, 100 * form.accuracy)
            for form in ([form for form in forms if form.label in _IN_SHORT] or forms[:3])
        ],
        "matrices": [_matrix(form) for form in forms],
        "start": 100 * start,
        "classes": [
            {"name": name, "marks": _marks(compared, name, start)}
            for name in dict.fromkeys(r.name for form in compared for r in form.recalls)
        ],
        "forms": [form.label for form in compared],
    }


def _marks(forms: Sequence[Form], name: str, start: float) -> list[dict[str, Any]]:
    """Where the class's recall and its interval lie on an axis from ``start`` to 1, in percent."""

    def place(share: float) -> float:
        return 100 * (share - start) / (1 - start)

    return [
        {
            "form": number,
            "label": form.label,
            "share": 100 * recall.share,
            "low": 100 * recall.low,
            "high": 100 * recall.high,
            "pictures": recall.pictures,
            "left": place(recall.low),
            "width": place(recall.high) - place(recall.low),
            "dot": place(recall.share),
        }
        for number, form in enumerate(forms)
        for recall in form.recalls
        if recall.name == name
    ]


def _matrix(form: Form) -> dict[str, Any]:
    totals = np.maximum(form.confusion.sum(axis=1, keepdims=True), 1)
    shares = form.confusion / totals
    return {
        "label": form.label,
        "accuracy": 100 * form.accuracy,
        "classes": form.classes,
        "short": [name[:3].capitalize() for name in form.classes],
        "rows": [
            [
                {"count": int(count), "share": round(float(share), 3)}
                for count, share in zip(counts, row, strict=True)
            ]
            for counts, row in zip(form.confusion, shares, strict=True)
        ],
    }


# Heat maps.


def _heat(one: Explained) -> dict[str, Any]:
    samples = []
    for number, sample in enumerate(one.result["samples"]):
        picture = one.pictures[number]
        maps = [maps[number].astype(np.float64) / 255 for maps in (one.full, one.integer)]
        samples.append(
            {
                **sample,
                "wrong": {sample["full"], sample["integer"]} != {sample["label"]},
                "picture": picture_uri(picture),
                "maps": [picture_uri(heat_overlay(picture, heat)) for heat in maps],
            }
        )
    samples.sort(key=lambda sample: not sample["wrong"])
    layers = [
        {**layer, "width": min(100.0, max(0.0, 100 * (layer["sqnr"] or 0) / _FULL_BAR))}
        for layer in one.result["layers"]
    ]
    return {**one.result, "samples": samples, "layers": layers, "side": int(one.pictures.shape[2])}
