"""Pools, means and maxima over pictures, padding and resizing."""

from __future__ import annotations

import math

import numpy as np

from wbcq.graph import ir
from wbcq.graph.translations.call import (
    AtenCall,
    Emit,
    Result,
    Several,
    Tensor,
    format_shape,
    symmetric_pads,
    translates,
)
from wbcq.graph.translations.functions import affine
from wbcq.graph.translations.groups import channel_groups


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


@translates("aten.adaptive_max_pool2d.default")
def _adaptive_max_pool2d(call: AtenCall) -> Result:
    x = call.tensor("self", ranks=(4,))
    size, out = _size(x), call.pair("output_size")
    op: ir.Op = ir.AdaptiveMaxPool2d(out)
    if size[0] % out[0] == 0 and size[1] % out[1] == 0:
        window = (size[0] // out[0], size[1] // out[1])
        op = ir.MaxPool2d(window, window)
    return Several((Emit(op, (x,), shape=(*x.shape[:2], *out)), None))


def _size(x: Tensor) -> tuple[int, int]:
    return (x.shape[2] or 1, x.shape[3] or 1)


def _reduced(call: AtenCall) -> tuple[Tensor, tuple[int, ...]]:
    """The picture and the dimensions, of N, C, H, W, that a reduction is over."""
    x = call.tensor("self", ranks=None)
    rank, dims = len(x.shape), call.arguments["dim"]
    dims = [dims] if isinstance(dims, int) else (dims or range(rank))
    axes = tuple(sorted(call.axis(dim, rank) for dim in dims))
    base = x.base
    if base is not None and base.arrange is not None:
        picture = call.channels_last("self")
        return (
            (picture, (2, 3)) if axes == tuple(range(1, rank - 1)) else (call.tensor("self"), axes)
        )
    if base is not None and rank == 3 and axes == (2,) and base.shape[:2] == x.shape[:2]:
        return base, (2, 3)
    return call.tensor("self"), axes


def _groups_to_sum(call: AtenCall) -> list[Emit]:
    """The groups of channels, if a reduction is over nothing but a dimension that tells them."""
    x = call.tensor("self", ranks=None)
    dims = call.arguments["dim"]
    dims = [dims] if isinstance(dims, int) else dims
    is_first = dims is not None and [dim % len(x.shape) for dim in dims] == [1]
    return channel_groups(x) if is_first else []


def _mean_over(call: AtenCall) -> tuple[Emit, int]:
    """A mean, and of how many numbers."""
    groups = _groups_to_sum(call)
    if groups:
        total = groups[0]
        for group in groups[1:]:
            total = Emit(ir.Add(), (total, group), shape=group.shape)
        return affine(total, 1.0 / len(groups)), len(groups)
    x, axes = _reduced(call)
    channels = x.shape[1] or 1
    if len(x.shape) == 4 and axes == (2, 3):
        pool = Emit(ir.AdaptiveAvgPool2d((1, 1)), (x,), shape=(None, channels, 1, 1))
        return pool, _size(x)[0] * _size(x)[1]
    if axes == (1,):
        rank = len(x.shape)
        weight = np.full((1, channels, *[1] * (rank - 2)), 1.0 / channels, np.float32)
        op: ir.Op = ir.Conv2d() if rank == 4 else ir.Linear()
        return Emit(op, (x,), {"weight": weight}, shape=(None, 1, *x.shape[2:])), channels
    if len(x.shape) == 4 and axes in ((2,), (3,)):
        kernel = (_size(x)[0], 1) if axes == (2,) else (1, _size(x)[1])
        out = (1, _size(x)[1]) if axes == (2,) else (_size(x)[0], 1)
        return Emit(ir.AvgPool2d(kernel, kernel), (x,), shape=(*x.shape[:2], *out)), max(kernel)
    raise call.unsupported(
        f"over the dimensions {list(axes)} of {format_shape(x.shape)}; only over height, width, "
        "both, or channels"
    )


@translates("aten.mean.dim")
def _mean(call: AtenCall) -> Result:
    return _mean_over(call)[0]


@translates("aten.sum.dim_IntList")
def _sum(call: AtenCall) -> Result:
    mean, count = _mean_over(call)
    if isinstance(mean.op, ir.Unary):  # of groups, whose sum is at hand
        (total,) = mean.inputs
        assert isinstance(total, Emit)
        return total
    return affine(mean, count)


@translates("aten.amax.default")
def _amax(call: AtenCall) -> Result:
    return _max_over(call)


@translates("aten.max.dim")
def _max(call: AtenCall) -> Result:
    return Several((_max_over(call), None))


def _max_over(call: AtenCall) -> Emit:
    x, axes = _reduced(call)
    if len(x.shape) != 4 or not axes or min(axes) < 2:
        raise call.unsupported(f"a maximum over the dimensions {list(axes)}; only of pixels")
    window = tuple(size if axis in axes else 1 for axis, size in zip((2, 3), _size(x), strict=True))
    kernel = (window[0], window[1])
    out = tuple(size // step for size, step in zip(_size(x), kernel, strict=True))
    return Emit(ir.MaxPool2d(kernel, kernel), (x,), shape=(*x.shape[:2], *out))


@translates("aten.pad.default", "aten.constant_pad_nd.default")
def _pad(call: AtenCall) -> Result:
    x = call.tensor("self", ranks=(4,))
    mode, value = call.arguments.get("mode", "constant"), float(call.arguments["value"] or 0)
    if mode != "constant" or value == math.inf:
        raise call.unsupported(
            f"it pads with {value:g} in mode '{mode}'. Remedy: pad with a finite constant, or with "
            "-inf before a max pool"
        )
    pads = [*call.arguments["pad"], 0, 0, 0, 0]
    left, right, top, bottom = pads[:4]
    front, back = pads[4:6]
    if any(pads[6:]) or (value and (min(pads) < 0 or front or back)) or min(front, back) < 0:
        raise call.unsupported(f"the pads {list(call.arguments['pad'])} with {value:g}")
    if front or back:
        return _pad_channels(call, x, front, back)
    if min(pads) < 0:
        return _shifted(x, (top, left, bottom, right))
    return Emit(ir.Pad((top, left, bottom, right), value), (x,))


def _shifted(x: Tensor, pads: ir.Pads) -> Emit:
    """Zeros on some sides and a crop on others: the one tap of each channel that is not zero."""
    top, left, bottom, right = (max(-pad, 0) for pad in pads)
    weight = np.zeros((x.shape[1] or 0, 1, top + bottom + 1, left + right + 1), np.float32)
    weight[:, :, top, left] = 1.0
    added = (max(pads[0], 0), max(pads[1], 0), max(pads[2], 0), max(pads[3], 0))
    return Emit(ir.Conv2d(pads=added, groups=len(weight)), (x,), {"weight": weight})


def _pad_channels(call: AtenCall, x: Tensor, front: int, back: int) -> Result:
    """Channels of zeros: a 1x1 convolution, as no operator makes zeros of nothing."""
    if any(call.arguments["pad"][:4]):
        raise call.unsupported("padding of channels and pixels at once")
    channels = x.shape[1] or 0
    weight = np.eye(front + channels + back, channels, -front, np.float32)
    return Emit(ir.Conv2d(), (x,), {"weight": weight[:, :, None, None]})


@translates("aten.upsample_nearest2d.vec")
def _nearest(call: AtenCall) -> Result:
    return _resize(call, "nearest")


@translates("aten.upsample_bilinear2d.vec")
def _bilinear(call: AtenCall) -> Result:
    return _resize(call, "bilinear", align_corners=bool(call.arguments["align_corners"]))


def _resize(call: AtenCall, mode: str, *, align_corners: bool = False) -> Result:
    x = call.tensor("input", ranks=(4,))
    size, out = _size(x), (call.output_shape[2] or 1, call.output_shape[3] or 1)
    factors = call.arguments["scale_factors"]
    steps = None
    if factors is not None:
        steps = (1.0 / float(factors[0]), 1.0 / float(factors[1]))
        if all(step * o == i for step, o, i in zip(steps, out, size, strict=True)):
            steps = None
    return Emit(
        ir.Resize(out, "nearest" if mode == "nearest" else "bilinear", align_corners, steps), (x,)
    )
