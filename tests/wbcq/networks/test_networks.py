"""Networks as strangers write them: quantized, run, close to PyTorch and equal to the oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import wbcq
from tests.wbcq.networks import blocks

NETWORKS: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "detector": (blocks.Detector, 22),
    "focus": (lambda: nn.Sequential(blocks.Focus(16), nn.Conv2d(16, 5, 1)), 30),
    "c2f": (lambda: blocks.Classifier(blocks.C2f(16, 16, 2), 16), 25),
    "cross_stage": (lambda: blocks.Classifier(blocks.C3(16, 16), 16), 25),
    "pyramid_pools": (lambda: blocks.Classifier(blocks.SPPF(16, 16), 16), 25),
    "dense": (lambda: blocks.Classifier(blocks.DenseBlock(16, 8, 4), 16, outputs=48), 25),
    "squeeze_excite": (lambda: blocks.Classifier(blocks.SqueezeExcite(16), 16), 30),
    "inverted_residual": (
        lambda: blocks.Classifier(blocks.InvertedResidual(16, 3, nn.ReLU6()), 16),
        25,
    ),
    "inverted_residual_hardswish": (
        lambda: blocks.Classifier(blocks.InvertedResidual(16, 3, nn.Hardswish()), 16),
        25,
    ),
    "two_resolutions": (blocks.TwoResolutions, 25),
    "hierarchy": (lambda: blocks.Classifier(blocks.Hierarchy(16), 16), 25),
    "ghost": (lambda: blocks.Classifier(blocks.Ghost(16, 21), 16, outputs=21), 25),
    "atrous": (lambda: blocks.Classifier(blocks.Atrous(16, 12), 16, outputs=12), 25),
}
"""What makes a network, and the least decibels of its outputs' signal over noise."""


def pictures(count: int, seed: int = 0, size: tuple[int, int] = (32, 32)) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def made(name: str) -> nn.Module:
    """With statistics of its own pictures."""
    torch.manual_seed(0)
    model = NETWORKS[name][0]()
    model.train()
    with torch.no_grad():
        for seed in range(10, 20):
            model(pictures(8, seed))
    return model.eval()


def outputs(results: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [results] if isinstance(results, Tensor) else list(results)


def signal_to_noise(expected: Tensor, actual: Tensor) -> float:
    noise = (expected - actual).square().sum()
    return float(10 * torch.log10(expected.square().sum() / noise))


@pytest.mark.parametrize("name", NETWORKS)
def test_close_to_pytorch_and_equal_to_the_oracle(name: str) -> None:
    model, x = made(name), pictures(4, 2)
    quantized = wbcq.quantize(model, [pictures(16), pictures(16, 1)])
    assert not quantized.metadata.get("float_operators")
    with torch.no_grad():
        expected = outputs(model(x))
    actual = outputs(quantized(x))
    assert [y.shape for y in actual] == [y.shape for y in expected]
    for index, (reference, y) in enumerate(zip(expected, actual, strict=True)):
        assert signal_to_noise(reference, y) > NETWORKS[name][1], f"output {index}"
    for y, bits in zip(outputs(quantized(x[:1])), outputs(quantized.simulate(x[:1])), strict=True):
        np.testing.assert_array_equal(y, bits)


def test_detector_moves_no_channels() -> None:
    """Chunks and concatenations are places in memory, not operators."""
    quantized = wbcq.quantize(made("detector"), [pictures(8)])
    kinds = [type(op).__name__ for op in quantized.program.ops]
    assert kinds.count("Quantize") == 1
    assert kinds.count("Lookup") == 0
