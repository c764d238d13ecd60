"""Lowering: a calibrated graph becomes the integer program that the engine runs.

The graph is in PyTorch's layout, the program in N, H, W, C; a matrix N, K is a picture of one
pixel. What every integer means is defined in ``docs/design/numerics.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from wbcq.engine import program as prog
from wbcq.engine.validate import validate_program
from wbcq.errors import UnsupportedOperatorError
from wbcq.graph import ir
from wbcq.graph.analysis import float_heads, shared_qparams_groups
from wbcq.quant.integer import accumulator_range, clamp_bounds, quantize_bias, quantize_weight
from wbcq.quant.qparams import QParams, QuantizedGraph

__all__ = ["lower", "shared_qparams_groups"]


def lower(quantized: QuantizedGraph) -> prog.Program:
    """Turns a calibrated graph into an integer program.

    Args:
        quantized: Folded and fused by
            :func:`~wbcq.graph.passes.pipeline.prepare_for_quantization`, with qparams for every
            value but the float heads and for every weight.

    Returns:
        A valid program: inputs quantized, one operator per node, heads in float, quantized outputs
        dequantized. Flatten costs nothing.

    Raises:
        UnsupportedOperatorError: A layer cannot run in integers; names it and says why.
        ValueError: Quantization parameters contradict each other or an accumulator can overflow.

    Example:
        >>> from wbcq.graph.ir import Clamp, Graph, Node, Value
        >>> values = {name: Value(name, (None, 4)) for name in "xy"}
        >>> graph = Graph(values, (Node("relu", Clamp(), ("x",), "y"),), ("x",), ("y",), {})
        >>> params = QParams(np.float32(0.1), np.int32(128), 0, 255)
        >>> program = lower(QuantizedGraph(graph, {"x": params, "y": params}, {}))
        >>> [type(op).__name__ for op in program.ops]
        ['Quantize', 'AvgPool2d', 'Dequantize']
    """
    return _Lowering(quantized).program()


class _Lowering:
    def __init__(self, quantized: QuantizedGraph) -> None:
        self._quantized = quantized
        self._graph = quantized.graph
        self._heads = float_heads(quantized.graph) - set(quantized.activations)
        self._tensors: dict[str, prog.Tensor] = {}
        self._ops: list[prog.Op] = []
        self._op_names: set[str] = set()
        self._tensor_of: dict[str, str] = {}
        """Value to the tensor that holds it; Flatten shares its input's."""

    def program(self) -> prog.Program:
        inputs = tuple(self._input(name) for name in self._graph.inputs)
        for node in self._graph:
            lowering = _LOWERINGS.get(type(node.op))
            if lowering is None:
                raise UnsupportedOperatorError(
                    f"{_describe(node)} has no integer form. Remedy: lower a graph that went "
                    "through prepare_for_quantization"
                )
            lowering(self, node, node.op)
        outputs = tuple(self._output(name) for name in self._graph.outputs)
        program = prog.Program(
            self._tensors, tuple(self._ops), inputs, outputs, dict(self._quantized.metadata)
        )
        validate_program(program)
        return program

    # Inputs and outputs.

    def _input(self, name: str) -> prog.Io:
        float_tensor = self._new_tensor(name, name, "f32")
        if self._graph.consumers(name) or name in self._graph.outputs:
            self._quantize(name, float_tensor)
        return prog.Io(float_tensor, self._io_shape(name))

    def _quantize(self, name: str, float_tensor: str) -> None:
        tensor = self._value_tensor(name)
        qparams = self._qparams(name)
        if (qparams.qmin, qparams.qmax) == (0, 255):
            self._append(prog.Quantize(self._op_name(f"{name}.quantize"), float_tensor, tensor))
            return
        # Quantization clamps to 0..255, so fewer bits need a clamp of their own.
        wide = self._new_tensor(f"{tensor}.wide", name, "u8")
        self._append(prog.Quantize(self._op_name(f"{name}.quantize"), float_tensor, wide))
        self._append_clamp(f"{name}.clamp", wide, tensor, qparams.qmin, qparams.qmax)

    def _output(self, name: str) -> prog.Io:
        tensor = self._tensor_of[name]
        if self._tensors[tensor].dtype == "u8":
            source, tensor = tensor, self._new_tensor(name, name, "f32", like=tensor)
            self._append(prog.Dequantize(self._op_name(f"{name}.dequantize"), source, tensor))
        return prog.Io(tensor, self._io_shape(name))

    def _io_shape(self, value: str) -> tuple[int, ...]:
        return (prog.BATCH, *_sizes(self._graph.values[value]))

    # Layers.

    def _conv2d(self, node: ir.Node, op: ir.Conv2d) -> None:
        weight = self._weight(node)
        self._append_conv(
            node,
            op.activation,
            np.ascontiguousarray(weight.transpose(0, 2, 3, 1)),
            stride=op.stride,
            pads=op.pads,
            dilation=op.dilation,
            groups=op.groups,
        )

    def _linear(self, node: ir.Node, op: ir.Linear) -> None:
        """A convolution whose kernel is as large as the picture that was flattened (one pixel)."""
        weight = self._weight(node)
        x = self._tensors[self._tensor_of[node.inputs[0]]]
        planar = weight.reshape(-1, x.channels, x.height, x.width)
        self._append_conv(node, op.activation, np.ascontiguousarray(planar.transpose(0, 2, 3, 1)))

    def _append_conv(
        self,
        node: ir.Node,
        activation: ir.Activation,
        weight: npt.NDArray[np.int8],
        **geometry: Any,
    ) -> None:
        x = self._operand(node, 0)
        weight_scale = self._weight_qparams(node).scale.astype(np.float32).reshape(-1)
        bias = self._graph.param(node, "bias")
        if bias is None:
            bias = np.zeros(len(weight), np.float32)
        name = self._op_name(node.name)
        zero_point = self._tensors[x].zero_point
        if node.output in self._heads:
            self._check_accumulator(node, weight, np.zeros(len(weight), np.int32), zero_point)
            y = self._tensor_of[node.output] = self._new_tensor(node.output, node.output, "f32")
            self._append(prog.Conv2d(name, x, y, weight, bias, weight_scale, **geometry))
            return
        lo, hi = clamp_bounds(activation, self._output_qparams(node))
        residual = self._operand(node, 1) if len(node.inputs) > 1 else None
        steps = quantize_bias(bias, self._tensors[x].scale, weight_scale)
        self._check_accumulator(node, weight, steps, zero_point)
        y = self._value_tensor(node.output)
        if residual is not None:
            self._check_layout(node, residual, y)
        self._append(
            prog.Conv2d(
                name, x, y, weight, steps, weight_scale, lo=lo, hi=hi, residual=residual, **geometry
            )
        )

    def _add(self, node: ir.Node, op: ir.Add) -> None:
        a, b = self._operand(node, 0), self._operand(node, 1)
        lo, hi = clamp_bounds(op.activation, self._output_qparams(node))
        y = self._value_tensor(node.output, like=a)
        self._check_layout(node, b, y)
        self._append(prog.Add(self._op_name(node.name), a, b, y, lo, hi))

    def _clamp(self, node: ir.Node, op: ir.Clamp) -> None:
        x = self._operand(node, 0)
        lo, hi = clamp_bounds(op.activation, self._output_qparams(node))
        self._append_clamp(node.name, x, self._value_tensor(node.output, like=x), lo, hi)

    def _max_pool2d(self, node: ir.Node, op: ir.MaxPool2d) -> None:
        x = self._operand(node, 0)
        self._check_shared(node)
        y = self._value_tensor(node.output)
        self._append(
            prog.MaxPool2d(
                self._op_name(node.name), x, y, op.kernel, op.stride, op.pads, op.dilation
            )
        )

    def _avg_pool2d(self, node: ir.Node, op: ir.AvgPool2d) -> None:
        x = self._operand(node, 0)
        lo, hi = clamp_bounds(op.activation, self._output_qparams(node))
        self._append(
            prog.AvgPool2d(
                self._op_name(node.name),
                x,
                self._value_tensor(node.output),
                op.kernel,
                op.stride,
                op.pads,
                op.count_include_pad,
                op.divisor,
                lo,
                hi,
            )
        )

    def _adaptive_avg_pool2d(self, node: ir.Node, op: ir.AdaptiveAvgPool2d) -> None:
        tensor = self._tensors[self._operand(node, 0)]
        size, out = (tensor.height, tensor.width), op.output_size
        if size[0] % out[0] or size[1] % out[1]:
            raise UnsupportedOperatorError(
                f"{_describe(node)} pools {size[0]}x{size[1]} to {out[0]}x{out[1]}, whose windows "
                "differ in size. Remedy: an output size that divides the picture's, or nn.AvgPool2d"
            )
        window = (size[0] // out[0], size[1] // out[1])
        self._avg_pool2d(node, ir.AvgPool2d(window, window, activation=op.activation))

    def _flatten(self, node: ir.Node, op: ir.Flatten) -> None:
        source, output = node.inputs[0], node.output
        if output not in self._heads:
            self._check_shared(node)
        self._tensor_of[output] = self._tensor_of[source]

    # Parameters.

    def _weight(self, node: ir.Node) -> npt.NDArray[np.int8]:
        weight = self._graph.param(node, "weight")
        assert weight is not None
        return quantize_weight(weight, self._weight_qparams(node))

    def _weight_qparams(self, node: ir.Node) -> QParams:
        name = node.params["weight"]
        qparams = self._quantized.weights.get(name)
        if qparams is None:
            raise UnsupportedOperatorError(
                f"{_describe(node)} has float weights ('{name}' has no qparams), which the engine "
                "cannot run yet. Remedy: quantize this layer too"
            )
        if qparams.axis not in (None, 0) or qparams.qmin < -127 or qparams.qmax > 127:
            raise ValueError(
                f"weight '{name}' is quantized on axis {qparams.axis} to {qparams.qmin}.."
                f"{qparams.qmax}, must be axis 0 or None and within -127..127"
            )
        if np.any(qparams.zero_point != 0):
            raise ValueError(f"weight '{name}' has zero points, must be symmetric")
        return qparams

    def _check_accumulator(
        self,
        node: ir.Node,
        weight: npt.NDArray[np.int8],
        bias: npt.NDArray[np.int32],
        zero_point: int,
    ) -> None:
        least, most = accumulator_range(weight, bias, zero_point)
        limits = np.iinfo(np.int32)
        bad = (least < limits.min) | (most > limits.max)
        if bad.any():
            channel = int(np.argmax(bad))
            raise ValueError(
                f"{_describe(node)}: the accumulator of output channel {channel} can reach "
                f"{least[channel]}..{most[channel]}, which int32 does not hold (its bias is "
                f"{bias[channel]} steps). Remedy: a larger scale for the channel's weights"
            )

    # Values.

    def _qparams(self, value: str, node: ir.Node | None = None) -> QParams:
        qparams = self._quantized.activations.get(value)
        if qparams is None:
            what = f"the output of {_describe(node)}" if node else f"input '{value}'"
            raise UnsupportedOperatorError(
                f"{what} has no quantization parameters; only a conv or linear layer that ends the "
                "graph may stay float. Remedy: calibrate the graph that is lowered"
            )
        if qparams.scale.ndim or qparams.qmin < 0 or qparams.qmax > 255:
            raise ValueError(
                f"value '{value}' is quantized to {qparams.qmin}..{qparams.qmax} with "
                f"{qparams.scale.size} scales, must be within 0..255 with one"
            )
        return qparams

    def _output_qparams(self, node: ir.Node) -> QParams:
        return self._qparams(node.output, node)

    def _check_shared(self, node: ir.Node) -> None:
        x, y = self._qparams(node.inputs[0]), self._output_qparams(node)
        if (x.scale, x.zero_point) != (y.scale, y.zero_point):
            raise ValueError(
                f"{_describe(node)} only moves values, but its input has scale {x.scale} and zero "
                f"point {x.zero_point}, its output {y.scale} and {y.zero_point}. Remedy: calibrate "
                "the values of each of shared_qparams_groups(graph) with one observer"
            )

    def _check_layout(self, node: ir.Node, a: str, b: str) -> None:
        """A flattened picture keeps its pixels, so it cannot be added to a row of numbers."""
        x, y = self._tensors[a], self._tensors[b]
        if (x.height, x.width, x.channels) != (y.height, y.width, y.channels):
            raise UnsupportedOperatorError(
                f"{_describe(node)} adds a flattened picture of {x.height}x{x.width} pixels to "
                f"values of {y.height}x{y.width}, which is not supported. Remedy: pool to 1x1 "
                "before flatten"
            )

    def _operand(self, node: ir.Node, index: int) -> str:
        return self._tensor_of[node.inputs[index]]

    def _value_tensor(self, value: str, *, like: str | None = None) -> str:
        """A new u8 tensor; where the caller sees the value, its float form has the name."""
        is_io = value in self._graph.inputs or value in self._graph.outputs
        tensor = self._new_tensor(f"{value}.u8" if is_io else value, value, "u8", like=like)
        self._tensor_of[value] = tensor
        return tensor

    def _new_tensor(
        self, name: str, value: str, dtype: Literal["u8", "f32"], *, like: str | None = None
    ) -> str:
        if like is None:
            height, width, channels = _picture(self._graph.values[value])
        else:
            source = self._tensors[like]
            height, width, channels = source.height, source.width, source.channels
        while name in self._tensors:
            name += "'"
        tensor = prog.Tensor(name, dtype, height, width, channels)
        if dtype == "u8":
            qparams = self._qparams(value, self._graph.producer(value))
            tensor = prog.Tensor(
                name,
                dtype,
                height,
                width,
                channels,
                scale=float(qparams.scale),
                zero_point=int(qparams.zero_point),
            )
        self._tensors[name] = tensor
        return name

    # Operators.

    def _append(self, op: prog.Op) -> None:
        self._ops.append(op)

    def _append_clamp(self, name: str, x: str, y: str, lo: int, hi: int) -> None:
        """A clamp on its own: an average over windows of one pixel, exact where scales agree."""
        self._append(
            prog.AvgPool2d(self._op_name(name), x, y, kernel=(1, 1), stride=(1, 1), lo=lo, hi=hi)
        )

    def _op_name(self, name: str) -> str:
        while name in self._op_names:
            name += "'"
        self._op_names.add(name)
        return name


_LOWERINGS: dict[type[ir.Op], Callable[[_Lowering, ir.Node, Any], None]] = {
    ir.Conv2d: _Lowering._conv2d,
    ir.Linear: _Lowering._linear,
    ir.Add: _Lowering._add,
    ir.Clamp: _Lowering._clamp,
    ir.MaxPool2d: _Lowering._max_pool2d,
    ir.AvgPool2d: _Lowering._avg_pool2d,
    ir.AdaptiveAvgPool2d: _Lowering._adaptive_avg_pool2d,
    ir.Flatten: _Lowering._flatten,
}


def _describe(node: ir.Node) -> str:
    return f"layer '{node.name}' ({type(node.op).__name__}, {node.source})"


def _sizes(value: ir.Value) -> tuple[int, ...]:
    sizes = tuple(size for size in value.shape[1:] if size is not None)
    if len(sizes) != len(value.shape) - 1 or len(sizes) not in (1, 3):
        raise UnsupportedOperatorError(
            f"value '{value.name}' has shape {list(value.shape)}; only N, C, H, W and N, C are "
            "supported"
        )
    return sizes


def _picture(value: ir.Value) -> tuple[int, int, int]:
    """Height, width, channels."""
    sizes = _sizes(value)
    return (1, 1, sizes[0]) if len(sizes) == 1 else (sizes[1], sizes[2], sizes[0])
