"""Operators that choose, order or combine channels."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from wbcq.graph import ir
from wbcq.graph.layouts import Layout
from wbcq.graph.translations.call import (
    AtenCall,
    Deferred,
    Emit,
    Result,
    Same,
    Several,
    Tensor,
    View,
    translates,
)


def _tensors(call: AtenCall) -> list[Tensor]:
    arguments = call.arguments["tensors"]
    for argument in arguments:
        if isinstance(argument, Deferred):
            raise argument.error
        if not isinstance(argument, Tensor):
            raise call.unsupported("one of its tensors does not depend on the model's inputs")
    return list(arguments)


@translates("aten.cat.default")
def _cat(call: AtenCall) -> Result:
    tensors = _tensors(call)
    rank = len(tensors[0].shape)
    if rank not in (2, 4):
        raise call.unsupported(f"a concatenation of {rank}-D tensors; only 2-D and 4-D")
    if call.axis(call.arguments["dim"], rank) != 1:
        raise call.unsupported("a concatenation of rows or columns; only of channels (dim=1)")
    return Emit(ir.Concat(), tuple(tensors))


@translates("aten.stack.default")
def _stack(call: AtenCall) -> Result:
    tensors = _tensors(call)
    shape = tensors[0].shape
    if len(shape) not in (2, 4) or call.axis(call.arguments["dim"], len(shape) + 1) != 1:
        raise call.unsupported("only pictures or rows of channels are stacked, in front (dim=1)")
    channels = len(tensors) * (shape[1] or 0)
    return Emit(ir.Concat(), tuple(tensors), shape=(None, channels, *shape[2:]))


def _along(axis: int, index: slice | int) -> Callable[[Layout], Layout]:
    """Indexes one dimension of a layout."""
    whole: list[slice | int] = [slice(None)] * axis
    position = (*whole, index)
    return lambda layout: layout[position]


def _bounds(call: AtenCall, sizes: Sequence[int]) -> Result:
    axis = call.axis(call.arguments["dim"], len(call.tensor("self", ranks=None).shape)) - 1
    ends = itertools.accumulate(sizes)
    return Several(
        tuple(
            View("self", _along(axis, slice(end - size, end)))
            for size, end in zip(sizes, ends, strict=True)
        )
    )


def _pieces(call: AtenCall, size: int) -> Result:
    shape = call.tensor("self", ranks=None).shape
    total = shape[call.axis(call.arguments["dim"], len(shape))] or 0
    return _bounds(call, [min(size, total - start) for start in range(0, total, size)])


@translates("aten.chunk.default")
def _chunk(call: AtenCall) -> Result:
    shape = call.tensor("self", ranks=None).shape
    total = shape[call.axis(call.arguments["dim"], len(shape))] or 0
    return _pieces(call, -(-total // int(call.arguments["chunks"])))


@translates("aten.tensor_split.sections")
def _tensor_split(call: AtenCall) -> Result:
    shape = call.tensor("self", ranks=None).shape
    total = shape[call.axis(call.arguments["dim"], len(shape))] or 0
    size, larger = divmod(total, int(call.arguments["sections"]))
    return _bounds(call, [size + (i < larger) for i in range(int(call.arguments["sections"]))])


@translates("aten.split.Tensor")
def _split(call: AtenCall) -> Result:
    return _pieces(call, int(call.arguments["split_size"]))


@translates("aten.split_with_sizes.default", "aten.split.sizes")
def _split_with_sizes(call: AtenCall) -> Result:
    name = "split_sizes" if "split_sizes" in call.arguments else "split_size"
    return _bounds(call, [int(size) for size in call.arguments[name]])


@translates("aten.unbind.int")
def _unbind(call: AtenCall) -> Result:
    shape = call.tensor("self", ranks=None).shape
    axis = call.axis(call.arguments["dim"], len(shape))
    return Several(
        tuple(View("self", _along(axis - 1, index)) for index in range(shape[axis] or 0))
    )


@translates("aten.slice.Tensor")
def _slice(call: AtenCall) -> Result:
    shape = call.tensor("self", ranks=None).shape
    start, end, step = (call.arguments[name] for name in ("start", "end", "step"))
    if call.arguments["dim"] % len(shape) == 0:
        if start in (None, 0) and (end is None or end == 2**63 - 1) and step == 1:
            return Same("self")
        raise call.unsupported("it chooses pictures of a batch, but all must be treated alike")
    return View("self", _along(call.arguments["dim"] % len(shape) - 1, slice(start, end, step)))


@translates("aten.narrow.default")
def _narrow(call: AtenCall) -> Result:
    axis = call.axis(call.arguments["dim"], len(call.tensor("self", ranks=None).shape)) - 1
    start = int(call.arguments["start"])
    return View("self", _along(axis, slice(start, start + int(call.arguments["length"]))))


@translates("aten.select.int")
def _select(call: AtenCall) -> Result:
    axis = call.axis(call.arguments["dim"], len(call.tensor("self", ranks=None).shape)) - 1
    return View("self", _along(axis, int(call.arguments["index"])))


@translates("aten.index_select.default")
def _index_select(call: AtenCall) -> Result:
    x = call.tensor("self")
    if call.axis(call.arguments["dim"], len(x.shape)) != 1:
        raise call.unsupported("only channels (dim=1) can be selected by index")
    indices = call.read(call.parameter("index"))
    return Emit(ir.Gather(tuple(int(index) % (x.shape[1] or 1) for index in indices)), (x,))


@translates("aten.flip.default")
def _flip(call: AtenCall) -> Result:
    rank = len(call.tensor("self", ranks=None).shape)
    axes = tuple(call.axis(dim, rank) - 1 for dim in call.arguments["dims"])
    return View("self", lambda layout: np.flip(layout, axes))


@translates("aten.roll.default")
def _roll(call: AtenCall) -> Result:
    x, dims = call.tensor("self"), call.arguments["dims"]
    if len(dims) != 1 or call.axis(dims[0], len(x.shape)) != 1:
        raise call.unsupported("only channels (dim=1) can be rolled")
    order = np.roll(np.arange(x.shape[1] or 0), int(call.arguments["shifts"][0]))
    return Emit(ir.Gather(tuple(int(channel) for channel in order)), (x,))


@translates("aten.repeat.default")
def _repeat(call: AtenCall) -> Result:
    x = call.tensor("self")
    repeats = call.arguments["repeats"]
    if len(repeats) != len(x.shape) or any(
        count != 1 for axis, count in enumerate(repeats) if axis != 1
    ):
        raise call.unsupported("only channels (dim=1) can be repeated")
    return Emit(ir.Gather(tuple(range(x.shape[1] or 0)) * int(repeats[1])), (x,))


@translates("aten.channel_shuffle.default", "aten.native_channel_shuffle.default")
def _channel_shuffle(call: AtenCall) -> Result:
    return Emit(ir.ChannelShuffle(int(call.arguments["groups"])), (call.tensor("self"),))
