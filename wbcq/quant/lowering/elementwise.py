"""Lowering of sums, products, quotients, clamps and functions of one element."""

from __future__ import annotations

import math

import numpy as np

from wbcq.engine import program as prog
from wbcq.errors import UnsupportedOperatorError
from wbcq.graph import ir
from wbcq.quant.integer import clamp_bounds
from wbcq.quant.lowering.context import Lowering, describe, picture
from wbcq.quant.lowering.tables import float_function, function_table

__all__ = ["arithmetic", "clamp", "divide", "normalize", "softmax", "unary"]


def arithmetic(context: Lowering, node: ir.Node, op: ir.Add | ir.Sub | ir.Mul) -> None:
    """Sum, difference or product of a and b; b may be the same for all pixels."""
    dtype = context.dtype(node)
    a, b = (context.operand(value, dtype) for value in node.inputs)
    x, y = context.tensors[a], context.tensors[b]
    if math.prod((x.height, x.width)) == 1 < y.height * y.width and not isinstance(op, ir.Sub):
        a, b = b, a
    if (context.tensors[b].height, context.tensors[b].width) != (1, 1):
        context.check_layout(node, a, b)

    def build(name: str, result: str, **rounding: object) -> prog.Op:
        if isinstance(op, ir.Mul):
            return prog.Mul(name, a, b, result, **rounding)  # type: ignore[arg-type]
        subtract = isinstance(op, ir.Sub)
        return prog.Add(name, a, b, result, subtract=subtract, **rounding)  # type: ignore[arg-type]

    if dtype == "f32":
        bounds = {"act_lo": op.activation.low, "act_hi": op.activation.high}
        context.emit_float(node, lambda n, y: build(n, y, **bounds), op.functions, like=a)
        return
    rounding = context.rounding(node, op.activation, op.functions)
    result = context.result(node.output, "u8", like=a)
    context.check_layout(node, a, result)
    context.ops.append(build(context.op_name(node.name), result, **rounding))


def divide(context: Lowering, node: ir.Node, op: ir.Div) -> None:
    """Quotient a / b in float."""
    a, b = (context.f32(value) for value in node.inputs)
    context.emit_float(
        node, lambda name, y: prog.Binary(name, a, b, y, "div"), _applied(op), like=a
    )


def _applied(op: ir.Div | ir.Normalize) -> ir.Functions:
    """All that is done to the result of an operator that has no clamp of its own."""
    if op.activation.is_identity:
        return op.functions
    return (ir.Function("clamp", (op.activation.low, op.activation.high)), *op.functions)


def clamp(context: Lowering, node: ir.Node, op: ir.Clamp) -> None:
    """A clamp on its own."""
    dtype = context.dtype(node)
    x = context.operand(node.inputs[0], dtype)
    if dtype == "f32":
        bounds = (op.activation.low, op.activation.high)
        context.emit_float(node, lambda name, y: prog.Unary(name, x, y, "clamp", bounds), like=x)
        return
    lo, hi = clamp_bounds(op.activation, context.qparams(node.output))
    context.clamp(node.name, x, context.result(node.output, "u8", like=x), lo, hi)


def unary(context: Lowering, node: ir.Node, op: ir.Unary) -> None:
    """Functions of one element: a table, or one float operator each."""
    dtype = context.dtype(node)
    x = context.operand(node.inputs[0], dtype)
    if dtype == "f32":
        first, *rest = op.functions
        context.emit_float(
            node, lambda name, y: float_function(name, first, x, y), tuple(rest), like=x
        )
        return
    table = function_table(
        op.functions, context.qparams(node.inputs[0]), context.qparams(node.output)
    )
    y = context.result(node.output, "u8", like=x)
    context.ops.append(prog.Lookup(context.op_name(node.name), x, y, table))


def softmax(context: Lowering, node: ir.Node, op: ir.Softmax) -> None:
    """Softmax in float."""
    x = context.f32(node.inputs[0])
    context.emit_float(node, lambda name, y: prog.Softmax(name, x, y))


def normalize(context: Lowering, node: ir.Node, op: ir.Normalize) -> None:
    """Layer, group or instance normalization in float."""
    x = context.f32(node.inputs[0])
    channels = picture(context.graph.values[node.inputs[0]])[2]
    if context.tensors[x].channels != channels:
        raise UnsupportedOperatorError(
            f"{describe(node)} normalizes a flattened picture. Remedy: pool to 1x1 before flatten"
        )
    weight, bias = context.graph.param(node, "weight"), context.graph.param(node, "bias")
    weight = np.ones(channels, np.float32) if weight is None else weight
    bias = np.zeros(channels, np.float32) if bias is None else bias
    context.emit_float(
        node,
        lambda name, y: prog.Normalize(name, x, y, weight, bias, op.groups, op.eps),
        _applied(op),
    )
