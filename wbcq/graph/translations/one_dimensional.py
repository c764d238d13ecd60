"""Layers of sequences N, C, L: those of pictures of height 1."""

from __future__ import annotations

import numpy as np

from wbcq.graph import ir
from wbcq.graph.translations.call import (
    Array,
    AtenCall,
    Emit,
    Parameter,
    Result,
    Several,
    Shape,
    symmetric_pads,
    translates,
)
from wbcq.graph.translations.transposed import transposed_convolution


def _along_width(call: AtenCall, name: str, height: int = 1) -> ir.Pair:
    """A list of one integer, and what it is for the rows."""
    (value,) = call.arguments[name]
    return (height, int(value))


def _shape(call: AtenCall, length: int | None = None) -> Shape:
    """Of the picture that a call gives."""
    if length is not None:
        return (None, call.tensor("self", ranks=None).shape[1], 1, length)
    _, channels, width = call.output_shape
    return (None, channels, 1, width)


def _weight(call: AtenCall) -> Array:
    return np.asarray(call.read(call.parameter("weight")), np.float32)[:, :, None]


@translates("aten.conv1d.default", "aten.conv1d.padding")
def _conv1d(call: AtenCall) -> Result:
    x, weight = call.picture("input"), _weight(call)
    dilation = _along_width(call, "dilation")
    padding = call.arguments["padding"]
    if padding == "valid":
        pads = (0, 0, 0, 0)
    elif padding == "same":
        # Where the total is odd, the larger half is at the end.
        total = dilation[1] * (weight.shape[3] - 1)
        pads = (0, total // 2, 0, total - total // 2)
    else:
        pads = symmetric_pads(_along_width(call, "padding", 0))
    op = ir.Conv2d(_along_width(call, "stride"), pads, dilation, int(call.arguments["groups"]))
    params: dict[str, Parameter | Array] = {**call.params("bias"), "weight": weight}
    return Emit(op, (x,), params, _shape(call))


@translates("aten.conv_transpose1d.default")
def _conv_transpose1d(call: AtenCall) -> Result:
    bias = call.optional_parameter("bias")
    return transposed_convolution(
        call,
        call.picture("input"),
        _weight(call),
        None if bias is None else call.read(bias),
        stride=_along_width(call, "stride"),
        padding=_along_width(call, "padding", 0),
        dilation=_along_width(call, "dilation"),
        out=(1, call.output_shape[2] or 1),
    )


@translates("aten.max_pool1d.default")
def _max_pool1d(call: AtenCall) -> Result:
    op = ir.MaxPool2d(
        _along_width(call, "kernel_size"),
        _along_width(call, "stride" if call.arguments["stride"] else "kernel_size"),
        symmetric_pads(_along_width(call, "padding", 0)),
        _along_width(call, "dilation"),
        call.arguments["ceil_mode"],
    )
    return Emit(op, (call.picture("self"),), shape=_shape(call))


@translates("aten.avg_pool1d.default")
def _avg_pool1d(call: AtenCall) -> Result:
    op = ir.AvgPool2d(
        _along_width(call, "kernel_size"),
        _along_width(call, "stride" if call.arguments["stride"] else "kernel_size"),
        symmetric_pads(_along_width(call, "padding", 0)),
        call.arguments["ceil_mode"],
        call.arguments["count_include_pad"],
    )
    return Emit(op, (call.picture("self"),), shape=_shape(call))


@translates("aten.adaptive_avg_pool1d.default")
def _adaptive_avg_pool1d(call: AtenCall) -> Result:
    op = ir.AdaptiveAvgPool2d(_along_width(call, "output_size"))
    return Emit(op, (call.picture("self"),), shape=_shape(call))


@translates("aten.adaptive_max_pool1d.default")
def _adaptive_max_pool1d(call: AtenCall) -> Result:
    size = _along_width(call, "output_size")
    pool = Emit(ir.AdaptiveMaxPool2d(size), (call.picture("self"),), shape=_shape(call, size[1]))
    return Several((pool, None))
