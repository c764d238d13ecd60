"""Where a training computes, and in which precision."""

from __future__ import annotations

import os
from typing import Literal, TypeAlias

import torch

__all__ = ["Precision", "autocast", "resolve_device", "resolve_precision"]

Precision: TypeAlias = Literal["fp32", "bf16", "fp16", "mixed"]


def resolve_device(name: str) -> torch.device:
    """The device of a name; ``"auto"`` is a GPU if there is one, each process its own."""
    if name != "auto":
        return torch.device(name)
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def resolve_precision(
    precision: Precision, device: torch.device
) -> Literal["fp32", "bf16", "fp16"]:
    """What ``"mixed"`` means on a device.

    Raises:
        ValueError: float16 is asked for on a CPU, where it is neither fast nor safe.

    Example:
        >>> resolve_precision("mixed", torch.device("cpu"))
        'fp32'
    """
    if precision == "mixed":
        if device.type != "cuda":
            return "fp32"
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if precision == "fp16" and device.type == "cpu":
        raise ValueError("precision is 'fp16' on a CPU; use 'bf16', 'fp32' or 'mixed'")
    return precision


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """The context in which layers run in a precision."""
    resolved = resolve_precision(precision, device)
    dtype = torch.float16 if resolved == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=resolved != "fp32")
