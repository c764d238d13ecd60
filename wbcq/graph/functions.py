"""Elementwise functions of one number: names, parameters and exact values. No torch here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["FUNCTIONS", "Function", "evaluate", "saturation"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Function:
    """An elementwise function.

    Attributes:
        name: A key of :data:`FUNCTIONS`.
        parameters: In the order that is documented there.

    Raises:
        ValueError: The name is unknown or the number of parameters is wrong.
    """

    name: str
    parameters: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in FUNCTIONS:
            raise ValueError(f"unknown function '{self.name}'; known are {', '.join(FUNCTIONS)}")
        count = FUNCTIONS[self.name].parameters
        if len(self.parameters) != count:
            raise ValueError(
                f"function '{self.name}' takes {count} parameters, got {self.parameters}"
            )


@dataclass(frozen=True)
class _Definition:
    parameters: int
    compute: Callable[..., Array]
    low: float = -math.inf
    high: float = math.inf
    """The function is constant, to within 2e-5, below low and above high."""


def _sigmoid(x: Array) -> Array:
    # exp(-|x|) never overflows.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


def _hardsigmoid(x: Array) -> Array:
    return np.clip(x + 3.0, 0.0, 6.0) / 6.0


def _gelu(x: Array) -> Array:
    erf = np.array([math.erf(value / math.sqrt(2.0)) for value in x.ravel()]).reshape(x.shape)
    return 0.5 * x * (1.0 + erf)


def _gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def _softplus(x: Array) -> Array:
    return np.logaddexp(0.0, x)


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


FUNCTIONS: dict[str, _Definition] = {
    "abs": _Definition(0, np.abs),
    "affine": _Definition(2, lambda x, scale, shift: x * scale + shift),
    "clamp": _Definition(2, lambda x, low, high: np.clip(x, low, high)),
    "elu": _Definition(1, _elu, low=-12.0),
    "exp": _Definition(0, np.exp, low=-12.0),
    "gelu": _Definition(0, _gelu, low=-5.5),
    "gelu_tanh": _Definition(0, _gelu_tanh, low=-5.5),
    "hardsigmoid": _Definition(0, _hardsigmoid, -3.0, 3.0),
    "hardswish": _Definition(0, lambda x: x * _hardsigmoid(x), low=-3.0),
    "leaky_relu": _Definition(1, lambda x, alpha: np.where(x >= 0, x, alpha * x)),
    "log": _Definition(0, np.log),
    "mish": _Definition(0, lambda x: x * np.tanh(_softplus(x)), low=-15.0),
    "reciprocal": _Definition(0, lambda x: 1.0 / x),
    "rsqrt": _Definition(0, lambda x: 1.0 / np.sqrt(x)),
    "sigmoid": _Definition(0, _sigmoid, -12.0, 12.0),
    "silu": _Definition(0, lambda x: x * _sigmoid(x), low=-15.0),
    "softplus": _Definition(0, _softplus, low=-12.0),
    "sqrt": _Definition(0, np.sqrt),
    "square": _Definition(0, np.square),
    "tanh": _Definition(0, np.tanh, -6.5, 6.5),
}
"""Functions by name: ``affine`` is x * scale + shift, ``clamp`` has low and high, ``elu`` and
``leaky_relu`` have alpha; the others have no parameters. ``gelu_tanh`` is GELU's approximation."""


def evaluate(functions: Sequence[Function], x: npt.ArrayLike) -> Array:
    """Applies functions one after the other in float64.

    Args:
        functions: The first is applied first.
        x: Any shape.

    Returns:
        A new array of the shape of ``x``; NaN or infinite where a function is not defined.

    Example:
        >>> evaluate([Function("hardsigmoid"), Function("affine", (2.0, 1.0))], [-4.0, 0.0, 4.0])
        array([1., 2., 3.])
    """
    result = np.array(x, dtype=np.float64)
    with np.errstate(all="ignore"):
        for function in functions:
            result = FUNCTIONS[function.name].compute(result, *function.parameters)
    return result


def saturation(function: Function) -> tuple[float, float]:
    """The bounds below and above which a function does not change by more than 2e-5."""
    definition = FUNCTIONS[function.name]
    return definition.low, definition.high
