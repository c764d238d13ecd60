"""Writing and reading model files in Python."""

import errno
import json
import os
import struct
import zlib
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wbcq.engine import golden, golden_v1_2, golden_v1_3, golden_wide
from tests.wbcq.engine.golden import DATA, golden_inputs, golden_program
from tests.wbcq.engine.strategies import cases, programs
from wbcq.engine.exact import ExactExecutor
from wbcq.engine.program import (
    ADAPTIVE,
    BATCH,
    AvgPool2d,
    Conv2d,
    Dequantize,
    Io,
    Program,
    Quantize,
    Tensor,
)
from wbcq.engine.program_file import program_bytes, read_program, write_model_bytes, write_program
from wbcq.errors import ModelFileError

GOLDEN = DATA / "golden_v1_0.wbcq"
HEADER_BYTES = 64
TABLE_END = HEADER_BYTES + 8 * 32


def with_checksums(data):
    """The data with both checksums made right."""
    data = bytearray(data)
    struct.pack_into("<I", data, 36, zlib.crc32(data[HEADER_BYTES:]))
    struct.pack_into("<I", data, 60, zlib.crc32(data[:60]))
    return bytes(data)


def assert_same_op(actual, expected):
    assert type(actual) is type(expected)
    for field in fields(expected):
        a, b = getattr(actual, field.name), getattr(expected, field.name)
        if isinstance(b, np.ndarray):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        elif isinstance(b, float):
            assert a == float(np.float32(b)), field.name
        else:
            assert a == b, field.name


def assert_same_program(actual, expected):
    """Equal up to what a file does not hold: scales beyond float32."""
    assert list(actual.tensors) == list(expected.tensors)
    for name, tensor in expected.tensors.items():
        assert actual.tensors[name] == replace(tensor, scale=float(np.float32(tensor.scale)))
    assert len(actual.ops) == len(expected.ops)
    for a, b in zip(actual.ops, expected.ops, strict=True):
        assert_same_op(a, b)
    assert actual.inputs == expected.inputs
    assert actual.outputs == expected.outputs
    assert actual.metadata == expected.metadata


# Round trip.


@cases(2)
@given(programs())
def test_what_is_written_is_read(program):
    data = program_bytes(program)
    again = read_program(data)
    assert_same_program(again, program)
    assert program_bytes(again) == data


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=10,
)


@cases(1)
@given(st.dictionaries(st.text(st.characters(codec="utf-8")), JSON))
def test_metadata_are_any_json(metadata):
    program = replace(golden_program(), metadata=metadata)
    assert read_program(program_bytes(program)).metadata == metadata


def test_numpy_integers_are_accepted():
    program = golden_program()
    conv = replace(program.ops[2], lo=np.int64(3), stride=(np.int32(2), np.int64(2)))
    ops = (*program.ops[:2], conv, *program.ops[3:])
    assert read_program(program_bytes(replace(program, ops=ops))).ops[2].lo == 3


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"x": float("nan")}, "cannot be written as JSON"),
        ({"x": object()}, "cannot be written as JSON"),
        ({"x": "\ud800"}, "cannot be written as JSON"),
    ],
)
def test_metadata_that_are_not_json(metadata, message):
    with pytest.raises(ValueError, match=message):
        program_bytes(replace(golden_program(), metadata=metadata))


# Golden files.

WIDE = DATA / "golden_v1_1.wbcq"
GOLDEN_1_2 = DATA / "golden_v1_2.wbcq"
GOLDEN_1_3 = DATA / "golden_v1_3.wbcq"


def golden_arrays(path, inputs):
    with np.load(path.with_suffix(".npz")) as arrays:
        for i, array in enumerate(inputs):
            np.testing.assert_array_equal(array, arrays[f"input{i}"])
        return [arrays[f"output{i}"] for i in range(3)]


def test_the_golden_files_hold_their_programs():
    assert_same_program(read_program(GOLDEN), golden_program())
    assert_same_program(read_program(WIDE), golden_wide.golden_program())
    assert_same_program(read_program(GOLDEN_1_2), golden_v1_2.golden_program())
    assert_same_program(read_program(GOLDEN_1_3), golden_v1_3.golden_program())


