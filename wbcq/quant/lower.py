"""Lowering: a calibrated graph becomes the program that the engine runs.

The graph is in PyTorch's layout, the program in N, H, W, C; a matrix N, K is a picture of one
pixel. What every integer means is defined in ``docs/design/numerics.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wbcq.engine import program as prog
from wbcq.engine.islands import FloatOperator, islands_to_metadata
from wbcq.engine.validate import validate_program
from wbcq.errors import UnsupportedOperatorError
from wbcq.graph import ir
from wbcq.graph.analysis import shared_qparams_groups
from wbcq.quant.lowering import elementwise, layers, spatial
from wbcq.quant.lowering.context import Lowering, describe, sizes
from wbcq.quant.qparams import QuantizedGraph

__all__ = ["lower", "shared_qparams_groups"]

_LOWERINGS: dict[type[ir.Op], Callable[[Lowering, ir.Node, Any], None]] = {
    ir.Conv2d: layers.conv2d,
    ir.Linear: layers.linear,
    ir.ChannelAffine: layers.channel_affine,
    ir.ChannelShuffle: layers.gather,
    ir.Gather: layers.gather,
    ir.Add: elementwise.arithmetic,
    ir.Sub: elementwise.arithmetic,
    ir.Mul: elementwise.arithmetic,
    ir.Div: elementwise.divide,
    ir.Clamp: elementwise.clamp,
    ir.Unary: elementwise.unary,
    ir.Softmax: elementwise.softmax,
    ir.Normalize: elementwise.normalize,
    ir.MaxPool2d: spatial.max_pool2d,
    ir.AvgPool2d: spatial.avg_pool2d,
    ir.AdaptiveAvgPool2d: spatial.adaptive_avg_pool2d,
    ir.AdaptiveMaxPool2d: spatial.adaptive_max_pool2d,
    ir.Resize: spatial.resize,
    ir.Pad: spatial.pad,
    ir.Flatten: spatial.flatten,
    ir.Reshape: spatial.reshape,
    ir.Rearrange: spatial.rearrange,
    ir.Slice: spatial.slice_channels,
    ir.Concat: spatial.concat,
}


def lower(quantized: QuantizedGraph) -> prog.Program:
    """Turns a calibrated graph into a program.

    Args:
        quantized: Folded and fused by
            :func:`~wbcq.graph.passes.pipeline.prepare_for_quantization`. A node computes in
            integers if its result and its weight have qparams, in float32 if not.

    Returns:
        A valid program: inputs quantized, one operator per node, heads in float, quantized outputs
        dequantized, conversions between integers and float once for each value. Flatten and Slice
        cost nothing, nor does a Concat of values that only it reads. Where nodes compute in float
        although values are quantized, ``metadata["float_operators"]`` lists them and says why
        (:mod:`wbcq.engine.islands`).

    Raises:
        UnsupportedOperatorError: A layer cannot run in the engine; names it and says why.
        ValueError: Quantization parameters contradict each other or an accumulator can overflow.

    Example:
        >>> import numpy as np
        >>> from wbcq.graph.ir import Clamp, Graph, Node, Value
        >>> from wbcq.quant.qparams import QParams
        >>> values = {name: Value(name, (None, 4)) for name in "xy"}
        >>> graph = Graph(values, (Node("relu", Clamp(), ("x",), "y"),), ("x",), ("y",), {})
        >>> params = QParams(np.float32(0.1), np.int32(128), 0, 255)
        >>> program = lower(QuantizedGraph(graph, {"x": params, "y": params}, {}))
        >>> [type(op).__name__ for op in program.ops]
        ['Quantize', 'AvgPool2d', 'Dequantize']
    """
    context, graph = Lowering(quantized), quantized.graph
    inputs = tuple(_input(context, name) for name in graph.inputs)
    islands = []
    for node in graph:
        lowering = _LOWERINGS.get(type(node.op))
        if lowering is None:
            raise UnsupportedOperatorError(
                f"{describe(node)} has no form in the engine. Remedy: lower a graph that went "
                "through prepare_for_quantization"
            )
        first = len(context.ops)
        lowering(context, node, node.op)
        islands += _islands(context, node, context.ops[first:])
    outputs: list[prog.Io] = []
    for name in graph.outputs:
        outputs.append(_output(context, name, {io.tensor for io in outputs}))
    metadata = dict(quantized.metadata)
    if quantized.activations:
        metadata.update(islands_to_metadata(islands))
    program = prog.Program(context.tensors, tuple(context.ops), inputs, tuple(outputs), metadata)
    validate_program(program)
    return program


def _input(context: Lowering, name: str) -> prog.Io:
    tensor = context.result(name, "f32")
    used = context.graph.consumers(name) or name in context.graph.outputs
    if used and name in context.quantized.activations:
        readers = context.graph.consumers(name)
        if not readers or any(context.dtype(node) == "u8" for node in readers):
            context.quantize(name, tensor)
    return prog.Io(tensor, _io_shape(context, name))


def _output(context: Lowering, name: str, taken: set[str]) -> prog.Io:
    if name not in context.graph.inputs and context.has_f32(name):
        tensor = context.f32(name)
        if tensor in taken or context.tensors[tensor].root in context.graph.inputs:
            source, tensor = tensor, context.new_tensor(name, name, "f32", like=tensor)
            context.copy_f32(f"{name}.copy", source, tensor)
    elif name in context.quantized.activations:
        source = context.u8(name)
        tensor = context.new_tensor(name, name, "f32", like=source)
        op_name = context.op_name(f"{name}.dequantize")
        context.ops.append(prog.Dequantize(op_name, source, tensor))
    else:
        source = context.f32(name)
        tensor = context.new_tensor(name, name, "f32", like=source)
        context.copy_f32(f"{name}.copy", source, tensor)
    return prog.Io(tensor, _io_shape(context, name))


def _io_shape(context: Lowering, value: str) -> tuple[int, ...]:
    return (prog.BATCH, *sizes(context.graph.values[value]))


def _islands(context: Lowering, node: ir.Node, ops: list[prog.Op]) -> list[FloatOperator]:
    """The node, if any operator that it became computes in float32; conversions do not count."""
    reason = context.float_reason(node)
    names = tuple(
        op.name
        for op in ops
        if prog.op_is_float(op, context.tensors) and not isinstance(op, prog.Quantize)
    )
    if reason is None or not names:
        return []
    return [FloatOperator(node.name, type(node.op).__name__, reason, names)]
