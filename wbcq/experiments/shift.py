"""Pictures from elsewhere: every model that ``quantization`` made, on another data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import wbcq
from wbcq.data.pictures import DatasetError
from wbcq.experiments.quantization import NAMES, draw_losses
from wbcq.experiments.results import Row, Spread, View, doubt, score_columns, write_results
from wbcq.experiments.settings import Settings, load_all_cells
from wbcq.experiments.store import Store
from wbcq.experiments.timing import FP32
from wbcq.experiments.training import judge, trained, training_key
from wbcq.experiments.units import Unit
from wbcq.experiments.variants import METHODS, variant_key, variant_units
from wbcq.train import inputs_of, predict

__all__ = ["TITLE", "score_elsewhere", "units", "write"]

TITLE = "Pictures of another data set"

_VIEWS = (
    View("architecture"),
    View("type"),
    View("method"),
    View("engine"),
    View("at home %", ".2f"),
    View("accuracy %", ".2f", spread="accuracy % sd"),
    View("macro F1", ".4f", spread="macro F1 sd"),
    View("loss, points", ".2f", spread="loss, points sd"),
    View("doubt", ".2f"),
    View("flips %", ".2f"),
)


def units(settings: Settings) -> list[Unit]:
    """Trainings and variants, and the scores of each.

    Raises:
        ValueError: No other data set was given.
    """
    if settings.shifted is None:
        raise ValueError("shift tests on another data set; name it with --shifted FOLDER")
    return [
        unit
        for fold in settings.fold_numbers
        for arch in settings.architectures
        for unit in (
            *variant_units(settings, arch, fold),
            *(_unit(settings, arch, fold, method) for method in (FP32, *METHODS)),
        )
    ]


def score_elsewhere(
    store: Store,
    *,
    key: str,
    training: str,
    model: str,
    cells: Mapping[str, Any],
    reference: str | None,
) -> dict[str, Any]:
    """Tests a model on all pictures of the other data set."""
    pictures = load_all_cells(cells)
    known = store.predictions(training).classes
    if pictures.classes != known:
        raise DatasetError(
            f"{cells['data']} has classes {', '.join(pictures.classes)}, the networks know "
            f"{', '.join(known)}; rename its folders or labels"
        )
    network = trained(store, training)

    def scripted(pixels: Tensor) -> Any:
        return script(*inputs_of(network, pixels))

    if model == training:
        run: Any = network
    elif store.path(model, ".ts").exists():
        script = torch.jit.load(str(store.path(model, ".ts")))  # type: ignore[no-untyped-call]
        run = scripted
    else:
        run = wbcq.load(store.path(model, ".wbcq"), threads=torch.get_num_threads())
    scores = predict(run, pictures, progress=store.progress)
    return {**judge(store, key, pictures, scores, reference), "files": [".npz"]}


def write(settings: Settings, store: Store) -> None:
    """Writes the table and a figure of what each method loses there."""
    listed = units(settings)
    results = store.results(listed)
    rows = [
        row
        for arch in settings.architectures
        for method in (FP32, *METHODS)
        if (row := _row(settings, results, arch, method)) is not None
    ]

    def figure(path: Path) -> None:
        draw_losses(path, settings, rows)

    assert settings.shifted is not None
    note = (
        f"The networks learned from {settings.source.name} and are tested on all pictures of "
        f"{settings.shifted.resolve().name}, of which they have seen none; `at home` is the "
        "accuracy on the test part of their own data. Loss and flips are against FP32 on the same "
        "pictures; a loss smaller than the doubt (half of its 95 % interval) may be chance."
    )
    write_results(
        settings, store, "shift", TITLE, rows, _VIEWS, listed, notes=[note], figure=figure
    )


def _unit(settings: Settings, arch: str, fold: int, method: str) -> Unit:
    training = training_key(arch, settings.modality_of(arch), fold)
    model = training if method == FP32 else variant_key(arch, fold, method)
    reference = None if method == FP32 else _key(arch, fold, FP32)
    arguments = {
        "key": _key(arch, fold, method),
        "training": training,
        "model": model,
        "cells": settings.shifted_cells(settings.modality_of(arch)),
        "reference": reference,
    }
    needs = dict.fromkeys((training, model, *([reference] if reference else [])))
    return Unit(_key(arch, fold, method), score_elsewhere, arguments, needs=tuple(needs))


def _key(arch: str, fold: int, method: str) -> str:
    return f"shift/{arch}/fold{fold}/{method}"


def _row(
    settings: Settings, results: Mapping[str, Mapping[str, Any]], arch: str, method: str
) -> Row | None:
    here, there, lost = [], [], []
    for fold in settings.fold_numbers:
        unit = _unit(settings, arch, fold, method)
        base = results.get(_key(arch, fold, FP32))
        if unit.key not in results or base is None:
            continue
        here.append(results[unit.arguments["model"]]["accuracy"])
        there.append(results[unit.key])
        lost.append(base["accuracy"] - results[unit.key]["accuracy"])
    if not there:
        return None
    loss = Spread.of(() if method == FP32 else lost, 100)
    kind, name, engine = NAMES[method]
    return {
        "architecture": arch,
        "type": kind,
        "method": name,
        "engine": engine,
        "at home %": Spread.of(here, 100).mean,
        **score_columns(there),
        "loss, points": loss.mean,
        "loss, points sd": loss.deviation,
        "doubt": None if method == FP32 else doubt(there),
    }
