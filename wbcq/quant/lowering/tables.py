"""Functions of one element as tables of 256 entries and as float operators."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wbcq.engine import program as prog
from wbcq.errors import UnsupportedOperatorError
from wbcq.graph.functions import Function, evaluate
from wbcq.quant.qparams import QParams

__all__ = ["float_function", "function_table"]


def function_table(functions: Sequence[Function], x: QParams, y: QParams) -> npt.NDArray[np.uint8]:
    """The result for every u8 value: clamp(rne(f(s_x (q - z_x)) / s_y) + z_y), in float64.

    Args:
        functions: The first is applied first; none for a change of scale.
        x: Of the argument.
        y: Of the result. NaN becomes its ``qmin``.

    Returns:
        uint8 [256].

    Example:
        >>> x = QParams(np.float32(0.5), np.int32(2), 0, 255)
        >>> y = QParams(np.float32(1.0), np.int32(0), 0, 255)
        >>> function_table([Function("square")], x, y)[:6]
        array([1, 0, 0, 0, 1, 2], dtype=uint8)
    """
    argument = (np.arange(256) - float(x.zero_point)) * float(x.scale)
    steps = np.rint(evaluate(functions, argument) / float(y.scale)) + float(y.zero_point)
    table: npt.NDArray[np.uint8] = np.fmin(np.fmax(steps, y.qmin), y.qmax).astype(np.uint8)
    return table


def float_function(name: str, function: Function, x: str, y: str) -> prog.Op:
    """The float operator that computes a function.

    Args:
        name: Of the operator.
        function: What it computes.
        x: Name of the argument's tensor, f32.
        y: Name of the result's.

    Raises:
        UnsupportedOperatorError: The engine computes it from tables only.
    """
    if function.name == "square":
        return prog.Mul(name, x, x, y)
    if function.name == "log":
        raise UnsupportedOperatorError(
            f"layer '{name}' computes a logarithm in float32, which the engine has not. Remedy: "
            "quantize this layer"
        )
    parameters = (1.0,) if function.name == "softplus" else function.parameters
    return prog.Unary(name, x, y, function.name, parameters)  # type: ignore[arg-type]
