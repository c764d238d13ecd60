"""Writes and reads model files (``docs/design/file-format.md``). Needs numpy alone."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.engine import _layout as layout
from wbcq.engine._container import metadata_bytes, pack
from wbcq.engine._program_reader import decode_program
from wbcq.engine._sparse_blob import choose_block, encode_sparse
from wbcq.engine.operators import (
    ADAPTIVE,
    BINARY_FUNCTIONS,
    MAX_DIGITS,
    RESIZE_MODES,
    UNARY_FUNCTIONS,
)
from wbcq.engine.program import (
    BATCH,
    Add,
    AvgPool2d,
    Binary,
    Conv2d,
    Dequantize,
    Io,
    Lookup,
    MaxPool2d,
    Mul,
    Normalize,
    Op,
    Pad,
    Program,
    Quantize,
    Rearrange,
    Resize,
    Softmax,
    Tensor,
    Unary,
    op_inputs,
    op_is_float,
    op_kind,
)
from wbcq.engine.validate import validate_program
from wbcq.errors import ModelFileError

__all__ = ["program_bytes", "read_program", "write_model_bytes", "write_program"]

StrPath: TypeAlias = str | os.PathLike[str]


def write_program(program: Program, path: StrPath) -> None:
    """Writes a model file, all of it or nothing.

    Args:
        program: Checked by :func:`~wbcq.engine.validate.validate_program`.
        path: Replaced if it exists; its directory must exist.

    Raises:
        ValueError: The program breaks a rule of the format.
        OSError: The file cannot be written; names ``path``.
    """
    write_model_bytes(program_bytes(program), path)


def write_model_bytes(data: bytes, path: StrPath) -> None:
    """Writes the contents of a model file, all of them or nothing.

    The bytes go to a temporary file beside ``path``, which then takes its place: a reader sees the
    old file or the new one, and a file that an engine has mapped stays as it was.

    Args:
        data: From :func:`program_bytes`; written as they are.
        path: Replaced if it exists; its directory must exist.

    Raises:
        OSError: The file cannot be written; names ``path``.
    """
    target = os.path.realpath(path)
    temporary = os.path.join(os.path.dirname(target), f".wbcq-{secrets.token_hex(8)}.tmp")
    try:
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        message = f"cannot write the model file: {error.strerror}"
        raise OSError(error.errno, message, os.fspath(path)) from error
    _sync_directory(os.path.dirname(target))


def _sync_directory(directory: str) -> None:
    """Makes a rename durable where the file system can do so."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_program(source: StrPath | bytes) -> Program:
    """Reads a model file and checks all of it.

    Args:
        source: A path, or the file's contents. Arrays of the result are read-only views of them.

    Raises:
        ModelFileError: The contents are damaged, of another version, or not a model file.
        OSError: The file cannot be read.
    """
    if isinstance(source, bytes):
        return decode_program(source)
    with open(source, "rb") as file:
        data = file.read()
    try:
        return decode_program(data)
    except ModelFileError as error:
        raise ModelFileError(f"{os.fspath(source)}: {error}") from error


def program_bytes(program: Program) -> bytes:
    """The contents of a program's model file; equal programs give equal bytes.

    Raises:
        ValueError: The program breaks a rule of the format.
    """
    validate_program(program)
    return _Encoder().encode(program)


def minor_version(program: Program, features: int) -> int:
    """The lowest minor version, from 1 on, that has all that a program and its file use."""
    if features & layout.SPARSE_BLOBS:
        return 3
    return 2 if any(_is_of_1_2(op) for op in program.ops) else 1


def _is_of_1_2(op: Op) -> bool:
    if isinstance(op, MaxPool2d | AvgPool2d):
        return op.kernel == ADAPTIVE
    return isinstance(op, Normalize | Rearrange)


