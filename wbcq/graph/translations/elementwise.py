"""Operators that work on each number, or each pair of numbers, by itself."""

from __future__ import annotations

import math

from wbcq.graph import ir
from wbcq.graph.translations.call import AtenCall, Emit, Result, Same, format_shape, translates


def _clamp(call: AtenCall, low: float | None, high: float | None) -> Result:
    activation = ir.Activation(
        -math.inf if low is None else float(low), math.inf if high is None else float(high)
    )
    return Emit(ir.Clamp(activation), (call.tensor("self"),))


@translates("aten.relu.default")
def _relu(call: AtenCall) -> Result:
    return _clamp(call, 0.0, None)


@translates("aten.relu6.default")
def _relu6(call: AtenCall) -> Result:
    return _clamp(call, 0.0, 6.0)


@translates("aten.hardtanh.default")
def _hardtanh(call: AtenCall) -> Result:
    return _clamp(call, call.arguments["min_val"], call.arguments["max_val"])


@translates("aten.clamp.default")
def _clamp_both(call: AtenCall) -> Result:
    return _clamp(call, call.arguments["min"], call.arguments["max"])


@translates("aten.clamp_min.default")
def _clamp_min(call: AtenCall) -> Result:
    return _clamp(call, call.arguments["min"], None)


@translates("aten.clamp_max.default")
def _clamp_max(call: AtenCall) -> Result:
    return _clamp(call, None, call.arguments["max"])


@translates("aten.add.Tensor")
def _add(call: AtenCall) -> Result:
    other, alpha = call.arguments["other"], call.arguments["alpha"]
    if isinstance(other, (int, float)) and other == 0:
        return Same("self")
    a, b = call.tensor("self"), call.tensor("other")
    if alpha != 1:
        raise call.unsupported(f"a sum with alpha={alpha} is not supported, only a + b")
    if a.shape != b.shape:
        raise call.unsupported(
            f"a sum of the shapes {format_shape(a.shape)} and {format_shape(b.shape)} needs "
            "broadcasting, which is not supported"
        )
    return Emit(ir.Add(), (a, b))
