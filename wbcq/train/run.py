"""A training in progress: all that changes while it runs, its steps and its checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from wbcq.data.pictures import ArrayPictures
from wbcq.errors import CaptureError, UnsupportedOperatorError
from wbcq.pruning.masks import apply_masks, masks
from wbcq.pruning.schedules import PruneConfig, Pruner
from wbcq.train.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from wbcq.train.config import TrainConfig
from wbcq.train.devices import autocast, resolve_precision
from wbcq.train.processes import Processes
from wbcq.train.tasks import class_scores, inputs_of, stream_orders, streams_loss

__all__ = ["Epoch", "Run"]


@dataclass(frozen=True)
class Epoch:
    """What one epoch achieved: mean training loss, accuracy and macro F1 on the validation set."""

    loss: float
    val_accuracy: float
    val_macro_f1: float


class Run:
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
        self.processes = Processes.current()
        if config.batch < 2 * self.processes.count:
            raise ValueError(
                f"batch is {config.batch} for {self.processes.count} processes; each needs at "
                "least 2 pictures of a step"
            )
        self.teacher = None if teacher is None else copy.deepcopy(teacher).to(device).eval()
        # Of a last batch of one picture batch normalization knows no variance: it is left out.
        enough = len(train) % config.batch >= 2 * self.processes.count
        self.batches = len(train) // config.batch + enough
        self.steps = self.batches * config.epochs
        # Before the copies are made, which have its masks.
        self.pruner = self._make_pruner(config.prune) if config.prune else None
        self.average = (
            AveragedModel(
                model,
                multi_avg_fn=get_ema_multi_avg_fn(config.ema),  # type: ignore[no-untyped-call]
                use_buffers=True,
            )
            if config.ema
            else None
        )
        self.replica = model if self.processes.count == 1 else _replica(model, device)
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
        halved = resolve_precision(config.precision, device) == "fp16"
        self.scaler = torch.amp.GradScaler(device.type, enabled=halved)
        weights = _balanced_weights(train)
        self.class_weights = weights.to(device) if config.balance else None
        self.shares = weights[torch.from_numpy(train.labels)]
        self.history: list[Epoch] = []
        self.start: Epoch | None = None
        self.best_epoch = -1
        self.best_state: dict[str, Any] = {}

    def _make_pruner(self, config: PruneConfig) -> Pruner:
        """With the blocks that the engine can skip, if the engine can run the network at all."""
        height, width, channels = self.train.pixels.shape[1:]
        pictures = torch.zeros(2, channels, height, width, device=self.device)
        try:
            example = inputs_of(self.model, pictures)
            return Pruner(self.model, config, max(1, self.steps), example)
        except (CaptureError, UnsupportedOperatorError):
            return Pruner(self.model, config, max(1, self.steps))

    def train_epoch(self, epoch: int, on_step: Callable[[int, int], None] | None) -> float:
        """One pass; returns the mean loss (of this process's pictures)."""
        config = self.config
        generator = torch.Generator().manual_seed(_epoch_seed(config.seed, epoch))
        order = self._order(generator).numpy()
        rank, count = self.processes.rank, self.processes.count
        if rank:
            # All processes deal the same order, but each augments in its own way.
            generator.manual_seed(_epoch_seed(config.seed, epoch, rank))
        total = 0.0
        self.model.train()
        with _seeded(_epoch_seed(config.seed, epoch, rank)):
            for step in range(self.batches):
                chosen = order[step * config.batch : (step + 1) * config.batch]
                mine = chosen[rank::count]
                total += self._step(mine, count * len(mine) / len(chosen), generator)
                if on_step is not None:
                    on_step(epoch * self.batches + step + 1, self.steps)
        return total / self.batches

    def _order(self, generator: torch.Generator) -> Tensor:
        count = len(self.train)
        if self.config.sampling == "shuffle":
            return torch.randperm(count, generator=generator)
        return torch.multinomial(self.shares, count, replacement=True, generator=generator)

    def _step(
        self, chosen: np.ndarray[Any, Any], share: float, generator: torch.Generator
    ) -> float:
        """One step; ``share`` is this process's part of the batch, relative to an equal one."""
        config = self.config
        pixels = torch.from_numpy(self.train.pixels[chosen]).to(self.device).permute(0, 3, 1, 2)
        batch = config.augment(pixels.to(torch.float32).div(255), generator)
        batch = batch.contiguous(memory_format=torch.channels_last)
        target = torch.from_numpy(self.train.labels[chosen]).to(self.device)
        orders = stream_orders(self.model, len(chosen), generator, config.repetition)
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(config.precision, self.device):
            loss = streams_loss(
                self.replica,
                inputs_of(self.model, batch),
                target,
                orders,
                self._criterion,
                self._taught(batch),
            )
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {self.schedule.last_epoch + 1}; "
                f"lower the learning rate ({config.rate})"
            )
        scaled = self.scaler.scale(loss if share == 1 else loss * share)
        scaled.backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        if self.pruner is not None and self.pruner.step() and self.average is not None:
            apply_masks(self.average.module, masks(self.model))
        return float(loss.detach())

    def _criterion(self, logits: Tensor, labels: Tensor, taught: Tensor | None) -> Tensor:
        config = self.config
        loss = F.cross_entropy(
            logits, labels, weight=self.class_weights, label_smoothing=config.label_smoothing
        )
        if taught is None:
            return loss
        divergence = F.kl_div(
            F.log_softmax(logits / config.temperature, dim=1),
            F.log_softmax(taught / config.temperature, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        return torch.lerp(loss, divergence * config.temperature**2, config.distill)

    def _taught(self, batch: Tensor) -> Tensor | None:
        if self.teacher is None:
            return None
        with torch.no_grad():
            return class_scores(self.teacher(*inputs_of(self.teacher, batch)))

    def candidate(self) -> nn.Module:
        """The model that is validated and kept."""
        if self.average is None:
            return self.model
        averaged: nn.Module = self.average.module
        return averaged

    def is_stuck(self) -> bool:
        """True when ``patience`` epochs brought nothing."""
        patience = self.config.patience
        if not self._is_pruned():
            return False
        return patience is not None and len(self.history) - 1 - self.best_epoch >= patience

    def _is_pruned(self) -> bool:
        return self.pruner is None or self.pruner.is_done

    def record(self, result: Epoch, *, start: bool = False) -> None:
        """Adds an epoch, or what was there before the first; keeps its weights if they are best."""
        if start:
            self.start = result
        else:
            self.history.append(result)
        if not self._is_pruned():
            return  # better than what it will be, but not what was asked for
        best = self.history[self.best_epoch] if self.best_epoch >= 0 else self.start
        if not self.best_state or best is None or _rank(result) >= _rank(best):
            self.best_epoch = len(self.history) - 1
            self.best_state = copy.deepcopy(self.candidate().state_dict())

    def end(self) -> None:
        """Gives up the replica, which must not outlive the process group."""
        self.replica = self.model

    def save(self, path: str | Path) -> None:
        """Writes all that :meth:`load` needs to go on."""
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
            "scaler": self.scaler.state_dict(),
            "pruner": None if self.pruner is None else self.pruner.state_dict(),
        }
        save_checkpoint(path, state)

    def load(self, path: str | Path) -> None:
        """Goes on from a checkpoint of the same training.

        Raises:
            CheckpointError: It is damaged, or of another training, model or version.
        """
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
            self.scaler.load_state_dict(state["scaler"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            self.history = [Epoch(**epoch) for epoch in state["history"]]
            self.start = None if state["start"] is None else Epoch(**state["start"])
            self.best_epoch, self.best_state = state["best_epoch"], state["best_state"]
            if self.pruner is not None:
                self.pruner.load_state_dict(state["pruner"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise CheckpointError(
                f"{path}: does not fit this model or version ({error}); remove the file"
            ) from error


def _replica(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with gradients that are averaged over all processes."""
    devices = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=devices)


def _rank(epoch: Epoch) -> tuple[float, float]:
    return epoch.val_accuracy, epoch.val_macro_f1


def _balanced_weights(pictures: ArrayPictures) -> Tensor:
    counts = np.bincount(pictures.labels, minlength=len(pictures.classes))
    weights = np.where(counts > 0, len(pictures) / (len(counts) * np.maximum(counts, 1)), 0)
    return torch.from_numpy(weights.astype(np.float32))


def _epoch_seed(*numbers: int) -> int:
    """Of seed, epoch and, but for the first, the process; trailing zeros do not count."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds torch's global generator (dropout) and gives the caller's state back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
