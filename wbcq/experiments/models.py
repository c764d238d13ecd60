"""Is a larger network better: accuracy against time, size and multiplications."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wbcq.experiments.results import Row, Spread, View, score_columns, write_results
from wbcq.experiments.settings import ARCHITECTURES, MULTI_MODAL, Settings
from wbcq.experiments.store import Store
from wbcq.experiments.timing import BATCH, FP32, timing_unit
from wbcq.experiments.training import training_key, training_unit
from wbcq.experiments.units import Unit
from wbcq.experiments.variants import ptq_unit, variant_key

__all__ = ["TITLE", "units", "write"]

TITLE = "Networks: accuracy against time, size and multiplications"

_ARCHITECTURES = (
    "resnet50",
    *(name for name in ARCHITECTURES if name != MULTI_MODAL),
)
_INT8 = "ptq-per-channel"

_VIEWS = (
    View("architecture"),
    View("type"),
    View("accuracy %", ".2f", spread="accuracy % sd"),
    View("macro F1", ".4f", spread="macro F1 sd"),
    View("ms", ".2f"),
    View("MB", ".2f"),
    View("parameters M", ".3f"),
    View("MMACs", ".1f"),
)


def units(settings: Settings) -> list[Unit]:
    """Trainings, PTQ per channel, and timings of these two."""
    listed = [
        unit
        for fold in settings.fold_numbers
        for arch in _ARCHITECTURES
        for unit in (training_unit(settings, arch, fold), ptq_unit(settings, arch, fold))
    ]
    return [*listed, *(_timing(settings, arch) for arch in _ARCHITECTURES)]


def write(settings: Settings, store: Store) -> None:
    """Writes the table and a scatter figure."""
    listed = units(settings)
    results = store.results(listed)
    rows = [
        row
        for arch in _ARCHITECTURES
        for method in (FP32, _INT8)
        if (row := _row(settings, results, arch, method)) is not None
    ]

    def figure(path: Path) -> None:
        from wbcq.report.charts import Point, scatter

        points = [
            Point(
                x=float(row["ms"] or 0),
                y=float(row["accuracy %"] or 0),
                area=float(row["MB"] or 0),
                name=str(row["architecture"]),
                series=str(row["type"]),
            )
            for row in rows
            if row["ms"] is not None
        ]
        if points:
            scatter(path, points, f"ms for a batch of {BATCH}", "accuracy, %", "MB")

    note = (
        "FP32 is PyTorch's frozen TorchScript in channels_last, INT8 is wbcq's engine after PTQ "
        f"per channel; ms is for a batch of {BATCH} at {settings.size}x{settings.size} pixels, "
        "both in turns. MMACs are millions of multiplications for one picture."
    )
    write_results(
        settings, store, "models", TITLE, rows, _VIEWS, listed, notes=[note], figure=figure
    )


def _timing(settings: Settings, arch: str) -> Unit:
    return timing_unit(settings, arch, (_INT8,), name="models")


def _row(
    settings: Settings, results: Mapping[str, Mapping[str, Any]], arch: str, method: str
) -> Row | None:
    modality, folds = settings.modality_of(arch), settings.fold_numbers
    trainings = [results.get(training_key(arch, modality, fold)) for fold in folds]
    quantized = [results.get(variant_key(arch, fold, _INT8)) for fold in folds]
    found = [r for r in (trainings if method == FP32 else quantized) if r is not None]
    if not found:
        return None
    parameters = [result["parameters"] for result in trainings if result is not None]
    macs = Spread.of((result["macs"] for result in quantized if result is not None), 1e-6)
    return {
        "architecture": arch,
        "type": "FP32" if method == FP32 else "INT8",
        **score_columns(found),
        "ms": results.get(_timing(settings, arch).key, {}).get("ms", {}).get(method),
        "MB": Spread.of((result["bytes"] for result in found), 1e-6).mean,
        "parameters M": parameters[0] / 1e6 if parameters else None,
        "MMACs": macs.mean,
    }
