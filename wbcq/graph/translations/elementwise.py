"""Arithmetic on two tensors, or on a tensor and constants."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from wbcq.graph import ir
from wbcq.graph.translations.call import (
    Array,
    AtenCall,
    Deferred,
    Emit,
    Parameter,
    Result,
    Same,
    Shape,
    Tensor,
    as_picture,
    format_shape,
    translates,
)
from wbcq.graph.translations.functions import affine, clamp, unary

Operand: TypeAlias = "Tensor | Emit | Array | float"


@translates("aten.add.Tensor", "aten.add.Scalar")
def _add(call: AtenCall) -> Result:
    pair = _grouped_pair(call) if call.arguments["alpha"] == 1 else None
    if pair is not None:
        return Emit(ir.Add(), pair, shape=pair[0].shape)
    other = _operand(call, "other")
    if isinstance(other, float) and other == 0:
        return Same("self")
    return _sum(call, _operand(call, "self"), _scaled(other, call.arguments["alpha"]))


@translates("aten.sub.Tensor", "aten.sub.Scalar")
def _sub(call: AtenCall) -> Result:
    a, b = _operand(call, "self"), _operand(call, "other")
    return _difference(call, a, _scaled(b, call.arguments["alpha"]))


@translates("aten.rsub.Tensor", "aten.rsub.Scalar")
def _rsub(call: AtenCall) -> Result:
    a, b = _operand(call, "self"), _operand(call, "other")
    return _difference(call, b, _scaled(a, call.arguments["alpha"]))


@translates("aten.mul.Tensor", "aten.mul.Scalar")
def _mul(call: AtenCall) -> Result:
    pair = _grouped_pair(call)
    if pair is not None:
        return Emit(ir.Mul(), pair, shape=pair[0].shape)
    a, b = _operand(call, "self"), _operand(call, "other")
    name = "self"
    if not isinstance(a, (Tensor, Emit)):
        a, b, name = b, a, "other"
    if isinstance(b, float) and b == 1:
        return Same(name)
    if isinstance(b, float):
        return affine(_tensor(call, a), b)
    if isinstance(b, np.ndarray):
        return _channel_affine(call, _tensor(call, a), b, np.zeros_like(b))
    x, y, _ = _pair(call, _tensor(call, a), _tensor(call, b))
    return Emit(ir.Mul(), (x, y), shape=x.shape, arrange=x.arrange)


@translates("aten.div.Tensor", "aten.div.Scalar")
def _div(call: AtenCall) -> Result:
    a, b = _operand(call, "self"), _operand(call, "other")
    if isinstance(b, float):
        return Same("self") if b == 1 else affine(_tensor(call, a), 1.0 / b)
    if isinstance(b, np.ndarray):
        return _channel_affine(call, _tensor(call, a), 1.0 / b, np.zeros_like(b))
    inverse = unary(_tensor(call, b), ir.Function("reciprocal"))
    if isinstance(a, float):
        return inverse if a == 1 else affine(inverse, a)
    if isinstance(a, np.ndarray):
        return _channel_affine(call, inverse, a, np.zeros_like(a))
    x, y, swapped = _pair(call, _tensor(call, a), _tensor(call, b))
    if swapped:
        x = unary(x, ir.Function("reciprocal"))
        return Emit(ir.Mul(), (x, y), shape=x.shape, arrange=x.arrange)
    return Emit(ir.Div(), (x, y), shape=x.shape, arrange=x.arrange)


@translates("aten.maximum.default")
def _maximum(call: AtenCall) -> Result:
    """The sum b + relu(a - b)."""
    a, b = call.tensor("self"), call.tensor("other")
    if a.shape != b.shape:
        raise _broadcast_error(call, a.shape, b.shape)
    difference = Emit(ir.Sub(), (a, b), shape=a.shape)
    return Emit(ir.Add(), (clamp(difference, 0.0, None), b))


@translates("aten.minimum.default")
def _minimum(call: AtenCall) -> Result:
    """The difference a - relu(a - b)."""
    a, b = call.tensor("self"), call.tensor("other")
    if a.shape != b.shape:
        raise _broadcast_error(call, a.shape, b.shape)
    difference = Emit(ir.Sub(), (a, b), shape=a.shape)
    return Emit(ir.Sub(), (a, clamp(difference, 0.0, None)))


def _grouped_pair(call: AtenCall) -> tuple[Tensor, Tensor | Emit] | None:
    """Pictures in which channels fill several dimensions, and as much or one pixel of each channel.

    Returns:
        The two as N, K, H, W, and N, K, H, W or N, K, 1, 1; None if they are something else.
    """
    x, y = call.arguments["self"], call.arguments["other"]
    if not isinstance(x, Tensor) or not isinstance(y, Tensor) or len(x.shape) < 5:
        return None
    if x.shape != call.output_shape:
        x, y = y, x
    if x.base is None or y.base is None or x.shape != call.output_shape:
        return None
    if x.shape[:-2] != y.shape[:-2] or x.shape[-2:] != x.base.shape[2:]:
        return None
    pixel = (None, x.base.shape[1], 1, 1)
    if y.shape[-2:] == (1, 1) and y.base.shape in (pixel, pixel[:2]):
        if y.base.shape == pixel:
            return x.base, y.base
        return x.base, Emit(ir.Reshape((pixel[1] or 0, 1, 1)), (y.base,), shape=pixel)
    return (x.base, y.base) if x.base.shape == y.base.shape else None


def _operand(call: AtenCall, name: str) -> Operand:
    argument = call.arguments[name]
    if isinstance(argument, Parameter):
        array = np.asarray(call.read(argument), np.float32)
        if array.size == 1:
            return float(array.reshape(()))
        bases = _permuted(call)
        if bases:
            return _in_memory_order(call, array, bases[0])
        return np.expand_dims(array, -2) if len(call.output_shape) == 3 else array
    if isinstance(argument, (bool, int, float)):
        return float(argument)
    if isinstance(argument, Deferred):
        raise argument.error
    tensor = call.tensor(name, ranks=None)
    if tensor.base is not None and not any(
        isinstance(call.arguments[other], (Tensor, Parameter))
        for other in ("self", "other")
        if other != name
    ):
        return tensor.base
    if tensor.base is not None and _permuted(call):
        return tensor.base
    if _differ_with_channels_last(call):
        return call.channels_last(name)
    if tensor.expanded_from is not None:
        return tensor.expanded_from
    return as_picture(call.tensor(name, ranks=(2, 3, 4)))


def _permuted(call: AtenCall) -> list[Tensor]:
    """The memory of all operands, if they have their dimensions in one other order than it."""
    arguments = [call.arguments.get(name) for name in ("self", "other")]
    tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
    bases = [x.base for x in tensors if x.base is not None and x.base.arrange is not None]
    if not bases or len(bases) < len(tensors):
        return []
    shapes = {(base.shape, x.shape) for base, x in zip(bases, tensors, strict=True)}
    strides = {x.handle.layout.strides for x in tensors}
    return bases if len(shapes) == len(strides) == 1 else []


def _differ_with_channels_last(call: AtenCall) -> bool:
    """True if two tensors need broadcasting, and one has its channels last."""
    operands = [call.arguments.get(name) for name in ("self", "other")]
    tensors = [x for x in operands if isinstance(x, Tensor) and len(x.shape) == 4]
    if len(tensors) < 2 or tensors[0].shape == tensors[1].shape:
        return False
    return any(
        x.base is not None and x.base.arrange is not None and x.base.shape[1] == x.shape[-1]
        for x in tensors
    )


def _in_memory_order(call: AtenCall, constant: Array, base: Tensor) -> Array:
    """A constant, broadcast over a permuted tensor, as one that is over its memory."""
    assert base.arrange is not None
    values = np.empty([size or 0 for size in base.shape[1:]], np.float32)
    arranged: Any = base.arrange(values)  # type: ignore[arg-type]
    if constant.ndim > arranged.ndim:
        constant = constant[0]
    try:
        arranged[...] = constant
    except ValueError:
        raise _broadcast_error(call, call.output_shape, constant.shape) from None
    pixel = values.reshape(len(values), -1)[:, :1].reshape(-1, *[1] * (values.ndim - 1))
    return pixel if (values == pixel).all() else values


def _tensor(call: AtenCall, operand: Operand) -> Tensor | Emit:
    if isinstance(operand, (Tensor, Emit)):
        return operand
    raise call.unsupported("it computes with constants alone")


def _scaled(operand: Operand, alpha: float) -> Operand:
    if alpha == 1:
        return operand
    if isinstance(operand, (Tensor, Emit)):
        return affine(operand, alpha)
    return operand * alpha


def _sum(call: AtenCall, a: Operand, b: Operand) -> Result:
    if not isinstance(a, (Tensor, Emit)):
        a, b = b, a
    if isinstance(b, float):
        return affine(_tensor(call, a), 1.0, b)
    if isinstance(b, np.ndarray):
        return _channel_affine(call, _tensor(call, a), np.ones_like(b), b)
    x, y, _ = _pair(call, _tensor(call, a), _tensor(call, b))
    return Emit(ir.Add(), (x, y), shape=x.shape, arrange=x.arrange)


def _difference(call: AtenCall, a: Operand, b: Operand) -> Result:
    if not isinstance(b, (Tensor, Emit)):
        return _sum(call, a, -b)
    if isinstance(a, float):
        return affine(b, -1.0, a)
    if isinstance(a, np.ndarray):
        return _channel_affine(call, b, -np.ones_like(a), a)
    x, y, swapped = _pair(call, a, b)
    difference = Emit(ir.Sub(), (x, y), shape=x.shape, arrange=x.arrange)
    return affine(difference, -1.0) if swapped else difference


def _channel_affine(call: AtenCall, x: Tensor | Emit, weight: Array, bias: Array) -> Result:
    """Constants must be one for each channel."""
    channels, rank = _shape(x)[1], len(_shape(x))
    sizes = (*[1] * (rank - weight.ndim), *weight.shape)
    if sizes != (1, channels, *[1] * (rank - 2)):
        constant = "[" + ", ".join(map(str, weight.shape)) + "]"
        raise call.unsupported(
            f"a constant of shape {constant} with values of shape {format_shape(_shape(x))}; only "
            f"scalars and one number for each channel are supported"
        )
    params = {"weight": weight.reshape(-1), "bias": bias.reshape(-1)}
    return Emit(ir.ChannelAffine(), (x,), params, shape=x.shape, arrange=x.arrange)


def _pair(
    call: AtenCall, a: Tensor | Emit, b: Tensor | Emit
) -> tuple[Tensor | Emit, Tensor | Emit, bool]:
    """Operands of which the second may be one pixel; and whether they changed places."""
    output = call.output_shape
    if len(output) == 3:
        output = (*output[:2], 1, output[2])
    if a.arrange is not None and b.arrange is not None:
        if a.shape == b.shape:
            return a, b, False
        # In pictures, whose channels are the last dimension of the call's.
        output = (None, output[-1], *output[1:-1])
    if a.shape == b.shape:
        # Both may have been expanded from one pixel: the result is then a larger one.
        if a.shape != output and len(output) == 4:
            a = Emit(ir.Resize((output[2] or 1, output[3] or 1)), (a,), shape=output)
        return a, b, False
    if len(_shape(a)) == len(_shape(b)) == len(output):
        a, b = _all_channels(a, output[1] or 1), _all_channels(b, output[1] or 1)
        pixel = (*output[:2], *[1] * (len(output) - 2))
        for x, y, swapped in ((a, b, False), (b, a, True)):
            if x.shape == output and y.shape in (pixel, output):
                return x, y, swapped
    raise _broadcast_error(call, _shape(a), _shape(b))


def _shape(x: Tensor | Emit) -> Shape:
    assert x.shape is not None
    return x.shape


def _all_channels(x: Tensor | Emit, channels: int) -> Tensor | Emit:
    shape = _shape(x)
    if shape[1] != 1 or channels == 1:
        return x
    return Emit(ir.Gather((0,) * channels), (x,), shape=(None, channels, *shape[2:]))


def _broadcast_error(call: AtenCall, a: Shape, b: Shape) -> Exception:
    return call.unsupported(
        f"values of the shapes {format_shape(a)} and {format_shape(b)} need broadcasting; only one "
        "pixel N, C, 1, 1 and one channel N, 1, H, W can be combined with N, C, H, W"
    )
