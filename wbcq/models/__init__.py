"""Small CNNs; the parameters of classifiers have the names that torchvision gives them.

>>> from wbcq import models
>>> model = models.create("resnet18", num_classes=5)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

__all__ = ["create", "names"]

_FACTORIES = {
    "mm_mimo3": "wbcq.models.mm_mimo",
    "mobilenet_v2": "wbcq.models.mobilenetv2",
    "mobilenet_v3_large": "wbcq.models.mobilenetv3",
    "mobilenet_v3_small": "wbcq.models.mobilenetv3",
    "regnet_x_400mf": "wbcq.models.regnet",
    "resnet18": "wbcq.models.resnet",
    "resnet34": "wbcq.models.resnet",
    "resnet50": "wbcq.models.resnet",
    "shufflenet_v2_x0_5": "wbcq.models.shufflenetv2",
    "shufflenet_v2_x1_0": "wbcq.models.shufflenetv2",
    "yolov3": "wbcq.models.yolov3",
    "yolov3_tiny": "wbcq.models.yolov3",
}
"""Model name to the module that has a function of that name; imported when it is asked for."""


def names() -> tuple[str, ...]:
    """The names that :func:`create` knows, sorted."""
    return tuple(sorted(_FACTORIES))


def create(name: str, *, num_classes: int = 1000, **options: Any) -> nn.Module:
    """Builds a model with random weights.

    Args:
        name: One of :func:`names`.
        num_classes: Size of the output.
        **options: Passed to the model's own function, for example ``in_channels=1``.

    Returns:
        The model in training mode, on the CPU, float32.

    Raises:
        ValueError: ``name`` is unknown.

    Example:
        >>> sum(p.numel() for p in create("resnet18").parameters())
        11689512
    """
    if name not in _FACTORIES:
        raise ValueError(f"unknown model {name!r}; choose one of: {', '.join(names())}")
    factory = getattr(importlib.import_module(_FACTORIES[name]), name)
    model: nn.Module = factory(num_classes=num_classes, **options)
    return model
