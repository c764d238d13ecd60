"""Training of a classifier: Adam or AdamW with a OneCycle rate, resumable to the same bits."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from wbcq.data.pictures import ArrayPictures
from wbcq.train.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from wbcq.train.config import TrainConfig
from wbcq.train.metrics import evaluate
from wbcq.train.predict import decisions, predict

__all__ = ["Epoch", "TrainResult", "train_classifier"]


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
    same number of threads).

    Args:
        model: Maps float32 [N, C, H, W] in 0..1 to logits [N, classes].
        train: Training pictures.
        val: Pictures that choose the epoch.
        config: How to train.
        teacher: A trained classifier whose probabilities are learned too, see
            ``TrainConfig.distill``; it is not changed.
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
    device = _device(config)
    home = next((p.device for p in model.parameters()), torch.device("cpu"))
    run = _Run(model.to(device), train, config, device, teacher)
    if checkpoint is not None and Path(checkpoint).exists():
        run.load(checkpoint)
    elif config.keep_start:
        run.record(_validate(model, val, float("nan"), config, device), start=True)
    while len(run.history) < config.epochs and not run.is_stuck():
        epoch = len(run.history)
        loss = run.train_epoch(epoch, on_step)
        result = _validate(run.candidate(), val, loss, config, device)
        run.record(result)
        if checkpoint is not None:
            run.save(checkpoint)
        if on_epoch is not None:
            on_epoch(epoch, result)
    model.load_state_dict(run.best_state)
    model.to(home).eval()
    return TrainResult(tuple(run.history), run.best_epoch, run.start)


class _Run:
    """Everything that changes while training, and its checkpoint."""

    def __init__(
        self,
        model: nn.Module,
        train: ArrayPictures,
        config: TrainConfig,
        device: torch.device,
        teacher: nn.Module | None,
    ) -> None:
        self.model = model
        self.train = train
        self.config = config
        self.device = device
        self.teacher = None if teacher is None else copy.deepcopy(teacher).to(device).eval()
        self.average = (
            AveragedModel(
                model,
                multi_avg_fn=get_ema_multi_avg_fn(config.ema),  # type: ignore[no-untyped-call]
                use_buffers=True,
            )
            if config.ema
            else None
        )
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
        weights = _balanced_weights(train)
        self.class_weights = weights.to(device) if config.balance else None
        self.shares = weights[torch.from_numpy(train.labels)]
        self.history: list[Epoch] = []
        self.start: Epoch | None = None
        self.best_epoch = -1
        self.best_state: dict[str, Any] = {}

    def train_epoch(self, epoch: int, on_step: Callable[[int, int], None] | None) -> float:
        config = self.config
        generator = torch.Generator().manual_seed(_epoch_seed(config.seed, epoch))
        order = self._order(generator).numpy()
        total = 0.0
        self.model.train()
        with _seeded(_epoch_seed(config.seed, epoch)):
            for step in range(self.batches):
                chosen = order[step * config.batch : (step + 1) * config.batch]
                total += self._step(chosen, generator)
                if on_step is not None:
                    on_step(epoch * self.batches + step + 1, self.steps)
        return total / self.batches

    def _order(self, generator: torch.Generator) -> torch.Tensor:
        count = len(self.train)
        if self.config.sampling == "shuffle":
            return torch.randperm(count, generator=generator)
        return torch.multinomial(self.shares, count, replacement=True, generator=generator)

    def _step(self, chosen: np.ndarray[Any, Any], generator: torch.Generator) -> float:
        config = self.config
        pixels = torch.from_numpy(self.train.pixels[chosen]).permute(0, 3, 1, 2)
        batch = config.augment(pixels.to(torch.float32).div(255), generator)
        batch = batch.to(self.device).contiguous(memory_format=torch.channels_last)
        target = torch.from_numpy(self.train.labels[chosen]).to(self.device)
        self.optimizer.zero_grad(set_to_none=True)
        with _autocast(config, self.device):
            logits = self.model(batch)
        loss = F.cross_entropy(
            logits.float(),
            target,
            weight=self.class_weights,
            label_smoothing=config.label_smoothing,
        )
        if self.teacher is not None:
            loss = torch.lerp(loss, self._distillation_loss(batch, logits), config.distill)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {self.schedule.last_epoch + 1}; "
                f"lower the learning rate ({config.rate})"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return float(loss.detach())

    def _distillation_loss(self, batch: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        assert self.teacher is not None
        temperature = self.config.temperature
        with torch.no_grad(), _autocast(self.config, self.device):
            taught = self.teacher(batch)
        divergence = F.kl_div(
            F.log_softmax(logits.float() / temperature, dim=1),
            F.log_softmax(taught.float() / temperature, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        return divergence * temperature**2

    def candidate(self) -> nn.Module:
        """The model that is validated and kept."""
        if self.average is None:
            return self.model
        averaged: nn.Module = self.average.module
        return averaged

    def is_stuck(self) -> bool:
        """True when ``patience`` epochs brought nothing."""
        patience = self.config.patience
        return patience is not None and len(self.history) - 1 - self.best_epoch >= patience

    def record(self, result: Epoch, *, start: bool = False) -> None:
        if start:
            self.start = result
        else:
            self.history.append(result)
        best = self.history[self.best_epoch] if self.best_epoch >= 0 else self.start
        if start or best is None or _rank(result) >= _rank(best):
            self.best_epoch = len(self.history) - 1
            self.best_state = copy.deepcopy(self.candidate().state_dict())

    def save(self, path: str | Path) -> None:
        state = {
            "config": asdict(self.config),
            "pictures": len(self.train),
            "history": [asdict(epoch) for epoch in self.history],
            "start": None if self.start is None else asdict(self.start),
            "best_epoch": self.best_epoch,
            "best_state": self.best_state,
            "average": None if self.average is None else self.average.state_dict(),
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
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            self.history = [Epoch(**epoch) for epoch in state["history"]]
            self.start = None if state["start"] is None else Epoch(**state["start"])
            self.best_epoch, self.best_state = state["best_epoch"], state["best_state"]
        except (KeyError, TypeError, RuntimeError) as error:
            raise CheckpointError(
                f"{path}: does not fit this model or version ({error}); remove the file"
            ) from error


def _validate(
    model: nn.Module, val: ArrayPictures, loss: float, config: TrainConfig, device: torch.device
) -> Epoch:
    model.eval()
    with _autocast(config, device):
        chosen = decisions(predict(lambda pixels: model(pixels.to(device)).cpu(), val))
    metrics = evaluate(val.labels, chosen, val.classes)
    return Epoch(loss, metrics.accuracy, metrics.macro_f1)


def _rank(epoch: Epoch) -> tuple[float, float]:
    return epoch.val_accuracy, epoch.val_macro_f1


def _device(config: TrainConfig) -> torch.device:
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(config.device)


def _autocast(config: TrainConfig, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")


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
