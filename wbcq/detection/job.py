"""One training of a detector from pictures with boxes to files: what ``wbcq detect-train`` does."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from wbcq import models
from wbcq.data.pictures import DatasetError
from wbcq.detection.anchors import head_anchors
from wbcq.detection.augment import Loaded, Tiles, load_fields
from wbcq.detection.data import FieldSets
from wbcq.detection.evaluate import (
    DetectionMetrics,
    HeadModel,
    Layout,
    as_arrays,
    average_precision,
    detect_fields,
)
from wbcq.detection.quantize import calibration_tiles, quantize_detector
from wbcq.detection.train import (
    DetectConfig,
    DetectEpoch,
    DetectResult,
    set_anchors,
    train_detector,
)
from wbcq.report.files import replacing, write_text
from wbcq.report.reporter import Reporter
from wbcq.report.tables import Column, Table
from wbcq.train.checkpoint import CheckpointError, load_checkpoint
from wbcq.train.devices import resolve_device
from wbcq.train.weights import load_matching, read_weights

__all__ = ["DETECTORS", "DetectJob", "JobOutcome", "anchors_of", "metrics_table", "run_detect_job"]

DETECTORS = ("yolov3", "yolov3_tiny")

_SAMPLE = 300
"""Tiles whose boxes make the anchors: what the network will see, at random scales."""


@dataclass(frozen=True)
class DetectJob:
    """What to train.

    Attributes:
        arch: One of :data:`DETECTORS`.
        out: Folder of the results.
        width: Of ``yolov3_tiny``, see :func:`wbcq.models.yolov3.yolov3_tiny`.
        activation: ``"relu"``, as in the study, or ``"leaky_relu"``.
        size: Height and width that the detector looks at, a multiple of 32.
        calibration: Windows that set the ranges of activations.
        config: How to train.
        init: Weights to start from, as far as they fit.
    """

    arch: str
    out: Path
    width: float = 1.0
    activation: str = "relu"
    size: int = 512
    calibration: int = 128
    config: DetectConfig = field(default_factory=DetectConfig)
    init: Path | None = None

    def __post_init__(self) -> None:
        if self.arch not in DETECTORS:
            raise ValueError(f"arch is {self.arch!r}; use one of {', '.join(DETECTORS)}")
        if self.width != 1 and self.arch != "yolov3_tiny":
            raise ValueError(f"width is {self.width} with {self.arch}; only yolov3_tiny has widths")
        if self.size < 64 or self.size % 32:
            raise ValueError(f"size is {self.size}; use a multiple of 32 from 64 on")


@dataclass(frozen=True, eq=False)
class JobOutcome:
    """A trained detector, and how good it is on the test part in FP32 and INT8."""

    job: DetectJob
    sets: FieldSets
    training: DetectResult
    fp32: DetectionMetrics
    int8: DetectionMetrics


def build(job: DetectJob, classes: int) -> nn.Module:
    """The untrained network of a job."""
    options: dict[str, Any] = {"activation": job.activation}
    if job.arch == "yolov3_tiny":
        options["width"] = job.width
    return models.create(job.arch, num_classes=classes, **options)


def anchors_of(
    model: nn.Module, train: list[Loaded], config: DetectConfig, classes: tuple[str, ...], size: int
) -> Layout:
    """Anchors of what the network will see, and what its heads mean then.

    Raises:
        DatasetError: There are no boxes to learn from.
    """
    tiles = Tiles(train, config.tile)
    rng = np.random.default_rng(config.seed)
    drawn = [tiles.draw(rng).boxes for _ in range(_SAMPLE)]
    sizes = np.concatenate([boxes[:, 2:] - boxes[:, :2] for boxes in drawn])
    if not len(sizes):
        raise DatasetError("the training part has no boxes; a detector needs some")
    strides = tuple(int(stride) for stride in model.strides)  # type: ignore[union-attr]
    anchors = head_anchors(sizes, len(strides), seed=config.seed)
    return Layout(classes, anchors, strides, size)


def run_detect_job(sets: FieldSets, job: DetectJob, reporter: Reporter) -> JobOutcome:
    """Trains, quantizes and tests; an interrupted call goes on, a finished one is only tested.

    ``weights.pt``, ``detector.wbcq``, ``history.json``, ``metrics.json`` and ``metrics.md`` are
    written to the output folder.

    Raises:
        DatasetError: The pictures cannot be used.
        CheckpointError: The weights to start from cannot be used.
        OSError: The output folder cannot be written.
    """
    torch.manual_seed(job.config.seed)
    for note in sets.notes:
        reporter.note(note)
    if not sum(sets.test.counts.values()):
        raise DatasetError(f"{sets.description}: the test part has no boxes")
    with reporter.stage("Loading pictures") as stage:
        train = load_fields(sets.train, progress=stage)
    model = build(job, len(sets.train.classes))
    layout = anchors_of(model, train, job.config, sets.train.classes, job.size)
    set_anchors(model, layout.anchors)
    if job.init is not None:
        for line in load_matching(model, read_weights(job.init)).lines():
            reporter.note(f"{job.init}: {line}")
    fingerprint = _fingerprint(job, train, layout)
    training = _finished(job, model, fingerprint)
    if training is None:
        training = _train(job, model, train, sets, layout, fingerprint, reporter)
    else:
        reporter.note(f"{job.out / 'weights.pt'}: trained already with these settings")
    with reporter.stage("Quantizing"):
        batches = calibration_tiles(train, job.size, job.calibration, seed=job.config.seed)
        quantized = quantize_detector(model, batches, layout, metadata={"model": job.arch})
        quantized.save(job.out / "detector.wbcq")
    runs: dict[str, HeadModel] = {"FP32": _on_device(model, job), "INT8": quantized}
    metrics = {}
    for name, run in runs.items():
        with reporter.stage(f"Testing {name}") as stage:
            found = detect_fields(run, layout, sets.test, progress=stage)
            metrics[name] = average_precision(found, sets.test)
    model.to("cpu")
    outcome = JobOutcome(job, sets, training, metrics["FP32"], metrics["INT8"])
    _write(outcome)
    return outcome


def _on_device(model: nn.Module, job: DetectJob) -> HeadModel:
    device = resolve_device(job.config.device)
    model.to(device).eval()
    return as_arrays(lambda pictures: model(pictures.to(device)))


def _train(
    job: DetectJob,
    model: nn.Module,
    train: list[Loaded],
    sets: FieldSets,
    layout: Layout,
    fingerprint: str,
    reporter: Reporter,
) -> DetectResult:
    job.out.mkdir(parents=True, exist_ok=True)
    checkpoint = job.out / f"training-{fingerprint}.ckpt"
    if checkpoint.exists():
        reporter.note(f"going on from {checkpoint}")
    with reporter.stage(f"Training {job.arch}") as stage:
        note = ""

        def on_step(done: int, total: int) -> None:
            stage(done, total, note)

        def on_epoch(index: int, epoch: DetectEpoch) -> None:
            nonlocal note
            note = f"epoch {index + 1}: loss {epoch.loss:.2f}, validation mAP {epoch.map50:.3f}"

        result = train_detector(
            model,
            train,
            sets.val,
            layout,
            job.config,
            checkpoint=checkpoint,
            on_step=on_step,
            on_epoch=on_epoch,
        )
    with replacing(job.out / "weights.pt") as temporary:
        torch.save(model.state_dict(), temporary)
    record = {
        "arch": job.arch,
        "width": job.width,
        "activation": job.activation,
        "source": sets.description,
        "notes": list(sets.notes),
        "detector": layout.to_metadata(),
        "pictures": {name: len(getattr(sets, name)) for name in ("train", "val", "test")},
        "cells": sets.train.counts,
        "config": asdict(job.config),
        "init": None if job.init is None else str(job.init),
        "torch": str(torch.__version__),
        "fingerprint": fingerprint,
        "best_epoch": result.best_epoch,
        "history": [asdict(epoch) for epoch in result.history],
    }
    # Last, as it tells that the training has ended.
    write_text(job.out / "history.json", json.dumps(record, indent=2) + "\n")
    checkpoint.unlink()
    return result


def _finished(job: DetectJob, model: nn.Module, fingerprint: str) -> DetectResult | None:
    try:
        record = json.loads((job.out / "history.json").read_text(encoding="utf-8"))
        if record["fingerprint"] != fingerprint:
            return None
        model.load_state_dict(load_checkpoint(job.out / "weights.pt"))
        model.eval()
        history = tuple(DetectEpoch(**epoch) for epoch in record["history"])
        return DetectResult(history, record["best_epoch"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, CheckpointError):
        return None  # missing or damaged: trained anew


def _fingerprint(job: DetectJob, train: list[Loaded], layout: Layout) -> str:
    """Of all that shapes the training."""
    shape = [job.arch, job.width, job.activation, layout.to_metadata(), asdict(job.config)]
    digest = hashlib.sha256(json.dumps(shape, sort_keys=True).encode())
    for loaded in train:
        for array in (loaded.picture, loaded.boxes, loaded.labels):
            digest.update(np.ascontiguousarray(array).tobytes())
    if job.init is not None:
        digest.update(job.init.read_bytes())
    return digest.hexdigest()[:12]


def metrics_table(outcome: JobOutcome) -> Table:
    """Average precision of the test part, FP32 and INT8."""
    classes = outcome.sets.test.classes
    counts = outcome.sets.test.counts
    table = Table(
        [
            Column("dtype"),
            Column("mAP at 0.5", ".3f"),
            Column("mAP 0.5-0.95", ".3f"),
            Column("found %", ".1f"),
            Column("class right %", ".1f"),
            *(Column(f"AP {name} ({counts[name]})", ".3f") for name in classes),
        ],
        title=f"{outcome.job.arch}, {outcome.sets.description}, test part",
    )
    for dtype, metrics in (("FP32", outcome.fp32), ("INT8", outcome.int8)):
        table.add(
            dtype,
            metrics.map50,
            metrics.map,
            100 * metrics.found,
            100 * metrics.class_accuracy,
            *(metrics.ap50[name] for name in classes),
        )
    return table


def _write(outcome: JobOutcome) -> None:
    job = outcome.job
    text = [
        f"# {job.arch}",
        f"{outcome.sets.description}.",
        metrics_table(outcome).to_markdown(),
        "Numbers behind classes are cells of the test part: the average precision of a class of "
        "few means little. Found is the share of cells with a box of any class whose score is at "
        "least 0.25; class right the share of those whose box has the right class. The epoch was "
        "chosen on the validation part; the test part had no say in it.",
    ]
    if outcome.sets.notes:
        text.append("Notes on the data:\n\n" + "\n".join(f"- {n}" for n in outcome.sets.notes))
    write_text(job.out / "metrics.md", "\n\n".join(text) + "\n")
    record = {
        "arch": job.arch,
        "source": outcome.sets.description,
        "fp32": dataclasses.asdict(outcome.fp32),
        "int8": dataclasses.asdict(outcome.int8),
    }
    write_text(job.out / "metrics.json", json.dumps(record, indent=2) + "\n")
