"""Elementwise functions: numpy's and torch's forms agree, and are what PyTorch calls so."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from wbcq.graph.functions import FUNCTIONS, Function, evaluate, saturation
from wbcq.graph.torch_operators import apply_functions

PARAMETERS = {
    "affine": (1.5, -0.5),
    "clamp": (-1.0, 2.0),
    "elu": (0.7,),
    "leaky_relu": (0.1,),
}
POSITIVE = {"log", "reciprocal", "rsqrt", "sqrt"}
TORCH: dict[str, Callable[..., Tensor]] = {
    "abs": torch.abs,
    "exp": torch.exp,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "log": torch.log,
    "mish": F.mish,
    "reciprocal": lambda x: 1.0 / x,
    "rsqrt": torch.rsqrt,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softplus": lambda x: F.softplus(x, threshold=40.0),
    "sqrt": torch.sqrt,
    "square": lambda x: x * x,
    "tanh": torch.tanh,
    "affine": lambda x: 1.5 * x - 0.5,
    "clamp": lambda x: x.clamp(-1.0, 2.0),
    "elu": lambda x: F.elu(x, 0.7),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.1),
}


def function(name: str) -> Function:
    return Function(name, PARAMETERS.get(name, ()))


def arguments(name: str) -> Tensor:
    x = torch.linspace(-20.0, 20.0, 4001, dtype=torch.float64)
    return x[x > 0.01] if name in POSITIVE else x


def test_every_function_is_compared() -> None:
    assert set(TORCH) == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numpy_is_torch(name: str) -> None:
    x = arguments(name)
    expected = TORCH[name](x)
    ours = evaluate([function(name)], x.numpy())
    np.testing.assert_allclose(ours, expected.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_executor_is_torch(name: str) -> None:
    x = arguments(name).float()
    torch.testing.assert_close(apply_functions(x, [function(name)]), TORCH[name](x))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_happens_beyond_saturation(name: str) -> None:
    low, high = saturation(function(name))
    for bound, direction in ((low, -1.0), (high, 1.0)):
        if math.isinf(bound):
            continue
        beyond = bound + direction * np.linspace(0.0, 100.0, 1001)
        values = evaluate([function(name)], beyond)
        assert np.abs(values - values[0]).max() <= 2e-5
        before = evaluate([function(name)], [bound - direction * 2.0])
        assert np.abs(before - values[0]).max() > 1e-6, "the bound could be tighter"


def test_functions_apply_in_order() -> None:
    chain = [Function("affine", (2.0, 0.0)), Function("clamp", (0.0, 1.0)), Function("exp")]
    np.testing.assert_allclose(evaluate(chain, [0.25, -1.0, 9.0]), [math.exp(0.5), 1.0, math.e])


def test_extreme_arguments_do_not_overflow() -> None:
    for name in ("sigmoid", "silu", "softplus", "mish", "hardswish", "elu", "tanh", "gelu"):
        values = evaluate([function(name)], [-1e30, 1e30])
        assert np.isfinite(values).all(), name


def test_unknown_functions_and_wrong_parameters() -> None:
    with pytest.raises(ValueError, match=r"unknown function 'swish'; known are .*silu"):
        Function("swish")
    with pytest.raises(ValueError, match="'affine' takes 2 parameters"):
        Function("affine", (1.0,))
