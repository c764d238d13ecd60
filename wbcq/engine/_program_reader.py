"""Bytes to a :class:`~wbcq.engine.program.Program`: the checks of ``csrc/format/reader.cc``."""

from __future__ import annotations

import json
from typing import Any, Literal, NoReturn, cast

import numpy as np
import numpy.typing as npt

from wbcq.engine import _layout as layout
from wbcq.engine._checks import MAX_DIM, MAX_ELEMENTS, MAX_INPUTS, MAX_NAME_BYTES
from wbcq.engine._container import fail, unpack
from wbcq.engine._op_reader import OpHead, decode_op
from wbcq.engine._sparse_blob import check_sparse, decode_sparse
from wbcq.engine.program import BATCH, Io, Op, Program, Tensor
from wbcq.engine.validate import validate_program
from wbcq.errors import ModelFileError

__all__ = ["decode_program"]

Array = npt.NDArray[Any]

_INPUTS = {"conv2d": (1, MAX_INPUTS), "add": (2, 2), "mul": (2, 2), "binary": (2, 2)}
"""Least and most inputs of operators that may have more than one."""


def decode_program(data: bytes) -> Program:
    """Checks and decodes the contents of a model file; ModelFileError for anything wrong."""
    sections = unpack(data)
    header = layout.HEADER.unpack_from(data)
    program = _Decoder(sections, minor=header[2], features=header[5]).decode()
    try:
        validate_program(program)
    except ValueError as error:
        raise ModelFileError(str(error)) from None
    return program


