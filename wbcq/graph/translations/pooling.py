"""Pools, means and maxima over pictures, padding and resizing."""

from __future__ import annotations

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


def _mean_over(call: AtenCall) -> tuple[Emit, int]:
    """A mean, and of how many numbers."""
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
    mode, value = call.arguments.get("mode", "constant"), call.arguments["value"]
    if mode != "constant" or value not in (None, 0):
        raise call.unsupported(f"only padding with zeros is supported, not {mode} with {value}")
    pads = [*call.arguments["pad"], 0, 0, 0, 0]
    left, right, top, bottom = pads[:4]
    front, back = pads[4:6]
    if min(pads) < 0 or any(pads[6:]):
        raise call.unsupported(f"the pads {list(call.arguments['pad'])}")
    if front or back:
        return _pad_channels(call, x, front, back)
    return Emit(ir.Pad((top, left, bottom, right)), (x,))


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
