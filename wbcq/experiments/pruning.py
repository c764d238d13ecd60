"""The study's pruning figures, and what pruning buys: accuracy, time and size against sparsity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wbcq.experiments.pruned import ARCHITECTURES, Spec, pruned_key, pruned_unit, specs
from wbcq.experiments.results import Row, Spread, View, doubt, score_columns, write_results
from wbcq.experiments.settings import Settings
from wbcq.experiments.store import Store
from wbcq.experiments.study import PRUNING
from wbcq.experiments.timing import BATCH, models_timing
from wbcq.experiments.training import training_key, training_unit
from wbcq.experiments.units import Unit
from wbcq.experiments.variants import ptq_unit, variant_key

__all__ = ["TITLE", "units", "write"]

TITLE = "Pruning: accuracy, time and size against sparsity"

_DENSE = "ptq-per-channel"

_VIEWS = (
    View("architecture"),
    View("pattern"),
    View("scope"),
    View("score"),
    View("fine-tuned"),
    View("sparsity %", ".1f"),
    View("FP32 accuracy %", ".2f", spread="FP32 accuracy % sd"),
    View("FP32 macro F1", ".4f", spread="FP32 macro F1 sd"),
    View("accuracy %", ".2f", spread="accuracy % sd"),
    View("macro F1", ".4f", spread="macro F1 sd"),
    View("loss, points", ".2f", spread="loss, points sd"),
    View("doubt", ".2f"),
    View("ms", ".2f"),
    View("MB", ".2f"),
    View("study %", ".1f"),
)

_FIGURES = {
    "pruning-sparsity": "Accuracy against sparsity without fine-tuning",
    "pruning-recall": "Recall of each class against sparsity",
    "pruning-cost": "Time and size against sparsity, fine-tuned",
}
"""Beside the one of accuracy against time."""


def units(settings: Settings) -> list[Unit]:
    """Trainings, INT8 without pruning, what is pruned, and timings of the first fold's models."""
    listed = []
    for arch in _architectures(settings):
        for fold in settings.fold_numbers:
            listed += [training_unit(settings, arch, fold), ptq_unit(settings, arch, fold)]
            listed += [
                pruned_unit(settings, arch, fold, spec) for spec in specs(settings, arch, fold)
            ]
        listed.append(_timing(settings, arch))
    return listed


def write(settings: Settings, store: Store) -> None:
    """Writes the table and the figures."""
    listed = units(settings)
    results = store.results(listed)
    rows: list[Row] = []
    for arch in _architectures(settings):
        first = settings.fold_numbers[0]
        found = [_row(settings, results, arch, s) for s in (None, *specs(settings, arch, first))]
        rows += [row for row in found if row is not None]
    classes = list(
        dict.fromkeys(name for row in rows for name in row if name.startswith("recall "))
    )
    views = [*_VIEWS, *(View(name, ".1f") for name in classes)]
    notes = [
        "Accuracy, macro F1, recalls (in percent), MB and ms are INT8's (PTQ per channel) on "
        "wbcq's engine, which skips zero blocks where that is faster. Loss is against the dense "
        "network in FP32; one smaller than the doubt (half of its 95 % interval) may be chance. "
        f"ms is for a batch of {BATCH} at {settings.size}x{settings.size} pixels, all forms of a "
        "network in turns. Sparsity is of the weights of convolutions and linear layers; "
        "layers that blocks do not fit stay dense, and channel pruning makes a smaller dense "
        "network: its percentage is of multiplications. Without fine-tuning weights are pruned "
        f"after training; fine-tuned is {settings.qat_epochs} epoch"
        f"{'s' * (settings.qat_epochs > 1)} ({settings.epochs}, as in training, for channels) with "
        "Taylor scores and the dense network as teacher, on the first fold; without, scores are "
        "L1, as the study's, or Taylor's of labelled training pictures. Every pruned weight was "
        "looked up in the program and is zero.",
        "The study's figures are for its own private pictures: global, FP32, without fine-tuning.",
    ]
    if rows:
        _draw(store.out, settings, rows, classes)

    def figure(path: Path) -> None:
        _choice(path, settings, rows)

    write_results(
        settings,
        store,
        "pruning",
        TITLE,
        rows,
        views,
        listed,
        notes=notes,
        figure=figure,
        more_figures=_FIGURES if rows else None,
    )


def _architectures(settings: Settings) -> tuple[str, ...]:
    if settings.brief:
        return ARCHITECTURES[:1]
    return tuple(arch for arch in ARCHITECTURES if arch in settings.architectures)


def _timing(settings: Settings, arch: str) -> Unit:
    fold = settings.fold_numbers[0]
    models = {_DENSE: variant_key(arch, fold, _DENSE)}
    models |= {
        spec.name: pruned_key(arch, fold, spec)
        for spec in specs(settings, arch, fold)
        if not spec.taylor
    }
    return models_timing(settings, arch, models, "pruning")


