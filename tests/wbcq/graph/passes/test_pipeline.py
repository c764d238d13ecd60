"""All passes together: what is computed stays the same, what is left is what the engine wants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wbcq import models
from wbcq.graph import ir
from wbcq.graph.capture import capture
from wbcq.graph.passes.pipeline import prepare_for_quantization
from wbcq.graph.torch_executor import TorchExecutor


def conv(inputs: int = 4, outputs: int = 4) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def norm(channels: int = 4) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(channels)
    nn.init.uniform_(layer.weight, -1.5, 1.5)
    nn.init.normal_(layer.bias)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    layer.running_mean.normal_()
    layer.running_var.uniform_(0.2, 3.0)
    return layer


Function: TypeAlias = "Callable[[_Net, Tensor], Any]"


class _Net(nn.Module):
    """Layers for the functions below; ``forward`` is one of them."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function
        self.a, self.b, self.c = conv(), conv(), conv()
        self.norm, self.norm2 = norm(), norm()
        self.fc, self.fc2 = nn.Linear(64, 6), nn.Linear(6, 6)
        self.norm1d = nn.BatchNorm1d(6)
        self.norm1d.running_mean = torch.randn(6)
        self.norm1d.running_var = torch.rand(6) + 0.5
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def shared_conv_output(net: _Net, x: Tensor) -> Any:
    y = net.a(x)
    return net.norm(y) + F.relu(y)


def conv_output_returned(net: _Net, x: Tensor) -> Any:
    y = net.a(x)
    return y, net.norm(y)


def conv_used_twice(net: _Net, x: Tensor) -> Any:
    y = net.norm(net.a(x))
    return net.norm2(net.a(net.relu(y)))


def norm_used_twice(net: _Net, x: Tensor) -> Any:
    y = net.norm(net.a(x))
    return net.norm(F.relu(net.norm(net.b(F.relu(y)))))


def two_norms_in_a_row(net: _Net, x: Tensor) -> Any:
    return net.norm2(net.norm(net.a(x)))


def norm_first(net: _Net, x: Tensor) -> Any:
    return net.a(F.relu(net.norm(x)))


def norm_of_a_matrix(net: _Net, x: Tensor) -> Any:
    y = net.norm1d(net.fc(x.flatten(1)))
    return net.norm1d(F.relu(y))


def relu_before_norm(net: _Net, x: Tensor) -> Any:
    return net.norm(F.relu(net.a(x)))


def two_adds_in_a_row(net: _Net, x: Tensor) -> Any:
    return F.relu(net.a(x) + x + net.b(x))


def added_to_itself(net: _Net, x: Tensor) -> Any:
    y = net.a(x)
    return y + y


def residual_from_the_input(net: _Net, x: Tensor) -> Any:
    return F.relu6(net.norm(net.a(x)) + x)


def residual_computed_after_the_conv(net: _Net, x: Tensor) -> Any:
    y = net.a(x)
    z = F.relu(net.b(x))
    return y + F.relu(net.c(z))


def residual_depends_on_the_conv(net: _Net, x: Tensor) -> Any:
    y = net.a(x)
    return y + net.b(F.relu(y))


def both_operands_are_convs(net: _Net, x: Tensor) -> Any:
    y = net.b(x)
    return net.a(x) + y


def activation_before_add(net: _Net, x: Tensor) -> Any:
    return F.relu(net.a(x)) + F.relu(net.b(x))


def sum_used_twice(net: _Net, x: Tensor) -> Any:
    y = net.a(x) + x
    return F.relu(y) + net.b(y)


def sum_returned(net: _Net, x: Tensor) -> Any:
    y = net.a(x) + x
    return y, F.relu(y)


def linear_residual(net: _Net, x: Tensor) -> Any:
    y = F.relu(net.fc(x.flatten(1)))
    return F.relu(net.fc2(y) + y)


def relu_after_pool(net: _Net, x: Tensor) -> Any:
    return F.relu(F.max_pool2d(net.norm(net.a(x)), 3, 2, 1))


def relu_after_flatten(net: _Net, x: Tensor) -> Any:
    return F.relu(net.a(x).flatten(1))


def clamps_in_a_row(net: _Net, x: Tensor) -> Any:
    return torch.clamp(F.relu6(torch.clamp(net.a(x), -1.0, 0.5)), 0.1, 9.0)


def relu_on_the_input(net: _Net, x: Tensor) -> Any:
    return F.relu(x) + net.a(x)


def relu_after_average(net: _Net, x: Tensor) -> Any:
    return F.relu(F.avg_pool2d(net.a(x), 2)) + F.adaptive_avg_pool2d(x, 2).clamp(-0.1, 0.1)


def identities(net: _Net, x: Tensor) -> Any:
    net.c(x)
    y = F.max_pool2d(F.dropout(net.a(x), 0.5, net.training), 1)
    return F.adaptive_avg_pool2d(torch.clamp(y, min=-float("inf")), 4).flatten(1).flatten(1)