class _Encoder:
    """Collects the records of one file."""

    def __init__(self) -> None:
        self.strings = bytearray()
        self.string_offsets: dict[str, int] = {}
        self.blobs: list[tuple[Any, ...]] = []
        self.data = bytearray()
        self.operands: list[int] = []
        self.features = 0

    def encode(self, program: Program) -> bytes:
        index = {name: i for i, name in enumerate(program.tensors)}
        tensors = [self._tensor(tensor, index) for tensor in program.tensors.values()]
        ops = [self._op(op, index, program.tensors) for op in program.ops]
        io = [
            _io(io, index[io.tensor], is_output=ios is program.outputs)
            for ios in (program.inputs, program.outputs)
            for io in ios
        ]
        return pack(
            {
                "strings": bytes(self.strings),
                "tensors": _records(tensors, layout.TENSOR),
                "blobs": _records(self.blobs, layout.BLOB),
                "operands": np.array(self.operands, layout.OPERAND).tobytes(),
                "ops": _records(ops, layout.OP),
                "io": _records(io, layout.IO),
                "metadata": metadata_bytes(program.metadata),
                "data": bytes(self.data),
            },
            minor_version(program, self.features),
            self.features,
        )

    def _string(self, text: str) -> int:
        offset = self.string_offsets.setdefault(text, len(self.strings))
        if offset == len(self.strings):
            self.strings += text.encode() + b"\0"
        return offset

    def _tensor(self, tensor: Tensor, index: dict[str, int]) -> tuple[Any, ...]:
        dtype = {name: code for code, name in layout.DTYPES.items()}[tensor.dtype]
        dims = (BATCH, tensor.height, tensor.width, tensor.channels)
        name = self._string(tensor.name)
        parent = 0 if tensor.parent is None else index[tensor.parent] + 1
        qparams = (tensor.scale, tensor.zero_point)
        return (name, dtype, 0, dims, *qparams, parent, tensor.channel_offset, 0)

    def _blob(self, name: str, array: npt.NDArray[Any], block: int = 0) -> int:
        codes = {dtype: code for code, dtype in layout.NUMPY_DTYPES.items()}
        dtype = array.dtype.newbyteorder("<")
        offset = layout.align_up(len(self.data))
        self.data += bytes(offset - len(self.data))
        stored = np.ascontiguousarray(array, dtype)
        self.data += encode_sparse(stored, block) if block else stored.tobytes()
        dims = (*array.shape, *(1,) * (4 - array.ndim))
        size = len(self.data) - offset
        self.blobs.append(
            (self._string(name), codes[dtype], array.ndim, block, 0, dims, offset, size, 0)
        )
        if block:
            self.features |= layout.SPARSE_BLOBS
        return len(self.blobs) - 1

    def _op(self, op: Op, index: dict[str, int], tensors: dict[str, Tensor]) -> tuple[Any, ...]:
        kind = op_kind(op)
        code = {name: code for code, name in layout.OP_KINDS.items()}[kind]
        first = len(self.operands)
        inputs = op_inputs(op)
        self.operands += [index[name] for name in (*inputs, op.y)]
        blobs = 0
        for role in ("weight", "bias", "weight_scale", "table"):
            array = getattr(op, role, None)
            if array is not None:
                may_be_sparse = role == "weight" and isinstance(op, Conv2d)
                block = choose_block(array)[0] if may_be_sparse else 0
                self.operands.append(self._blob(f"{op.name}.{role}", array, block))
                blobs += 1
        attrs = _attrs(op, tensors)
        attrs += [0] * (16 - len(attrs))
        return (code, self._string(op.name), first, len(inputs), 1, blobs, 0, attrs)


def _attrs(op: Op, tensors: dict[str, Tensor]) -> list[int]:
    """Values in the order of ``_layout.ATTRS``."""
    match op:
        case Quantize() | Dequantize() | Lookup() | Softmax():
            return []
        case Conv2d():
            window = [*op.weight.shape[1:3], *op.stride, *op.pads, *op.dilation]
            has_residual = int(op.residual is not None)
            return [*window, op.groups, *_clamp(op, tensors), has_residual, *_pre(op)]
        case MaxPool2d():
            return [*op.kernel, *op.stride, *op.pads, *op.dilation, 0, 0, 0, 255]
        case AvgPool2d():
            window = [*op.kernel, *op.stride, *op.pads, 1, 1]
            divisor = [int(op.count_include_pad), op.divisor]
            return [*window, *divisor, *_clamp(op, tensors), *_pre(op)]
        case Add():
            return [*_clamp(op, tensors), *_pre(op), int(op.subtract)]
        case Mul():
            return [*_clamp(op, tensors), *_pre(op)]
        case Resize():
            return [RESIZE_MODES.index(op.mode), int(op.align_corners)]
        case Pad():
            return [*op.pads, _pad_value(op, tensors[op.x])]
        case Unary():
            code = list(UNARY_FUNCTIONS).index(op.function) + 1
            return [code, *(layout.float_bits(value) for value in op.parameters)]
        case Binary():
            return [BINARY_FUNCTIONS.index(op.function) + 1]
        case Normalize():
            return [op.groups, layout.float_bits(op.eps)]
        case Rearrange():
            unused = MAX_DIGITS - len(op.sizes)
            return [op.offset, *[1] * unused, *op.sizes, *[0] * unused, *op.strides]


def _clamp(op: Conv2d | AvgPool2d | Add | Mul, tensors: dict[str, Tensor]) -> list[int]:
    if op_is_float(op, tensors):
        return [layout.float_bits(op.act_lo), layout.float_bits(op.act_hi)]
    return [op.lo, op.hi]


def _pre(op: Conv2d | AvgPool2d | Add | Mul) -> list[int]:
    return [layout.float_bits(op.pre_scale), op.pre_zero_point]


def _pad_value(op: Pad, x: Tensor) -> int:
    if x.dtype == "f32":
        return layout.float_bits(0.0 if op.value is None else op.value)
    return x.zero_point if op.value is None else int(op.value)


def _io(io: Io, tensor: int, *, is_output: bool) -> tuple[Any, ...]:
    dims = (*io.shape, *(1,) * (4 - len(io.shape)))
    return (tensor, int(is_output), len(io.shape), dims, 0)


def _records(rows: Iterable[tuple[Any, ...]], dtype: np.dtype[np.void]) -> bytes:
    return np.array(list(rows), dtype).tobytes()
