"""Zero padding moves into what reads it, where that is exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch.nn.functional as F
from torch import Tensor, nn

from tests.wbcq.graph.helpers import Wraps, check, op_names


def padded(x: Tensor) -> Tensor:
    return F.pad(x, (1, 0, 1, 2))


CASES: list[tuple[Callable[[Any, Tensor], Tensor], list[str]]] = [
    (lambda net, x: net.conv(padded(x)), ["Conv2d"]),
    (lambda net, x: net.same(padded(x)), ["Conv2d"]),
    (
        # The maximum cannot take zeros that may be larger than its numbers.
        lambda net, x: (y := padded(x), net.conv(y) + F.max_pool2d(y, 3, 1))[1],
        ["Pad", "MaxPool2d", "Conv2d"],
    ),
    (lambda net, x: F.avg_pool2d(padded(x), 3, 2), ["AvgPool2d"]),
    (lambda net, x: F.avg_pool2d(padded(x), 4, 2, 1), ["AvgPool2d"]),
    (lambda net, x: F.avg_pool2d(padded(x), 3, 2, 1), ["Pad", "AvgPool2d"]),
    (
        lambda net, x: F.avg_pool2d(padded(x), 3, 2, 1, count_include_pad=False),
        ["Pad", "AvgPool2d"],
    ),
    (lambda net, x: F.avg_pool2d(padded(x), 2), ["Pad", "AvgPool2d"]),
    (lambda net, x: F.max_pool2d(padded(F.relu(x)), 3, 2), ["Clamp", "MaxPool2d"]),
    (lambda net, x: F.max_pool2d(padded(F.relu(x)), 3, 2, 1), ["Clamp", "Pad", "MaxPool2d"]),
    (lambda net, x: F.max_pool2d(padded(F.relu(net.same(x))), 3), ["Conv2d", "MaxPool2d"]),
    (lambda net, x: F.max_pool2d(padded(F.relu(x)), 2), ["Clamp", "Pad", "MaxPool2d"]),
    (
        lambda net, x: F.max_pool2d(padded(F.relu(x)), 3, 1, dilation=2),
        ["Clamp", "Pad", "MaxPool2d"],
    ),
    (lambda net, x: F.max_pool2d(padded(x), 3, 2), ["Pad", "MaxPool2d"]),
    (lambda net, x: F.max_pool2d(padded(F.hardswish(x)), 3), ["Unary", "Pad", "MaxPool2d"]),
]


@pytest.mark.parametrize(("function", "expected"), CASES)
def test_pads(function: Callable[[Any, Tensor], Tensor], expected: list[str]) -> None:
    model = Wraps(function, conv=nn.Conv2d(4, 4, 3), same=nn.Conv2d(4, 4, 3, padding=1))
    _, prepared = check(model, (4, 7, 8))
    assert op_names(prepared) == expected