CASES: list[tuple[Function, list[str]]] = [
    (shared_conv_output, ["Conv2d", "Clamp", "Conv2d"]),
    (conv_output_returned, ["Conv2d", "Conv2d"]),
    (conv_used_twice, ["Conv2d", "Conv2d"]),
    (norm_used_twice, ["Conv2d", "Conv2d", "Conv2d"]),
    (two_norms_in_a_row, ["Conv2d"]),
    (norm_first, ["Conv2d", "Conv2d"]),
    (norm_of_a_matrix, ["Flatten", "Linear", "Linear"]),
    (relu_before_norm, ["Conv2d", "Conv2d"]),
    (two_adds_in_a_row, ["Conv2d", "Conv2d"]),
    (added_to_itself, ["Conv2d", "Add"]),
    (residual_from_the_input, ["Conv2d"]),
    (residual_computed_after_the_conv, ["Conv2d", "Conv2d", "Conv2d"]),
    (residual_depends_on_the_conv, ["Conv2d", "Clamp", "Conv2d"]),
    (both_operands_are_convs, ["Conv2d", "Conv2d"]),
    (activation_before_add, ["Conv2d", "Conv2d", "Add"]),
    (sum_used_twice, ["Conv2d", "Clamp", "Conv2d"]),
    (sum_returned, ["Conv2d", "Clamp"]),
    (linear_residual, ["Flatten", "Linear", "Linear"]),
    (relu_after_pool, ["Conv2d", "MaxPool2d"]),
    (relu_after_flatten, ["Conv2d", "Flatten"]),
    (clamps_in_a_row, ["Conv2d"]),
    (relu_on_the_input, ["Clamp", "Conv2d"]),
    (relu_after_average, ["Conv2d", "AvgPool2d", "AdaptiveAvgPool2d", "Add"]),
    (identities, ["Conv2d", "Flatten"]),
]
GRAPHS = {function.__name__: (function, expected) for function, expected in CASES}


def run(graph: ir.Graph, x: Tensor) -> tuple[Tensor, ...]:
    with torch.no_grad():
        outputs = TorchExecutor(graph)(x)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def assert_valid(graph: ir.Graph) -> None:
    known = set(graph.inputs)
    for node in graph:
        assert set(node.inputs) <= known, f"{node.name} reads a value before it is computed"
        assert node.output not in known
        known.add(node.output)
        assert set(node.params.values()) <= set(graph.params)
    assert set(graph.outputs) <= known
    assert set(graph.values) == known
    assert len({node.name for node in graph}) == len(graph.nodes)


@pytest.mark.parametrize("name", GRAPHS)
def test_awkward_graphs(name: str) -> None:
    torch.manual_seed(1)
    function, expected = GRAPHS[name]
    net = _Net(function).eval()
    x = torch.randn(3, 4, 4, 4)
    captured = capture(net, x)
    before = list(captured)
    prepared = prepare_for_quantization(captured)

    assert [type(node.op).__name__ for node in prepared] == expected
    assert_valid(prepared)
    for ours, theirs in zip(run(prepared, x), run(captured, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    with torch.no_grad():
        reference = net(x.clone())
    for ours, theirs in zip(
        run(prepared, x), reference if isinstance(reference, tuple) else (reference,), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert list(captured) == before, "a pass changed its argument"


def test_the_later_conv_takes_the_residual() -> None:
    graph = prepare_for_quantization(
        capture(_Net(both_operands_are_convs), torch.zeros(1, 4, 4, 4))
    )
    assert [(node.name, node.inputs) for node in graph] == [("b", ("x",)), ("a", ("x", "b"))]


def test_a_conv_moves_behind_its_residual() -> None:
    net = _Net(residual_computed_after_the_conv)
    graph = prepare_for_quantization(capture(net, torch.zeros(1, 4, 4, 4)))
    assert [node.name for node in graph] == ["b", "c", "a"]
    assert graph.nodes[2].inputs == ("x", "relu@2")


def test_fusion_keeps_the_activation_of_the_sum() -> None:
    graph = prepare_for_quantization(
        capture(_Net(residual_from_the_input), torch.zeros(1, 4, 4, 4))
    )
    (node,) = graph
    assert node.inputs == ("x", "x")
    assert isinstance(node.op, ir.Conv2d)
    assert node.op.activation == ir.RELU6


def test_clamps_compose() -> None:
    graph = prepare_for_quantization(capture(_Net(clamps_in_a_row), torch.zeros(1, 4, 4, 4)))
    (node,) = graph
    assert isinstance(node.op, ir.Conv2d)
    assert node.op.activation == ir.Activation(0.1, 0.5)


@pytest.mark.parametrize(
    ("name", "convs", "nodes"),
    [
        ("resnet18", 20, 24),
        pytest.param("resnet34", 36, 40, marks=pytest.mark.slow),
        pytest.param("resnet50", 53, 57, marks=pytest.mark.slow),
    ],
)
def test_resnets(name: str, convs: int, nodes: int) -> None:
    """Every convolution has absorbed its norm, its ReLU and, once per block, the shortcut."""
    torch.manual_seed(0)
    model = models.create(name, num_classes=5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            module.running_var = torch.rand(module.num_features) + 0.5
    x = torch.randn(2, 3, 64, 64)
    graph = prepare_for_quantization(capture(model, x))
    assert_valid(graph)
    assert len(graph.nodes) == nodes
    assert sum(isinstance(node.op, ir.Conv2d) for node in graph) == convs
    assert not any(isinstance(node.op, (ir.Add, ir.Clamp, ir.BatchNorm)) for node in graph)
    expected = model.eval()(x)
    torch.testing.assert_close(run(graph, x)[0], expected.detach(), rtol=1e-5, atol=1e-5)
