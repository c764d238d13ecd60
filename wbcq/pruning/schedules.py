"""When weights are pruned while a network trains: at once, or more and more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from wbcq.errors import PruningError
from wbcq.pruning.allocation import check_sparsity
from wbcq.pruning.api import FLOOR, Scope, choose_masks, engine_columns, warn_of_dense
from wbcq.pruning.choice import choose
from wbcq.pruning.layers import weight_of
from wbcq.pruning.masks import apply_masks, masks
from wbcq.pruning.patterns import Pattern

__all__ = ["PruneConfig", "Pruner"]


_MEMORY = 0.95
"""Of scores from gradients, from one step to the next."""


@dataclass(frozen=True)
class PruneConfig:
    """What is pruned in a training, and when.

    Attributes:
        sparsity: In the end; None for N:M, which has its own.
        pattern: As for :func:`wbcq.prune`, but not ``"channel"``.
        scope: ``"local"`` or ``"global"``.
        score: ``"l1"``, ``"l2"``, or ``"taylor"``, which is summed up from the training's own
            gradients and needs no other data; it must have seen some when pruning begins.
        schedule: ``"oneshot"`` prunes at ``begin``; ``"cubic"`` from there to ``end``, first fast
            and then ever slower: s (1 - (1 - t)^3) at share t of the way (Zhu and Gupta 2017, "To
            Prune, or Not to Prune").
        begin, end: Shares of the training's steps. What follows recovers the accuracy.
        every: Steps from one choice of weights to the next.
        layers, skip, floor: As for :func:`wbcq.prune`.

    Raises:
        PruningError: A setting is out of range; names it.

    Example:
        >>> PruneConfig(0.75, schedule="cubic").sparsity_at(0.25)
        0.65625
    """

    sparsity: float | None = 0.75
    pattern: str = "1x4"
    scope: Scope = "local"
    score: Literal["l1", "l2", "taylor"] = "l1"
    schedule: Literal["oneshot", "cubic"] = "oneshot"
    begin: float = 0.0
    end: float = 0.5
    every: int = 20
    layers: tuple[str, ...] | None = None
    skip: tuple[str, ...] = ()
    floor: float = FLOOR

    def __post_init__(self) -> None:
        fixed = Pattern.parse(self.pattern).sparsity
        if fixed is None:
            check_sparsity(self.sparsity)
        elif self.sparsity not in (None, fixed):
            raise PruningError(
                f"sparsity is {self.sparsity} with pattern {self.pattern}, which has {fixed}. "
                "Remedy: leave sparsity out"
            )
        for name, known in (
            ("scope", ("local", "global")),
            ("score", ("l1", "l2", "taylor")),
            ("schedule", ("oneshot", "cubic")),
        ):
            if getattr(self, name) not in known:
                raise PruningError(
                    f"{name} is {getattr(self, name)!r}; use {' or '.join(map(repr, known))}"
                )
        if fixed is not None and (self.schedule == "cubic" or self.scope == "global"):
            raise PruningError(
                f"pattern {self.pattern} has one sparsity, in every layer: use schedule 'oneshot' "
                "and scope 'local' with it"
            )
        if not 0 <= self.begin <= self.end <= 1:
            raise PruningError(
                f"begin is {self.begin} and end {self.end}; use shares with 0 <= begin <= end <= 1"
            )
        if self.score == "taylor" and self.schedule == "oneshot" and self.begin == 0:
            raise PruningError(
                "score 'taylor' needs gradients, begin is 0 with schedule 'oneshot'. Remedy: "
                "schedule 'cubic', a later begin, or prune before the training with wbcq.prune"
            )
        if self.every < 1:
            raise PruningError(f"every is {self.every}; use at least 1 step")
        check_sparsity(self.floor, "floor")

    @property
    def last(self) -> float:
        """The sparsity in the end."""
        fixed = Pattern.parse(self.pattern).sparsity
        return float(self.sparsity or 0.0) if fixed is None else fixed

    def sparsity_at(self, share: float) -> float:
        """The sparsity when a share of the training's steps is done."""
        if share < self.begin:
            return 0.0
        if self.schedule == "oneshot" or share >= self.end:
            return self.last
        way = (share - self.begin) / (self.end - self.begin)
        return self.last * (1 - (1 - way) ** 3)


class Pruner:
    """Prunes a network while any loop trains it: call :meth:`step` after each optimizer step.

    The layers get masks at once, in place, so that a state dict has the same entries throughout;
    what a one-shot schedule prunes from the beginning is pruned by then.

    Args:
        model: Is changed in place.
        config: What and when.
        steps: Of the whole training.
        example: A batch of the network's input, or of each of its inputs: blocks are then those
            that the engine can skip, as for :func:`wbcq.prune`.

    Attributes:
        done_steps: How often :meth:`step` was called.

    Raises:
        PruningError: No layer to prune, or ``steps`` is less than 1.

    Warns:
        DenseLayersWarning: As for :func:`wbcq.prune`.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(16, 16))
        >>> optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        >>> pruner = Pruner(model, PruneConfig(0.5, schedule="cubic", every=1), steps=4)
        >>> found = []
        >>> for _ in range(4):
        ...     model(torch.rand(2, 16)).square().sum().backward()
        ...     optimizer.step()
        ...     changed = pruner.step()
        ...     found.append(float((model[0].weight == 0).float().mean()))
        >>> found
        [0.4375, 0.5, 0.5, 0.5]
    """

    def __init__(
        self,
        model: nn.Module,
        config: PruneConfig,
        steps: int,
        example: torch.Tensor | Sequence[torch.Tensor] | None = None,
    ) -> None:
        if steps < 1:
            raise PruningError(f"a training of {steps} steps; pass at least 1")
        self.model, self.config, self.steps = model, config, steps
        self._pattern = Pattern.parse(config.pattern)
        choice = choose(model, self._pattern, config.layers, config.skip)
        if choice.dense:
            warn_of_dense(choice, self._pattern)
        self._columns = engine_columns(model, choice, self._pattern, example)
        self._names = tuple(choice.layers)
        found = masks(model)
        everything = {
            name: found.get(name, torch.ones_like(weight_of(layer), dtype=torch.bool))
            for name, layer in choice.layers.items()
        }
        apply_masks(model, everything)
        self.done_steps = 0
        self._scores: dict[str, torch.Tensor] = {}
        self._update()

    @property
    def sparsity(self) -> float:
        """What is asked for now."""
        return self.config.sparsity_at(self.done_steps / self.steps)

    @property
    def is_done(self) -> bool:
        """Whether nothing more will be pruned."""
        first = self.config.begin if self.config.schedule == "oneshot" else self.config.end
        return self.done_steps / self.steps >= first

    def step(self) -> bool:
        """Counts a step of the optimizer and prunes if it is time.

        Returns:
            Whether masks have changed.

        Raises:
            PruningError: The score is ``"taylor"`` and a layer has no gradient.
        """
        before = self.is_done
        if self.config.score == "taylor" and not before:
            self._add_gradients()
        self.done_steps += 1
        due = self.done_steps % self.config.every == 0 or self.is_done
        return due and not before and self._update()

    def state_dict(self) -> dict[str, Any]:
        """What goes into a checkpoint beside the model's own state."""
        return {"done_steps": self.done_steps, "scores": dict(self._scores)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what :meth:`state_dict` gave; the model's state is loaded by itself."""
        self.done_steps = int(state["done_steps"])
        weights = {name: weight_of(self.model.get_submodule(name)) for name in state["scores"]}
        self._scores = {n: values.to(weights[n].device) for n, values in state["scores"].items()}

    @torch.no_grad()
    def _add_gradients(self) -> None:
        for name in self._names:
            layer = self.model.get_submodule(name)
            parameter = layer._parameters["weight"]
            if parameter is None or parameter.grad is None:
                raise PruningError(
                    f"layer {name!r} has no gradient. Remedy: call step() after the optimizer's "
                    "and before zero_grad(), and skip layers that are not trained"
                )
            score = (parameter.grad * parameter) ** 2
            if not torch.isfinite(score).all():
                continue  # a step in float16 that the optimizer left out too
            total = self._scores.setdefault(name, torch.zeros_like(score))
            total.mul_(_MEMORY).add_(score)

    def _update(self) -> bool:
        if self.sparsity == 0 or (self.config.score == "taylor" and not self._scores):
            return False
        choice = choose(self.model, self._pattern, self._names)
        found = choose_masks(
            self.model,
            choice,
            self.sparsity if self._pattern.sparsity is None else None,
            self._pattern,
            scope=self.config.scope,
            score=self.config.score,
            floor=self.config.floor,
            scores=self._scores or None,
            columns=self._columns,
        )
        apply_masks(self.model, found)
        return True
