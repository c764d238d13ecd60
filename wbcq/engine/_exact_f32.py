"""Operators on f32, in float32 numpy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.engine._windows import average_sums, taps
from wbcq.engine.program import (
    Add,
    AvgPool2d,
    Binary,
    Conv2d,
    Mul,
    Normalize,
    Op,
    Softmax,
    Tensor,
    Unary,
)

__all__ = ["compute", "unary"]

Array: TypeAlias = npt.NDArray[Any]


def compute(op: Op, values: list[Array], y: Tensor) -> Array:
    """An operator whose inputs and output are f32."""
    with np.errstate(all="ignore"):
        match op:
            case Conv2d():
                result = _conv2d(op, values[: len(op.xs)], y)
                return _clamp(op, result + values[-1] if op.residual else result)
            case AvgPool2d():
                sums, divisor = average_sums(op, values[0], y)
                return _clamp(op, sums / divisor.astype(np.float32))
            case Add():
                a, b = values
                return _clamp(op, a - b if op.subtract else a + b)
            case Mul():
                return _clamp(op, values[0] * values[1])
            case Unary():
                return unary(op, values[0])
            case Binary():
                function: Callable[..., Array] = {
                    "sub": np.subtract,
                    "div": np.divide,
                    "maximum": np.maximum,
                    "minimum": np.minimum,
                }[op.function]
                return function(*values)
            case Softmax():
                exponentials = np.exp(values[0] - values[0].max(axis=3, keepdims=True))
                softmax: Array = exponentials / exponentials.sum(axis=3, keepdims=True)
                return softmax
            case Normalize():
                return _normalize(op, values[0])
            case _:
                raise TypeError(f"{op.name}: {type(op).__name__} does not compute in float32")


def _clamp(op: Conv2d | AvgPool2d | Add | Mul, x: Array) -> Array:
    clamped: Array = np.minimum(np.maximum(x, np.float32(op.act_lo)), np.float32(op.act_hi))
    return clamped


def _conv2d(op: Conv2d, values: list[Array], y: Tensor) -> Array:
    out_channels, *kernel, group_inputs = op.weight.shape
    weight = op.weight.reshape(op.groups, -1, *kernel, group_inputs)
    picture = np.concatenate(values, axis=3)
    sums: Array = np.zeros(
        (op.groups, len(picture) * y.height * y.width, weight.shape[1]), np.float32
    )
    size = (kernel[0], kernel[1])
    for (ky, kx), tap in taps(picture, size, op.stride, op.pads, op.dilation, y, fill=0):
        pixels = tap.reshape(-1, op.groups, group_inputs)
        sums += pixels.transpose(1, 0, 2) @ weight[:, :, ky, kx].transpose(0, 2, 1)
    shape = (len(picture), y.height, y.width, out_channels)
    result: Array = sums.transpose(1, 0, 2).reshape(shape) + op.bias
    return result


def _normalize(op: Normalize, x: Array) -> Array:
    """In float64, rounded once."""
    grouped = x.astype(np.float64)
    if op.groups:
        grouped = grouped.reshape(*x.shape[:3], op.groups, -1)
    axes = (1, 2, 4) if op.groups else (3,)
    distance = grouped - grouped.mean(axes, keepdims=True)
    variance = np.square(distance).mean(axes, keepdims=True)
    normal = (distance / np.sqrt(variance + np.float32(op.eps))).reshape(x.shape)
    result: Array = (normal * op.weight + op.bias).astype(np.float32)
    return result


def _erfc(x: Array) -> Array:
    return np.asarray(np.frompyfunc(math.erfc, 1, 1)(x), dtype=np.float64)


def _sigmoid(x: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-x))
    return result


def _softplus(x: Array) -> Array:
    return np.logaddexp(x, 0)


_FUNCTIONS: dict[str, Callable[..., Array]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x, slope: np.where(x < 0, x * slope, x),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hardsigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "silu": lambda x: x * _sigmoid(x),
    "sigmoid": _sigmoid,
    "gelu": lambda x: x * _erfc(-x / np.sqrt(2.0)) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
    "tanh": np.tanh,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "neg": np.negative,
    "abs": np.abs,
    "clamp": lambda x, lo, hi: np.minimum(np.maximum(x, lo), hi),
    "affine": lambda x, scale, shift: x * scale + shift,
    "elu": lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(x)),
    "softplus": lambda x, beta: _softplus(beta * x) / beta,
    "mish": lambda x: x * np.tanh(_softplus(x)),
}


def unary(op: Unary, x: Array) -> Array:
    """The function in float64, rounded once."""
    parameters = (float(np.float32(value)) for value in op.parameters)
    result: Array = _FUNCTIONS[op.function](x.astype(np.float64), *parameters)
    return result.astype(np.float32)
