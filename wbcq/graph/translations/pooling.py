"""Pools and means over pictures."""

from __future__ import annotations

from wbcq.graph import ir
from wbcq.graph.translations.call import AtenCall, Emit, Result, symmetric_pads, translates


@translates("aten.max_pool2d.default")
def _max_pool2d(call: AtenCall) -> Result:
    kernel = call.pair("kernel_size")
    op = ir.MaxPool2d(
        kernel,
        call.pair("stride") if call.arguments["stride"] else kernel,
        symmetric_pads(call.pair("padding")),
        call.pair("dilation"),
        call.arguments["ceil_mode"],
    )
    return Emit(op, (call.tensor("self", ranks=(4,)),))


@translates("aten.avg_pool2d.default")
def _avg_pool2d(call: AtenCall) -> Result:
    kernel = call.pair("kernel_size")
    op = ir.AvgPool2d(
        kernel,
        call.pair("stride") if call.arguments["stride"] else kernel,
        symmetric_pads(call.pair("padding")),
        call.arguments["ceil_mode"],
        call.arguments["count_include_pad"],
        call.arguments["divisor_override"] or 0,
    )
    return Emit(op, (call.tensor("self", ranks=(4,)),))


@translates("aten.adaptive_avg_pool2d.default")
def _adaptive_avg_pool2d(call: AtenCall) -> Result:
    return Emit(ir.AdaptiveAvgPool2d(call.pair("output_size")), (call.tensor("self", ranks=(4,)),))


@translates("aten.mean.dim")
def _mean(call: AtenCall) -> Result:
    x = call.tensor("self", ranks=(4,))
    dims = call.arguments["dim"]
    if dims is None or {dim % 4 for dim in dims} != {2, 3}:
        raise call.unsupported(f"a mean over the dimensions {dims}; only height and width together")
    return Emit(ir.AdaptiveAvgPool2d((1, 1)), (x,), shape=(*x.shape[:2], 1, 1))
