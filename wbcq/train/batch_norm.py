"""Batch normalization in trainings of few steps."""

from __future__ import annotations

from torch import nn

__all__ = ["follow_quickly"]


def follow_quickly(model: nn.Module) -> None:
    """Lets running means of batch normalization follow within tens of steps, as torch's own do.

    MobileNetV3's take hundreds, which is a whole short training: evaluated with means from its
    start, the trained network is no better than chance.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.momentum is not None:
            module.momentum = max(module.momentum, 0.1)
