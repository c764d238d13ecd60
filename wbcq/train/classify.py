"""Training of a classifier: Adam or AdamW with a OneCycle rate, resumable to the same bits."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from wbcq.data.pictures import ArrayPictures
from wbcq.data.transforms import Augment
from wbcq.train.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from wbcq.train.metrics import evaluate
from wbcq.train.predict import decisions, predict

__all__ = ["Epoch", "TrainConfig", "TrainResult", "train_classifier"]


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        epochs: Passes over the training set.
        batch: Pictures per step.
        rate: Peak learning rate of the OneCycle schedule (Smith and Topin, 2018).
        warmup: Share of the steps in which the rate rises.
        optimizer: ``"adamw"`` (decoupled weight decay) or ``"adam"``.
        weight_decay: Of the optimizer.
        label_smoothing: Share of a label's weight that is spread over all classes.
        balance: Weighs each class's loss by the inverse of its frequency.
        precision: ``"bf16"`` runs convolutions in bfloat16 (about 1.7 times faster where the CPU
            has AVX-512 BF16 or AMX, slow elsewhere); weights stay float32 either way.
        seed: Of the order of the pictures and of augmentation. The model's initial weights are
            the caller's.
        augment: Applied to each training batch.
    """

    epochs: int = 10
    batch: int = 32
    rate: float = 1e-3
    warmup: float = 0.1
    optimizer: Literal["adam", "adamw"] = "adamw"
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    balance: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0
    augment: Augment = field(default_factory=Augment)

    def __post_init__(self) -> None:
        for name, low in (("epochs", 1), ("batch", 2)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least {low}")
        if not self.rate > 0:
            raise ValueError(f"rate is {self.rate}; use a positive learning rate")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing is {self.label_smoothing}; use a share in [0, 1)")


@dataclass(frozen=True)
class Epoch:
    """What one epoch achieved: mean training loss, accuracy and macro F1 on the validation set."""

    loss: float
    val_accuracy: float
    val_macro_f1: float


@dataclass(frozen=True)
class TrainResult:
    """The trained model is the caller's, with the best epoch's weights, in eval mode.

    Attributes:
        history: One entry per epoch.
        best_epoch: Index into ``history``: highest validation accuracy, ties broken by macro F1,
            then by the later epoch.
    """

    history: tuple[Epoch, ...]
    best_epoch: int


def train_classifier(
    model: nn.Module,
    train: ArrayPictures,
    val: ArrayPictures,
    config: TrainConfig,
    *,
    checkpoint: str | Path | None = None,
    on_step: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[int, Epoch], None] | None = None,
) -> TrainResult:
    """Trains a model in place and leaves the best epoch's weights in it.

    The best epoch is chosen on ``val``; a test set has no place here, so its figures stay honest.
    All randomness of an epoch comes from the seed and the epoch's number, so a training that was
    interrupted and resumed gives the same bits as one that was not (on the same machine with the
    same number of threads).

    Args:
        model: Maps float32 [N, C, H, W] in 0..1 to logits [N, classes].
        train: Training pictures.
        val: Pictures that choose the epoch.
        config: How to train.
        checkpoint: Written after each epoch; if it exists, training goes on from it.
        on_step: Called with the number of steps done and their total.
        on_epoch: Called with the epoch's index and its result.

    Raises:
        ValueError: Fewer than two training pictures, or different classes in ``val``.
        CheckpointError: The checkpoint is damaged or belongs to another configuration.
        FloatingPointError: The loss became NaN or infinite.
    """
    if len(train) < 2:
        raise ValueError(f"{len(train)} training pictures; pass at least 2")
    if train.classes != val.classes:
        raise ValueError(f"train has classes {train.classes}, val has {val.classes}; use the same")
    run = _Run(model, train, config)
    if checkpoint is not None and Path(checkpoint).exists():
        run.load(checkpoint)
    for epoch in range(len(run.history), config.epochs):
        loss = run.train_epoch(epoch, on_step)
        result = _validate(model, val, loss, config)
        run.record(result)
        if checkpoint is not None:
            run.save(checkpoint)
        if on_epoch is not None:
            on_epoch(epoch, result)
    model.load_state_dict(run.best_state)
    model.eval()
    return TrainResult(tuple(run.history), run.best_epoch)


