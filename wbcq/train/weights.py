"""Weights of other trainings as a start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from wbcq.models.shufflenet_layouts import from_authors_layout, is_authors_layout
from wbcq.pruning.masks import adopt_masks
from wbcq.train.checkpoint import CheckpointError, load_checkpoint

__all__ = ["Loaded", "load_matching", "read_weights"]


@dataclass(frozen=True)
class Loaded:
    """What :func:`load_matching` did.

    Attributes:
        matched: Names of the tensors that were copied.
        other_shape: Names that the file has too, with its shape and the model's.
        missing: Names that the file does not have.
        unused: Names that the model does not have.
    """

    matched: tuple[str, ...]
    other_shape: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def lines(self) -> list[str]:
        """For people: how much matched, and what did not."""
        total = len(self.matched) + len(self.other_shape) + len(self.missing)
        lines = [f"{len(self.matched)} of the model's {total} tensors come from the file"]
        for title, names in (
            ("of another shape", self.other_shape),
            ("not in the file", self.missing),
            ("not in the model", self.unused),
        ):
            if names:
                lines.append(f"{len(names)} {title}: {_shortened(names)}")
        return lines


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """A state dict from a file, without running any code it may contain.

    A checkpoint that holds one under ``state_dict`` or ``model`` gives that one.

    Raises:
        CheckpointError: The file is missing, damaged, or holds something else.
    """
    found: Any = load_checkpoint(path)
    for key in ("state_dict", "model"):
        if isinstance(found.get(key), dict):
            found = found[key]
    if not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(f"{path}: holds no state dict (names and tensors)")
    return dict(found)


def load_matching(model: nn.Module, state: Mapping[str, Tensor]) -> Loaded:
    """Copies into a model what fits by name and shape; the rest of it stays as it is.

    Masks of a pruned network are taken too: what it pruned stays zero.

    A trunk of ShuffleNetV2 in its authors' layout is converted,
    see :mod:`wbcq.models.shufflenet_layouts`.

    Raises:
        CheckpointError: Nothing fits.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 5))
        >>> trained = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1000)).state_dict()
        >>> for line in load_matching(model, trained).lines():
        ...     print(line)
        2 of the model's 4 tensors come from the file
        2 of another shape: 1.weight [1000, 3] for [5, 3], 1.bias [1000] for [5]
    """
    if is_authors_layout(state):
        state = from_authors_layout(state)
    own = adopt_masks(model, state).state_dict()
    matched = {
        name: tensor
        for name, tensor in state.items()
        if name in own and tensor.shape == own[name].shape
    }
    if not matched:
        raise CheckpointError(
            f"none of the file's {len(state)} tensors fits {type(model).__name__} (the file has "
            f"{_shortened(list(state), 3)}; the model has {_shortened(list(own), 3)}); use weights "
            "of the same architecture"
        )
    model.load_state_dict(matched, strict=False)
    return Loaded(
        tuple(matched),
        tuple(
            f"{name} {list(state[name].shape)} for {list(own[name].shape)}"
            for name in own
            if name in state and name not in matched
        ),
        tuple(name for name in own if name not in state),
        tuple(name for name in state if name not in own),
    )


def _shortened(names: tuple[str, ...] | list[str], most: int = 6) -> str:
    listed = ", ".join(names[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"
