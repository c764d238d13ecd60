"""Checks that a program can be written, loaded and executed.

The same rules as the C++ reader's (``csrc/format/validate_*.cc``); both are described in
``docs/design/file-format.md``.
"""

from __future__ import annotations

import math
from bisect import bisect_right

from wbcq.engine._checks import (
    MAX_DIM,
    MAX_ELEMENTS,
    check_name,
    check_range,
    check_scale,
    same_qparams,
    shape_text,
    window_count,
)
from wbcq.engine._container import MAX_RECORDS
from wbcq.engine._validate_ops import check_op
from wbcq.engine.program import BATCH, Io, Program, Tensor, op_inputs, op_kind

__all__ = ["validate_program", "window_count"]


def validate_program(program: Program) -> None:
    """Checks every rule of the model file that a program could break.

    Raises:
        ValueError: The message names the record, the field, its value and what it must be.
    """
    if len(program.tensors) > MAX_RECORDS or len(program.ops) > MAX_RECORDS:
        raise ValueError(f"the program has more than {MAX_RECORDS} tensors or operators")
    for index, (name, tensor) in enumerate(program.tensors.items()):
        if name != tensor.name:
            raise ValueError(f"tensor {index} {tensor.name!r} is filed under the name {name!r}")
        _check_tensor(index, tensor)
    for index, tensor in enumerate(program.tensors.values()):
        if tensor.parent is not None or tensor.channel_offset != 0:
            _check_view(f"tensor {index} {tensor.name!r}", tensor, program.tensors)
    seen: set[str] = set()
    for index, op in enumerate(program.ops):
        check_name(f"op {index}", op.name)
        if op.name in seen:
            raise ValueError(f"op {index}: the name {op.name!r} is taken by another op")
        seen.add(op.name)
    _check_order(program)


class _Channels:
    """A set of channels of one tensor, as disjoint ranges that do not touch."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []

    def add(self, start: int, end: int) -> bool:
        """Adds ``start .. end - 1``; False if one of them is there already."""
        i = bisect_right(self.starts, start)
        if (i > 0 and self.ends[i - 1] > start) or (i < len(self.starts) and self.starts[i] < end):
            return False
        first = i - 1 if i > 0 and self.ends[i - 1] == start else i
        last = i + 1 if i < len(self.starts) and self.starts[i] == end else i
        self.starts[first:last] = [self.starts[first] if first < i else start]
        self.ends[first:last] = [self.ends[last - 1] if last > i else end]
        return True

    def holds(self, start: int, end: int) -> bool:
        """True if all of ``start .. end - 1`` are in the set."""
        i = bisect_right(self.starts, start)
        return i > 0 and self.ends[i - 1] >= end


class _Written:
    """Which channels of which memory have a value."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.channels = {tensor.root: _Channels() for tensor in tensors.values()}

    def add(self, tensor: Tensor) -> bool:
        start = tensor.channel_offset
        return self.channels[tensor.root].add(start, start + tensor.channels)

    def __contains__(self, tensor: Tensor) -> bool:
        start = tensor.channel_offset
        return self.channels[tensor.root].holds(start, start + tensor.channels)


def _check_order(program: Program) -> None:
    """Follows the operators in their order."""
    if not program.inputs:
        raise ValueError("the model has no input")
    if not program.outputs:
        raise ValueError("the model has no output")
    tensors = program.tensors
    written = _Written(tensors)
    inputs: set[str] = set()
    for index, io in enumerate(program.inputs):
        label = f"io {index} (input)"
        _check_io(label, io, program)
        if tensors[io.tensor].parent is not None:
            raise ValueError(f"{label}: tensor {io.tensor!r} is a view, must have its own memory")
        if io.tensor in inputs:
            raise ValueError(f"tensor {io.tensor!r} is an input twice")
        inputs.add(io.tensor)
        written.add(tensors[io.tensor])
    for index, op in enumerate(program.ops):
        label = f"op {index} {op.name!r} ({op_kind(op)})"
        for name in (*op_inputs(op), op.y):
            if name not in tensors:
                raise ValueError(f"{label}: tensor {name!r} does not exist")
        for name in op_inputs(op):
            if tensors[name] not in written:
                raise ValueError(f"{label}: reads tensor {name!r} before it is written")
        check_op(label, op, tensors)
        if not written.add(tensors[op.y]):
            is_input = tensors[op.y].root in inputs
            what = "which is an input" if is_input else "which is written twice"
            raise ValueError(f"{label}: writes tensor {op.y!r}, {what}")
    for name, tensor in tensors.items():
        if tensor not in written:
            raise ValueError(f"tensor {name!r} is never written")
    _check_outputs(program, inputs)