class _Run:
    """Everything that changes while training, and its checkpoint."""

    def __init__(self, model: nn.Module, train: ArrayPictures, config: TrainConfig) -> None:
        self.model = model
        self.train = train
        self.config = config
        # A last batch of one picture has no variance for batch normalization: it is left out.
        self.batches = len(train) // config.batch + (len(train) % config.batch > 1)
        self.steps = self.batches * config.epochs
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
        self.optimizer = kind(model.parameters(), lr=config.rate, weight_decay=config.weight_decay)
        # One more than is used, since the rate is set for the next step even after the last one.
        # OneCycleLR divides by zero if its warm-up takes a single step.
        total = self.steps + 1
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=config.rate,
            total_steps=total,
            pct_start=min(1.0, max(config.warmup, 2 / total)),
        )
        self.class_weights = _balanced_weights(train) if config.balance else None
        self.history: list[Epoch] = []
        self.best_epoch = -1
        self.best_state: dict[str, Any] = {}

    def train_epoch(self, epoch: int, on_step: Callable[[int, int], None] | None) -> float:
        config = self.config
        generator = torch.Generator().manual_seed(_epoch_seed(config.seed, epoch))
        order = torch.randperm(len(self.train), generator=generator).numpy()
        total = 0.0
        self.model.train()
        with _seeded(_epoch_seed(config.seed, epoch)):
            for step in range(self.batches):
                chosen = order[step * config.batch : (step + 1) * config.batch]
                total += self._step(chosen, generator)
                if on_step is not None:
                    on_step(epoch * self.batches + step + 1, self.steps)
        return total / self.batches

    def _step(self, chosen: np.ndarray[Any, Any], generator: torch.Generator) -> float:
        config = self.config
        pixels = torch.from_numpy(self.train.pixels[chosen]).permute(0, 3, 1, 2)
        batch = config.augment(pixels.to(torch.float32).div(255), generator)
        batch = batch.contiguous(memory_format=torch.channels_last)
        target = torch.from_numpy(self.train.labels[chosen])
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
            logits = self.model(batch)
        loss = F.cross_entropy(
            logits.float(),
            target,
            weight=self.class_weights,
            label_smoothing=config.label_smoothing,
        )
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {self.schedule.last_epoch + 1}; "
                f"lower the learning rate ({config.rate})"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()
        return float(loss.detach())

    def record(self, result: Epoch) -> None:
        self.history.append(result)
        best = self.history[self.best_epoch] if self.best_epoch >= 0 else None
        if best is None or (result.val_accuracy, result.val_macro_f1) >= (
            best.val_accuracy,
            best.val_macro_f1,
        ):
            self.best_epoch = len(self.history) - 1
            self.best_state = copy.deepcopy(self.model.state_dict())

    def save(self, path: str | Path) -> None:
        state = {
            "config": asdict(self.config),
            "pictures": len(self.train),
            "history": [asdict(epoch) for epoch in self.history],
            "best_epoch": self.best_epoch,
            "best_state": self.best_state,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        save_checkpoint(path, state)

    def load(self, path: str | Path) -> None:
        state = load_checkpoint(path)
        try:
            wanted = {**asdict(self.config), "pictures": len(self.train)}
            found = {**state["config"], "pictures": state["pictures"]}
            different = [key for key in wanted if wanted[key] != found.get(key)]
            if different:
                listed = ", ".join(
                    f"{key} {found.get(key)} instead of {wanted[key]}" for key in different
                )
                raise CheckpointError(
                    f"{path}: belongs to another training ({listed}); "
                    "use the same settings or remove the file"
                )
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            self.history = [Epoch(**epoch) for epoch in state["history"]]
            self.best_epoch, self.best_state = state["best_epoch"], state["best_state"]
        except (KeyError, TypeError, RuntimeError) as error:
            raise CheckpointError(
                f"{path}: does not fit this model or version ({error}); remove the file"
            ) from error


def _validate(model: nn.Module, val: ArrayPictures, loss: float, config: TrainConfig) -> Epoch:
    model.eval()
    with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
        chosen = decisions(predict(model, val))
    metrics = evaluate(val.labels, chosen, val.classes)
    return Epoch(loss, metrics.accuracy, metrics.macro_f1)


def _balanced_weights(pictures: ArrayPictures) -> torch.Tensor:
    counts = np.bincount(pictures.labels, minlength=len(pictures.classes))
    weights = np.where(counts > 0, len(pictures) / (len(counts) * np.maximum(counts, 1)), 0)
    return torch.from_numpy(weights.astype(np.float32))


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds torch's global generator (dropout) and gives the caller's state back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
