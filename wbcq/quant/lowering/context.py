"""The program under construction: tensors of values, conversions between u8 and f32, names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from wbcq.engine import program as prog
from wbcq.errors import UnsupportedOperatorError
from wbcq.graph import ir
from wbcq.graph.analysis import is_float_node
from wbcq.quant.integer import clamp_bounds
from wbcq.quant.lowering.tables import float_function, function_table
from wbcq.quant.qparams import QParams, QuantizedGraph

__all__ = ["Lowering", "describe", "picture", "sizes"]

Dtype: TypeAlias = Literal["u8", "f32"]
Rounding: TypeAlias = dict[str, Any]
"""The arguments of an operator that say how its result is rounded, clamped and looked up."""

_RELABELS = (ir.Flatten, ir.Reshape, ir.Slice, ir.Concat)


class Lowering:
    """What all layers share while a graph is lowered.

    Args:
        quantized: What is lowered.
    """

    def __init__(self, quantized: QuantizedGraph) -> None:
        self.quantized = quantized
        self.graph = quantized.graph
        self.tensors: dict[str, prog.Tensor] = {}
        self.ops: list[prog.Op] = []
        self._op_names: set[str] = set()
        self._u8: dict[str, str] = {}
        self._f32: dict[str, str] = {}
        self._producers = {node.output: node for node in self.graph}
        self._places = self._placements()

    # Decisions.

    def is_head(self, node: ir.Node) -> bool:
        """True if an integer layer's accumulators become float without a rounding."""
        return (
            isinstance(node.op, (ir.Conv2d, ir.Linear))
            and node.output not in self.quantized.activations
            and ir.residual(node) is None
            and node.op.activation.is_identity
            and not node.op.functions
            and self.float_reason(node) is None
        )

    def float_reason(self, node: ir.Node) -> str | None:
        """Why a node computes in float32; None if it computes in integers."""
        if node.name in self.quantized.float_nodes:
            return "asked for in float_layers"
        if is_float_node(node):
            return "has no integer form"
        if isinstance(node.op, (ir.Conv2d, ir.Linear)):
            if node.params["weight"] not in self.quantized.weights:
                return "its weight has no scale"
            plain = node.op.activation.is_identity and not node.op.functions
            if plain and ir.residual(node) is None:
                return None
        if node.output in self.quantized.activations:
            return None
        if all(value not in self.quantized.activations for value in node.inputs):
            return "its input and what reads it are float32"
        return "its result has no scale"

    def dtype(self, node: ir.Node) -> Dtype:
        """What a node computes in."""
        return "u8" if self.float_reason(node) is None else "f32"

    # Values.

    def u8(self, value: str) -> str:
        """The tensor that holds a value in u8; quantizes it at its first use if need be."""
        if value not in self._u8:
            if value not in self._f32:
                raise self._missing(value)
            self.quantize(value, self._f32[value])
        return self._u8[value]

    def f32(self, value: str) -> str:
        """The tensor that holds a value in f32; dequantizes it at its first use if need be."""
        if value not in self._f32:
            source = self.u8(value)
            self._f32[value] = self.new_tensor(self._f32_name(value), value, "f32", like=source)
            op = prog.Dequantize(self.op_name(f"{value}.dequantize"), source, self._f32[value])
            self.ops.append(op)
        return self._f32[value]

    def has_f32(self, value: str) -> bool:
        """True if a value is in an f32 tensor already."""
        return value in self._f32

    def operand(self, value: str, dtype: Dtype) -> str:
        """The tensor that holds a value in a dtype."""
        return self.u8(value) if dtype == "u8" else self.f32(value)

    def alias(self, value: str, dtype: Dtype, tensor: str) -> None:
        """Says that a tensor holds another value too."""
        (self._u8 if dtype == "u8" else self._f32)[value] = tensor

    def result(self, value: str, dtype: Dtype, *, like: str | None = None) -> str:
        """The tensor that a value is computed into: a new one, or its place in a concatenation.

        Args:
            value: Name of the value.
            dtype: Of the tensor.
            like: A tensor of the same shape, if that is not the value's: a flattened picture.
        """
        place = self._places.get((value, dtype))
        name = self._u8_name(value) if dtype == "u8" else self._f32_name(value)
        if place is None:
            tensor = self.new_tensor(name, value, dtype, like=like)
        else:
            tensor = self.view(name, self.concatenation(place[0], dtype), place[1], place[2])
        self.alias(value, dtype, tensor)
        return tensor

    def concatenation(self, value: str, dtype: Dtype) -> str:
        """The tensor of a Concat's value, which its operands are written into."""
        held = self._u8 if dtype == "u8" else self._f32
        return held[value] if value in held else self.result(value, dtype)

    def is_placed(self, value: str, dtype: Dtype) -> bool:
        """True if a value is computed where the Concat that reads it needs it."""
        return (value, dtype) in self._places

    def quantize(self, value: str, source: str) -> None:
        """Quantizes an f32 tensor into the u8 tensor of a value."""
        qparams = self.qparams(value)
        y = self.result(value, "u8", like=source)
        if (qparams.qmin, qparams.qmax) == (0, 255):
            self.ops.append(prog.Quantize(self.op_name(f"{value}.quantize"), source, y))
            return
        # Quantization clamps to 0..255, so fewer bits need a clamp of their own.
        wide = self.new_tensor(f"{self._u8[value]}.wide", value, "u8", like=source)
        self.ops.append(prog.Quantize(self.op_name(f"{value}.quantize"), source, wide))
        self.clamp(f"{value}.clamp", wide, y, qparams.qmin, qparams.qmax)

    def qparams(self, value: str) -> QParams:
        """A value's quantization parameters."""
        qparams = self.quantized.activations.get(value)
        if qparams is None:
            raise self._missing(value)
        if qparams.scale.ndim or qparams.qmin < 0 or qparams.qmax > 255:
            raise ValueError(
                f"value '{value}' is quantized to {qparams.qmin}..{qparams.qmax} with "
                f"{qparams.scale.size} scales, must be within 0..255 with one"
            )
        return qparams

    def same_qparams(self, a: str, b: str) -> bool:
        """True if two values have one scale and one zero point."""
        x, y = self.qparams(a), self.qparams(b)
        return (x.scale, x.zero_point) == (y.scale, y.zero_point)

    def check_shared(self, node: ir.Node) -> None:
        """A node that only moves bytes has the scale of its input."""
        if not self.same_qparams(node.inputs[0], node.output):
            x, y = self.qparams(node.inputs[0]), self.qparams(node.output)
            raise ValueError(
                f"{describe(node)} only moves values, but its input has scale {x.scale} and zero "
                f"point {x.zero_point}, its output {y.scale} and {y.zero_point}. Remedy: calibrate "
                "the values of each of shared_qparams_groups(graph) with one observer"
            )

    def check_layout(self, node: ir.Node, a: str, b: str) -> None:
        """A flattened picture keeps its pixels, so it cannot be added to a row of numbers."""
        x, y = self.tensors[a], self.tensors[b]
        if (x.height, x.width, x.channels) != (y.height, y.width, y.channels):
            raise UnsupportedOperatorError(
                f"{describe(node)} adds a flattened picture of {x.height}x{x.width} pixels to "
                f"values of {y.height}x{y.width}, which is not supported. Remedy: pool to 1x1 "
                "before flatten"
            )

    # Tensors.

    def new_tensor(self, name: str, value: str, dtype: Dtype, *, like: str | None = None) -> str:
        """A tensor of a value's shape (or another tensor's), u8 with the value's qparams."""
        if like is None:
            height, width, channels = picture(self.graph.values[value])
        else:
            source = self.tensors[like]
            height, width, channels = source.height, source.width, source.channels
        tensor = prog.Tensor(self._tensor_name(name), dtype, height, width, channels)
        if dtype == "u8":
            qparams = self.qparams(value)
            tensor = replace(tensor, scale=float(qparams.scale), zero_point=int(qparams.zero_point))
        self.tensors[tensor.name] = tensor
        return tensor.name

    def view(self, name: str, parent: str, channel_offset: int, channels: int) -> str:
        """Some channels of a tensor; the tensor itself if they are all."""
        whole = self.tensors[parent]
        if channels == whole.channels:
            return parent
        tensor = whole.view(self._tensor_name(name), channel_offset, channels)
        self.tensors[tensor.name] = tensor
        return tensor.name

    # Operators.

    def rounding(
        self, node: ir.Node, activation: ir.Activation, functions: ir.Functions
    ) -> Rounding:
        """lo, hi and, for fused functions, the table of an integer operator."""
        y = self.qparams(node.output)
        if not functions:
            lo, hi = clamp_bounds(activation, y)
            return {"lo": lo, "hi": hi}
        before = self.qparams(node.pre_activation or node.output)
        lo, hi = clamp_bounds(activation, before)
        return {
            "lo": lo,
            "hi": hi,
            "table": function_table(functions, before, y),
            "pre_scale": float(before.scale),
            "pre_zero_point": int(before.zero_point),
        }

    def emit_float(
        self,
        node: ir.Node,
        build: Callable[[str, str], prog.Op],
        functions: ir.Functions = (),
        *,
        like: str | None = None,
    ) -> None:
        """Appends a float operator and one for each function that is applied to its result.

        Args:
            node: Whose value it is.
            build: Makes the operator from its name and the name of its result.
            functions: The first is applied first.
            like: As for :meth:`result`.
        """

        def tensor(step: int) -> str:
            if step == len(functions):
                return self.result(node.output, "f32", like=like)
            return self.new_tensor(f"{node.output}.step{step}", node.output, "f32", like=like)

        y = tensor(0)
        self.ops.append(build(self.op_name(node.name), y))
        for step, function in enumerate(functions, 1):
            x, y = y, tensor(step)
            name = self.op_name(f"{node.name}.{function.name}")
            self.ops.append(float_function(name, function, x, y))

    def clamp(self, name: str, x: str, y: str, lo: int, hi: int) -> None:
        """A clamp on its own: an average over windows of one pixel, exact where scales agree."""
        self.ops.append(
            prog.AvgPool2d(self.op_name(name), x, y, kernel=(1, 1), stride=(1, 1), lo=lo, hi=hi)
        )

    def copy_f32(self, name: str, x: str, y: str) -> None:
        """Moves an f32 tensor unchanged."""
        bounds = (-float("inf"), float("inf"))
        self.ops.append(prog.Unary(self.op_name(name), x, y, "clamp", bounds))

    def op_name(self, name: str) -> str:
        """A name that no operator has yet."""
        while name in self._op_names:
            name += "'"
        self._op_names.add(name)
        return name

    # Names and places.

    def _tensor_name(self, name: str) -> str:
        while name in self.tensors:
            name += "'"
        return name

    def _is_io(self, value: str) -> bool:
        return value in self.graph.inputs or value in self.graph.outputs

    def _u8_name(self, value: str) -> str:
        """Where the caller sees the value, its float form has the name."""
        return f"{value}.u8" if self._is_io(value) else value

    def _f32_name(self, value: str) -> str:
        only = value not in self.quantized.activations
        return value if only or self._is_io(value) else f"{value}.f32"

    def _missing(self, value: str) -> UnsupportedOperatorError:
        node = self._producers.get(value)
        what = f"the output of {describe(node)}" if node else f"input '{value}'"
        return UnsupportedOperatorError(
            f"{what} has no quantization parameters, but an integer layer reads it. Remedy: "
            "calibrate the graph that is lowered"
        )

    def _placements(self) -> Mapping[tuple[str, Dtype], tuple[str, int, int]]:
        """Values that are computed right into a concatenation: its value, first channel, size."""
        places: dict[tuple[str, Dtype], tuple[str, int, int]] = {}
        for node in self.graph:
            if not isinstance(node.op, ir.Concat):
                continue
            dtype = self.dtype(node)
            start = 0
            for value in node.inputs:
                channels = picture(self.graph.values[value])[2]
                if self._can_be_placed(value, node, dtype):
                    places[value, dtype] = (node.output, start, channels)
                start += channels
        return places

    def _can_be_placed(self, value: str, concat: ir.Node, dtype: Dtype) -> bool:
        producer = self._producers.get(value)
        reads = sum(node.inputs.count(value) for node in self.graph)
        if producer is None or reads != 1 or value in self.graph.outputs:
            return False
        if isinstance(producer.op, _RELABELS):
            return False
        if dtype == "f32":
            return self.float_reason(producer) is not None or self.is_head(producer)
        return self.same_qparams(value, concat.output)


def describe(node: ir.Node) -> str:
    """A node in messages."""
    return f"layer '{node.name}' ({type(node.op).__name__}, {node.source})"


def sizes(value: ir.Value) -> tuple[int, ...]:
    """A value's shape without the batch: C, H, W or C, L or K."""
    found = tuple(size for size in value.shape[1:] if size is not None)
    if len(found) != len(value.shape) - 1 or len(found) not in (1, 2, 3):
        raise UnsupportedOperatorError(
            f"value '{value.name}' has shape {list(value.shape)}; only N, C, H, W, N, C, L and "
            "N, C are supported"
        )
    return found


def picture(value: ir.Value) -> tuple[int, int, int]:
    """Height, width, channels; a sequence N, C, L has height 1."""
    channels, *size = sizes(value)
    height, width = [1, 1, *size][-2:]
    return height, width, channels
