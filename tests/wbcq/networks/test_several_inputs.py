"""Convolutions that read several pictures at once, as the first layer of MM-MIMO does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import wbcq
from wbcq import _core


class Joined(nn.Module):
    def __init__(self, channels: tuple[int, ...], kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(sum(channels), 9, kernel, stride, padding)

    def forward(self, *pictures: Tensor) -> Tensor:
        return torch.relu(self.conv(torch.cat(pictures, 1)))


@pytest.mark.parametrize("channels", [(3, 3, 3, 3), (1, 4), (2, 3, 7)])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(7, 2, 3), (3, 1, 1), (5, 2, 0), (1, 1, 0)]
)
def test_each_picture_has_its_own_scale(
    channels: tuple[int, ...], kernel: int, stride: int, padding: int
) -> None:
    torch.manual_seed(0)
    model = Joined(channels, kernel, stride, padding).eval()
    pictures = [torch.randn(2, c, 13, 18) * 4.0**i + i for i, c in enumerate(channels)]
    quantized = wbcq.quantize(model, [tuple(pictures)], progress=False)
    scales = {tensor.scale for name, tensor in quantized.program.tensors.items() if "u8" in name}
    assert len(scales) >= len(channels)
    expected = quantized.simulate(*pictures)
    data = quantized.to_bytes()
    for isa in _core.available_isas():
        for threads in (1, 2):
            ours = wbcq.QuantizedModel(data, isa=isa, threads=threads)(*pictures)
            assert torch.equal(ours, expected), (isa, threads)
    with torch.no_grad():
        reference = model(*pictures).numpy()
    noise = np.square(expected.numpy() - reference).sum() / np.square(reference).sum()
    assert noise < 2e-3
