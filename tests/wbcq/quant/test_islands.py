"""Networks with float islands and elements that move, quantized and run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import wbcq
from wbcq.engine.exact import ExactExecutor


class ConvNext(nn.Module):
    """A stem with layer norm of pixels, one block with the channels last, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 4, 4)
        self.stem_norm = nn.LayerNorm(12)
        self.depthwise = nn.Conv2d(12, 12, 7, padding=3, groups=12)
        self.norm = nn.LayerNorm(12, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(12, 48), nn.GELU(), nn.Linear(48, 12))
        self.gamma = nn.Parameter(torch.rand(12))
        self.head = nn.Sequential(nn.LayerNorm(12), nn.Linear(12, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_norm(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        x = x + (self.gamma * self.mlp(y)).permute(0, 3, 1, 2)
        result: Tensor = self.head(x.mean((-2, -1)))
        return result


def group_norms() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.GroupNorm(4, 16),
        nn.ReLU(),
        nn.Conv2d(16, 8, 3, stride=2),
        nn.InstanceNorm2d(8, affine=True),
        nn.SiLU(),
        nn.Conv2d(8, 4, 1),
    )


def decoder() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 1),
        nn.PixelShuffle(2),
        nn.SiLU(),
        nn.ConvTranspose2d(3, 2, 2, stride=2),
    )


class ChannelAttention(nn.Module):
    """A convolution over the channels' means gates them (ECA)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.attention = nn.Conv1d(1, 1, 3, padding=1, bias=False)
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        gate = self.attention(x.mean((2, 3)).view(x.shape[0], 1, -1)).sigmoid()
        result: Tensor = self.head(x * gate.view(x.shape[0], -1, 1, 1).expand_as(x))
        return result


def sequences() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(3, 8, 5, stride=2, padding=2),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(8, 8, 3, padding=1, groups=8),
        nn.AdaptiveAvgPool1d(3),
        nn.Conv1d(8, 4, 1),
    )


PICTURES = (8, 3, 16, 16)
NETS = {
    "channel attention": (
        ChannelAttention,
        PICTURES,
        "Quantize Conv2d AvgPool2d Rearrange Conv2d Rearrange Mul Conv2d",
    ),
    "sequences": (
        sequences,
        (8, 3, 40),
        "Quantize Conv2d MaxPool2d Conv2d AvgPool2d Conv2d",
    ),
    "ConvNeXt": (
        ConvNext,
        PICTURES,
        "Quantize Conv2d Normalize Quantize Conv2d Normalize Quantize Conv2d Conv2d AvgPool2d "
        "Dequantize Normalize Quantize Conv2d",
    ),
    "group norms": (
        group_norms,
        PICTURES,
        "Quantize Conv2d Normalize Unary Quantize Conv2d Normalize Unary Quantize Conv2d",
    ),
    "decoder": (
        decoder,
        PICTURES,
        "Quantize Conv2d Conv2d Rearrange Conv2d Rearrange Conv2d Rearrange",
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_quantized_network_is_close_to_the_float_one(name: str) -> None:
    make, shape, expected = NETS[name]
    torch.manual_seed(0)
    model, x = make().eval(), torch.randn(shape)
    quantized = wbcq.quantize(model, [x], progress=False)
    program = quantized.program
    assert [type(op).__name__ for op in program.ops] == expected.split()
    with torch.no_grad():
        reference = model(x).numpy()
    (oracle,) = ExactExecutor(program).run(x.numpy())
    noise = np.square(reference - oracle).sum() / np.square(reference).sum()
    assert noise < 10**-2.5
    np.testing.assert_allclose(np.asarray(quantized(x)), oracle, atol=0.05 * np.abs(oracle).max())
