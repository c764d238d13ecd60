"""Pruned networks: made, fine-tuned, quantized and tested."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import wbcq
from wbcq.data.pictures import ArrayPictures
from wbcq.data.sources import Sets
from wbcq.experiments.settings import MULTI_MODAL, Settings, load_cells
from wbcq.experiments.store import Store
from wbcq.experiments.training import (
    REPETITION,
    calibration_batches,
    checkpoint_path,
    narrate,
    trained,
    training_key,
)
from wbcq.experiments.units import Unit
from wbcq.experiments.variants import keep_compiled
from wbcq.pruning.api import Scope
from wbcq.pruning.schedules import PruneConfig
from wbcq.train import (
    TrainConfig,
    batches,
    decisions,
    evaluate,
    flipped,
    inputs_of,
    predict,
    train_classifier,
)
from wbcq.train.hardware import native_precision
from wbcq.train.sampling import balanced_sample

__all__ = ["ARCHITECTURES", "Spec", "make_pruned", "pruned_key", "pruned_unit", "specs"]

ARCHITECTURES = (
    "resnet18",
    "shufflenet_v2_x1_0",
    "shufflenet_v2_x0_5",
    "regnet_x_400mf",
    MULTI_MODAL,
    "mobilenet_v3_small",
)
"""Those that the study pruned, and one with squeeze-excitation."""

_STUDY_PERCENT = (30, 50, 60, 70, 80, 90)
_TUNED_PERCENT = (50, 75, 90)
_CHANNEL_PERCENT = (50, 70)

_BATCH = 32
_RATE = 5e-4
_CHANNEL_RATE = 2e-3
"""Without half of its channels a network knows nothing: it learns as long and fast as a new one."""
_CHANNEL_ROUND = 8
"""Numbers of channels that are no multiple of it cost kernels what they save."""
_GRADUAL = 3
"""From so many epochs on weights are pruned by and by; before, that costs what recovers them."""


@dataclass(frozen=True)
class Spec:
    """A way of pruning.

    Attributes:
        pattern: As for :func:`wbcq.prune`.
        scope: ``"local"`` or ``"global"``.
        percent: Of the weights that are pruned; for channels, of the multiplications.
        tuned: Whether training goes on with what is left; scores are then Taylor's.
        taylor: Whether scores are Taylor's without training, and not the study's L1.
    """

    pattern: str
    scope: Scope
    percent: int
    tuned: bool
    taylor: bool = False

    @property
    def name(self) -> str:
        """The last part of the unit's key."""
        how = "-tuned" * self.tuned + "-taylor" * self.taylor
        return f"{self.pattern}-{self.scope}-{self.percent}{how}"


def specs(settings: Settings, arch: str, fold: int) -> list[Spec]:
    """What is made of a network: the study's curves, and on the first fold what is fine-tuned."""
    brief = settings.brief
    scopes: tuple[Scope, ...] = ("global",) if brief else ("local", "global")
    curve = [
        Spec("unstructured", scope, percent, False)
        for scope in scopes
        for percent in ((50, 70, 90) if brief else _STUDY_PERCENT)
    ]
    if fold != settings.fold_numbers[0]:
        return curve
    curve += [
        Spec("unstructured", "global", percent, False, taylor=True)
        for percent in ((70,) if brief else _STUDY_PERCENT)
    ]
    patterns = ("1x4", "4x4") if brief else ("unstructured", "1x4", "2x4", "4x4")
    percents = (75,) if brief else _TUNED_PERCENT
    tuned = [Spec(pattern, "global", p, True) for pattern in patterns for p in percents]
    channels = (50,) if brief else _CHANNEL_PERCENT
    tuned += [Spec("channel", "global", percent, True) for percent in channels]
    return [*curve, *tuned]


def pruned_key(arch: str, fold: int, spec: Spec) -> str:
    """The unit that prunes a network in a way."""
    return f"pruning/{arch}/fold{fold}/{spec.name}"


def _epochs(settings: Settings, spec: Spec) -> int:
    if not spec.tuned:
        return 0
    return settings.epochs if spec.pattern == "channel" else settings.qat_epochs


