"""Training of YOLOv3 and YOLOv3-tiny: AdamW, OneCycle rate, averaged weights, resumable."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from wbcq.detection.anchors import HeadAnchors
from wbcq.detection.augment import Loaded, Tile, TileConfig, Tiles
from wbcq.detection.data.base import FieldSet
from wbcq.detection.evaluate import Layout, as_arrays, average_precision, detect_fields
from wbcq.detection.loss import LossConfig, detection_loss
from wbcq.train.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from wbcq.train.devices import Precision, autocast, resolve_device

__all__ = ["DetectConfig", "DetectEpoch", "DetectResult", "set_anchors", "train_detector"]

_PRIOR = 0.01
"""Objectness that a network starts with: nearly all anchors hold nothing."""


@dataclass(frozen=True)
class DetectConfig:
    """How a detector is trained.

    Attributes:
        epochs: How often the validation part is looked at.
        tiles: Training tiles of an epoch; as many as there are pictures if 0.
        batch: Tiles of a step.
        rate: Peak of the OneCycle rate.
        warmup: Share of the steps in which it rises.
        weight_decay: Of AdamW.
        ema: Decay of the running average of the weights that is validated and kept.
        clip: Largest norm of the gradient.
        choose: ``"best"`` keeps the epoch of the highest mAP at 0.5 on the validation part,
            ``"last"`` the last one, for validation parts too small to choose by.
        tile: How tiles are made.
        loss: Weights of the loss.
        precision: As :class:`wbcq.train.TrainConfig` has it.
        device: Where to train; ``"auto"`` takes a GPU if there is one.
        seed: Of tiles; initial weights are the caller's.

    Raises:
        ValueError: A setting is out of range.
    """

    epochs: int = 30
    tiles: int = 0
    batch: int = 16
    rate: float = 2e-3
    warmup: float = 0.1
    weight_decay: float = 0.02
    ema: float = 0.998
    clip: float = 10.0
    choose: Literal["best", "last"] = "best"
    tile: TileConfig = field(default_factory=TileConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    precision: Precision = "mixed"
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("epochs", 1), ("batch", 2), ("tiles", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least {low}")
        if not self.rate > 0:
            raise ValueError(f"rate is {self.rate}; use a positive number")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}; use a share in [0, 1)")
        if self.choose not in ("best", "last"):
            raise ValueError(f"choose is {self.choose!r}; use 'best' or 'last'")


@dataclass(frozen=True)
class DetectEpoch:
    """Mean training loss and its parts, and average precision on the validation part."""

    loss: float
    box: float
    objectness: float
    classes: float
    map50: float
    map: float


@dataclass(frozen=True)
class DetectResult:
    """The trained network is the caller's, in eval mode.

    Attributes:
        history: One entry per epoch.
        best_epoch: Index of the one that was kept.
    """

    history: tuple[DetectEpoch, ...]
    best_epoch: int


def set_anchors(model: nn.Module, anchors: HeadAnchors) -> None:
    """Gives a YOLOv3 its anchors, and heads that start by saying that there is nothing.

    Raises:
        ValueError: Other numbers of heads or anchors.
    """
    own = [len(head) for head in model.anchors]  # type: ignore[union-attr]
    if [len(head) for head in anchors] != own:
        raise ValueError(f"anchors of {[len(h) for h in anchors]}; the network has {own} a head")
    model.anchors = anchors  # type: ignore[assignment]
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and name.startswith("head") and module.bias is not None:
            with torch.no_grad():
                bias = module.bias.view(own[0], -1)
                bias[:, :4] = 0
                bias[:, 4:] = -float(np.log((1 - _PRIOR) / _PRIOR))
                bias[:, 5:] = -1.0


def train_detector(
    model: nn.Module,
    train: Sequence[Loaded],
    val: FieldSet,
    layout: Layout,
    config: DetectConfig,
    *,
    checkpoint: str | Path | None = None,
    on_step: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[int, DetectEpoch], None] | None = None,
) -> DetectResult:
    """Trains a network in place and leaves the chosen epoch's averaged weights in it.

    All randomness of an epoch comes from the seed and its number: an interrupted training that goes
    on gives the same bits as one that was not interrupted.

    Args:
        model: float32 [N, 3, H, W] in 0..1 to raw heads.
        train: Pictures in memory, see :func:`wbcq.detection.augment.load_fields`.
        val: Pictures that choose the epoch, at their own scale.
        layout: Classes, anchors, strides, and the size at which ``val`` is looked at.
        config: How.
        checkpoint: Written after each epoch; if it exists, training goes on from it.
        on_step: Called with the number of steps done and their total.
        on_epoch: Called with the epoch's index and its result.

    Raises:
        ValueError: Fewer training pictures than one.
        CheckpointError: The checkpoint is damaged or belongs to another training.
        FloatingPointError: The loss became NaN or infinite.
    """
    if not train:
        raise ValueError("no training pictures")
    run = _Run(model, train, layout, config)
    if checkpoint is not None and Path(checkpoint).exists():
        run.load(checkpoint)
    while len(run.history) < config.epochs:
        epoch = len(run.history)
        loss = run.train_epoch(epoch, on_step)
        result = run.validate(loss, val)
        run.record(result)
        if checkpoint is not None:
            run.save(checkpoint)
        if on_epoch is not None:
            on_epoch(epoch, result)
    model.load_state_dict(run.best_state)
    model.to("cpu").eval()
    return DetectResult(tuple(run.history), run.best_epoch)


class _Run:
    """All that changes while training, and its checkpoint."""

    def __init__(
        self, model: nn.Module, train: Sequence[Loaded], layout: Layout, config: DetectConfig
    ) -> None:
        self.device = resolve_device(config.device)
        self.model = model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.tiles = Tiles(train, config.tile)
        self.layout, self.config = layout, config
        self.count = config.tiles or len(train)
        self.batches = max(1, round(self.count / config.batch))
        steps = self.batches * config.epochs
        self.average = AveragedModel(model, multi_avg_fn=_warmed(config.ema), use_buffers=True)
        decayed = [p for p in model.parameters() if p.dim() > 1]
        free = [p for p in model.parameters() if p.dim() <= 1]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": free, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=config.rate, weight_decay=config.weight_decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=config.rate,
            total_steps=steps + 1,
            pct_start=min(1.0, max(config.warmup, 2 / (steps + 1))),
        )
        self.history: list[DetectEpoch] = []
        self.best_epoch = -1
        self.best_state: dict[str, Any] = {}

    def train_epoch(
        self, epoch: int, on_step: Callable[[int, int], None] | None
    ) -> tuple[float, float, float, float]:
        """Mean loss, and its parts for boxes, objectness and classes."""
        config = self.config
        rng = np.random.default_rng([config.seed, epoch])
        sums = np.zeros(4)
        self.model.train()
        for step in range(self.batches):
            tiles = [self.tiles.draw(rng) for _ in range(config.batch)]
            sums += self._step(tiles)
            if on_step is not None:
                on_step(epoch * self.batches + step + 1, self.batches * config.epochs)
        loss, box, objectness, classes = (sums / self.batches).tolist()
        return loss, box, objectness, classes

    def _step(self, tiles: Sequence[Tile]) -> tuple[float, float, float, float]:
        pixels = torch.from_numpy(np.stack([tile.picture for tile in tiles])).to(self.device)
        batch = pixels.permute(0, 3, 1, 2).float().div_(255)
        boxes = [torch.from_numpy(np.ascontiguousarray(t.boxes)).to(self.device) for t in tiles]
        labels = [torch.from_numpy(tile.labels).to(self.device) for tile in tiles]
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.config.precision, self.device):
            heads = self.model(batch.contiguous(memory_format=torch.channels_last))
        parts = detection_loss(
            heads, boxes, labels, self.layout.anchors, self.layout.strides, self.config.loss
        )
        if not torch.isfinite(parts.total):
            raise FloatingPointError(
                f"the loss is {parts.total.item()} at step {self.schedule.last_epoch + 1}; "
                f"lower the learning rate ({self.config.rate})"
            )
        parts.total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.schedule.step()
        self.average.update_parameters(self.model)
        return float(parts.total.detach()), parts.box, parts.objectness, parts.classes

    def validate(self, loss: tuple[float, float, float, float], val: FieldSet) -> DetectEpoch:
        """Average precision of the averaged weights."""
        network = self.average.module.eval()
        device = self.device

        def run(pictures: Tensor) -> Any:
            return network(pictures.to(device))

        if not sum(val.counts.values()):
            return DetectEpoch(*loss, 0.0, 0.0)
        found = average_precision(detect_fields(as_arrays(run), self.layout, val), val)
        return DetectEpoch(*loss, found.map50, found.map)

    def record(self, result: DetectEpoch) -> None:
        """Adds an epoch; keeps its weights if it is chosen."""
        self.history.append(result)
        best = self.history[self.best_epoch] if self.best_epoch >= 0 else None
        if self.config.choose == "last" or best is None or result.map50 >= best.map50:
            self.best_epoch = len(self.history) - 1
            self.best_state = copy.deepcopy(self.average.module.state_dict())

    def _identity(self) -> dict[str, Any]:
        return {
            "config": asdict(self.config),
            "layout": self.layout.to_metadata(),
            "pictures": len(self.tiles.fields),
        }

    def save(self, path: str | Path) -> None:
        """Writes all that :meth:`load` needs."""
        state = {
            **self._identity(),
            "history": [asdict(epoch) for epoch in self.history],
            "best_epoch": self.best_epoch,
            "best_state": self.best_state,
            "average": self.average.state_dict(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        save_checkpoint(path, state)

    def load(self, path: str | Path) -> None:
        """Goes on from a checkpoint of the same training."""
        state = load_checkpoint(path)
        wanted = self._identity()
        different = [key for key in wanted if state.get(key) != wanted[key]]
        if different:
            raise CheckpointError(
                f"{path}: belongs to another training (other {', '.join(different)}); use the same "
                "settings or remove the file"
            )
        try:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            self.history = [DetectEpoch(**epoch) for epoch in state["history"]]
            self.best_epoch, self.best_state = state["best_epoch"], state["best_state"]
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"{path}: does not fit this model or version ({error}); remove the file"
            ) from error


def _warmed(decay: float) -> Callable[[Any, Any, Any], None]:
    """An average that forgets the initial weights fast: its decay grows with the steps."""

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        share = min(decay, (1 + int(count)) / (10 + int(count)))
        for mean, value in zip(averaged, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - share)
            else:
                mean.copy_(value)

    return update
