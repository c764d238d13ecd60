"""The study's classification table: each network in FP32, after PTQ and QAT, ours and PyTorch's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wbcq.experiments.results import Row, Spread, View, doubt, score_columns, write_results
from wbcq.experiments.settings import Settings
from wbcq.experiments.store import Store
from wbcq.experiments.study import QUANTIZATION, UNCLEAR, Figures
from wbcq.experiments.timing import BATCH, FP32, timing_key, timing_unit
from wbcq.experiments.training import training_key
from wbcq.experiments.units import Unit
from wbcq.experiments.variants import METHODS, variant_key, variant_units

__all__ = ["NAMES", "TITLE", "VIEWS", "draw_losses", "units", "write"]

TITLE = "Classification: FP32 and INT8"

NAMES = {
    FP32: ("FP32", "", "PyTorch"),
    "float": ("FP32", "", "wbcq"),
    "ptq-per-tensor": ("INT8", "PTQ per tensor", "wbcq"),
    "ptq-per-channel": ("INT8", "PTQ per channel", "wbcq"),
    "qat": ("INT8", "QAT", "wbcq"),
    "pytorch-per-tensor": ("INT8", "PTQ per tensor", "PyTorch"),
    "pytorch-per-channel": ("INT8", "PTQ per channel", "PyTorch"),
}
"""Type, method and engine of the training and of each variant."""

_STUDY = {
    FP32: ("fp32",),
    "ptq-per-tensor": ("ptq-per-tensor", "ptq"),
    "ptq-per-channel": ("ptq-per-channel", "ptq"),
    "qat": ("qat",),
    "pytorch-per-tensor": ("ptq-per-tensor", "ptq"),
    "pytorch-per-channel": ("ptq-per-channel", "ptq"),
}

VIEWS = (
    View("architecture"),
    View("type"),
    View("method"),
    View("engine"),
    View("accuracy %", ".2f", spread="accuracy % sd"),
    View("macro F1", ".4f", spread="macro F1 sd"),
    View("kappa", ".4f"),
    View("MCC", ".4f"),
    View("loss, points", ".2f", spread="loss, points sd"),
    View("doubt", ".2f"),
    View("flips %", ".2f"),
    View("ms", ".2f"),
    View("parameters M", ".3f"),
    View("MB", ".2f"),
    View("study %", ".2f"),
    View("study F1", ".3f"),
    View("study ms", "d"),
    View("study MB", ".2f"),
)


def units(settings: Settings) -> list[Unit]:
    """Trainings, variants and timings."""
    folds, architectures = settings.fold_numbers, settings.architectures
    listed = [
        unit
        for fold in folds
        for arch in architectures
        for unit in variant_units(settings, arch, fold)
    ]
    return [*listed, *(timing_unit(settings, arch) for arch in architectures)]


def write(settings: Settings, store: Store) -> None:
    """Writes the table and a figure of what each method loses."""
    listed = units(settings)
    results = store.results(listed)
    rows = [
        row
        for arch in settings.architectures
        for method in (FP32, *METHODS)
        if (row := _row(settings, results, arch, method)) is not None
    ]
    unclear = ", ".join(UNCLEAR)
    spread = " ± is the standard deviation over folds." if settings.folds > 1 else ""
    notes = [
        "Loss is FP32's accuracy less this row's, fold by fold; a loss smaller than the doubt "
        "(half of its 95 % interval, from the decisions that differ) may be chance. Flips are test "
        f"pictures whose class differs from the one that FP32 chose.{spread} ms is for a batch of "
        f"{BATCH} at {settings.size}x{settings.size} pixels, the forms of a network in turns, the "
        "smallest of the turns' medians; PyTorch runs as frozen TorchScript (FP32 in "
        "channels_last, INT8 by FX graph mode with its backend's default observers) from the same "
        "weights and calibration pictures. QAT starts from PTQ per channel and keeps it where no "
        "epoch is better on the validation part.",
        "The study's figures are for its own private pictures at 224x224 and an unnamed CPU. It "
        f"does not say whether PTQ of {unclear} was per tensor or per channel: its one row stands "
        "beside both.",
    ]

    def figure(path: Path) -> None:
        draw_losses(path, settings, rows)

    write_results(
        settings, store, "quantization", TITLE, rows, VIEWS, listed, notes=notes, figure=figure
    )


def _row(
    settings: Settings, results: Mapping[str, Mapping[str, Any]], arch: str, method: str
) -> Row | None:
    modality = settings.modality_of(arch)
    pairs = []
    for fold in settings.fold_numbers:
        training = training_key(arch, modality, fold)
        key = training if method == FP32 else variant_key(arch, fold, method)
        if training in results and key in results:
            pairs.append((results[training], results[key]))
    if not pairs:
        return None
    found = [result for _, result in pairs]
    losses = () if method == FP32 else (base["accuracy"] - r["accuracy"] for base, r in pairs)
    loss = Spread.of(losses, 100)
    kind, name, engine = NAMES[method]
    times = results.get(timing_key(arch), {}).get("ms", {})
    told = _study(arch, method)
    return {
        "architecture": arch,
        "type": kind,
        "method": name,
        "engine": engine,
        **score_columns(found),
        "kappa": Spread.of(result["kappa"] for result in found).mean,
        "MCC": Spread.of(result["mcc"] for result in found).mean,
        "loss, points": loss.mean,
        "loss, points sd": loss.deviation,
        "doubt": None if method == FP32 else doubt(found),
        "ms": times.get(method),
        "parameters M": pairs[0][0]["parameters"] / 1e6,
        "MB": Spread.of((result["bytes"] for result in found), 1e-6).mean,
        "study %": told and told.accuracy,
        "study F1": told and told.f1,
        "study ms": told and told.ms,
        "study MB": told and told.mb,
    }


def _study(arch: str, method: str) -> Figures | None:
    found = (QUANTIZATION.get((arch, name)) for name in _STUDY.get(method, ()))
    return next((figures for figures in found if figures is not None), None)


def draw_losses(path: Path, settings: Settings, rows: list[Row]) -> None:
    """Draws what each way of quantizing loses, network by network."""
    from wbcq.report.charts import dots

    shown = (
        "ptq-per-tensor",
        "ptq-per-channel",
        "qat",
        "pytorch-per-tensor",
        "pytorch-per-channel",
    )
    series: dict[str, list[float | None]] = {}
    for method in shown:
        kind, name, engine = NAMES[method]
        by_arch = {
            row["architecture"]: row["loss, points"]
            for row in rows
            if (row["type"], row["method"], row["engine"]) == (kind, name, engine)
        }
        values = [by_arch.get(arch) for arch in settings.architectures]
        series[f"{engine}, {name}"] = [v if isinstance(v, float) else None for v in values]
    dots(path, settings.architectures, series, "accuracy lost against FP32, points", reference=0)
