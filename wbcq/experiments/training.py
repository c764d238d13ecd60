"""The trainings that experiments share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from wbcq import models
from wbcq.data.pictures import ArrayPictures
from wbcq.experiments.settings import Settings, load_cells
from wbcq.experiments.store import Store
from wbcq.experiments.units import Unit
from wbcq.report.files import replacing
from wbcq.train import (
    Epoch,
    TrainConfig,
    batches,
    evaluate,
    flipped,
    inputs_of,
    predict,
    train_classifier,
)
from wbcq.train.batch_norm import follow_quickly
from wbcq.train.hardware import native_precision
from wbcq.train.sampling import balanced_sample

__all__ = [
    "REPETITION",
    "calibration_batches",
    "checkpoint_path",
    "judge",
    "narrate",
    "train",
    "trained",
    "training_key",
    "training_unit",
]


REPETITION = 0.5
"""Of MM-MIMO3's four streams: shuffled apart altogether, they need many more epochs."""


def training_key(arch: str, modality: str, fold: int) -> str:
    """The unit that trains a network on a fold."""
    return f"training/{arch}/{modality}/fold{fold}"


def training_unit(settings: Settings, arch: str, fold: int, modality: str | None = None) -> Unit:
    """Trains a network in FP32; ``modality`` is what it sees by default.

    Its files are the weights (``.pt``) and the scores of the test pictures (``.npz``).
    """
    modality = modality or settings.modality_of(arch)
    key = training_key(arch, modality, fold)
    arguments = {
        "key": key,
        "arch": arch,
        "cells": settings.cells(fold, modality),
        "epochs": settings.epochs,
        "recipe": settings.recipe,
        "seed": settings.seed + fold,
    }
    return Unit(key, train, arguments)


def train(
    store: Store,
    *,
    key: str,
    arch: str,
    cells: Mapping[str, Any],
    epochs: int,
    recipe: str,
    seed: int,
) -> dict[str, Any]:
    """Trains, keeps the epoch that is best on the validation part, and tests it."""
    sets = load_cells(cells)
    torch.manual_seed(seed)
    model = models.create(arch, num_classes=len(sets.train.classes))
    follow_quickly(model)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    config = _config(recipe, epochs, seed)
    checkpoint = checkpoint_path(store, key, arch, cells, epochs, recipe, seed)
    on_step, on_epoch = narrate(store, epochs)
    result = train_classifier(
        model,
        sets.train,
        sets.val,
        config,
        checkpoint=checkpoint,
        on_step=on_step,
        on_epoch=on_epoch,
    )
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    with replacing(store.path(key, ".pt")) as temporary, temporary.open("wb") as file:
        torch.save(model.state_dict(), file)
    scores = predict(model, sets.test)
    checkpoint.unlink(missing_ok=True)
    return {
        **judge(store, key, sets.test, scores),
        "arch": arch,
        "best_epoch": result.best_epoch + 1,
        "history": [vars(epoch) for epoch in result.history],
        "parameters": sum(p.numel() for p in model.parameters()),
        "bytes": store.path(key, ".pt").stat().st_size,
        "pictures_by_part": {part: len(getattr(sets, part)) for part in ("train", "val", "test")},
        "source": sets.description,
        "notes": list(sets.notes),
        "files": [".pt", ".npz"],
    }


def trained(store: Store, key: str) -> nn.Module:
    """The network that a unit trained, in evaluation mode."""
    result = store.result(key)
    model = models.create(result["arch"], num_classes=len(result["classes"]))
    state = torch.load(store.path(key, ".pt"), map_location="cpu", weights_only=True)
    model.load_state_dict(state)
    return model.eval()


def judge(
    store: Store,
    key: str,
    test: ArrayPictures,
    scores: npt.NDArray[np.float32],
    reference: str | None = None,
) -> dict[str, Any]:
    """Keeps the scores of the test pictures and returns the metrics of the decisions.

    Args:
        store: Where the scores go.
        key: Of the unit.
        test: The pictures.
        scores: float32 [N, C].
        reference: Key of a unit whose decisions are compared, for ``"flips"``, and for right
            decisions that are ``"lost"`` and ``"gained"``.
    """
    store.save_predictions(key, test.names, test.labels, scores, test.classes)
    chosen = store.predictions(key).decisions
    metrics = evaluate(test.labels, chosen, test.classes).to_dict()
    if reference is not None:
        before = store.predictions(reference).decisions
        was_right, is_right = before == test.labels, chosen == test.labels
        metrics["flips"] = len(flipped(before, chosen))
        metrics["lost"] = int((was_right & ~is_right).sum())
        metrics["gained"] = int((~was_right & is_right).sum())
    return metrics


def calibration_batches(
    model: nn.Module, train: ArrayPictures, count: int, seed: int
) -> list[tuple[Tensor, ...]]:
    """Batches of training pictures, equally many of each class, as the model takes them."""
    chosen = balanced_sample(train, count, seed)
    return [inputs_of(model, pixels) for pixels, _ in batches(chosen, 32)]


def checkpoint_path(store: Store, key: str, *shape: Any) -> Path:
    """Named after all that shapes a training, so that only the same one goes on from it."""
    digest = hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()
    return store.path(key, f".{digest[:8]}.ckpt")


def narrate(store: Store, epochs: int) -> Any:
    """What tells a store's progress bar how far a training is: on_step and on_epoch."""
    note = ""

    def on_step(done: int, total: int) -> None:
        store.progress(done, total, note)

    def on_epoch(index: int, epoch: Epoch) -> None:
        nonlocal note
        note = f"epoch {index + 1} of {epochs}: validation {100 * epoch.val_accuracy:.1f} %"

    return on_step, on_epoch


def _config(recipe: str, epochs: int, seed: int) -> TrainConfig:
    if recipe == "study":
        return TrainConfig.study(epochs=epochs, seed=seed, device="auto")
    return TrainConfig(
        epochs=epochs,
        rate=2e-3,
        repetition=REPETITION,
        seed=seed,
        device="auto",
        precision=native_precision(),
    )
