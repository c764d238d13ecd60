"""What becomes of a trained network: FP32 on the engine, PTQ, QAT, and PyTorch's own INT8."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

import wbcq
from wbcq.data.sources import Sets
from wbcq.engine.program_file import program_bytes
from wbcq.engine.summary import summarize
from wbcq.experiments.pytorch_int8 import quantize_with_pytorch
from wbcq.experiments.settings import Settings, load_cells
from wbcq.experiments.store import Store
from wbcq.experiments.training import (
    REPETITION,
    calibration_batches,
    checkpoint_path,
    judge,
    narrate,
    trained,
    training_key,
    training_unit,
)
from wbcq.experiments.units import Unit
from wbcq.report.files import replacing
from wbcq.train import TrainConfig, inputs_of, predict, train_classifier
from wbcq.train.hardware import native_precision

__all__ = [
    "METHODS",
    "keep_compiled",
    "make_float",
    "make_ptq",
    "make_pytorch",
    "make_qat",
    "ptq_unit",
    "variant_key",
    "variant_units",
]

METHODS = (
    "float",
    "ptq-per-tensor",
    "ptq-per-channel",
    "qat",
    "pytorch-per-tensor",
    "pytorch-per-channel",
)
"""What :func:`variant_units` makes of a trained network."""

_QAT_BATCH = 32
_QAT_RATE = 1e-4


def variant_key(arch: str, fold: int, method: str) -> str:
    """The unit that makes one of :data:`METHODS` of a network."""
    return f"quantization/{arch}/fold{fold}/{method}"


def variant_units(settings: Settings, arch: str, fold: int) -> list[Unit]:
    """The training, and everything that is made of it.

    Their files are the model (``.wbcq``, or PyTorch's ``.ts``) and the scores of the test pictures
    (``.npz``).
    """
    modality = settings.modality_of(arch)
    training = training_key(arch, modality, fold)
    shared = {"training": training, "cells": settings.cells(fold, modality)}
    calibrated = {**shared, "calibration": settings.calibration, "seed": settings.seed}
    qat = {**calibrated, "epochs": settings.qat_epochs}

    def unit(method: str, run: Any, arguments: Mapping[str, Any]) -> Unit:
        key = variant_key(arch, fold, method)
        return Unit(key, run, {"key": key, **arguments}, needs=(training,))

    return [
        training_unit(settings, arch, fold),
        unit("float", make_float, shared),
        unit("ptq-per-tensor", make_ptq, {**calibrated, "config": {"weights": "per_tensor"}}),
        ptq_unit(settings, arch, fold),
        unit("qat", make_qat, qat),
        unit("pytorch-per-tensor", make_pytorch, {**calibrated, "per_channel": False}),
        unit("pytorch-per-channel", make_pytorch, {**calibrated, "per_channel": True}),
    ]


def ptq_unit(
    settings: Settings,
    arch: str,
    fold: int,
    key: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> Unit:
    """Quantizes a trained network after training, by default per channel to 8 bits.

    Args:
        settings: What it is run with.
        arch: The network.
        fold: Of the data.
        key: Of the unit, where ``config`` is not the default.
        config: Fields of :class:`wbcq.QuantConfig`.
    """
    key = key or variant_key(arch, fold, "ptq-per-channel")
    modality = settings.modality_of(arch)
    training = training_key(arch, modality, fold)
    arguments = {
        "key": key,
        "training": training,
        "cells": settings.cells(fold, modality),
        "calibration": settings.calibration,
        "seed": settings.seed,
        "config": dict(config or {"weights": "per_channel"}),
    }
    return Unit(key, make_ptq, arguments, needs=(training,))


def make_float(
    store: Store, *, key: str, training: str, cells: Mapping[str, Any]
) -> dict[str, Any]:
    """FP32 on our engine."""
    sets, model = load_cells(cells), trained(store, training)
    example = calibration_batches(model, sets.val, 1, 0)[0]
    compiled = wbcq.compile_float(model, example)
    return keep_compiled(store, key, training, sets, compiled)


def make_ptq(
    store: Store,
    *,
    key: str,
    training: str,
    cells: Mapping[str, Any],
    calibration: int,
    seed: int,
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """Quantized after training."""
    sets, model = load_cells(cells), trained(store, training)
    settings = wbcq.QuantConfig(**config, class_names=sets.train.classes)
    pictures = calibration_batches(model, sets.train, calibration, seed)
    with _quiet():
        quantized = wbcq.quantize(model, pictures, config=settings, progress=False)
    return keep_compiled(store, key, training, sets, quantized)


def make_qat(
    store: Store,
    *,
    key: str,
    training: str,
    cells: Mapping[str, Any],
    calibration: int,
    seed: int,
    epochs: int,
) -> dict[str, Any]:
    """Trained on from PTQ's result with the roundings that it runs with.

    PTQ's result is a candidate, too: the best on the validation part is kept.
    """
    sets, model = load_cells(cells), trained(store, training)
    pictures = calibration_batches(model, sets.train, calibration, seed)
    steps = epochs * (len(sets.train) // _QAT_BATCH)
    qat = wbcq.prepare_qat(
        model,
        pictures,
        config=wbcq.QuantConfig(class_names=sets.train.classes),
        schedule=wbcq.QatSchedule.of(steps),
        progress=False,
    )
    config = TrainConfig(
        epochs=epochs,
        batch=_QAT_BATCH,
        rate=_QAT_RATE,
        repetition=REPETITION,
        seed=seed,
        keep_start=True,
        precision=native_precision(),
    )
    trained_as = store.result(training)["history"]
    checkpoint = checkpoint_path(store, key, trained_as, cells, calibration, seed, epochs)
    on_step, on_epoch = narrate(store, epochs)
    result = train_classifier(
        qat,
        sets.train,
        sets.val,
        config,
        checkpoint=checkpoint,
        on_step=on_step,
        on_epoch=on_epoch,
    )
    checkpoint.unlink(missing_ok=True)
    assert result.start is not None
    start = {"val_accuracy": result.start.val_accuracy, "val_macro_f1": result.start.val_macro_f1}
    return {
        **keep_compiled(store, key, training, sets, wbcq.convert(qat)),
        "best_epoch": result.best_epoch + 1,
        "start": start,
        "history": [vars(epoch) for epoch in result.history],
    }


def make_pytorch(
    store: Store,
    *,
    key: str,
    training: str,
    cells: Mapping[str, Any],
    calibration: int,
    seed: int,
    per_channel: bool,
) -> dict[str, Any]:
    """Quantized by PyTorch from the same weights and with the same pictures."""
    sets, model = load_cells(cells), trained(store, training)
    pictures = calibration_batches(model, sets.train, calibration, seed)
    scripted = quantize_with_pytorch(model, pictures, per_channel=per_channel)
    with replacing(store.path(key, ".ts")) as temporary:
        torch.jit.save(scripted, str(temporary))

    def run(pixels: Tensor) -> Any:
        return scripted(*inputs_of(model, pixels))

    return {
        **_judged(store, key, training, sets, run),
        "bytes": store.path(key, ".ts").stat().st_size,
        "files": [".ts", ".npz"],
    }


def keep_compiled(
    store: Store, key: str, training: str, sets: Sets, model: wbcq.QuantizedModel
) -> dict[str, Any]:
    """Saves a model of ours with what its user needs to know, and tests it."""
    told = {"model": store.result(training)["arch"], "trained_on": sets.description}
    if sets.preprocess is not None:
        told["preprocess"] = sets.preprocess.to_metadata()
    program = dataclasses.replace(model.program, metadata={**model.metadata, **told})
    finished = wbcq.QuantizedModel(program_bytes(program), threads=torch.get_num_threads())
    with replacing(store.path(key, ".wbcq")) as temporary:
        finished.save(temporary)
    return {
        **_judged(store, key, training, sets, finished),
        "parameters": finished.num_parameters,
        "bytes": finished.file_size,
        "macs": sum(layer.macs for layer in summarize(finished.program)),
        "float_operators": [operator.name for operator in finished.float_operators],
        "isa": finished.isa,
        "files": [".wbcq", ".npz"],
    }


def _judged(store: Store, key: str, training: str, sets: Sets, model: Any) -> dict[str, Any]:
    scores = predict(model, sets.test, progress=store.progress)
    return judge(store, key, sets.test, scores, reference=training)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings of float operators, which the result lists."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wbcq.FloatFallbackWarning)
        yield
