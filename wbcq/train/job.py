"""One training from a source of cells to files: what ``wbcq train`` does."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wbcq import models
from wbcq.data.sources import Sets, Source
from wbcq.pruning.masks import adopt_masks
from wbcq.pruning.report import model_sparsity
from wbcq.report.files import replacing, write_text
from wbcq.report.reporter import SILENT, Reporter
from wbcq.train.batch_norm import follow_quickly
from wbcq.train.checkpoint import CheckpointError, load_checkpoint
from wbcq.train.classify import Epoch, TrainResult, train_classifier
from wbcq.train.config import TrainConfig
from wbcq.train.devices import resolve_device
from wbcq.train.metrics import Metrics, evaluate
from wbcq.train.predict import decisions, predict
from wbcq.train.processes import Processes
from wbcq.train.tasks import interface
from wbcq.train.weights import load_matching, read_weights

__all__ = ["JobResult", "TrainJob", "run_job"]


@dataclass(frozen=True)
class TrainJob:
    """What to train.

    Attributes:
        arch: Name for :func:`wbcq.models.create`.
        out: Folder of the results.
        fold, modality, size: Of the source's pictures; modality None is the stain for networks of
            one picture, where there is one, and all for those of several.
        config: How to train.
        init: Weights to start from, as far as they fit.
        teacher: Weights of a trained network whose probabilities are learned too.
        teacher_arch: Its architecture; None for what ``history.json`` beside the file says, or else
            the student's.
    """

    arch: str
    out: Path
    fold: int = 0
    modality: str | None = None
    size: int = 96
    config: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    init: Path | None = None
    teacher: Path | None = None
    teacher_arch: str | None = None


@dataclass(frozen=True, eq=False)
class JobResult:
    """A trained network and how good it is.

    Attributes:
        job: As asked for, with its modality.
        model: On the CPU, in eval mode.
        sets: The pictures.
        training: History and best epoch.
        test, val: Metrics; the validation part chose the epoch, so its figures flatter.
    """

    job: TrainJob
    model: nn.Module
    sets: Sets
    training: TrainResult
    test: Metrics
    val: Metrics


def run_job(source: Source, job: TrainJob, reporter: Reporter) -> JobResult:
    """Trains a network, or finds it trained, and tests it.

    ``weights.pt`` and ``history.json`` are written to the output folder when training has ended.
    The same call again finds them. An interrupted one goes on from a checkpoint there.

    Raises:
        DatasetError: The data cannot be used.
        CheckpointError: The weights to start from, or the teacher's, cannot be used.
        ValueError: Unknown architecture, or a number out of range.
        OSError: The output folder cannot be written.
    """
    processes = Processes.current()
    reporter = reporter if processes.first else SILENT
    torch.manual_seed(job.config.seed)
    model = models.create(job.arch, num_classes=len(source.classes))
    follow_quickly(model)
    if job.init is not None:
        for line in load_matching(model, read_weights(job.init)).lines():
            reporter.note(f"{job.init}: {line}")
    job = dataclasses.replace(job, modality=job.modality or _modality(model, source))
    _check_modality(job, model)
    teacher = None if job.teacher is None else _teacher(job, len(source.classes))
    assert job.modality is not None
    sets = source.load(job.fold, job.modality, size=job.size, reporter=reporter)
    fingerprint = _fingerprint(job, sets, processes)
    training = _finished(job, model, fingerprint)
    if training is None:
        training = _train(job, model, teacher, sets, fingerprint, reporter)
    else:
        reporter.note(f"{job.out / 'weights.pt'}: trained already with these settings")
    device = resolve_device(job.config.device)
    model.to(device)
    with reporter.stage("Testing") as stage:
        total = len(sets.test) + len(sets.val)
        scores = predict(model, sets.test, progress=lambda done, _: stage(done, total))
        chosen = predict(
            model, sets.val, progress=lambda done, _: stage(len(sets.test) + done, total)
        )
    model.to("cpu")
    return JobResult(
        job,
        model,
        sets,
        training,
        evaluate(sets.test.labels, decisions(scores), sets.test.classes),
        evaluate(sets.val.labels, decisions(chosen), sets.val.classes),
    )


def _modality(model: nn.Module, source: Source) -> str:
    if interface(model)[0] > 1:
        return "all"
    return "stain" if "stain" in source.modalities else source.modalities[0]


def _check_modality(job: TrainJob, model: nn.Module) -> None:
    pictures = interface(model)[0]
    if (pictures > 1) != (job.modality == "all"):
        taken = f"{pictures} aligned pictures" if pictures > 1 else "one picture"
        remedy = "use modality all" if pictures > 1 else "choose one modality, or mm_mimo3 for all"
        raise ValueError(
            f"{job.arch} takes {taken} of a cell, modality is {job.modality}; {remedy}"
        )


def _teacher(job: TrainJob, classes: int) -> nn.Module:
    assert job.teacher is not None
    arch = job.teacher_arch or job.arch
    beside = job.teacher.parent / "history.json"
    if job.teacher_arch is None and beside.is_file():
        arch = json.loads(beside.read_text(encoding="utf-8")).get("arch", arch)
    teacher = models.create(arch, num_classes=classes)
    try:
        state = read_weights(job.teacher)
        adopt_masks(teacher, state).load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"{job.teacher}: not the weights of a {arch} of {classes} classes ({error}); name its "
            "architecture"
        ) from error
    return teacher


def _train(
    job: TrainJob,
    model: nn.Module,
    teacher: nn.Module | None,
    sets: Sets,
    fingerprint: str,
    reporter: Reporter,
) -> TrainResult:
    processes = Processes.current()
    job.out.mkdir(parents=True, exist_ok=True)
    # Named after all that shapes the training, so that only the same one goes on from it.
    checkpoint = job.out / f"training-{fingerprint}.ckpt"
    if checkpoint.exists():
        reporter.note(f"going on from {checkpoint}")
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with reporter.stage(f"Training {job.arch}") as stage:
        total, note = 0, ""

        def on_step(done: int, steps: int) -> None:
            nonlocal total
            total = steps
            stage(done, steps, note)

        def on_epoch(index: int, epoch: Epoch) -> None:
            nonlocal note
            note = (
                f"epoch {index + 1}: loss {epoch.loss:.3f}, validation "
                f"{100 * epoch.val_accuracy:.1f} %"
            )
            stage(total * (index + 1) // job.config.epochs, total, note)

        result = train_classifier(
            model,
            sets.train,
            sets.val,
            job.config,
            teacher=teacher,
            checkpoint=checkpoint,
            on_step=on_step,
            on_epoch=on_epoch,
        )
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    processes.from_first(lambda: _keep(job, model, sets, result, fingerprint))
    if processes.first:
        checkpoint.unlink()
    return result


def _keep(
    job: TrainJob, model: nn.Module, sets: Sets, result: TrainResult, fingerprint: str
) -> None:
    with replacing(job.out / "weights.pt") as temporary:
        torch.save(model.state_dict(), temporary)
    record = {
        "arch": job.arch,
        "source": sets.description,
        "notes": list(sets.notes),
        "classes": list(sets.train.classes),
        "pictures": {"train": len(sets.train), "val": len(sets.val), "test": len(sets.test)},
        "fold": job.fold,
        "modality": job.modality,
        "size": job.size,
        "preprocess": None if sets.preprocess is None else sets.preprocess.to_metadata(),
        "config": dataclasses.asdict(job.config),
        "init": None if job.init is None else str(job.init),
        "teacher": None if job.teacher is None else str(job.teacher),
        "processes": Processes.current().count,
        "torch": str(torch.__version__),
        "fingerprint": fingerprint,
        "sparsity": model_sparsity(model),
        "best_epoch": result.best_epoch,
        "history": [dataclasses.asdict(epoch) for epoch in result.history],
    }
    # Last, as it tells that the training has ended.
    write_text(job.out / "history.json", json.dumps(record, indent=2) + "\n")


def _finished(job: TrainJob, model: nn.Module, fingerprint: str) -> TrainResult | None:
    try:
        record = json.loads((job.out / "history.json").read_text(encoding="utf-8"))
        if record["fingerprint"] != fingerprint:
            return None
        state = load_checkpoint(job.out / "weights.pt")
        adopt_masks(model, state).load_state_dict(state)
        model.eval()
        history = tuple(Epoch(**epoch) for epoch in record["history"])
        return TrainResult(history, record["best_epoch"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, CheckpointError):
        return None  # missing or damaged: trained anew


def _fingerprint(job: TrainJob, sets: Sets, processes: Processes) -> str:
    record: list[Any] = [job.arch, job.size, job.modality, dataclasses.asdict(job.config)]
    digest = hashlib.sha256(json.dumps([*record, processes.count]).encode())
    for part in (sets.train, sets.val):
        digest.update(part.pixels.tobytes())
        digest.update(part.labels.tobytes())
    for file in (job.init, job.teacher):
        digest.update(b"-" if file is None else file.read_bytes())
    return digest.hexdigest()[:12]
