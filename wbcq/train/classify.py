"""Training of a classifier: Adam or AdamW with a OneCycle rate, resumable to the same bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from wbcq.data.pictures import ArrayPictures
from wbcq.train.config import TrainConfig
from wbcq.train.devices import autocast, resolve_device
from wbcq.train.metrics import evaluate
from wbcq.train.predict import decisions, predict
from wbcq.train.run import Epoch, Run

__all__ = ["Epoch", "TrainResult", "train_classifier"]


@dataclass(frozen=True)
class TrainResult:
    """The trained model is the caller's, with the best epoch's weights, in eval mode.

    Attributes:
        history: One entry per epoch.
        best_epoch: Index into ``history``: highest validation accuracy, ties broken by macro F1,
            then by the later epoch; -1 if the weights at the start (``keep_start``) were better
            than any.
        start: What the start achieved, with ``keep_start``; its loss is NaN.
    """

    history: tuple[Epoch, ...]
    best_epoch: int
    start: Epoch | None = None


def train_classifier(
    model: nn.Module,
    train: ArrayPictures,
    val: ArrayPictures,
    config: TrainConfig,
    *,
    teacher: nn.Module | None = None,
    checkpoint: str | Path | None = None,
    on_step: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[int, Epoch], None] | None = None,
) -> TrainResult:
    """Trains a model in place and leaves the best epoch's weights in it.

    The best epoch is chosen on ``val``; a test set has no place here, so its figures stay honest.
    All randomness of an epoch comes from the seed and the epoch's number, so a training that was
    interrupted and resumed gives the same bits as one that was not (on the same machine with the
    same number of threads and processes).

    Within a process group of torch (``torchrun``) all processes train the one network: each takes
    its part of every batch, the first one validates and writes the checkpoint, and all end with the
    same weights.

    Args:
        model: Maps float32 [N, C, H, W] in 0..1 to logits [N, classes]. Or several pictures to as
            many logits, like :class:`wbcq.models.mm_mimo.MmMimo3` or what ``wbcq.prepare_qat``
            makes of it: it learns from independently shuffled streams and is validated on aligned
            ones, see :mod:`wbcq.train.tasks`.
        train: Training pictures; for several of each cell their channels follow one another.
        val: Pictures that choose the epoch.
        config: How to train.
        teacher: A trained classifier whose probabilities are learned too, see
            ``TrainConfig.distill``; it is not changed.
        checkpoint: Written after each epoch; if it exists, training goes on from it.
        on_step: Called with the number of steps done and their total.
        on_epoch: Called with the epoch's index and its result.

    Raises:
        ValueError: Fewer than two training pictures for each process, different classes in ``val``,
            or channels that are not what the model takes.
        CheckpointError: The checkpoint is damaged or belongs to another configuration.
        FloatingPointError: The loss became NaN or infinite.
    """
    device = resolve_device(config.device)
    home = next((p.device for p in model.parameters()), torch.device("cpu"))
    if train.classes != val.classes:
        raise ValueError(f"train has classes {train.classes}, val has {val.classes}; use the same")
    if len(train) < 2:
        raise ValueError(f"{len(train)} training pictures; pass at least 2")
    run = Run(model.to(device), train, config, device, teacher)
    if run.batches == 0:
        count = run.processes.count
        raise ValueError(
            f"{len(train)} training pictures for {count} processes; pass at least {2 * count}"
        )
    if checkpoint is not None and Path(checkpoint).exists():
        run.load(checkpoint)
    elif config.keep_start:
        validate = partial(_validate, model, val, float("nan"), config, device)
        run.record(run.processes.from_first(validate), start=True)
    while len(run.history) < config.epochs and not run.is_stuck():
        epoch = len(run.history)
        loss = run.train_epoch(epoch, on_step)
        validate = partial(_validate, run.candidate(), val, loss, config, device)
        result = run.processes.from_first(validate)
        run.record(result)
        if checkpoint is not None:
            run.processes.from_first(partial(run.save, checkpoint))
        if on_epoch is not None:
            on_epoch(epoch, result)
    run.end()
    model.load_state_dict(run.best_state)
    run.processes.synchronize(model)
    model.to(home).eval()
    return TrainResult(tuple(run.history), run.best_epoch, run.start)


def _validate(
    model: nn.Module, val: ArrayPictures, loss: float, config: TrainConfig, device: torch.device
) -> Epoch:
    model.eval()
    with autocast(config.precision, device):
        chosen = decisions(predict(model, val))
    metrics = evaluate(val.labels, chosen, val.classes)
    return Epoch(loss, metrics.accuracy, metrics.macro_f1)