def _check_outputs(program: Program, inputs: set[str]) -> None:
    seen: set[str] = set()
    for index, io in enumerate(program.outputs):
        _check_io(f"io {len(program.inputs) + index} (output)", io, program)
        if io.tensor in seen:
            raise ValueError(f"tensor {io.tensor!r} is an output twice")
        if program.tensors[io.tensor].root in inputs:
            raise ValueError(f"tensor {io.tensor!r} is both an input and an output")
        seen.add(io.tensor)


def _check_tensor(index: int, tensor: Tensor) -> None:
    check_name(f"tensor {index}", tensor.name)
    label = f"tensor {index} {tensor.name!r}"
    for field in ("height", "width", "channels"):
        check_range(label, field, getattr(tensor, field), 1, MAX_DIM)
    if tensor.height * tensor.width * tensor.channels > MAX_ELEMENTS:
        raise ValueError(f"{label}: more than {MAX_ELEMENTS} elements a picture")
    if tensor.dtype == "u8":
        check_scale(label, "scale", tensor.scale)
        check_range(label, "zero_point", tensor.zero_point, 0, 255)
    elif tensor.dtype == "f32":
        if tensor.scale != 0 or tensor.zero_point != 0:
            raise ValueError(f"{label}: scale and zero_point of an f32 tensor must be 0")
    else:
        raise ValueError(f"{label}: dtype is {tensor.dtype!r}, must be 'f32' or 'u8'")


def _check_view(label: str, tensor: Tensor, tensors: dict[str, Tensor]) -> None:
    if tensor.parent is None:
        raise ValueError(
            f"{label}: channel_offset is {tensor.channel_offset}, must be 0 without a parent"
        )
    parent = tensors.get(tensor.parent)
    if parent is None:
        raise ValueError(f"{label}: its parent {tensor.parent!r} does not exist")
    if parent.parent is not None:
        raise ValueError(f"{label}: its parent {tensor.parent!r} is a view itself")
    if (tensor.dtype, tensor.height, tensor.width) != (parent.dtype, parent.height, parent.width):
        raise ValueError(
            f"{label}: {tensor.dtype} {shape_text(tensor)} must have dtype, height and width of "
            f"its parent, {parent.dtype} {shape_text(parent)}"
        )
    if not same_qparams(tensor, parent):
        raise ValueError(f"{label}: a view and its parent must share scale and zero point")
    check_range(label, "channel_offset", tensor.channel_offset, 0, parent.channels - 1)
    if tensor.channel_offset + tensor.channels > parent.channels:
        raise ValueError(
            f"{label}: {tensor.channels} channels at offset {tensor.channel_offset} leave its "
            f"parent's {parent.channels}"
        )


def _check_io(label: str, io: Io, program: Program) -> None:
    tensor = program.tensors.get(io.tensor)
    if tensor is None:
        raise ValueError(f"{label}: tensor {io.tensor!r} does not exist")
    if tensor.dtype != "f32":
        raise ValueError(f"{label}: tensor {io.tensor!r} is {tensor.dtype}, must be f32")
    check_range(label, "rank", len(io.shape), 2, 4)
    if io.shape[0] != BATCH:
        raise ValueError(f"{label}: dims[0] is {io.shape[0]}, must be {BATCH} (the batch)")
    picture = (tensor.channels, tensor.height, tensor.width)
    same = (
        tuple(io.shape[1:]) == picture
        if len(io.shape) == 4
        else min(io.shape[1:]) > 0 and math.prod(io.shape[1:]) == math.prod(picture)
    )
    if not same:
        dims = ", ".join(str(dim) for dim in io.shape[1:])
        raise ValueError(
            f"{label}: the shape N, {dims} is not that of tensor {io.tensor!r} "
            f"(N, C, H, W = N, {picture[0]}, {picture[1]}, {picture[2]})"
        )
