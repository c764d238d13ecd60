"""Integer parameters: bit for bit PyTorch's."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from wbcq.graph.ir import IDENTITY, RELU, RELU6, Activation
from wbcq.quant.integer import accumulator_range, clamp_bounds, quantize_bias, quantize_weight
from wbcq.quant.qparams import QParams

pytestmark = pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")


def f32(*values: float) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)


def weights_near_halves(scale: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float32]:
    """Weights at k + 1/2 steps and next to them, where the order of operations shows."""
    rng = np.random.default_rng(seed)
    halves = (rng.integers(-140, 140, (len(scale), 500)) + 0.5).astype(np.float32)
    exact = halves * scale[:, None]
    direction = rng.choice(f32(-np.inf, np.inf), exact.shape)
    near = np.where(rng.random(exact.shape) < 0.5, exact, np.nextafter(exact, direction))
    return near.astype(np.float32).reshape(len(scale), 5, 10, 10)


@pytest.mark.parametrize("seed", range(4))
def test_per_channel_weights_are_torchs(seed: int) -> None:
    scale = np.random.default_rng(seed).uniform(1e-6, 0.1, 32).astype(np.float32)
    zero = np.zeros(32, np.int32)
    weight = weights_near_halves(scale, seed)
    ours = quantize_weight(weight, QParams(scale, zero, -127, 127, axis=0))
    theirs = torch.quantize_per_channel(
        torch.from_numpy(weight), torch.from_numpy(scale), torch.from_numpy(zero), 0, torch.qint8
    )
    np.testing.assert_array_equal(ours, theirs.int_repr().numpy().clip(-127, 127))
    divided = np.clip(np.rint(weight / scale[:, None, None, None]), -127, 127)
    assert (ours != divided).any(), "the weights do not tell w * (1 / s) from w / s"


@pytest.mark.parametrize("seed", range(4))
def test_per_tensor_weights_are_torchs(seed: int) -> None:
    scale = np.float32(np.random.default_rng(seed).uniform(1e-6, 0.1))
    weight = weights_near_halves(np.full(8, scale), seed)
    ours = quantize_weight(weight, QParams(np.asarray(scale), np.asarray(np.int32(0)), -127, 127))
    theirs = torch.quantize_per_tensor(torch.from_numpy(weight), float(scale), 0, torch.qint8)
    np.testing.assert_array_equal(ours, theirs.int_repr().numpy().clip(-127, 127))


def test_narrow_weights() -> None:
    scale, zero = f32(0.5), np.zeros(1, np.int32)
    weight = np.linspace(-9, 9, 37, dtype=np.float32).reshape(1, -1)
    quantized = quantize_weight(weight, QParams(scale, zero, -7, 7, axis=0))
    assert quantized.min() == -7
    assert quantized.max() == 7


def test_bias_is_rounded_in_float64() -> None:
    # 16777217 steps do not exist in float32; half a step goes to the even neighbour.
    step = 2.0**-24
    bias = f32(1 + 2.0**-23, -1.0, 2.5 * step, 3.5 * step)
    quantized = quantize_bias(bias, 2.0**-12, f32(2.0**-12))
    np.testing.assert_array_equal(quantized, [2**24 + 2, -(2**24), 2, 4])
    odd = quantize_bias(f32(0.1), 0.1, f32(1e-7))
    assert odd == round(float(np.float32(0.1)) / (0.1 * float(np.float32(1e-7))))


def test_bias_is_clamped_to_int32() -> None:
    quantized = quantize_bias(f32(1.0, -1.0), 1e-6, f32(1e-6))
    np.testing.assert_array_equal(quantized, [2**31 - 1, -(2**31)])


@pytest.mark.parametrize(
    ("activation", "zero_point", "expected"),
    [
        (IDENTITY, 7, (0, 255)),
        (RELU, 0, (0, 255)),
        (RELU, 128, (128, 255)),
        (RELU6, 0, (0, 60)),
        (RELU6, 200, (200, 255)),
        (Activation(-1.0, 1.0), 128, (118, 138)),
        (Activation(-100.0, 1.04), 5, (0, 15)),
        (Activation(90.0, 95.0), 5, (255, 255)),
        (Activation(-math.inf, -1.0), 5, (0, 0)),
    ],
)
def test_clamp_bounds(activation: Activation, zero_point: int, expected: tuple[int, int]) -> None:
    params = QParams(np.asarray(np.float32(0.1)), np.asarray(np.int32(zero_point)), 0, 255)
    assert clamp_bounds(activation, params) == expected


def test_clamp_bounds_of_fewer_bits() -> None:
    params = QParams(np.asarray(np.float32(0.5)), np.asarray(np.int32(3)), 0, 15)
    assert clamp_bounds(IDENTITY, params) == (0, 15)
    assert clamp_bounds(RELU6, params) == (3, 15)
    assert clamp_bounds(Activation(0.0, 2.0), params) == (3, 7)


def test_accumulator_range_is_tight() -> None:
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (6, 3, 3, 2)).astype(np.int8)
    bias = rng.integers(-1000, 1000, 6).astype(np.int32)
    least, most = accumulator_range(weight, bias, 77)
    flat = weight.reshape(6, -1).astype(np.int64)
    for channel in range(6):
        low = np.where(flat[channel] > 0, 0, 255) - 77
        high = np.where(flat[channel] > 0, 255, 0) - 77
        assert least[channel] == flat[channel] @ low + bias[channel]
        assert most[channel] == flat[channel] @ high + bias[channel]
