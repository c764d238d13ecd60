"""Weights that model files store sparse: what is read is what was written, in the fewest bytes."""

import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.wbcq.engine import golden_v1_3
from tests.wbcq.engine.strategies import cases
from tests.wbcq.engine.test_program_file import with_checksums
from wbcq.engine import _layout as layout
from wbcq.engine._sparse_blob import BLOCKS, choose_block, decode_sparse, encode_sparse
from wbcq.engine.program import BATCH, Conv2d, Dequantize, Io, Program, Quantize, Tensor
from wbcq.engine.program_file import program_bytes, read_program
from wbcq.errors import ModelFileError


def align(size):
    return -(-size // 64) * 64


def encode_by_the_book(weight, block):
    """The definition in ``csrc/format/format.h``, an element at a time."""
    bits, values = [], b""
    for row in weight.reshape(-1, weight.shape[-1]):
        for first in range(0, len(row), block):
            part = row[first : first + block].tobytes()
            bits.append(any(part))
            values += part if any(part) else b""
    bits += [False] * (-len(bits) % 64)
    mask = bytes(sum(bits[i + j] << j for j in range(8)) for i in range(0, len(bits), 8))
    return mask + values


SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, max_side=9)
INT8 = st.one_of(st.just(0), st.integers(-127, 127))
FLOATS = st.one_of(st.just(0.0), st.just(-0.0), st.floats(width=32, allow_nan=False))
WEIGHTS = st.one_of(
    arrays.arrays(np.int8, SHAPES, elements=INT8, fill=st.just(0)),
    arrays.arrays(np.float32, SHAPES, elements=FLOATS, fill=st.just(0.0)),
)


@cases(4)
@given(WEIGHTS, st.sampled_from(BLOCKS))
def test_any_zeros_are_read_as_they_were_written(weight, block):
    data = encode_sparse(weight, block)
    assert data == encode_by_the_book(weight, block)
    again = decode_sparse("blob", memoryview(data), weight.shape, weight.dtype, block)
    assert (again.dtype, again.shape) == (weight.dtype, weight.shape)
    assert again.tobytes() == weight.tobytes()


@cases(2)
@given(WEIGHTS)
def test_the_smallest_form_is_chosen(weight):
    block, size = choose_block(weight)
    sizes = {b: len(encode_by_the_book(weight, b)) for b in BLOCKS} | {0: weight.nbytes}
    assert size == sizes[block]
    assert align(size) == min(map(align, sizes.values()))
    assert (block == 0) == (align(weight.nbytes) == align(size))


def convolution(weight):
    """A program of one convolution, whose channels fit the weights."""
    outputs, height, width, inputs = weight.shape
    tensors = [
        Tensor("input", "f32", height, width, inputs),
        Tensor("x", "u8", height, width, inputs, 0.02, 100),
        Tensor("y", "u8", 1, 1, outputs, 0.5, 128),
        Tensor("output", "f32", 1, 1, outputs),
    ]
    scale, bias = np.full(outputs, 0.5, np.float32), np.zeros(outputs, np.int32)
    ops = (
        Quantize("quantize", "input", "x"),
        Conv2d("conv", "x", "y", weight=weight, bias=bias, weight_scale=scale),
        Dequantize("dequantize", "y", "output"),
    )
    shape = (BATCH, inputs, height, width)
    io = Io("input", shape), Io("output", (BATCH, outputs))
    return Program({t.name: t for t in tensors}, ops, (io[0],), (io[1],))


@cases(2)
@given(
    arrays.arrays(
        np.int8,
        arrays.array_shapes(min_dims=4, max_dims=4, max_side=12),
        elements=INT8,
        fill=st.just(0),
    )
)
def test_a_file_of_any_zeros_holds_its_program(weight):
    program = convolution(weight)
    data = program_bytes(program)
    again = read_program(data)
    np.testing.assert_array_equal(again.ops[1].weight, weight)
    assert program_bytes(again) == data
    block, _ = choose_block(weight)
    assert (data[10], data[24]) == ((3, layout.SPARSE_BLOBS) if block else (1, 0))
    core = pytest.importorskip("wbcq._core", reason="the extension module is not built")
    # A picture that is 1 in one place shows the weights that the engine has there.
    session = core.Session(core.Model.from_bytes(data, "scalar"), 1)
    pictures = np.eye(weight[0].size, dtype=np.float32).reshape(-1, *weight.shape[1:])
    (outputs,) = session.run([np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))])
    np.testing.assert_array_equal(outputs, weight.reshape(len(weight), -1).T * np.float32(0.5))


