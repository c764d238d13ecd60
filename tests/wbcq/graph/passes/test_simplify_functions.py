"""Functions that networks spell out get their names."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.wbcq.graph.helpers import Wraps, check, op_names
from wbcq.graph import ir
from wbcq.graph.capture import capture
from wbcq.graph.passes.simplify_functions import simplify_functions

F_ = ir.Function
SPELLINGS: list[tuple[Callable[[Tensor], Tensor], list[str]]] = [
    (lambda x: x * torch.sigmoid(x), ["silu"]),
    (lambda x: torch.sigmoid(x) * x, ["silu"]),
    (lambda x: x * torch.sigmoid(1.702 * x), ["affine", "silu", "affine"]),
    (lambda x: x * F.relu6(x + 3) / 6, ["hardswish"]),
    (lambda x: x * (F.relu6(x + 3) / 6), ["hardswish"]),
    (lambda x: F.relu6(x + 3) / 6, ["hardsigmoid"]),
    (lambda x: (x / 6 + 0.5).clamp(0, 1), ["hardsigmoid"]),
    (lambda x: x * F.hardsigmoid(x), ["hardswish"]),
    (lambda x: x * torch.tanh(F.softplus(x)), ["mish"]),
    (lambda x: x * x, ["square"]),
    (lambda x: 2 * (3 * x - 1) + 2, ["affine"]),
    (lambda x: torch.exp(-torch.abs(x)), ["abs", "affine", "exp"]),
    (lambda x: torch.tanh(x).clamp(-0.5, 0.5), ["tanh", "clamp"]),
    (lambda x: (x * 2) * 0.5 + torch.tanh(x), []),
]


@pytest.mark.parametrize(("function", "names"), SPELLINGS)
def test_spelled_out_functions(function: Callable[[Tensor], Tensor], names: list[str]) -> None:
    model = Wraps(lambda net, x: function(net.pool(x)), pool=nn.MaxPool2d(2))
    captured, _ = check(model, (3, 8, 8))
    simplified = simplify_functions(captured)
    last = simplified.nodes[-1]
    if names:
        assert op_names(simplified) == ["MaxPool2d", "Unary"]
        assert isinstance(last.op, ir.Unary)
        assert [f.name for f in last.op.functions] == names
    else:
        assert isinstance(last.op, ir.Add)


def test_a_gate_that_something_else_reads_stays() -> None:
    def function(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        gate = torch.sigmoid(x)
        return x * gate, gate

    captured, _ = check(Wraps(function), (3, 4, 4))
    assert op_names(simplify_functions(captured)) == ["Unary", "Mul"]


def test_a_product_of_different_things_stays() -> None:
    model = Wraps(lambda net, x: x.relu() * torch.sigmoid(x))
    captured, _ = check(model, (3, 4, 4))
    assert op_names(simplify_functions(captured)) == ["Clamp", "Unary", "Mul"]


def test_hard_swish_clamps_the_layer_before_it() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardswish(), nn.MaxPool2d(2))
    _, prepared = check(model, (3, 8, 8))
    op = prepared.nodes[0].op
    assert isinstance(op, ir.Conv2d)
    assert op.activation == ir.Activation(-3.0)
    assert op.functions == (F_("hardswish"),)
    assert prepared.nodes[0].pre_activation == "0"
    assert prepared.nodes[0].output == "1"


def test_the_last_function_of_the_network_is_not_fused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.Flatten())
    _, prepared = check(model, (3, 8, 8))
    assert op_names(prepared) == ["Conv2d", "Unary", "Flatten"]


def test_a_function_moves_through_views() -> None:
    model = Wraps(
        lambda net, x: x * F.silu(net.fc(x.mean((2, 3)))).view(-1, 4, 1, 1), fc=nn.Linear(4, 4)
    )
    graph = capture(model, torch.zeros(2, 4, 3, 3))
    assert op_names(graph) == ["AdaptiveAvgPool2d", "Flatten", "Linear", "Unary", "Reshape", "Mul"]
    model = Wraps(
        lambda net, x: x * torch.tanh(net.fc(x.mean((2, 3)))[:, :, None, None]), fc=nn.Linear(4, 4)
    )
    _, prepared = check(model, (4, 3, 3))
    assert op_names(prepared) == ["AdaptiveAvgPool2d", "Flatten", "Linear", "Reshape", "Mul"]
