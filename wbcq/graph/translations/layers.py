"""Layers with parameters."""

from __future__ import annotations

from collections.abc import Sequence

from wbcq.graph import ir
from wbcq.graph.translations.call import (
    Array,
    AtenCall,
    Emit,
    Parameter,
    Result,
    as_picture,
    format_shape,
    symmetric_pads,
    translates,
)


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
    """Of each pixel, where there are pixels: a 1x1 convolution."""
    x = call.channels_last("input")
    params: dict[str, Parameter | Array] = {**call.params("weight", "bias")}
    if len(x.shape) == 2:
        return Emit(ir.Linear(), (x,), params)
    weight = call.read(call.parameter("weight"))
    params["weight"] = weight[:, :, None, None]
    shape = (None, len(weight), *x.shape[2:])
    return Emit(ir.Conv2d(), (x,), params, shape, x.arrange)


@translates("aten.batch_norm.default")
def _batch_norm(call: AtenCall) -> Result:
    if call.arguments["training"]:
        raise call.unsupported(
            "it normalizes with the statistics of the batch even in evaluation mode. Remedy: use "
            "track_running_stats=True, and do not pass training=True in forward"
        )
    return _with_running_statistics(call)


def _with_running_statistics(call: AtenCall) -> Result:
    params = call.params("running_mean", "running_var", "weight", "bias")
    x = as_picture(call.tensor("input", ranks=(2, 3, 4)))
    return Emit(ir.BatchNorm(call.arguments["eps"]), (x,), params, x.shape)


@translates("aten.layer_norm.default")
def _layer_norm(call: AtenCall) -> Result:
    x, sizes = call.tensor("input", ranks=None), tuple(call.arguments["normalized_shape"])
    params, eps = call.params("weight", "bias"), call.arguments["eps"]
    if len(sizes) == 1:
        picture = call.channels_last("input")
        return Emit(ir.Normalize(0, eps), (picture,), params, picture.shape, picture.arrange)
    if sizes != x.shape[1:] or len(sizes) != 3:
        raise call.unsupported(f"it normalizes over {list(sizes)} of {format_shape(x.shape)}")
    # Over a whole picture: one group. The engine has one weight for each channel.
    uniform: dict[str, Array] = {}
    for role, parameter in params.items():
        values = call.read(parameter)
        uniform[role] = values[:, 0, 0]
        if (values != values[:, :1, :1]).any():
            raise call.unsupported(f"its {role} differs between the pixels of a channel")
    return Emit(ir.Normalize(1, eps), (call.tensor("input"),), uniform)


@translates("aten.group_norm.default")
def _group_norm(call: AtenCall) -> Result:
    op = ir.Normalize(int(call.arguments["num_groups"]), call.arguments["eps"])
    x = call.picture("input")
    return Emit(op, (x,), call.params("weight", "bias"), x.shape)


@translates("aten.instance_norm.default")
def _instance_norm(call: AtenCall) -> Result:
    x = call.picture("input")
    if not call.arguments["use_input_stats"]:
        return _with_running_statistics(call)
    op = ir.Normalize(x.shape[1] or 0, call.arguments["eps"])
    return Emit(op, (x,), call.params("weight", "bias"), x.shape)
