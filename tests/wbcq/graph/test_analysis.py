"""Float heads and groups of values that share quantization parameters."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wbcq import models
from wbcq.graph.analysis import float_heads, quantized_values, shared_qparams_groups
from wbcq.graph.capture import capture
from wbcq.graph.ir import Graph
from wbcq.graph.passes.pipeline import prepare_for_quantization


class _Net(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 3, 1)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def prepared(function: Any) -> Graph:
    return prepare_for_quantization(capture(_Net(function), torch.zeros(1, 2, 4, 4)))


def test_last_layer_is_a_head() -> None:
    graph = prepared(lambda net, x: net.head(F.relu(net.conv(x))))
    assert float_heads(graph) == {"head"}
    assert quantized_values(graph) == ("x", "relu")


def test_several_heads() -> None:
    graph = prepared(lambda net, x: (net.head(x), net.conv(x)))
    assert float_heads(graph) == {"head", "conv"}


def test_a_flattened_head_is_a_head() -> None:
    graph = prepared(lambda net, x: net.head(x).flatten(1))
    assert float_heads(graph) == {"head", "flatten"}
    assert shared_qparams_groups(graph) == ()


def test_what_ends_the_graph_but_is_no_head() -> None:
    assert not float_heads(prepared(lambda net, x: F.relu(net.head(x))))
    assert not float_heads(prepared(lambda net, x: net.conv(x) + x))
    assert not float_heads(prepared(lambda net, x: F.max_pool2d(net.head(x), 2)))
    assert not float_heads(prepared(lambda net, x: x))


def test_an_output_that_is_read_is_no_head() -> None:
    def function(net: Any, x: Tensor) -> Any:
        y = net.conv(x)
        return y, net.head(y)

    assert float_heads(prepared(function)) == {"head"}

    def flattened_too(net: Any, x: Tensor) -> Any:
        y = net.conv(x)
        return y, y.flatten(1)

    assert not float_heads(prepared(flattened_too))


def test_an_output_that_is_returned_twice_is_no_head() -> None:
    def function(net: Any, x: Tensor) -> Any:
        y = net.conv(x)
        return y, y

    assert not float_heads(prepared(function))


def test_groups_join_through_pools_and_flatten() -> None:
    def function(net: Any, x: Tensor) -> Any:
        y = F.relu(net.conv(x))
        z = F.max_pool2d(F.max_pool2d(y, 3, 1, 1), 2)
        return F.max_pool2d(x, 2) + F.max_pool2d(y, 2), z.flatten(1)

    groups = shared_qparams_groups(prepared(function))
    assert [sorted(group) for group in groups] == [
        ["max_pool2d@3", "x"],
        ["flatten", "max_pool2d", "max_pool2d@2", "max_pool2d@4", "relu"],
    ]


def test_resnet() -> None:
    model = models.create("resnet18")
    graph = prepare_for_quantization(capture(model, torch.zeros(1, 3, 64, 64)))
    assert float_heads(graph) == {"fc"}
    groups = [sorted(group) for group in shared_qparams_groups(graph)]
    assert groups == [["maxpool", "relu"], ["avgpool", "flatten"]]
    assert len(quantized_values(graph)) == len(graph.values) - 1
