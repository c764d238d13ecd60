"""Layers with parameters."""

from __future__ import annotations

from collections.abc import Sequence

from wbcq.graph import ir
from wbcq.graph.translations.call import AtenCall, Emit, Result, symmetric_pads, translates


def _same_pads(call: AtenCall, kernel: Sequence[int]) -> ir.Pads:
    """padding="same": where the total is odd, the larger half is at the bottom or right."""
    dilation = call.pair("dilation")
    total = [dilation[axis] * (kernel[axis] - 1) for axis in range(2)]
    top, left = total[0] // 2, total[1] // 2
    return (top, left, total[0] - top, total[1] - left)


@translates("aten.conv2d.default", "aten.conv2d.padding")
def _conv2d(call: AtenCall) -> Result:
    x = call.tensor("input", ranks=(4,))
    weight = call.parameter("weight")
    padding = call.arguments["padding"]
    if padding == "same":
        pads = _same_pads(call, weight.shape[2:])
    elif padding == "valid":
        pads = (0, 0, 0, 0)
    else:
        pads = symmetric_pads(call.pair("padding"))
    op = ir.Conv2d(call.pair("stride"), pads, call.pair("dilation"), call.arguments["groups"])
    return Emit(op, (x,), call.params("weight", "bias"))


@translates("aten.linear.default")
def _linear(call: AtenCall) -> Result:
    return Emit(ir.Linear(), (call.tensor("input", ranks=(2,)),), call.params("weight", "bias"))


@translates("aten.batch_norm.default")
def _batch_norm(call: AtenCall) -> Result:
    if call.arguments["training"]:
        raise call.unsupported(
            "it normalizes with the statistics of the batch even in evaluation mode. Remedy: use "
            "track_running_stats=True, and do not pass training=True in forward"
        )
    params = call.params("running_mean", "running_var", "weight", "bias")
    return Emit(ir.BatchNorm(call.arguments["eps"]), (call.tensor("input"),), params)