def _row(
    settings: Settings,
    results: Mapping[str, Mapping[str, Any]],
    arch: str,
    spec: Spec | None,
) -> Row | None:
    """Of one way of pruning, over folds; None for the dense network."""
    modality = settings.modality_of(arch)
    pairs = []
    for fold in settings.fold_numbers:
        training = training_key(arch, modality, fold)
        key = variant_key(arch, fold, _DENSE) if spec is None else pruned_key(arch, fold, spec)
        if training in results and key in results:
            pairs.append((results[training], results[key]))
    if not pairs:
        return None
    found = [result for _, result in pairs]
    full = [base if spec is None else result.get("fp32", {}) for base, result in pairs]
    accuracy = Spread.of((result.get("accuracy") for result in full), 100)
    f1 = Spread.of(result.get("macro_f1") for result in full)
    loss = Spread.of((base["accuracy"] - result["accuracy"] for base, result in pairs), 100)
    times = results.get(f"timing/{arch}/pruning", {}).get("ms", {})
    recalls = {
        f"recall {name}": Spread.of(
            (result.get("classes", {}).get(name, {}).get("recall") for result in found), 100
        ).mean
        for name in found[0].get("classes", {})
    }
    percent = 0 if spec is None else spec.percent
    studied = spec is None or (spec.scope == "global" and not (spec.tuned or spec.taylor))
    return {
        "architecture": arch,
        "pattern": "dense" if spec is None else spec.pattern,
        "scope": "" if spec is None else spec.scope,
        "score": "" if spec is None else "Taylor" if spec.tuned or spec.taylor else "L1",
        "fine-tuned": "yes" if spec is not None and spec.tuned else "",
        "sparsity %": percent,
        "real sparsity %": Spread.of((result.get("sparsity") for result in found), 100).mean,
        "FP32 accuracy %": accuracy.mean,
        "FP32 accuracy % sd": accuracy.deviation,
        "FP32 macro F1": f1.mean,
        "FP32 macro F1 sd": f1.deviation,
        **score_columns(found),
        "loss, points": loss.mean,
        "loss, points sd": loss.deviation,
        "doubt": doubt(found),
        "ms": times.get(_DENSE if spec is None else spec.name),
        "MB": Spread.of((result["bytes"] for result in found), 1e-6).mean,
        "study %": PRUNING.get(arch, {}).get(percent) if studied else None,
        **recalls,
    }


# Figures.


def _line(rows: Iterable[Row], x: str, y: str) -> list[tuple[float, float]]:
    """Points of rows that have both, from dense to sparse."""
    rising = sorted(rows, key=lambda row: float(row["sparsity %"] or 0))
    pairs = ((row.get(x), row.get(y)) for row in rising)
    return [
        (float(a), float(b))
        for a, b in pairs
        if isinstance(a, (int, float)) and isinstance(b, (int, float))
    ]


def _of(rows: Iterable[Row], arch: str, **wanted: str) -> list[Row]:
    """A network's rows of one way of pruning, the dense one first."""
    return [
        row
        for row in rows
        if row["architecture"] == arch
        and (row["pattern"] == "dense" or all(row[key] == wanted[key] for key in wanted))
    ]


def _choice(path: Path, settings: Settings, rows: list[Row]) -> None:
    """Accuracy against time of what is fine-tuned: what a user chooses from."""
    from wbcq.report.charts import panels

    drawn = {}
    for arch in _architectures(settings):
        tuned = {"fine-tuned": "yes"}
        patterns = dict.fromkeys(
            str(row["pattern"]) for row in _of(rows, arch, **tuned) if row["pattern"] != "dense"
        )
        drawn[arch] = {
            pattern: _line(_of(rows, arch, pattern=pattern, **tuned), "ms", "accuracy %")
            for pattern in patterns
        }
    panels(path, drawn, f"ms for a batch of {BATCH}, INT8", "accuracy, %")


def _draw(out: Path, settings: Settings, rows: list[Row], classes: list[str]) -> None:
    from wbcq.report.charts import panels

    archs = _architectures(settings)
    scopes = ("global",) if settings.brief else ("local", "global")
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    recalls: dict[str, dict[str, list[tuple[float, float]]]] = {}
    costs: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for arch in archs:
        untuned = {"pattern": "unstructured", "fine-tuned": ""}
        of_scope = {scope: _of(rows, arch, scope=scope, score="L1", **untuned) for scope in scopes}
        curves[arch] = {
            f"{kind}, {scope}": _line(of_scope[scope], "sparsity %", column)
            for scope in scopes
            for kind, column in (("FP32", "FP32 accuracy %"), ("INT8", "accuracy %"))
        }
        taylor = _of(rows, arch, scope="global", score="Taylor", **untuned)
        curves[arch]["INT8, global, Taylor"] = _line(taylor, "sparsity %", "accuracy %")
        if told := PRUNING.get(arch):
            curves[arch]["study, FP32, global"] = [(float(p), v) for p, v in told.items()]
        recalls[arch] = {
            name.removeprefix("recall "): _line(of_scope["global"], "sparsity %", name)
            for name in classes
        }
        tuned = {"fine-tuned": "yes"}
        every = {str(row["pattern"]) for row in _of(rows, arch, **tuned)} - {"dense", "channel"}
        for column in ("ms", "MB"):
            costs[f"{arch}: {column}"] = {
                pattern: _line(_of(rows, arch, pattern=pattern, **tuned), "sparsity %", column)
                for pattern in sorted(every)
            }
    panels(out / "pruning-sparsity.png", curves, "weights pruned, %", "accuracy, %")
    panels(out / "pruning-recall.png", recalls, "weights pruned (global), %", "recall, %, INT8")
    panels(out / "pruning-cost.png", costs, "weights pruned, %", "", from_zero=True)