def check_golden(path, inputs, outputs):
    for i, (actual, expected) in enumerate(zip(outputs, golden_arrays(path, inputs), strict=True)):
        is_float = path != GOLDEN and i >= len(golden_wide.EXACT_OUTPUTS)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 if is_float else 0)


def test_the_oracle_gives_the_golden_outputs():
    modules = (golden, golden_wide, golden_v1_2, golden_v1_3)
    for path, module in zip((GOLDEN, WIDE, GOLDEN_1_2, GOLDEN_1_3), modules, strict=True):
        inputs = module.golden_inputs()
        check_golden(path, inputs, ExactExecutor(read_program(path)).run(*inputs))


def test_the_engine_gives_the_golden_outputs():
    core = pytest.importorskip("wbcq._core", reason="the extension module is not built")
    for isa in core.available_isas():
        model = core.Model(os.fspath(GOLDEN), isa)
        assert json.loads(model.metadata) == golden_program().metadata
        check_golden(GOLDEN, golden_inputs(), core.Session(model, 1).run(golden_inputs()))
        for path, module in ((GOLDEN_1_2, golden_v1_2), (GOLDEN_1_3, golden_v1_3)):
            model, inputs = core.Model(os.fspath(path), isa), module.golden_inputs()
            check_golden(path, inputs, core.Session(model, 2).run(inputs))


def test_in_version_1_0_a_second_input_is_the_residual():
    block = read_program(GOLDEN).ops[5]
    assert (block.xs, block.residual) == (("depthwise",), "side")


def test_a_higher_minor_version_is_read():
    data = bytearray(WIDE.read_bytes())
    struct.pack_into("<H", data, 10, 9)
    assert_same_program(read_program(with_checksums(data)), golden_wide.golden_program())


# Files on disk.


def test_write_and_read_a_path(tmp_path):
    path = tmp_path / "model.wbcq"
    write_program(golden_program(), path)
    assert_same_program(read_program(path), golden_program())
    assert_same_program(read_program(os.fspath(path)), golden_program())
    assert os.listdir(tmp_path) == ["model.wbcq"]


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_model_bytes(b"x", tmp_path / "model.wbcq")
    finally:
        os.umask(old)
    assert (tmp_path / "model.wbcq").stat().st_mode & 0o777 == 0o640


def test_a_link_keeps_pointing_to_the_file(tmp_path):
    (tmp_path / "real.wbcq").write_bytes(b"old")
    (tmp_path / "link.wbcq").symlink_to("real.wbcq")
    write_model_bytes(b"new", tmp_path / "link.wbcq")
    assert (tmp_path / "link.wbcq").is_symlink()
    assert (tmp_path / "real.wbcq").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, name, error):
    path = tmp_path / "model.wbcq"
    path.write_bytes(b"old")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, name, fail)
    with pytest.raises(type(error)) as caught:
        write_program(golden_program(), path)
    monkeypatch.undo()
    if isinstance(error, OSError):
        assert caught.value.filename == str(path)
        assert "cannot write the model file: No space left" in str(caught.value)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.wbcq"]


