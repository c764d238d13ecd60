"""The oracle: ``docs/design/numerics.md`` executed literally, in numpy.

Slow next to the C++ engine and easy to follow. Integer sums are exact (float64 matrix products of
integers far below 2^53); every float operation is one float32 operation.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.engine.numerics import conv_multiplier, inverse_scale, round_clamp, scale_ratio
from wbcq.engine.operators import Pads
from wbcq.engine.program import (
    Add,
    AvgPool2d,
    Conv2d,
    Dequantize,
    MaxPool2d,
    Op,
    Program,
    Quantize,
    Tensor,
)
from wbcq.engine.validate import validate_program

__all__ = ["ExactExecutor"]

Array: TypeAlias = npt.NDArray[Any]
Float32Array: TypeAlias = npt.NDArray[np.float32]
Pair: TypeAlias = tuple[int, int]


class ExactExecutor:
    """Runs a program with the bits that every engine must produce.

    Args:
        program: Checked when the executor is made.

    Raises:
        ValueError: The program breaks a rule of the model file.

    Example:
        >>> from wbcq.engine.program import BATCH, Dequantize, Io, Program, Quantize, Tensor
        >>> tensors = [
        ...     Tensor("x", "f32", 1, 1, 2),
        ...     Tensor("q", "u8", 1, 1, 2, scale=0.5, zero_point=10),
        ...     Tensor("y", "f32", 1, 1, 2),
        ... ]
        >>> program = Program(
        ...     tensors={tensor.name: tensor for tensor in tensors},
        ...     ops=(Quantize("quantize", "x", "q"), Dequantize("dequantize", "q", "y")),
        ...     inputs=(Io("x", (BATCH, 2)),),
        ...     outputs=(Io("y", (BATCH, 2)),),
        ... )
        >>> ExactExecutor(program).run(np.array([[0.7, -100.0]], np.float32))
        [array([[ 0.5, -5. ]], dtype=float32)]
    """

    def __init__(self, program: Program) -> None:
        validate_program(program)
        self.program = program

    def run(self, *inputs: Float32Array) -> list[Float32Array]:
        """Computes the program's outputs.

        Args:
            inputs: float32, one for each of ``program.inputs``, in the shape it names; all of one
                batch size.

        Returns:
            float32 arrays, one for each of ``program.outputs``, in the shape it names.

        Raises:
            ValueError: Count, dtype, shape or batch size of the inputs is wrong.
        """
        values = self.run_all(*inputs)
        outputs = []
        for io in self.program.outputs:
            pictures = np.ascontiguousarray(values[io.tensor].transpose(0, 3, 1, 2))
            outputs.append(pictures.reshape(len(pictures), *io.shape[1:]))
        return outputs

    def run_all(self, *inputs: Float32Array) -> dict[str, Array]:
        """Every tensor of the program by name, in layout N, H, W, C; arguments as for ``run``."""
        values = self._read_inputs(inputs)
        for op in self.program.ops:
            values[op.y] = self._compute(op, values)
        return values

    def _read_inputs(self, inputs: tuple[Float32Array, ...]) -> dict[str, Array]:
        if len(inputs) != len(self.program.inputs):
            raise ValueError(f"{len(inputs)} inputs given, must be {len(self.program.inputs)}")
        values: dict[str, Array] = {}
        batch = inputs[0].shape[:1]
        for io, array in zip(self.program.inputs, inputs, strict=True):
            shape = (*batch, *io.shape[1:])
            if array.dtype != np.float32 or array.shape != shape or 0 in shape:
                raise ValueError(
                    f"input {io.tensor!r} is {array.dtype} {list(array.shape)}, must be float32 "
                    f"{['N', *io.shape[1:]]} with N at least 1 and the same for all inputs"
                )
            tensor = self.program.tensors[io.tensor]
            planar = array.reshape(-1, tensor.channels, tensor.height, tensor.width)
            values[io.tensor] = planar.transpose(0, 2, 3, 1)
        return values

    def _compute(self, op: Op, values: dict[str, Array]) -> Array:
        tensors = self.program.tensors
        y = tensors[op.y]
        match op:
            case Quantize():
                return _quantize(values[op.x], y)
            case Dequantize():
                return _dequantize(values[op.x], tensors[op.x])
            case Conv2d():
                accumulator = _conv2d_accumulator(op, values[op.x], tensors[op.x].zero_point, y)
                if y.dtype == "f32":
                    return _head(op, accumulator, tensors[op.x])
                multiplier = conv_multiplier(tensors[op.x].scale, op.weight_scale, y.scale)
                result = accumulator.astype(np.float32) * multiplier
                if op.residual is not None:
                    result = result + _rescaled(values[op.residual], tensors[op.residual], y)
                return round_clamp(result, y.zero_point, op.lo, op.hi)
            case MaxPool2d():
                return _max_pool2d(op, values[op.x], y)
            case AvgPool2d():
                return _avg_pool2d(op, values[op.x], tensors[op.x], y)
            case Add():
                a = _rescaled(values[op.a], tensors[op.a], y)
                b = _rescaled(values[op.b], tensors[op.b], y)
                return round_clamp(a + b, y.zero_point, op.lo, op.hi)


def _quantize(x: Float32Array, y: Tensor) -> Array:
    with np.errstate(over="ignore"):  # infinity is clamped like any large value
        return round_clamp(x * inverse_scale(y.scale), y.zero_point)


def _centered(x: Array, tensor: Tensor) -> Array:
    """Q - z, int32."""
    centered: Array = x.astype(np.int32) - np.int32(tensor.zero_point)
    return centered


def _dequantize(x: Array, tensor: Tensor) -> Array:
    with np.errstate(over="ignore"):
        result: Array = _centered(x, tensor).astype(np.float32) * np.float32(tensor.scale)
    return result


def _rescaled(x: Array, tensor: Tensor, y: Tensor) -> Array:
    """float(q - z) * (s / s_y): an operand of an addition, in steps of ``y``."""
    result: Array = _centered(x, tensor).astype(np.float32) * scale_ratio(tensor.scale, y.scale)
    return result


def _conv2d_accumulator(op: Conv2d, x: Array, zero_point: int, y: Tensor) -> Array:
    """Sum of (x - z) * w, plus the bias unless it is float: int32 [N, H, W, O].

    Padding has the value z, which contributes nothing.
    """
    out_channels, kernel_h, kernel_w, group_inputs = op.weight.shape
    weight = op.weight.astype(np.float64).reshape(op.groups, -1, kernel_h, kernel_w, group_inputs)
    picture = x.astype(np.float64) - zero_point
    sums: Array = np.zeros((op.groups, len(x) * y.height * y.width, out_channels // op.groups))
    kernel = (kernel_h, kernel_w)
    for (ky, kx), tap in _taps(picture, kernel, op.stride, op.pads, op.dilation, y, fill=0):
        pixels = tap.reshape(-1, op.groups, group_inputs)
        sums += pixels.transpose(1, 0, 2) @ weight[:, :, ky, kx].transpose(0, 2, 1)
    accumulator: Array = sums.transpose(1, 0, 2).reshape(len(x), y.height, y.width, out_channels)
    if op.bias.dtype == np.int32:
        accumulator = accumulator + op.bias
    limits = np.iinfo(np.int32)
    if accumulator.min() < limits.min or accumulator.max() > limits.max:
        raise OverflowError(f"{op.name}: an accumulator left int32, which validation excludes")
    integers: Array = accumulator.astype(np.int32)
    return integers


def _head(op: Conv2d, accumulator: Array, x: Tensor) -> Array:
    """float(acc) * (s_x s_w) + b."""
    multiplier = conv_multiplier(x.scale, op.weight_scale, None)
    with np.errstate(over="ignore"):
        result: Array = accumulator.astype(np.float32) * multiplier + op.bias
    return result


def _max_pool2d(op: MaxPool2d, x: Array, y: Tensor) -> Array:
    taps = _taps(x.astype(np.int16), op.kernel, op.stride, op.pads, op.dilation, y, fill=-1)
    highest: Array = functools.reduce(np.maximum, (pixels for _, pixels in taps))
    return highest.astype(np.uint8)


def _avg_pool2d(op: AvgPool2d, x: Array, x_tensor: Tensor, y: Tensor) -> Array:
    """clamp(rne(float(sum - n z) * m_n) + z_y), m_n = (s_x / s_y) / float(d)."""

    def window_sums(picture: Array, pads: Pads) -> Array:
        taps = _taps(picture, op.kernel, op.stride, pads, (1, 1), y, fill=0)
        total: Array = functools.reduce(np.add, (pixels for _, pixels in taps))
        return total

    sums = window_sums(_centered(x, x_tensor), op.pads)
    ones = np.ones((1, *x.shape[1:3], 1), np.int32)
    if op.divisor:
        divisor: Array = np.array(op.divisor)
    elif op.count_include_pad:
        # Padding counts, what lies beyond it (ceil mode) does not.
        top, left, bottom, right = op.pads
        padded = np.pad(ones, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=1)
        divisor = window_sums(padded, (0, 0, 0, 0))
    else:
        divisor = window_sums(ones, op.pads)
    multiplier = scale_ratio(x_tensor.scale, y.scale) / divisor.astype(np.float32)
    return round_clamp(sums.astype(np.float32) * multiplier, y.zero_point, op.lo, op.hi)


def _taps(
    picture: Array, kernel: Pair, stride: Pair, pads: Pads, dilation: Pair, y: Tensor, fill: int
) -> Iterator[tuple[Pair, Array]]:
    """For each position of the kernel: the pixels it meets, [N, y.height, y.width, C]."""
    extent = [
        (out - 1) * step + (size - 1) * spread + 1
        for out, size, step, spread in zip(
            (y.height, y.width), kernel, stride, dilation, strict=True
        )
    ]
    top, left, _, _ = pads
    # In ceil mode windows reach past the padding; a floor may leave some of it unused.
    bottom = max(0, extent[0] - top - picture.shape[1])
    right = max(0, extent[1] - left - picture.shape[2])
    padded = np.pad(picture, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    for ky in range(kernel[0]):
        for kx in range(kernel[1]):
            y0, x0 = ky * dilation[0], kx * dilation[1]
            rows = slice(y0, y0 + (y.height - 1) * stride[0] + 1, stride[0])
            columns = slice(x0, x0 + (y.width - 1) * stride[1] + 1, stride[1])
            yield (ky, kx), padded[:, rows, columns]
