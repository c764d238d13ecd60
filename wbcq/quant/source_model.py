"""What a model must be before it is captured."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["check_float32"]


def check_float32(model: nn.Module) -> None:
    """Refuses what is no module, or one whose parameters or buffers are not float32.

    Raises:
        ValueError: Names the parameter and its dtype.

    Example:
        >>> check_float32(torch.nn.Linear(2, 2).half())
        Traceback (most recent call last):
        ValueError: 'weight' of the model is float16, must be float32. Remedy: pass \
copy.deepcopy(model).float()
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"model is a {type(model).__name__}, must be a torch.nn.Module")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise ValueError(
                f"{name!r} of the model is {str(tensor.dtype).removeprefix('torch.')}, must be "
                "float32. Remedy: pass copy.deepcopy(model).float()"
            )
