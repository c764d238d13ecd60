"""Lowering of pools, resizing, padding, and of what moves channels or renames shapes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from wbcq.engine import program as prog
from wbcq.errors import UnsupportedOperatorError
from wbcq.graph import ir
from wbcq.graph.analysis import is_relabelling
from wbcq.quant.lowering.context import Lowering, describe, picture, sizes
from wbcq.quant.lowering.digits import as_digits
from wbcq.quant.lowering.tables import function_table

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "avg_pool2d",
    "concat",
    "flatten",
    "max_pool2d",
    "pad",
    "rearrange",
    "reshape",
    "resize",
    "slice_channels",
]


def max_pool2d(context: Lowering, node: ir.Node, op: ir.MaxPool2d) -> None:
    """Maximum over windows."""
    _move(
        context,
        node,
        lambda name, x, y: prog.MaxPool2d(name, x, y, op.kernel, op.stride, op.pads, op.dilation),
    )


def resize(context: Lowering, node: ir.Node, op: ir.Resize) -> None:
    """Nearest pixel or bilinear interpolation."""
    height, width, _ = picture(context.graph.values[node.inputs[0]])
    steps = (height / op.output_size[0], width / op.output_size[1])
    used = steps if op.steps is None or op.align_corners else op.steps
    if [np.float32(step) for step in used] != [np.float32(step) for step in steps]:
        raise UnsupportedOperatorError(
            f"{describe(node)} resizes {height}x{width} to {op.output_size[0]}x{op.output_size[1]} "
            f"in steps of {used[0]:g}x{used[1]:g} pixels. Remedy: recompute_scale_factor=True, or "
            "size in place of scale_factor"
        )
    _move(
        context,
        node,
        lambda name, x, y: prog.Resize(name, x, y, op.mode, op.align_corners),
    )


def pad(context: Lowering, node: ir.Node, op: ir.Pad) -> None:
    """A constant around the picture."""
    if not math.isfinite(op.value):
        raise UnsupportedOperatorError(
            f"{describe(node)} pads with {op.value:g}, which only a maximum can read. Remedy: let "
            "a max pool without dilation and ceil_mode follow, with windows larger than the pads"
        )
    value: float | None = op.value or None
    if value is not None and context.dtype(node) == "u8":
        params = context.qparams(node.output)
        steps = round(value / float(params.scale)) + int(params.zero_point)
        value = min(max(steps, params.qmin), params.qmax)
    _move(context, node, lambda name, x, y: prog.Pad(name, x, y, op.pads, value))


def _move(context: Lowering, node: ir.Node, build: Callable[[str, str, str], prog.Op]) -> None:
    """An operator of either dtype whose result has the scale of its input."""
    dtype = context.dtype(node)
    x = context.operand(node.inputs[0], dtype)
    _moved(context, node, dtype, lambda name, y: build(name, x, y))


def _moved(
    context: Lowering, node: ir.Node, dtype: str, build: Callable[[str, str], prog.Op]
) -> None:
    if dtype == "f32":
        context.emit_float(node, build)
        return
    context.check_shared(node)
    context.ops.append(build(context.op_name(node.name), context.result(node.output, "u8")))


def avg_pool2d(context: Lowering, node: ir.Node, op: ir.AvgPool2d) -> None:
    """Average over windows."""
    dtype = context.dtype(node)
    x = context.operand(node.inputs[0], dtype)
    window = (op.kernel, op.stride, op.pads, op.count_include_pad, op.divisor)
    if dtype == "f32":
        bounds: dict[str, Any] = {"act_lo": op.activation.low, "act_hi": op.activation.high}
        context.emit_float(
            node, lambda name, y: prog.AvgPool2d(name, x, y, *window, **bounds), op.functions
        )
        return
    rounding = context.rounding(node, op.activation, op.functions)
    y = context.result(node.output, "u8")
    context.ops.append(prog.AvgPool2d(context.op_name(node.name), x, y, *window, **rounding))


def adaptive_avg_pool2d(context: Lowering, node: ir.Node, op: ir.AdaptiveAvgPool2d) -> None:
    """Average over windows, of one size where the output's size divides the picture's."""
    height, width, _ = picture(context.graph.values[node.inputs[0]])
    out = op.output_size
    window = (height // out[0], width // out[1])
    if height % out[0] or width % out[1]:
        window = prog.ADAPTIVE
    pool = ir.AvgPool2d(window, window, activation=op.activation, functions=op.functions)
    avg_pool2d(context, node, replace(pool, count_include_pad=False))


def adaptive_max_pool2d(context: Lowering, node: ir.Node, op: ir.AdaptiveMaxPool2d) -> None:
    """Maximum over windows that may differ in size."""
    _move(
        context,
        node,
        lambda name, x, y: prog.MaxPool2d(name, x, y, prog.ADAPTIVE, prog.ADAPTIVE),
    )


def flatten(context: Lowering, node: ir.Node, op: ir.Flatten) -> None:
    """Nothing: the picture keeps its pixels, the next layer permutes its weights."""
    dtype = context.dtype(node)
    x = context.operand(node.inputs[0], dtype)
    if dtype == "u8":
        context.check_shared(node)
    context.alias(node.output, dtype, x)


def reshape(context: Lowering, node: ir.Node, op: ir.Reshape) -> None:
    """Nothing, where the elements keep their order in memory and the picture its size."""
    before, after = (sizes(context.graph.values[v]) for v in (node.inputs[0], node.output))
    x = context.tensors[context.operand(node.inputs[0], context.dtype(node))]
    shape = (x.height, x.width, x.channels)
    flat = len(after) == 1 and len(before) == 3
    same = is_relabelling(before, after) and shape == picture(context.graph.values[node.output])
    if same or flat:
        flatten(context, node, ir.Flatten())
    else:
        rearrange(context, node, ir.Rearrange(after, after, _row_major(after)))


def _row_major(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(sizes[axis + 1 :]) for axis in range(len(sizes)))


def rearrange(context: Lowering, node: ir.Node, op: ir.Rearrange) -> None:
    """Elements in another order."""
    dtype = context.dtype(node)
    source = context.operand(node.inputs[0], dtype)
    x = context.tensors[source]
    height, width, channels = picture(context.graph.values[node.output])
    # From N, C, H, W of the graph to N, H, W, C of the program.
    numbers = op.numbers().reshape(channels, height, width).transpose(1, 2, 0).ravel()
    channel, pixel = np.divmod(numbers, x.height * x.width)
    found = as_digits(pixel * x.channels + channel)
    if found is None:
        # Sizes that share no factors: by way of a row of all elements in the graph's order.
        name = context.new_tensor(f"{node.output}.row", node.output, dtype)
        count = x.height * x.width * x.channels
        row = replace(context.tensors[name], height=1, width=1, channels=count)
        context.tensors[name] = row
        sizes, strides = (x.channels, x.height, x.width), (1, x.width * x.channels, x.channels)
        step = prog.Rearrange(context.op_name(f"{node.name}.row"), source, name, sizes, strides)
        context.ops.append(step)
        source, found = name, as_digits(numbers)
    if found is None:
        raise UnsupportedOperatorError(
            f"{describe(node)} rearranges {x.channels}x{x.height}x{x.width} to "
            f"{channels}x{height}x{width} in more than {prog.MAX_DIGITS} steps"
        )
    digits = found
    _moved(context, node, dtype, lambda name, y: prog.Rearrange(name, source, y, *digits))


def slice_channels(context: Lowering, node: ir.Node, op: ir.Slice) -> None:
    """A view."""
    dtype = context.dtype(node)
    source = context.operand(node.inputs[0], dtype)
    if context.tensors[source].channels != picture(context.graph.values[node.inputs[0]])[2]:
        raise UnsupportedOperatorError(
            f"{describe(node)} slices a flattened picture. Remedy: slice before flatten"
        )
    if dtype == "u8":
        context.check_shared(node)
    view = context.view(f"{node.output}.view", source, op.start, op.stop - op.start)
    context.alias(node.output, dtype, view)


def concat(context: Lowering, node: ir.Node, op: ir.Concat) -> None:
    """Nothing for operands that were computed in their places; the others are moved there."""
    dtype = context.dtype(node)
    parent = context.concatenation(node.output, dtype)
    start = 0
    for index, value in enumerate(node.inputs):
        channels = picture(context.graph.values[value])[2]
        x = context.operand(value, dtype)
        if context.tensors[x].channels != channels:
            raise UnsupportedOperatorError(
                f"{describe(node)} concatenates a flattened picture. Remedy: pool to 1x1 before "
                "flatten"
            )
        if not context.is_placed(value, dtype):
            view = context.view(
                f"{node.output}[{start}:{start + channels}]", parent, start, channels
            )
            name = f"{node.name}.{index}"
            if dtype == "f32":
                context.copy_f32(name, x, view)
            else:
                table = function_table((), context.qparams(value), context.qparams(node.output))
                context.ops.append(prog.Lookup(context.op_name(name), x, view, table))
        start += channels