def test_an_invalid_program_is_not_written(tmp_path):
    program = golden_program()
    with pytest.raises(ValueError, match="the model has no output"):
        write_program(replace(program, outputs=()), tmp_path / "model.wbcq")
    assert os.listdir(tmp_path) == []


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "directory").mkdir()
    with pytest.raises(IsADirectoryError, match=r"directory'$"):
        write_program(golden_program(), tmp_path / "directory")
    with pytest.raises(FileNotFoundError, match=r"missing/model\.wbcq'$"):
        write_program(golden_program(), tmp_path / "missing" / "model.wbcq")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match=r"file/model\.wbcq'$"):
        write_program(golden_program(), tmp_path / "file" / "model.wbcq")
    assert sorted(os.listdir(tmp_path)) == ["directory", "file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_directory_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match=r"model\.wbcq'$"):
            write_program(golden_program(), tmp_path / "model.wbcq")
    finally:
        tmp_path.chmod(0o700)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        read_program(tmp_path / "missing.wbcq")
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        read_program(tmp_path)
    (tmp_path / "empty.wbcq").write_bytes(b"")
    with pytest.raises(ModelFileError, match=r"empty\.wbcq: the file is empty"):
        read_program(tmp_path / "empty.wbcq")


# Damage.


def small_file():
    """Few operators, so that every byte can be tried."""
    program = golden_program()
    ops = (program.ops[0], program.ops[2])
    kept = [program.tensors[name] for name in ("picture", "q0", "stem", "logits")]
    head = replace(
        program.ops[10],
        x="stem",
        weight=program.ops[10].weight[:, :, :, :8],
    )
    kept[-1] = replace(kept[-1], height=6, width=4)
    tensors = {tensor.name: tensor for tensor in kept}
    outputs = (replace(program.outputs[0], shape=(-1, 5, 6, 4)),)
    return program_bytes(
        replace(
            program, tensors=tensors, ops=(*ops, head), inputs=program.inputs[:1], outputs=outputs
        )
    )


def accepts(data):
    """True if the file is read; anything but a ModelFileError is a failure."""
    try:
        read_program(data)
    except ModelFileError:
        return False
    return True


def wide_file():
    return program_bytes(replace(golden_wide.golden_program(), metadata={}))


def test_every_truncation_is_refused():
    data = small_file()
    assert accepts(data)
    for size in range(len(data)):
        assert not accepts(data[:size])
        if size > HEADER_BYTES:
            assert not accepts(with_checksums(data[:size]))


def test_every_changed_byte_is_refused():
    data = small_file()
    for i in range(len(data)):
        for flip in (0x01, 0xFF):
            damaged = bytearray(data)
            damaged[i] ^= flip
            assert not accepts(bytes(damaged)), f"byte {i} ^ {flip}"


def test_header_and_table_are_checked_without_checksums():
    """Only the minor version may change."""
    data = small_file()
    for i in range(TABLE_END):
        damaged = bytearray(data)
        damaged[i] ^= 0x41
        is_checksum = 36 <= i < 40 or 60 <= i < 64
        if not is_checksum:
            assert accepts(with_checksums(damaged)) == (i in (10, 11)), f"byte {i}"


LIMITS = np.array(
    [0, 1, 2, 3, 64, 255, 256, 2**20, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 0x7F800000, 0x7FC00000],
    np.uint32,
)


def damaged_files(data, seed, count):
    """Files with a few changed words; all have right checksums."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        words = np.frombuffer(data + bytes(-len(data) % 4), np.uint32).copy()
        for _ in range(rng.integers(1, 4)):
            value = rng.choice(LIMITS) if rng.random() < 0.5 else rng.integers(0, 2**32)
            words[rng.integers(4, len(words))] = value
        yield with_checksums(words.tobytes()[: len(data)])


def sparse_file():
    return program_bytes(replace(golden_v1_3.golden_program(), metadata={}))


@pytest.mark.parametrize("whole", [small_file, wide_file, sparse_file])
def test_damage_with_right_checksums_gives_clean_errors(whole):
    results = [accepts(data) for data in damaged_files(whole(), seed=20, count=2000)]
    assert 0 < sum(results) < len(results)


def narrow_file():
    return program_bytes(replace(golden_program(), metadata={}))


@pytest.mark.parametrize("whole", [narrow_file, wide_file, sparse_file])
def test_python_and_the_engine_refuse_the_same_files(whole):
    core = pytest.importorskip("wbcq._core", reason="the extension module is not built")
    data = whole()
    assert accepts(data)
    for damaged in damaged_files(data, seed=30, count=2000):
        try:
            core.Model.from_bytes(damaged, "scalar")
            accepted = True
        except ModelFileError:
            accepted = False
        # C++ does not parse the metadata.
        if accepts(damaged) != accepted:
            with pytest.raises(ModelFileError, match=r"section 6 \(metadata\)"):
                read_program(damaged)


def edited(offset, layout, *values):
    data = bytearray(small_file())
    struct.pack_into(layout, data, offset, *values)
    return with_checksums(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"PK\3\4", "not a wbcq model file"),
        (b"WBCQ\n\x1a\n" + bytes(400), "transferred as text"),
        (small_file()[:100], "the file is truncated: it has 100 bytes"),
        (small_file()[:-1], "it is truncated, copy it again"),
        (small_file() + b"x", "its header says"),
        (edited(8, "<H", 2), r"format version 2\.1, this reader knows version 1\.x"),
        (edited(24, "<Q", 1 << 40), "needs feature bit 40"),
        (edited(32, "<I", 7), "section_count is 7, must be 8"),
        (edited(64, "<I", 4), r"section 0 \(strings\): kind is 4, must be 1"),
    ],
)
def test_messages(data, message):
    with pytest.raises(ModelFileError, match=message):
        read_program(data)


def test_an_unknown_operator_is_named():
    data = bytearray(small_file())
    offset = struct.unpack_from("<Q", data, 64 + 4 * 32 + 8)[0]
    struct.pack_into("<I", data, offset + 96, 99)
    with pytest.raises(ModelFileError, match=r"op 1 'stem\.conv': kind 99 is unknown"):
        read_program(with_checksums(data))


def with_tensor(name, **changes):
    program = golden_wide.golden_program()
    return replace(
        program, tensors=program.tensors | {name: replace(program.tensors[name], **changes)}
    )


def with_op(name, **changes):
    program = golden_wide.golden_program()
    ops = tuple(replace(op, **changes) if op.name == name else op for op in program.ops)
    return replace(program, ops=ops)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (with_tensor("left", parent="nothing"), "its parent 'nothing' does not exist"),
        (with_tensor("left", parent="right"), "its parent 'right' is a view itself"),
        (with_tensor("left", height=7), "must have dtype, height and width of its parent"),
        (with_tensor("left", scale=0.5), "must share scale and zero point"),
        (with_tensor("right", channel_offset=4), "5 channels at offset 4 leave its parent's 8"),
        (with_tensor("second", channel_offset=3), "writes tensor 'second', which is written twice"),
        (with_tensor("concat", channels=11), "'depthwise'.*reads tensor 'concat' before it is"),
        (with_op("branch.second", groups=2), "2 inputs with 2 groups"),
        (with_op("branch.second", x=("right", "sums")), "before it is written"),
        (with_op("branch.first", table=None), "pre_scale and pre_zero_point must be 0"),
        (with_op("branch.first", pre_scale=1e-33), "the multiplier of channel 0 is .*2\\^96"),
        (with_op("branch.first", act_hi=6.0), "act_lo and act_hi must be infinite on u8"),
        (with_op("look_up", table=np.zeros(255, np.uint8)), r"table has shape \[255\]"),
        (with_op("excite", b="q"), "must have the same or N, 1, 1, 18"),
        (with_op("near", align_corners=True), "align_corners is set, which nearest does not"),
        (with_op("pad", pads=(1, 2, 0, 0)), "output width is 10, must be 9"),
        (with_op("frame", value=float("nan")), "must not be NaN"),
        (with_op("island.odd", act_lo=3.0), "act_lo is 3.0, must be at most act_hi, 2.5"),
        (with_op("island.odd", hi=6), "use act_lo and act_hi"),
        (with_op("scale", parameters=(1.0,)), "affine has 1 parameters, must be 2"),
        (with_op("scale", function="cube"), "function is 'cube', unknown"),
        (with_op("ratio", function="power"), "function is 'power', unknown"),
        (with_op("softmax", x="again"), "tensor 'again' is u8, must be f32"),
    ],
)
def test_rules_of_version_1_1(program, message):
    with pytest.raises(ValueError, match=message):
        program_bytes(program)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("peaks", {"kernel": (0, 2)}, "an adaptive pool .* has kernel, stride, padding and"),
        ("means", {"divisor": 2}, "an adaptive pool"),
        ("layer", {"groups": 3}, "3 groups do not divide 8 channels"),
        ("layer", {"eps": -1.0}, "eps is -1.0, must be finite and at least 0"),
        ("group", {"weight": np.ones(7, np.float32)}, r"weight has shape \[7\], must be \[8\]"),
        ("group", {"bias": np.full(8, np.nan, np.float32)}, r"bias\[0\] is nan, must be finite"),
        ("turned", {"sizes": (4, 3, 7)}, "product of the sizes is 84, the output has 96"),
        ("turned", {"strides": (8, 32)}, "3 sizes and 2 strides"),
        ("turned", {"offset": 1}, r"reads elements 1\.\.96 of an input of 96"),
        ("space", {"offset": 23}, r"reads elements -1\.\.94 of an input of 96"),
    ],
)
def test_rules_of_version_1_2(name, changes, message):
    program = golden_v1_2.golden_program()
    ops = tuple(replace(op, **changes) if op.name == name else op for op in program.ops)
    with pytest.raises(ValueError, match=message):
        program_bytes(replace(program, ops=ops))


def test_adaptive_windows_have_a_limit():
    tensors = {
        "x": Tensor("x", "f32", 1, 1022, 1),
        "y": Tensor("y", "f32", 1, 1, 1),
    }
    op = AvgPool2d("pool", "x", "y", ADAPTIVE, ADAPTIVE)
    program = Program(tensors, (op,), (Io("x", (BATCH, 1022)),), (Io("y", (BATCH, 1)),))
    assert_same_program(read_program(program_bytes(program)), program)
    tensors["x"] = replace(tensors["x"], width=1023)
    with pytest.raises(ValueError, match="adaptive windows of 1023 / 1 pixels, must be below 1023"):
        program_bytes(replace(program, inputs=(Io("x", (BATCH, 1023)),)))


def test_what_needs_no_newer_version_has_the_older():
    assert program_bytes(golden_wide.golden_program()) == WIDE.read_bytes()
    assert program_bytes(golden_wide.golden_program())[10] == 1
    for op in golden_v1_2.golden_program().ops[1:]:
        if not isinstance(op, Dequantize):
            x, y = (golden_v1_2.golden_program().tensors[name] for name in (op.x, op.y))
            assert program_bytes(alone(op, x, y))[10] == 2
    assert program_bytes(golden_v1_2.golden_program()) == GOLDEN_1_2.read_bytes()
    assert program_bytes(golden_v1_3.golden_program()) == GOLDEN_1_3.read_bytes()


def alone(op, x, y):
    """A program of one operator."""
    tensors, ops = {x.name: x, y.name: y}, (op,)
    first, last = x.name, y.name
    if x.dtype == "u8":
        for tensor in (x, y):
            name = f"{tensor.name}.f32"
            plain = replace(tensor, name=name, dtype="f32", scale=0.0, zero_point=0)
            tensors[name] = plain
        first, last = f"{x.name}.f32", f"{y.name}.f32"
        ops = (Quantize("in", first, x.name), op, Dequantize("out", y.name, last))
    sizes = [(BATCH, t.channels, t.height, t.width) for t in (x, y)]
    return Program(tensors, ops, (Io(first, sizes[0]),), (Io(last, sizes[1]),))


def test_deeply_nested_metadata_are_refused():
    program = replace(golden_program(), metadata={"x": "[" * 100_000})
    data = program_bytes(program).replace(b'{"x":"', b'{"x":[', 1)
    with pytest.raises(ModelFileError, match=r"section 6 \(metadata\): not JSON"):
        read_program(with_checksums(data))


def test_arrays_of_a_read_program_are_not_writable():
    conv = next(op for op in read_program(GOLDEN).ops if isinstance(op, Conv2d))
    with pytest.raises(ValueError, match="read-only"):
        conv.weight[0] = 1
