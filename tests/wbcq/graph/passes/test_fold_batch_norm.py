"""Folding of batch normalization: precision and names of parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wbcq.graph import ir
from wbcq.graph.capture import capture
from wbcq.graph.passes.fold_batch_norm import fold_batch_norm


def random_norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, eps=1e-3)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    norm.running_mean = torch.randn(channels)
    norm.running_var = torch.rand(channels) * 10 ** torch.linspace(-6, 6, channels)
    return norm


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_folded_parameters_are_rounded_once(bias: bool, groups: int) -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(4, 6, 3, bias=bias, groups=groups), random_norm(6)
    graph = fold_batch_norm(capture(nn.Sequential(conv, norm), torch.zeros(1, 4, 5, 5)))
    assert norm.running_var is not None
    assert norm.running_mean is not None
    factor = norm.weight.double() / torch.sqrt(norm.running_var.double() + 1e-3)
    start = torch.zeros(6).double() if conv.bias is None else conv.bias.double()
    expected = norm.bias.double() + (start - norm.running_mean.double()) * factor
    assert [node.output for node in graph] == ["1"]
    assert sorted(graph.params) == ["0.bias", "0.weight"]
    weight = (conv.weight.double() * factor.view(-1, 1, 1, 1)).float()
    np.testing.assert_array_max_ulp(graph.params["0.weight"], weight.detach().numpy(), maxulp=1)
    np.testing.assert_allclose(graph.params["0.bias"], expected.detach().numpy(), rtol=1e-6)


class _TwoNorms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norms = nn.ModuleList([random_norm(3), random_norm(3)])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norms[1](self.conv(F.relu(self.norms[0](self.conv(x)))))
        return y


def test_two_folds_of_one_convolution_do_not_share_parameters() -> None:
    graph = fold_batch_norm(capture(_TwoNorms(), torch.zeros(1, 3, 4, 4)))
    first, second = (node for node in graph if isinstance(node.op, ir.Conv2d))
    assert (first.name, second.name) == ("conv", "conv@2")
    assert not set(first.params.values()) & set(second.params.values())
    assert set(graph.params) == {*first.params.values(), *second.params.values()}


def test_a_tied_weight_stays_for_its_other_reader() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 1, bias=False), nn.Conv2d(3, 3, 1, bias=False)
            self.b.weight = self.a.weight
            self.norm = random_norm(3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.norm(self.a(F.relu(self.b(x))))
            return y

    model = Tied()
    graph = fold_batch_norm(capture(model, torch.zeros(1, 3, 4, 4)))
    unfolded = graph.producer("b")
    assert unfolded is not None
    weight = graph.param(unfolded, "weight")
    assert weight is not None
    np.testing.assert_array_equal(weight, model.a.weight.detach().numpy())


def test_standalone_norm_is_a_depthwise_convolution() -> None:
    norm = random_norm(5)
    (node,) = fold_batch_norm(capture(nn.Sequential(norm), torch.zeros(1, 5, 4, 4)))
    assert node.op == ir.Conv2d(groups=5)
    assert dict(node.params) == {"weight": "0.weight", "bias": "0.bias"}
