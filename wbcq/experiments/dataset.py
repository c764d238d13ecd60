"""The fold tables: how many cells of each class are in each part of each fold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wbcq.experiments.results import Row, View, write_results
from wbcq.experiments.settings import Settings, source_of
from wbcq.experiments.store import Store
from wbcq.experiments.study import FOLDS
from wbcq.experiments.units import Unit

__all__ = ["TITLE", "count", "units", "write"]

TITLE = "Cells of each class by fold"

_PARTS = ("train", "val", "test")


def units(settings: Settings) -> list[Unit]:
    """One unit per fold."""
    return [
        Unit(f"dataset/fold{fold}", count, {"cells": settings.cells(fold, settings.modality)})
        for fold in settings.fold_numbers
    ]


def count(store: Store, *, cells: Mapping[str, Any]) -> dict[str, Any]:
    """Counts the cells of a fold; no picture is decoded."""
    source = source_of(cells)
    labels = source.labels(cells["fold"])
    counted = {
        part: np.bincount(labels[part], minlength=len(source.classes)).tolist() for part in _PARTS
    }
    return {"fold": cells["fold"], "classes": list(source.classes), "counts": counted}


def write(settings: Settings, store: Store) -> None:
    """Writes the table and a figure of shares."""
    listed = units(settings)
    results = list(store.results(listed).values())
    rows = [_row(result, part) for result in results for part in _PARTS]
    classes = results[0]["classes"] if results else []
    views = [
        View("fold", "d"),
        View("part"),
        *(View(name, "d") for name in classes),
        View("all", "d"),
        View("study"),
    ]

    def figure(path: Path) -> None:
        from wbcq.report.charts import stacked_bars

        bars = {
            f"fold {result['fold']}, {part}": result["counts"][part]
            for result in results
            for part in _PARTS
        }
        stacked_bars(path, bars, classes)

    note = (
        "`val` chooses the epoch and `test` is only reported. The study's cells are those of its "
        "training part (our `train` and `val`) and of its validation part (our `test`), in the "
        "order basophil, eosinophil, lymphocyte, monocyte, neutrophil."
    )
    write_results(
        settings, store, "dataset", TITLE, rows, views, listed, notes=[note], figure=figure
    )


def _row(result: Mapping[str, Any], part: str) -> Row:
    counts = result["counts"][part]
    study = FOLDS[result["fold"]] if result["fold"] < len(FOLDS) else ((), ())
    told = {"train": study[0], "val": (), "test": study[1]}[part]
    return {
        "fold": result["fold"],
        "part": part,
        **dict(zip(result["classes"], counts, strict=True)),
        "all": sum(counts),
        "study": " / ".join(map(str, told)),
    }
