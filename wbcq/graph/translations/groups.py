"""Groups of channels that a view makes a dimension of their own, and attention over them."""

from __future__ import annotations

import math

from wbcq.graph import ir
from wbcq.graph.functions import Function
from wbcq.graph.translations.call import (
    AtenCall,
    Emit,
    Result,
    Tensor,
    format_shape,
    translates,
)
from wbcq.graph.translations.functions import unary

__all__ = ["channel_groups"]


def channel_groups(x: Tensor) -> list[Emit]:
    """The parts along the first dimension of a view N, P, ... of N, K, H, W, as slices.

    Returns:
        P nodes N, K / P, H, W; empty if ``x`` is no such view or a part is not whole channels.
    """
    if x.base is None:
        return []
    parts, channels, *picture = (size or 0 for size in (x.shape[1], *x.base.shape[1:]))
    if not parts or channels % parts:
        return []
    size = channels // parts
    shape = (None, size, *picture)
    return [
        Emit(ir.Slice(start, start + size), (x.base,), shape=shape)
        for start in range(0, channels, size)
    ]


@translates("aten.softmax.int")
def _softmax(call: AtenCall) -> Result:
    x = call.tensor("self", ranks=None)
    axis = call.axis(call.arguments["dim"], len(x.shape))
    if axis == 1 and x.base is not None:
        return _over_groups(call, x)
    if axis == len(x.shape) - 1 and x.base is not None and x.shape[1:-1] == (1,):
        return _over_pixels(call, x.base)
    return _over_channels(call)


@translates("aten.log_softmax.int")
def _log_softmax(call: AtenCall) -> Result:
    return unary(_over_channels(call), Function("log"))


def _over_channels(call: AtenCall) -> Emit:
    x = call.tensor("self")
    if call.axis(call.arguments["dim"], len(x.shape)) != 1:
        raise call.unsupported("a softmax over rows or columns; only over channels (dim=1)")
    return Emit(ir.Softmax(), (x,), shape=x.shape)


def _over_groups(call: AtenCall, x: Tensor) -> Emit:
    """Of two numbers, the sigmoid of their difference."""
    groups = channel_groups(x)
    if len(groups) != 2:
        raise call.unsupported(
            f"a softmax over the first dimension of {format_shape(x.shape)}; only over two groups "
            "of whole channels"
        )
    a, b = groups
    shares = [
        unary(Emit(ir.Sub(), pair, shape=a.shape), Function("sigmoid")) for pair in ((a, b), (b, a))
    ]
    assert x.base is not None
    return Emit(ir.Concat(), tuple(shares), shape=x.base.shape)


def _over_pixels(call: AtenCall, x: Tensor) -> Emit:
    """exp(x) over its sum: a mean and two tables."""
    if len(x.shape) != 4 or x.shape[1] != 1:
        raise call.unsupported("a softmax over the pixels of several channels; only of one")
    powers = unary(x, Function("exp"))
    mean = Emit(ir.AdaptiveAvgPool2d((1, 1)), (powers,), shape=(None, 1, 1, 1))
    inverse = unary(mean, Function("affine", (float(_pixels(x)), 0.0)), Function("reciprocal"))
    return Emit(ir.Mul(), (powers, inverse), shape=x.shape)


def _pixels(x: Tensor) -> int:
    return math.prod(size or 0 for size in x.shape[2:])


@translates("aten.matmul.default")
def _matmul(call: AtenCall) -> Result:
    """Pixels weighted and summed: [N, 1, C, HW] times [N, 1, HW, 1]."""
    a, b = call.tensor("self", ranks=None), call.tensor("other", ranks=None)
    x, weight = a.base, b.base
    if (
        x is None
        or weight is None
        or len(x.shape) != 4
        or weight.shape != (None, 1, *x.shape[2:])
        or a.shape not in ((None, 1, x.shape[1], _pixels(x)), (None, x.shape[1], _pixels(x)))
        or b.shape != (*a.shape[:-2], _pixels(x), 1)
    ):
        raise call.unsupported(
            f"a product of {format_shape(a.shape)} and {format_shape(b.shape)}, which both depend "
            "on the model's inputs; only a sum of all pixels with one weight for each pixel"
        )
    channels = x.shape[1] or 0
    spread = Emit(ir.Gather((0,) * channels), (weight,), shape=x.shape)
    product = Emit(ir.Mul(), (x, spread), shape=x.shape)
    pooled = Emit(ir.AdaptiveAvgPool2d((1, 1)), (product,), shape=(None, channels, 1, 1))
    return unary(pooled, Function("affine", (float(_pixels(x)), 0.0)))
