"""The study's pruning table of detection: unstructured, without fine-tuning, FP32 and INT8."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wbcq
from wbcq.data.synthetic import CLASSES
from wbcq.detection.augment import load_fields
from wbcq.detection.evaluate import as_arrays
from wbcq.detection.quantize import calibration_tiles, quantize_detector
from wbcq.experiments.detection import describe
from wbcq.experiments.detection_forms import judge_detector, metrics_record
from wbcq.experiments.detection_work import (
    TRAINING,
    fields_argument,
    load_sets,
    trained_detector,
    training_unit,
)
from wbcq.experiments.results import Row, View, write_results
from wbcq.experiments.settings import Settings
from wbcq.experiments.store import Store
from wbcq.experiments.study import DETECTION_PRUNING
from wbcq.experiments.units import Unit

__all__ = ["TITLE", "make_pruned", "units", "write"]

TITLE = "Detection: average precision against sparsity"

PERCENT = (0, 10, 30, 50)

_VIEWS = (
    View("scope"),
    View("sparsity %", ".0f"),
    View("type"),
    View("class accuracy %", ".2f"),
    View("found %", ".1f"),
    View("mAP at 0.5", ".4f"),
    View("mAP 0.5-0.95", ".4f"),
)


def _scopes(settings: Settings) -> tuple[str, ...]:
    return ("global",) if settings.brief else ("global", "local")


def _key(scope: str, percent: int) -> str:
    return f"detection-pruning/{scope}-{percent}"


def units(settings: Settings) -> list[Unit]:
    """The training and each way of pruning; dense is one of them."""
    shared = {"fields": fields_argument(settings), "calibration": settings.calibration}
    pairs = [(s, p) for s in _scopes(settings) for p in PERCENT if p or s == "global"]
    return [
        training_unit(settings),
        *(
            Unit(
                _key(scope, percent),
                make_pruned,
                {"scope": scope, "percent": percent, **shared},
                needs=(TRAINING,),
            )
            for scope, percent in pairs
        ),
    ]


def make_pruned(
    store: Store, *, scope: str, percent: int, fields: Mapping[str, Any], calibration: int
) -> dict[str, Any]:
    """Prunes by magnitude and tests in FP32 and as INT8 on the engine; zeros are looked up."""
    from wbcq.pruning import check_zeros, model_sparsity

    sets = load_sets(fields)
    model, layout = trained_detector(store)
    if percent:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wbcq.DenseLayersWarning)
            share = percent / 100
            model = wbcq.prune(model, share, pattern="unstructured", scope=scope, score="l1")  # type: ignore[arg-type]
    batches = calibration_tiles(load_fields(sets.train), layout.size, calibration)
    quantized = quantize_detector(model, batches, layout)
    path = store.path(_key(scope, percent), ".wbcq")
    path.parent.mkdir(parents=True, exist_ok=True)
    quantized.save(path)
    return {
        "fp32": metrics_record(judge_detector(as_arrays(model), layout, sets.test)),
        "int8": metrics_record(judge_detector(quantized, layout, sets.test, store.progress)),
        "sparsity": model_sparsity(model) if percent else 0.0,
        "zeros": check_zeros(model, quantized) if percent else 0,
        "isa": quantized.isa,
        "bytes": path.stat().st_size,
        "files": [".wbcq"],
    }


def write(settings: Settings, store: Store) -> None:
    """Writes the table and a figure of average precision against sparsity."""
    listed = units(settings)
    results = store.results(listed)
    rows: list[Row] = []
    for scope in _scopes(settings):
        for percent in PERCENT:
            found = results.get(_key(scope if percent else "global", percent))
            if found is not None:
                rows += [_row(scope, percent, kind, found) for kind in ("fp32", "int8")]
    names = [k for k in rows[0] if k.startswith("AP ")] if rows else []
    rows += _study() if [f"AP {name}" for name in CLASSES] == names else []
    views = [*_VIEWS, *(View(name, ".3f") for name in names)]
    counts = results[TRAINING]["cells"] if TRAINING in results else {}
    cells = ", ".join(f"{n} {name}" for name, n in counts.items())
    notes = [
        "Unstructured L1 magnitude over all convolutions, each alike (local) or together (global), "
        "without fine-tuning, as in the study. Class accuracy is the share of cells found (a box "
        "of any class, score at least 0.25) whose box has the right class. Every pruned weight was "
        "looked up in the INT8 program and is zero.",
        f"Cells of the test part: {cells}." if cells else "",
        "The study's rows are YOLOv3 on its own private pictures.",
    ]

    def figure(path: Path) -> None:
        from wbcq.report.charts import panels

        panels(path, _curves(rows), "weights pruned, %", "average precision at 0.5")

    write_results(
        settings,
        store,
        "detection-pruning",
        TITLE,
        rows,
        views,
        listed,
        notes=[note for note in notes if note],
        figure=figure,
        data=describe(settings, results),
    )


def _row(scope: str, percent: int, kind: str, found: Mapping[str, Any]) -> Row:
    metrics = found[kind]
    return {
        "scope": scope,
        "sparsity %": percent,
        "real sparsity %": 100 * found["sparsity"],
        "type": kind.upper(),
        "class accuracy %": 100 * metrics["class_accuracy"],
        "found %": 100 * metrics["found"],
        "mAP at 0.5": metrics["map50"],
        "mAP 0.5-0.95": metrics["map"],
        "MB": found["bytes"] / 1e6,
        **{f"AP {name}": value for name, value in metrics["ap50"].items()},
    }


def _study() -> list[Row]:
    return [
        {
            "scope": "study",
            "sparsity %": percent,
            "type": "FP32",
            "class accuracy %": told[0],
            "mAP at 0.5": told[1],
            **{f"AP {name}": value for name, value in zip(CLASSES, told[2:], strict=True)},
        }
        for percent, told in DETECTION_PRUNING.items()
    ]


def _curves(rows: list[Row]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    drawn: dict[str, dict[str, list[tuple[float, float]]]] = {"mAP": {}, "INT8, global": {}}
    for row in rows:
        percent, value = row["sparsity %"], row["mAP at 0.5"]
        if isinstance(percent, int) and isinstance(value, float):
            name = f"{row['scope']}, {row['type']}"
            drawn["mAP"].setdefault(name, []).append((percent, value))
        if row["scope"] != "global" or row["type"] != "INT8" or not isinstance(percent, int):
            continue
        for name, each in row.items():
            if name.startswith("AP ") and isinstance(each, float):
                curve = drawn["INT8, global"].setdefault(name.removeprefix("AP "), [])
                curve.append((percent, each))
    return drawn
