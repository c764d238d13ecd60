"""The oracle: ``docs/design/numerics.md`` executed literally, in numpy.

Slow next to the C++ engine and easy to follow. Integer sums are exact (float64 matrix products of
integers far below 2^53); every float operation is one float32 operation. Operators on f32 are
plain float32 numpy: what an engine computes is close to it, not equal.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.engine import _exact_f32 as f32
from wbcq.engine import _exact_u8 as u8
from wbcq.engine.program import (
    Conv2d,
    Dequantize,
    Lookup,
    MaxPool2d,
    Op,
    Pad,
    Program,
    Quantize,
    Rearrange,
    Resize,
    op_inputs,
    op_is_float,
)
from wbcq.engine.validate import validate_program

__all__ = ["ExactExecutor"]

Array: TypeAlias = npt.NDArray[Any]
Float32Array: TypeAlias = npt.NDArray[np.float32]


class ExactExecutor:
    """Runs a program with the bits that every engine must produce where it computes on u8.

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
        memory = self._memory(inputs)
        for op in self.program.ops if inputs[0].size else ():
            values = [self._value(memory, name) for name in op_inputs(op)]
            self._value(memory, op.y)[...] = self._compute(op, values)
        return {name: self._value(memory, name) for name in self.program.tensors}

    def _memory(self, inputs: tuple[Float32Array, ...]) -> dict[str, Array]:
        """An array for each tensor that is no view, those of inputs with their values."""
        if len(inputs) != len(self.program.inputs):
            raise ValueError(f"{len(inputs)} inputs given, must be {len(self.program.inputs)}")
        batch = inputs[0].shape[:1]
        memory: dict[str, Array] = {}
        for io, array in zip(self.program.inputs, inputs, strict=True):
            shape = (*batch, *io.shape[1:])
            if array.dtype != np.float32 or array.shape != shape:
                raise ValueError(
                    f"input {io.tensor!r} is {array.dtype} {list(array.shape)}, must be float32 "
                    f"{['N', *io.shape[1:]]} with the same N for all inputs"
                )
            tensor = self.program.tensors[io.tensor]
            planar = array.reshape(*batch, tensor.channels, tensor.height, tensor.width)
            memory[io.tensor] = planar.transpose(0, 2, 3, 1)
        for tensor in self.program.tensors.values():
            if tensor.parent is None and tensor.name not in memory:
                shape = (*batch, tensor.height, tensor.width, tensor.channels)
                memory[tensor.name] = np.empty(shape, np.uint8 if tensor.dtype == "u8" else "f4")
        return memory

    def _value(self, memory: dict[str, Array], name: str) -> Array:
        tensor = self.program.tensors[name]
        start = tensor.channel_offset
        return memory[tensor.root][..., start : start + tensor.channels]

    def _compute(self, op: Op, values: list[Array]) -> Array:
        tensors = self.program.tensors
        xs = [tensors[name] for name in op_inputs(op)]
        y = tensors[op.y]
        match op:
            case Quantize():
                return u8.quantize(values[0], y)
            case Dequantize():
                return u8.dequantize(values[0], xs[0])
            case Lookup():
                return u8.look_up(op.table, values[0])
            case MaxPool2d():
                return u8.max_pool2d(op, values[0], y)
            case Pad():
                return u8.pad(op, values[0], xs[0])
            case Rearrange():
                return u8.rearrange(op, values[0], y)
            case Resize() if op.mode == "nearest":
                return u8.resize_nearest(values[0], y)
            case Resize():
                interpolated = u8.resize_bilinear(op, values[0], y)
                return interpolated if y.dtype == "f32" else u8.round_clamp(interpolated, 0)
            case Conv2d() if not op_is_float(op, tensors) and y.dtype == "f32":
                return u8.head(op, values, xs, y)
            case _ if op_is_float(op, tensors):
                return f32.compute(op, values, y)
            case _:
                return u8.compute(op, values, xs, y)
