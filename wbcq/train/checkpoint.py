"""Training checkpoints that survive an interruption."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wbcq.errors import WbcqError
from wbcq.report.files import replacing

__all__ = ["CheckpointError", "load_checkpoint", "save_checkpoint"]


class CheckpointError(WbcqError):
    """A checkpoint cannot be read or belongs to another training."""


def save_checkpoint(path: str | Path, state: Mapping[str, Any]) -> None:
    """Writes tensors, numbers, strings and containers of these, whole or not at all."""
    import torch

    with replacing(path) as temporary:
        torch.save(dict(state), temporary)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint without running any code it may contain.

    Raises:
        CheckpointError: Missing, damaged, or not a checkpoint.
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except Exception as error:  # torch.load raises many kinds for damaged files
        raise CheckpointError(f"{path}: damaged, or not a checkpoint ({error})") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: holds a {type(state).__name__}, not a checkpoint")
    return state