class _Decoder:
    """Turns the records of checked sections into objects."""

    def __init__(self, sections: dict[str, memoryview], *, minor: int, features: int) -> None:
        def records(name: str) -> Array:
            return np.frombuffer(sections[name], layout.RECORDS[name])

        self.minor = minor
        self.features = features
        self.strings = bytes(sections["strings"])
        if not self.strings.endswith(b"\0"):
            fail("section 0 (strings): must end with a zero byte")
        try:
            self.strings.decode()
        except UnicodeDecodeError:
            fail("section 0 (strings): not UTF-8")
        self.metadata = bytes(sections["metadata"])
        self.data = sections["data"]
        self.tensor_records = records("tensors")
        self.blob_records = records("blobs")
        self.operands = records("operands").tolist()
        self.op_records = records("ops")
        self.io_records = records("io")

    def decode(self) -> Program:
        metadata = _decode_metadata(self.metadata)
        self.tensor_names = self._names("tensor", self.tensor_records)
        tensors = [self._tensor(i) for i in range(len(self.tensor_records))]
        self.tensors = {tensor.name: tensor for tensor in tensors}
        self.blob_names = self._names("blob", self.blob_records)
        self.blobs = self._decode_blobs()
        self.blob_used = [False] * len(self.blobs)
        self.op_names = self._names("op", self.op_records)
        ops = self._decode_ops()
        inputs, outputs = self._decode_io()
        return Program(
            tensors=self.tensors,
            ops=ops,
            inputs=inputs,
            outputs=outputs,
            metadata=metadata,
        )

    def _names(self, what: str, records: Array) -> list[str]:
        names: list[str] = []
        for index, offset in enumerate(records["name"].tolist()):
            if offset >= len(self.strings) or (offset > 0 and self.strings[offset - 1] != 0):
                fail(f"{what} {index}: name is {offset}, not where a string begins")
            end = self.strings.find(b"\0", offset, offset + MAX_NAME_BYTES + 1)
            if end in (-1, offset):
                fail(f"{what} {index}: the name must have 1..{MAX_NAME_BYTES} bytes")
            names.append(self.strings[offset:end].decode())
        if len(set(names)) != len(names):
            taken = next(name for i, name in enumerate(names) if name in names[:i])
            fail(f"{what} {names.index(taken)}: the name {taken!r} is taken by another {what}")
        return names

    def _tensor(self, index: int) -> Tensor:
        record = self.tensor_records[index]
        name = self.tensor_names[index]
        label = f"tensor {index} {name!r}"
        dtype = layout.DTYPES.get(int(record["dtype"]))
        if dtype not in ("u8", "f32"):
            fail(f"{label}: dtype is {record['dtype']}, must be 1 (f32) or 2 (u8)")
        dims = record["dims"].tolist()
        if dims[0] != BATCH:
            fail(f"{label}: dims[0] is {dims[0]}, must be {BATCH} (the batch)")
        if record["reserved0"].any() or record["reserved"].any():
            fail(f"{label}: reserved bytes are not zero")
        parent = int(record["parent"])
        if parent > len(self.tensor_names):
            fail(f"{label}: parent is tensor {parent - 1} of {len(self.tensor_names)}")
        return Tensor(
            name=name,
            dtype=cast(Literal["u8", "f32"], dtype),
            height=dims[1],
            width=dims[2],
            channels=dims[3],
            scale=float(record["scale"]),
            zero_point=int(record["zero_point"]),
            parent=self.tensor_names[parent - 1] if parent else None,
            channel_offset=int(record["channel_offset"]),
        )

    def _decode_blobs(self) -> list[Array]:
        blobs: list[Array] = []
        end = 0
        for index, record in enumerate(self.blob_records):
            label = f"blob {index} {self.blob_names[index]!r}"
            code, rank, size = int(record["dtype"]), int(record["rank"]), int(record["bytes"])
            dtype = layout.NUMPY_DTYPES.get(code)
            if dtype is None:
                fail(f"{label}: dtype is {code}, which this reader does not know")
            if not 1 <= rank <= 4:
                fail(f"{label}: rank is {rank}, must be 1..4")
            dims = record["dims"].tolist()
            elements = 1
            for i, dim in enumerate(dims):
                limit = MAX_DIM if i < rank else 1
                if not 1 <= dim <= limit:
                    fail(f"{label}: dims[{i}] is {dim}, must be 1..{limit}")
                elements *= dim
            if elements > MAX_ELEMENTS:
                fail(f"{label}: more than {MAX_ELEMENTS} elements")
            if block := int(record["block"]):
                if not self.features & layout.SPARSE_BLOBS:
                    fail(f"{label}: is sparse, but the header does not require feature bit 0")
                check_sparse(label, dims[:rank], dtype.itemsize, block, size)
            elif size != elements * dtype.itemsize:
                fail(f"{label}: bytes is {size}, its shape has {elements * dtype.itemsize}")
            start = layout.align_up(end)
            if int(record["offset"]) != start:
                fail(f"{label}: offset is {record['offset']}, must be {start}")
            if start + size > len(self.data):
                fail(
                    f"{label}: {size} bytes at offset {start} leave the data section of "
                    f"{len(self.data)} bytes"
                )
            if any(self.data[end:start]):
                fail(f"{label}: the bytes before it are not zero")
            if record["reserved0"] or record["reserved"].any():
                fail(f"{label}: reserved bytes are not zero")
            end = start + size
            stored = self.data[start:end]
            if block:
                blobs.append(decode_sparse(label, stored, dims[:rank], dtype, block))
            else:
                blobs.append(np.frombuffer(stored, dtype).reshape(dims[:rank]))
        if end != len(self.data):
            fail(f"section 7 (data): has {len(self.data)} bytes, its blobs end at {end}")
        return blobs

    def _decode_ops(self) -> tuple[Op, ...]:
        ops: list[Op] = []
        end = 0
        for index in range(len(self.op_records)):
            head, end = self._op_head(index, end)
            ops.append(decode_op(head, self.tensors, self.blobs))
        if end != len(self.operands):
            fail(f"section 3 (operands): has {len(self.operands)}, the operators use {end}")
        if not all(self.blob_used):
            fail(f"blob {self.blob_used.index(False)} is never used")
        return tuple(ops)

    def _op_head(self, index: int, end: int) -> tuple[OpHead, int]:
        record = self.op_records[index]
        name = self.op_names[index]
        kind = layout.OP_KINDS.get(int(record["kind"]))
        if kind is None:
            fail(
                f"op {index} {name!r}: kind {record['kind']} is unknown to this reader "
                f"(version {layout.MAJOR}.{layout.MINOR}): update wbcq"
            )
        label = f"op {index} {name!r} ({kind})"
        if record["reserved"].any():
            fail(f"{label}: reserved is not zero")
        low, high = _INPUTS.get(kind, (1, 1))
        if self.minor == 0:
            high = min(high, 2)
        counts = [int(record[field]) for field in ("inputs", "outputs", "blobs")]
        if not low <= counts[0] <= high:
            fail(f"{label}: {counts[0]} inputs, must be {low}..{high}")
        if counts[1] != 1:
            fail(f"{label}: {counts[1]} outputs, must be 1")
        if int(record["first_operand"]) != end:
            fail(f"{label}: first_operand is {record['first_operand']}, must be {end}")
        operands = self.operands[end : end + sum(counts)]
        if len(operands) != sum(counts):
            fail(f"{label}: operands leave their section of {len(self.operands)}")
        names = []
        for tensor in operands[: counts[0] + 1]:
            if tensor >= len(self.tensor_names):
                fail(f"{label}: tensor {tensor} of {len(self.tensor_names)}")
            names.append(self.tensor_names[tensor])
        blobs = operands[counts[0] + 1 :]
        for blob in blobs:
            if blob >= len(self.blobs):
                fail(f"{label}: blob {blob} of {len(self.blobs)}")
            if self.blob_used[blob]:
                fail(f"{label}: blob {blob} belongs to another operand")
            is_weight = kind == "conv2d" and blob == blobs[0]
            if self.blob_records["block"][blob] and not is_weight:
                fail(f"{label}: blob {blob} is sparse: only the weights of a convolution may be")
            self.blob_used[blob] = True
        attrs = record["attrs"].tolist()
        fields = layout.ATTRS[kind]
        if any(attrs[len(fields) :]):
            fail(f"{label}: an unused attribute is not 0")
        values = dict(zip(fields, attrs, strict=False))
        if kind == "conv2d" and self.minor == 0:
            # Version 1.0 had one input and, perhaps, a residual.
            if values["has_residual"]:
                fail(f"{label}: has_residual is {values['has_residual']}, must be 0")
            values["has_residual"] = counts[0] - 1
        return OpHead(label, name, kind, names[:-1], names[-1], blobs, values), end + sum(counts)

    def _decode_io(self) -> tuple[tuple[Io, ...], tuple[Io, ...]]:
        inputs: list[Io] = []
        outputs: list[Io] = []
        for index, record in enumerate(self.io_records):
            tensor, is_output, rank, dims, reserved = record.item()
            label = f"io {index}"
            if is_output > 1 or (outputs and not is_output):
                fail(f"{label}: is_output is {is_output}; inputs must come before outputs")
            if reserved:
                fail(f"{label}: reserved is not zero")
            if tensor >= len(self.tensor_names):
                fail(f"{label}: tensor {tensor} of {len(self.tensor_names)}")
            if not 2 <= rank <= 4:
                fail(f"{label}: rank is {rank}, must be 2..4")
            shape = tuple(int(dim) for dim in dims[:rank])
            if any(dim != 1 for dim in dims[rank:]):
                fail(f"{label}: an unused dimension is not 1")
            (outputs if is_output else inputs).append(Io(self.tensor_names[tensor], shape))
        return tuple(inputs), tuple(outputs)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value")


def _decode_metadata(data: bytes) -> dict[str, Any]:
    try:
        metadata = json.loads(data.decode(), parse_constant=_refuse) if data else {}
    except (ValueError, RecursionError) as error:
        fail(f"section 6 (metadata): not JSON: {error}")
    if not isinstance(metadata, dict):
        fail("section 6 (metadata): not a JSON object")
    return metadata
