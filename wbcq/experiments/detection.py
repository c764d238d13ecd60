"""The study's detection table: YOLOv3 in FP32 and INT8, ours beside others'."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wbcq.experiments import detection_speed
from wbcq.experiments.detection_work import (
    BATCH,
    FP32,
    TRAINING,
    form_key,
    form_units,
    forms,
    scale_of,
    timing_unit,
)
from wbcq.experiments.results import Row, View, write_results
from wbcq.experiments.settings import Settings
from wbcq.experiments.store import Store
from wbcq.experiments.study import DETECTION
from wbcq.experiments.units import Unit

__all__ = ["TITLE", "describe", "units", "write"]

TITLE = "Detection: average precision, time and size"

_FORMS = {
    FP32: ("FP32", "", "PyTorch"),
    "float": ("FP32", "", "wbcq"),
    "ptq-per-tensor": ("INT8", "PTQ per tensor", "wbcq"),
    "ptq-per-channel": ("INT8", "PTQ per channel", "wbcq"),
    "pytorch-per-tensor": ("INT8", "PTQ per tensor", "PyTorch"),
    "pytorch-per-channel": ("INT8", "PTQ per channel", "PyTorch"),
    "onnxruntime-per-channel": ("INT8", "PTQ per channel", "ONNX Runtime"),
}

_VIEWS = (
    View("architecture"),
    View("type"),
    View("method"),
    View("engine"),
    View("mAP at 0.5", ".4f"),
    View("mAP 0.5-0.95", ".4f"),
    View("loss at 0.5", ".4f"),
    View("found %", ".1f"),
    View("class right %", ".1f"),
    View("ms", ".1f"),
    View("memory MB", ".1f"),
    View("parameters M", ".2f"),
    View("MB", ".2f"),
    View("study mAP", ".3f"),
    View("study ms", ".0f"),
)


def units(settings: Settings) -> list[Unit]:
    """The training, each form, timings; in full runs also those of YOLOv3 whatever was trained."""
    listed = [*form_units(settings), timing_unit(settings)]
    return listed if settings.brief else [*listed, *detection_speed.units(settings)]


def write(settings: Settings, store: Store) -> None:
    """Writes the table and a figure of mAP against time."""
    listed = units(settings)
    results = store.results(listed)
    rows = _rows(settings, results)
    rows += detection_speed.rows(results)
    classes = results[TRAINING]["ap50"] if TRAINING in results else {}
    views = [*_VIEWS, *(View(f"AP {name}", ".3f") for name in classes)]

    def figure(path: Path) -> None:
        from wbcq.report.charts import Point, scatter

        points = [
            Point(ms, value, size, f"{row['type']} {row['method']}".strip(), str(row["engine"]))
            for row in rows
            if isinstance(ms := row["ms"], float)
            and isinstance(value := row.get("mAP at 0.5"), float)
            and isinstance(size := row["MB"], float)
        ]
        scatter(path, points, f"ms for a batch of {BATCH}", "mAP at 0.5", "MB")

    notes = [
        f"All forms see the same windows of {scale_of(settings).size} pixels and go through the "
        "same decoding and suppression. Loss is against PyTorch's FP32. Found is the share of "
        "cells with a box of any class whose score is at least 0.25; class right the share of "
        "those whose box has the right class. Memory is what our engine needs for a call beside "
        f"inputs and outputs, packed weights included. ms is for a batch of {BATCH}, all forms in "
        "turns.",
        _cells(classes, results),
        "Rows without mAP are YOLOv3 at 512x512 with random weights, which time does not depend "
        "on; pruned ones have zeros in blocks." * (not settings.brief),
        "The study's figures are for its own private pictures and an unnamed CPU; its INT8 is per "
        "tensor, its average precision that of YOLOv3.",
    ]
    write_results(
        settings,
        store,
        "detection",
        TITLE,
        rows,
        views,
        listed,
        notes=[note for note in notes if note],
        figure=figure,
        data=describe(settings, results),
    )


def describe(settings: Settings, results: Mapping[str, Mapping[str, Any]]) -> str:
    """Where the pictures come from and how the network was trained."""
    scale, done = scale_of(settings), results.get(TRAINING)
    source = done["source"] if done else "synthetic smears or what --fields named"
    why = "" if scale.arch == "yolov3" else " (there is no GPU, or a small one was asked for)"
    width = "" if scale.width == 1 else f" of width {scale.width:g}"
    return (
        f"{source}; {scale.arch}{width}{why} at {scale.size}x{scale.size} pixels, {scale.epochs} "
        f"epochs of {scale.tiles} tiles of {scale.tile}x{scale.tile}"
    )


def _cells(classes: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> str:
    if not classes:
        return ""
    counts = ", ".join(f"{n} {name}" for name, n in results[TRAINING]["cells"].items())
    return (
        f"Cells of the test part: {counts}. The average precision of a class of which there are "
        "few means little; mAP is the mean over the classes that occur."
    )


def _rows(settings: Settings, results: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    if TRAINING not in results:
        return []
    base = results[TRAINING]
    timing = results.get("timing/detection", {})
    rows: list[Row] = []
    for form in (FP32, *forms()):
        found = base if form == FP32 else results.get(form_key(form))
        if found is None:
            continue
        kind, method, engine = _FORMS[form]
        told = DETECTION.get(kind.lower()) if engine == "PyTorch" or kind == "INT8" else None
        study = told if method in ("", "PTQ per tensor") and engine != "ONNX Runtime" else None
        memory = timing.get("memory", {}).get(form)
        rows.append(
            {
                "architecture": base["arch"],
                "type": kind,
                "method": method,
                "engine": engine,
                "mAP at 0.5": found["map50"],
                "mAP 0.5-0.95": found["map"],
                "loss at 0.5": None if form == FP32 else base["map50"] - found["map50"],
                "found %": 100 * found["found"],
                "class right %": 100 * found["class_accuracy"],
                "ms": timing.get("ms", {}).get(form),
                "memory MB": None if memory is None else memory / 1e6,
                "parameters M": base["parameters"] / 1e6,
                "MB": found["bytes"] / 1e6,
                "study mAP": study[0] if study else None,
                "study ms": study[1] if study else None,
                **{f"AP {name}": value for name, value in found["ap50"].items()},
            }
        )
    return rows
