"""How a classifier is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from wbcq.data.transforms import Augment
from wbcq.pruning.schedules import PruneConfig
from wbcq.train.devices import Precision

__all__ = ["TrainConfig"]


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        epochs: Passes over the training set, at most.
        batch: Pictures per step.
        rate: Peak learning rate of the OneCycle schedule (Smith and Topin, 2018).
        warmup: Share of the steps in which the rate rises.
        optimizer: ``"adamw"`` (decoupled weight decay) or ``"adam"``.
        weight_decay: Of the optimizer.
        label_smoothing: Share of a label's weight that is spread over all classes.
        balance: Weighs each class's loss by the inverse of its frequency.
        sampling: ``"shuffle"`` shows every picture once an epoch; ``"balanced"`` draws as many with
            replacement, each class equally often.
        ema: Decay of a running average of the weights, which is validated and kept in place of
            the weights themselves (Polyak and Juditsky 1992); 0 for none.
        patience: Stops when so many epochs in a row brought nothing on the validation set.
        keep_start: The weights that training starts from are a candidate too; the result is then
            never worse on the validation set. For networks that are good already.
        distill: Share of the loss that compares with a teacher's probabilities.
        temperature: Of the probabilities that are compared (Hinton et al. 2015, "Distilling the
            Knowledge in a Neural Network").
        repetition: Of networks of several pictures, the probability with which a cell's pictures
            stay together instead of being shuffled apart (Havasi et al. 2021, "input repetition"):
            0 makes independent subnetworks, more learns faster.
        precision: ``"bf16"`` runs convolutions in bfloat16 (about 1.7 times faster where the CPU
            has AVX-512 BF16 or AMX, slow elsewhere); ``"fp16"`` in float16 with a scaled loss, on
            GPUs; ``"mixed"`` in bfloat16 or else float16 on a GPU and in float32 on a CPU. Weights
            stay float32.
        device: Where to train: ``"cpu"``, ``"cuda"``, ...; ``"auto"`` takes a GPU if there is one.
        seed: Of the order of the pictures and of augmentation. The model's initial weights are
            the caller's.
        augment: Applied to each training batch.
        prune: What is pruned while training, and when; the best epoch is then one of those after
            the last weight was pruned. None for nothing. A model with masks keeps them anyway.

    Raises:
        ValueError: A setting is out of range; names it.
    """

    epochs: int = 10
    batch: int = 32
    rate: float = 1e-3
    warmup: float = 0.1
    optimizer: Literal["adam", "adamw"] = "adamw"
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    balance: bool = False
    sampling: Literal["shuffle", "balanced"] = "shuffle"
    ema: float = 0.0
    patience: int | None = None
    keep_start: bool = False
    distill: float = 0.5
    temperature: float = 2.0
    repetition: float = 0.0
    precision: Precision = "fp32"
    device: str = "cpu"
    seed: int = 0
    augment: Augment = field(default_factory=Augment)
    prune: PruneConfig | None = None

    def __post_init__(self) -> None:
        for name, low in (("epochs", 1), ("batch", 2)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least {low}")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience is {self.patience}; use at least 1, or None")
        if self.precision not in get_args(Precision):
            known = ", ".join(get_args(Precision))
            raise ValueError(f"precision is {self.precision!r}; use one of {known}")
        for name in ("rate", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; use a positive number")
        for name in ("label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use a share in [0, 1)")
        for name in ("distill", "repetition"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use a share in [0, 1]")
        if self.sampling not in ("shuffle", "balanced"):
            raise ValueError(f"sampling is {self.sampling!r}; use 'shuffle' or 'balanced'")

    @classmethod
    def study(cls, **settings: Any) -> TrainConfig:
        """The recipe of the study, with ``settings`` changed.

        Adam, OneCycle up to 1e-3 after 10 % warm-up, batches of 64, 25 epochs, cross-entropy;
        flips, rotation by any angle and RandAugment(3, 5); mixed precision on a GPU.

        Example:
            >>> config = TrainConfig.study(epochs=5)
            >>> config.optimizer, config.batch, config.epochs, config.augment.operations
            ('adam', 64, 5, 3)
        """
        recipe: dict[str, Any] = {
            "epochs": 25,
            "batch": 64,
            "rate": 1e-3,
            "warmup": 0.1,
            "optimizer": "adam",
            "weight_decay": 0.0,
            "precision": "mixed",
            "augment": Augment(zoom=0.0, light=0.0, operations=3, magnitude=5),
        }
        return cls(**{**recipe, **settings})

    @classmethod
    def wbcq(cls, **settings: Any) -> TrainConfig:
        """Our recipe, with ``settings`` changed.

        The study's with AdamW, a higher rate, smoothed labels, and zoom and light in place of
        RandAugment, which needs no kornia and is easier to learn from in few epochs.

        Example:
            >>> config = TrainConfig.wbcq(epochs=5)
            >>> config.optimizer, config.batch, config.epochs
            ('adamw', 64, 5)
        """
        recipe: dict[str, Any] = {
            "epochs": 25,
            "batch": 64,
            "rate": 2e-3,
            "weight_decay": 0.02,
            "label_smoothing": 0.05,
            "precision": "mixed",
        }
        return cls(**{**recipe, **settings})