def pruned_unit(settings: Settings, arch: str, fold: int, spec: Spec) -> Unit:
    """Prunes a trained network; its files are the INT8 model and its scores."""
    key, modality = pruned_key(arch, fold, spec), settings.modality_of(arch)
    training = training_key(arch, modality, fold)
    arguments = {
        "key": key,
        "training": training,
        "cells": settings.cells(fold, modality),
        "calibration": settings.calibration,
        "seed": settings.seed,
        "pattern": spec.pattern,
        "scope": spec.scope,
        "sparsity": spec.percent / 100,
        "epochs": _epochs(settings, spec),
    }
    if spec.pattern == "channel":
        arguments["round_to"] = _CHANNEL_ROUND
    if spec.taylor:
        arguments["score"] = "taylor"
    return Unit(key, make_pruned, arguments, needs=(training,))


def make_pruned(
    store: Store,
    *,
    key: str,
    training: str,
    cells: Mapping[str, Any],
    calibration: int,
    seed: int,
    pattern: str,
    scope: Scope,
    sparsity: float,
    epochs: int,
    score: str = "l1",
    round_to: int = 1,
) -> dict[str, Any]:
    """Prunes, trains on for some epochs, and tests in FP32 and as INT8 on the engine.

    The metrics are INT8's; FP32's are under ``"fp32"``. Without a pruned channel every pruned
    weight is looked up in the program: one that is not zero is an error.
    """
    from wbcq.pruning import check_zeros, model_sparsity

    sets, model = load_cells(cells), trained(store, training)
    pictures = calibration_batches(model, sets.train, calibration, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wbcq.DenseLayersWarning)
        warnings.simplefilter("ignore", wbcq.FloatFallbackWarning)
        prune: PruneConfig | None = None
        if pattern != "channel" and epochs >= _GRADUAL:
            prune = PruneConfig(sparsity, pattern, scope=scope, score="taylor", schedule="cubic")
        else:
            how: dict[str, Any] = {"scope": scope, "score": "taylor" if epochs else score}
            how |= {"data": _labelled(model, sets.train, calibration, seed), "loss": _loss}
            if pattern == "channel":
                how |= {"macs": 1 - sparsity, "round_to": round_to}
            else:
                how["sparsity"] = sparsity
            model = wbcq.prune(model, pattern=pattern, example=pictures[0], **how)
        if epochs:
            checkpoint = (key, store.result(training)["history"], cells, seed, epochs)
            rate = _CHANNEL_RATE if pattern == "channel" else _RATE
            _tune(store, model, trained(store, training), sets, prune, rate, *checkpoint)
        config = wbcq.QuantConfig(class_names=sets.train.classes)
        quantized = wbcq.quantize(model, pictures, config=config, progress=False)
    zeros = check_zeros(model, quantized) if pattern != "channel" else 0
    chosen = decisions(predict(model, sets.test))
    before = store.predictions(training).decisions
    metrics = evaluate(sets.test.labels, chosen, sets.test.classes).to_dict()
    return {
        **keep_compiled(store, key, training, sets, quantized),
        "fp32": {**metrics, "flips": len(flipped(before, chosen))},
        "sparsity": model_sparsity(model),
        "zeros": zeros,
    }


def _labelled(
    model: nn.Module, train: ArrayPictures, count: int, seed: int
) -> list[tuple[Tensor, ...]]:
    """Batches of what the model takes, labels last."""
    chosen = balanced_sample(train, count, seed)
    return [(*inputs_of(model, pixels), labels) for pixels, labels in batches(chosen, _BATCH)]


def _loss(outputs: Any, labels: Tensor) -> Tensor:
    """Cross-entropy, summed over heads."""
    heads = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
    return torch.stack([F.cross_entropy(logits, labels) for logits in heads]).sum()


def _tune(
    store: Store,
    model: nn.Module,
    teacher: nn.Module,
    sets: Sets,
    prune: PruneConfig | None,
    rate: float,
    key: str,
    trained_as: Any,
    cells: Mapping[str, Any],
    seed: int,
    epochs: int,
) -> None:
    config = TrainConfig(
        epochs=epochs,
        batch=_BATCH,
        rate=rate,
        repetition=REPETITION,
        seed=seed,
        device="auto",
        precision=native_precision(),
        prune=prune,
    )
    checkpoint = checkpoint_path(store, key, trained_as, cells, seed, epochs)
    on_step, on_epoch = narrate(store, epochs)
    train_classifier(
        model,
        sets.train,
        sets.val,
        config,
        teacher=teacher,
        checkpoint=checkpoint,
        on_step=on_step,
        on_epoch=on_epoch,
    )
    checkpoint.unlink(missing_ok=True)
