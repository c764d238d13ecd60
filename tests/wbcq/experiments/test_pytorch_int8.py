"""PyTorch's own INT8, that ours is compared with."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from wbcq.experiments.pytorch_int8 import freeze, quantize_with_pytorch


class Uneven(nn.Module):
    """Two pictures in; its first output channel has weights a ten thousandth of the other's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 2, 3, bias=False)
        with torch.no_grad():
            self.conv.weight[0] *= 1e-4

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.cat((a, b), dim=1))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return Uneven().eval()


def batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.rand(4, 3, 16, 16), torch.rand(4, 3, 16, 16)) for _ in range(count)]


def weights(module: torch.jit.ScriptModule) -> list[torch.Tensor]:
    """Quantized weights of a frozen network: they are constants of its graph."""
    nodes = module.graph.findAllNodes("prim::Constant")
    values = [node.output().toIValue() for node in nodes]
    return [value.unpack()[0] for value in values if hasattr(value, "unpack")]


@pytest.mark.parametrize("per_channel", [True, False])
def test_granularity_of_weights(model: nn.Module, per_channel: bool) -> None:
    (found,) = weights(quantize_with_pytorch(model, batches(2), per_channel=per_channel))
    scheme = torch.per_channel_affine if per_channel else torch.per_tensor_affine
    assert found.qscheme() == scheme
    # One scale for both channels leaves nothing of the small one.
    assert bool(found.int_repr()[0].any()) == per_channel


def test_the_network_itself_stays_as_it_is(model: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    quantize_with_pytorch(model, batches(1), per_channel=True)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_frozen_is_the_same_function_for_any_batch(model: nn.Module) -> None:
    (inputs,) = batches(1)
    frozen = freeze(model, inputs)
    halves = tuple(x[:2] for x in inputs)
    assert torch.allclose(frozen(*halves), model(*halves), atol=1e-6)
