"""Every model of the zoo: the graph computes what the module does, and what is left of it."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from tests.wbcq.graph.helpers import check, settle_norms
from wbcq import models
from wbcq.graph.analysis import float_heads

SLOW = pytest.mark.slow
LEFT = {
    "mm_mimo3": {"Conv2d": 36, "MaxPool2d": 1, "AdaptiveAvgPool2d": 1, "Flatten": 1, "Linear": 4},
    "mobilenet_v2": {"Conv2d": 52, "AdaptiveAvgPool2d": 1, "Flatten": 1, "Linear": 1},
    "mobilenet_v3_small": {
        "Conv2d": 52,
        "Mul": 9,
        "AdaptiveAvgPool2d": 10,
        "Flatten": 1,
        "Linear": 2,
    },
    "mobilenet_v3_large": {
        "Conv2d": 62,
        "Mul": 8,
        "AdaptiveAvgPool2d": 9,
        "Flatten": 1,
        "Linear": 2,
    },
    "regnet_x_400mf": {"Conv2d": 71, "AdaptiveAvgPool2d": 1, "Flatten": 1, "Linear": 1},
    "yolov3": {"Conv2d": 75, "Add": 23, "Resize": 2},
    "yolov3_tiny": {"Conv2d": 13, "MaxPool2d": 6, "Pad": 1, "Resize": 1},
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=SLOW) if n in ("yolov3", "mm_mimo3") else n for n in LEFT]
)
def test_zoo(name: str) -> None:
    torch.manual_seed(0)
    model = settle_norms(models.create(name, num_classes=5))
    shapes = [(3, 64, 64)] * (4 if name == "mm_mimo3" else 1)
    _, prepared = check(model, *shapes)
    assert Counter(type(node.op).__name__ for node in prepared) == LEFT[name]
    assert float_heads(prepared) == set(prepared.outputs)


def test_yolov3_with_relu_needs_no_pad() -> None:
    torch.manual_seed(0)
    model = settle_norms(models.create("yolov3_tiny", num_classes=5, activation="relu"))
    _, prepared = check(model, (3, 64, 64))
    assert not any(type(node.op).__name__ == "Pad" for node in prepared)
