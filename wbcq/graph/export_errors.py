"""Plain explanations of what torch.export refuses."""

from __future__ import annotations

import os
import re
import sysconfig
import traceback
from collections.abc import Callable, Sequence
from types import TracebackType

import torch
from torch import Tensor, nn

from wbcq.errors import CaptureError

__all__ = ["explain", "innermost_user_line", "is_user_code"]

_TORCH = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep
_THIS_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_STDLIB = os.path.abspath(sysconfig.get_paths()["stdlib"]) + os.sep
_SITE_PACKAGES = f"{os.sep}site-packages{os.sep}"

_DATA_DEPENDENT = re.compile(r"data[- ]dependent|DynamicOutputShape", re.IGNORECASE)
_SPECIALIZED = re.compile(r"Constraints violated|specialized it to be a constant")

_BATCH_REMEDY = (
    "Remedy: keep the first dimension free, for example x.flatten(1) or x.view(x.size(0), -1) "
    "instead of x.view(1, -1), and do not loop over it or compute with its size"
)


def is_user_code(filename: str) -> bool:
    """True if a file belongs neither to PyTorch, nor to Python's library, nor to capture itself."""
    path = os.path.abspath(filename)
    if filename.startswith("<") or path.startswith((_TORCH, _THIS_PACKAGE)):
        return False
    return _SITE_PACKAGES in path or not path.startswith(_STDLIB)


def innermost_user_line(trace: TracebackType | None) -> str:
    """``file:line`` of the innermost frame of the user's code, or empty."""
    for frame in reversed(traceback.extract_tb(trace)):
        if is_user_code(frame.filename):
            return f"{frame.filename}:{frame.lineno}"
    return ""


def explain(
    error: Exception,
    model: nn.Module,
    name: str,
    inputs: Sequence[Tensor],
    export_static: Callable[[], object],
) -> CaptureError:
    """Finds out why an export failed.

    Args:
        error: What torch.export raised.
        model: In evaluation mode.
        name: Of the model, for the message.
        inputs: The user's own example inputs, on the model's device.
        export_static: Exports with a fixed batch size.

    Returns:
        An error to raise from ``error``.
    """
    failure = _run(model, inputs)
    if failure is not None:
        shapes = ", ".join(str(list(x.shape)) for x in inputs)
        return CaptureError(
            f"{name} itself fails on the example inputs of shape {shapes}"
            f"{_at(failure)}: {_first_line(failure)}. Remedy: pass inputs that the model accepts"
        )
    text = f"{type(error).__name__}: {error}"
    if _DATA_DEPENDENT.search(text):
        return CaptureError(
            f"{name} makes a decision that depends on the values of a tensor{_at(error)}: an if, a "
            "loop, .item(), int() or a mask whose result has a data-dependent shape. One graph "
            "cannot hold that. Remedy: compute both branches and combine them, or move the "
            "decision outside the model"
        )
    other_batch = _run(model, [torch.cat([x, x, x]) for x in inputs])
    if other_batch is not None or _SPECIALIZED.search(text) or _succeeds(export_static):
        where = _at(error) or (_at(other_batch) if other_batch else "")
        return CaptureError(
            f"{name} works only for a fixed batch size{where}. {_BATCH_REMEDY} "
            f"(torch.export: {_first_line(error)})"
        )
    return CaptureError(
        f"torch.export cannot trace {name}{_at(error)}: {_first_line(error)}. Remedy: use plain "
        "tensor operations in forward; torch.export.draft_export(model, inputs) reports more"
    )


def _run(model: nn.Module, inputs: Sequence[Tensor]) -> Exception | None:
    try:
        with torch.no_grad():
            model(*(x.clone() for x in inputs))
    except Exception as error:
        return error
    return None


def _succeeds(action: Callable[[], object]) -> bool:
    try:
        action()
    except Exception:
        return False
    return True


def _at(error: Exception) -> str:
    line = innermost_user_line(error.__traceback__)
    return f" at {line}" if line else ""


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    line = lines[0].partition(" For more information")[0] if lines else type(error).__name__
    return line.rstrip(".!")