@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("block", BLOCKS)
def test_a_pruned_file_is_smaller_than_a_dense_one(sparsity, block):
    rng = np.random.default_rng(0)
    weight = rng.integers(1, 128, (128, 3, 3, 128), np.int8)
    dense = len(program_bytes(convolution(weight)))
    assert dense > weight.nbytes
    keep = rng.random((*weight.shape[:3], 128 // block)) >= sparsity
    pruned = len(program_bytes(convolution(np.where(keep.repeat(block, -1), weight, np.int8(0)))))
    # A bit for each block, and what is left of the values.
    share = 1 / (8 * block) + 1 - sparsity
    assert pruned < dense
    assert pruned - dense == pytest.approx((share - 1) * weight.nbytes, rel=0.02)


def test_weights_without_zeros_are_dense():
    """So is every other constant, whatever its zeros."""
    program = golden_v1_3.golden_program()
    records = np.frombuffer(_section(program_bytes(program), 2), layout.BLOB)
    blocks = [int(block) for block in records["block"] if block]
    assert blocks == [b for op in program.ops if (b := golden_v1_3.STORED.get(op.name))]
    weight = np.ones((4, 1, 1, 64), np.int8)
    zeros = replace(convolution(weight).ops[1], table=np.zeros(256, np.uint8), pre_scale=1.0)
    program = convolution(weight)
    data = program_bytes(replace(program, ops=(program.ops[0], zeros, program.ops[2])))
    assert (data[10], data[24]) == (1, 0)


def _section(data, index):
    offset, size = struct.unpack_from("<QQ", data, 64 + 32 * index + 8)
    return memoryview(data)[offset : offset + size]


def _edited(edit):
    """The golden file after an edit of its header, blob records and data section."""
    data = bytearray(program_bytes(golden_v1_3.golden_program()))
    records = np.frombuffer(_section(data, 2), layout.BLOB)
    edit(data, records, np.frombuffer(_section(data, 7), np.uint8))
    return with_checksums(bytes(data))


def _feature(value):
    return lambda data, blobs, values: data.__setitem__(24, value)


def _record(blob, field, value):
    return lambda data, blobs, values: blobs[field].__setitem__(blob, value)


def _byte(blob, index, flip):
    def edit(data, blobs, values):
        values[int(blobs["offset"][blob]) + index] ^= flip

    return edit


def _sparse_bias(data, blobs, values):
    """A mask of nine bits and one value."""
    blobs["block"][1], blobs["bytes"][1] = 1, 12
    start = int(blobs["offset"][1])
    values[start : start + 36] = 0
    values[start] = 1


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_record(0, "block", 2), "blob 0 'first.weight': block is 2, must be 0, 1 or 4"),
        (_record(0, "reserved0", 1), "blob 0 'first.weight': reserved bytes are not zero"),
        (_feature(0), "is sparse, but the header does not require feature bit 0"),
        (_feature(3), r"needs feature bit 1, which this reader \(version 1\.3\) does not know"),
        (_record(0, "block", 0), "blob 0 'first.weight': bytes is 298, its shape has 648"),
        (_record(0, "bytes", 87), "bytes is 87, its mask alone has 88"),
        (_record(0, "bytes", 648), "bytes is 648, must be below the 648 of its shape"),
        (_byte(0, 5, 4), "bytes is 298, its mask says 297"),
        (_byte(0, 80, 2), "bytes is 298, its mask says 299"),
        (_byte(0, 81, 1), "bit 648 of its mask is set, it has 648 blocks"),
        (_byte(0, 87, 128), "bit 703 of its mask is set, it has 648 blocks"),
        (_byte(3, 7, 0x10), "blob 3 'several.weight': bit 60 of its mask is set, it has 60"),
        (_sparse_bias, "blob 1 is sparse: only the weights of a convolution may be"),
    ],
)
def test_broken_files_are_refused(edit, message):
    data = _edited(edit)
    core = pytest.importorskip("wbcq._core", reason="the extension module is not built")
    with pytest.raises(ModelFileError, match=message):
        read_program(data)
    with pytest.raises(ModelFileError, match=message):
        core.Model.from_bytes(data)
