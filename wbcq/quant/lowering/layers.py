"""Lowering of convolutions, linear layers and what runs as a convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wbcq.engine import program as prog
from wbcq.errors import UnsupportedOperatorError
from wbcq.graph import ir
from wbcq.quant.integer import accumulator_range, clamp_bounds, quantize_bias, quantize_weight
from wbcq.quant.lowering.context import Lowering, describe
from wbcq.quant.qparams import QParams
from wbcq.quant.weights import input_ratios

__all__ = ["channel_affine", "conv2d", "gather", "linear"]

FloatArray = npt.NDArray[np.float32]


def conv2d(context: Lowering, node: ir.Node, op: ir.Conv2d) -> None:
    """A convolution, in integers or in float."""
    geometry = {
        "stride": op.stride, "pads": op.pads, "dilation": op.dilation, "groups": op.groups,
    }  # fmt: skip
    _convolution(context, node, op, lambda weight: weight.transpose(0, 2, 3, 1), geometry)


def linear(context: Lowering, node: ir.Node, op: ir.Linear) -> None:
    """A convolution whose kernel is as large as the picture that was flattened (one pixel)."""
    x = context.tensors[context.operand(node.inputs[0], context.dtype(node))]
    if op.slices and (x.height, x.width) != (1, 1):
        raise UnsupportedOperatorError(
            f"{describe(node)} reads a part of a flattened picture. Remedy: pool to 1x1 before "
            "flatten"
        )

    def planar(weight: npt.NDArray[Any]) -> npt.NDArray[Any]:
        shape = (len(weight), -1, x.height, x.width)
        reordered: npt.NDArray[Any] = weight.reshape(shape).transpose(0, 2, 3, 1)
        return reordered

    _convolution(context, node, op, planar, {})


def _convolution(
    context: Lowering,
    node: ir.Node,
    op: ir.Conv2d | ir.Linear,
    layout: Any,
    geometry: dict[str, Any],
) -> None:
    weight = context.graph.params[node.params["weight"]]
    bias = context.graph.param(node, "bias")
    if bias is None:
        bias = np.zeros(len(weight), np.float32)
    residual = ir.residual(node)
    if context.float_reason(node) is not None:
        xs = _inputs(context, node, op, "f32")
        added = None if residual is None else context.f32(residual)
        # Masks leave -0 where a weight was negative; only +0 takes no room in a model file.
        values = np.ascontiguousarray(layout(weight)) + np.float32(0)
        bounds: dict[str, Any] = {"act_lo": op.activation.low, "act_hi": op.activation.high}
        context.emit_float(
            node,
            lambda name, y: prog.Conv2d(
                name, xs, y, values, bias, None, residual=added, **bounds, **geometry
            ),
            op.functions,
        )
        if added is not None:
            context.check_layout(node, added, context.f32(node.output))
        return
    params = _weight_qparams(context, node)
    integers = quantize_weight(weight * input_ratios(node, context.quantized.activations), params)
    integers = np.ascontiguousarray(layout(integers))
    scale = params.scale.astype(np.float32).reshape(-1)
    xs = _inputs(context, node, op, "u8")
    if context.is_head(node):
        _check_accumulator(context, node, integers, np.zeros(len(integers), np.int32), xs)
        name, y = context.op_name(node.name), context.result(node.output, "f32")
        context.ops.append(prog.Conv2d(name, xs, y, integers, bias, scale, **geometry))
        return
    rounding = context.rounding(node, op.activation, op.functions)
    added = None if residual is None else context.u8(residual)
    tensors = [context.tensors[x] for x in ((xs,) if isinstance(xs, str) else xs)]
    steps = _bias_steps(op, bias, scale, tensors)
    _check_accumulator(context, node, integers, steps, xs)
    name, y = context.op_name(node.name), context.result(node.output, "u8")
    if added is not None:
        context.check_layout(node, added, y)
    context.ops.append(
        prog.Conv2d(name, xs, y, integers, steps, scale, residual=added, **rounding, **geometry)
    )


def _bias_steps(
    op: ir.Conv2d | ir.Linear,
    bias: FloatArray,
    scale: FloatArray,
    xs: list[prog.Tensor],
) -> npt.NDArray[np.int32]:
    if len(xs) == 1 or not isinstance(op, ir.Conv2d) or op.groups == 1:
        return quantize_bias(bias, xs[0].scale, scale)
    # A channel of a depthwise convolution has the scale of the input that it reads.
    scales = np.broadcast_to(scale, bias.shape)
    parts, first = [], 0
    for x in xs:
        last = first + x.channels
        parts.append(quantize_bias(bias[first:last], x.scale, scales[first:last]))
        first = last
    return np.concatenate(parts)


def _inputs(
    context: Lowering, node: ir.Node, op: ir.Conv2d | ir.Linear, dtype: Any
) -> str | tuple[str, ...]:
    """The operand, or a view for each range of channels that the layer reads."""
    if not op.slices:
        return context.operand(node.inputs[0], dtype)
    views = []
    for piece in op.slices:
        source = context.operand(node.inputs[piece.index], dtype)
        name = f"{source}[{piece.start}:{piece.stop}]"
        views.append(context.view(name, source, piece.start, piece.size))
    return views[0] if len(views) == 1 else tuple(views)


def _weight_qparams(context: Lowering, node: ir.Node) -> QParams:
    name = node.params["weight"]
    qparams = context.quantized.weights[name]
    if qparams.axis not in (None, 0) or qparams.qmin < -127 or qparams.qmax > 127:
        raise ValueError(
            f"weight '{name}' is quantized on axis {qparams.axis} to {qparams.qmin}.."
            f"{qparams.qmax}, must be axis 0 or None and within -127..127"
        )
    if np.any(qparams.zero_point != 0):
        raise ValueError(f"weight '{name}' has zero points, must be symmetric")
    return qparams


def _check_accumulator(
    context: Lowering,
    node: ir.Node,
    weight: npt.NDArray[np.int8],
    bias: npt.NDArray[np.int32],
    xs: str | tuple[str, ...],
) -> None:
    if not isinstance(xs, str):
        return  # the program's own check follows each input's zero point
    least, most = accumulator_range(weight, bias, context.tensors[xs].zero_point)
    limits = np.iinfo(np.int32)
    bad = (least < limits.min) | (most > limits.max)
    if bad.any():
        channel = int(np.argmax(bad))
        raise ValueError(
            f"{describe(node)}: the accumulator of output channel {channel} can reach "
            f"{least[channel]}..{most[channel]}, which int32 does not hold (its bias is "
            f"{bias[channel]} steps). Remedy: a larger scale for the channel's weights"
        )


def channel_affine(context: Lowering, node: ir.Node, op: ir.ChannelAffine) -> None:
    """A depthwise convolution of one tap, whose only weight is exact at +-127 steps."""
    factor = context.graph.params[node.params["weight"]].astype(np.float32)
    shift = context.graph.params[node.params["bias"]].astype(np.float32)
    if context.float_reason(node) is not None:
        x = context.f32(node.inputs[0])
        weight = factor.reshape(-1, 1, 1, 1)
        context.emit_float(
            node,
            lambda name, y: prog.Conv2d(name, x, y, weight, shift, None, groups=len(factor)),
            like=x,
        )
        return
    x = context.u8(node.inputs[0])
    # A step small enough for the shift to fit into int32 beside the largest product.
    least = np.abs(shift) / np.float32(context.tensors[x].scale * 2.0**30)
    scale = np.maximum(np.maximum(np.abs(factor) / 127, least), np.float32(1e-30))
    integers = np.rint(factor / scale).astype(np.int8).reshape(-1, 1, 1, 1)
    steps = quantize_bias(shift, context.tensors[x].scale, scale)
    lo, hi = clamp_bounds(ir.IDENTITY, context.qparams(node.output))
    name, y = context.op_name(node.name), context.result(node.output, "u8", like=x)
    context.ops.append(
        prog.Conv2d(name, x, y, integers, steps, scale, groups=len(factor), lo=lo, hi=hi)
    )


def gather(context: Lowering, node: ir.Node, op: ir.Gather | ir.ChannelShuffle) -> None:
    """A choice of channels: a 1x1 convolution whose weights are 0 and 1, exact."""
    dtype = context.dtype(node)
    x = context.operand(node.inputs[0], dtype)
    channels = context.tensors[x].channels
    if isinstance(op, ir.Gather):
        chosen = np.array(op.channels)
    else:
        chosen = np.arange(channels).reshape(op.groups, -1).T.ravel()
    weight = np.zeros((len(chosen), 1, 1, channels), np.float32)
    weight[np.arange(len(chosen)), 0, 0, chosen] = 1.0
    if dtype == "f32":
        bias = np.zeros(len(chosen), np.float32)
        context.emit_float(node, lambda name, y: prog.Conv2d(name, x, y, weight, bias, None))
        return
    lo, hi = clamp_bounds(ir.IDENTITY, context.qparams(node.output))
    name, y = context.op_name(node.name), context.result(node.output, "u8")
    zeros, one = np.zeros(len(chosen), np.int32), np.ones(1, np.float32)
    context.ops.append(prog.Conv2d(name, x, y, weight.astype(np.int8), zeros, one, lo=lo, hi=hi))
