"""Convolutions that leave out zero blocks give the bits of dense ones, and both the oracle's."""

import dataclasses
import os
import pickle
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wbcq
from tests.wbcq.engine.graphs import float_inputs_for, float_programs
from tests.wbcq.engine.strategies import cases, inputs_for, single_op_programs
from tests.wbcq.engine.test_engine_bits import BATCHES, check
from tests.wbcq.engine.test_engine_graphs import check_float
from wbcq.engine.program import BATCH, Conv2d, Dequantize, Io, Program, Quantize, Tensor
from wbcq.engine.program_file import program_bytes

_core = pytest.importorskip("wbcq._core", reason="the extension module is not built")

BLOCKS = {"1x4": (1, 4), "2x4": (2, 4), "4x4": (4, 4), "1x1": (1, 1), "2x1": (2, 1), "4x1": (4, 1)}
PATTERNS = ("1x4", "2x4", "4x4", "empty rows", "one block", "nothing")
FLOAT_PATTERNS = ("1x1", "2x1", "4x1", *PATTERNS)


def prune(weight, pattern, density, rng):
    """Zeros in an OHWI weight, in whole blocks."""
    outputs, height, width, inputs = weight.shape
    rows, columns = BLOCKS.get(pattern, (1, 4))
    grid = (-(-outputs // rows), height, width, -(-inputs // columns))
    keep = rng.random(grid) < density
    if pattern == "empty rows":
        keep[rng.random(grid[0]) < 0.5] = False
    elif pattern in ("one block", "nothing"):
        keep[:] = False
        if pattern == "one block":
            keep.flat[rng.integers(keep.size)] = True
    keep = keep.repeat(rows, 0).repeat(columns, 3)[:outputs, ..., :inputs]
    return np.where(keep, weight, 0).astype(weight.dtype)


@st.composite
def sparse_programs(draw, programs, patterns=PATTERNS):
    program = draw(programs)
    pattern, density = draw(st.sampled_from(patterns)), draw(st.sampled_from((0.05, 0.25, 0.6, 1)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ops = tuple(
        dataclasses.replace(op, weight=prune(op.weight, pattern, density, rng))
        if isinstance(op, Conv2d)
        else op
        for op in program.ops
    )
    return dataclasses.replace(program, ops=ops)


@pytest.mark.parametrize("kind", ["conv2d", "head", "linear", "residual", "winograd"])
@cases(1)
@given(data=st.data())
def test_sparse_is_dense(kind, data):
    program = data.draw(sparse_programs(single_op_programs(kind)))
    inputs = data.draw(inputs_for(program, max(BATCHES)))
    for use in ("always", "never", ""):
        with mock.patch.dict(os.environ, WBCQ_SPARSE=use):
            check(program, inputs)


def run_with(program, inputs, isa, choice):
    """Outputs with every convolution dense or sparse, and the kernels."""
    choices = {op.name: choice for op in program.ops if isinstance(op, Conv2d) and op.groups == 1}
    session = _core.Session(_core.Model.from_bytes(program_bytes(program), isa, choices=choices), 2)
    kernels = {entry["name"]: entry["kernel"] for entry in session.profile(inputs, 1)}
    assert all(kernels[name].startswith("sparse_") == (choice == "sparse") for name in choices)
    return session.run(inputs)


@pytest.mark.parametrize("kind", ["conv2d", "concat", None])
@cases(2)
@given(data=st.data())
def test_sparse_is_dense_in_float(kind, data):
    program = data.draw(sparse_programs(float_programs(kind), FLOAT_PATTERNS))
    inputs = data.draw(float_inputs_for(program, max(BATCHES)))
    with mock.patch.dict(os.environ, WBCQ_SPARSE="always"):
        check_float(program, inputs)
    for isa in _core.available_isas():
        dense, sparse = (run_with(program, inputs, isa, way) for way in ("dense", "sparse"))
        # Equal but for the sign of zeros.
        assert all(np.array_equal(*pair) for pair in zip(dense, sparse, strict=True)), isa


@pytest.mark.parametrize("isa", _core.available_isas())
def test_what_is_not_finite_stays_in_its_windows(float_pruned, isa):
    x = np.random.default_rng(3).normal(size=(2, 64, 14, 14)).astype(np.float32)
    (expected,) = run_with(float_pruned, [x], isa, "dense")
    x[0, :, 5, 6], x[1, 7, 0, 0] = np.nan, np.inf
    away = np.ones((2, 1, 14, 14), bool)
    away[0, :, 4:7, 5:8] = away[1, :, :2, :2] = False
    for way in ("dense", "sparse"):
        (y,) = run_with(float_pruned, [x], isa, way)
        assert np.array_equal(np.where(away, y, 0), np.where(away, expected, 0))
        # Weights that are not zero pass it on.
        assert np.isnan(y[0, :, 5, 6]).all()
        assert not np.isfinite(y[1, :, 0, 0]).all()


@settings(max_examples=1)
@given(program=single_op_programs("conv2d"))
def test_unknown_use_is_refused(program):
    with (
        mock.patch.dict(os.environ, WBCQ_SPARSE="sometimes"),
        pytest.raises(ValueError, match='WBCQ_SPARSE is "sometimes"; use always or never'),
    ):
        _core.Model.from_bytes(program_bytes(program))


def chosen_kernels(program, **options):
    session = _core.Session(_core.Model.from_bytes(program_bytes(program), **options), 1)
    shape = (1, *program.inputs[0].shape[1:])
    profile = session.profile([np.zeros(shape, np.float32)], 1)
    return {entry["name"]: entry["kernel"] for entry in profile}


def float_program(weight):
    """A convolution that keeps a picture's size."""
    outputs, kernel, _, inputs = weight.shape
    tensors = (Tensor("x", "f32", 14, 14, inputs), Tensor("y", "f32", 14, 14, outputs))
    bias = np.linspace(-1, 1, outputs, dtype=np.float32)
    conv = Conv2d("conv", "x", "y", weight, bias, None, pads=(kernel // 2,) * 4)
    io = Io("x", (BATCH, inputs, 14, 14)), Io("y", (BATCH, outputs, 14, 14))
    return Program({t.name: t for t in tensors}, (conv,), (io[0],), (io[1],))


@pytest.fixture(scope="module")
def float_pruned():
    """A convolution in float of which an eighth of the weights is left."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(64, 3, 3, 64)).astype(np.float32)
    return float_program(prune(weight, "1x1", 0.125, rng))


@pytest.fixture(scope="module")
def pruned():
    """A convolution of which an eighth of the blocks is left."""
    rng = np.random.default_rng(0)
    tensors = (
        Tensor("input", "f32", 14, 14, 64),
        Tensor("x", "u8", 14, 14, 64, 0.02, 7),
        Tensor("y", "u8", 14, 14, 64, 0.05, 3),
        Tensor("output", "f32", 14, 14, 64),
    )
    weight = rng.integers(-127, 128, (64, 1, 1, 64), np.int8)
    conv = Conv2d(
        "conv",
        "x",
        "y",
        weight=prune(weight, "4x4", 0.125, rng),
        bias=np.zeros(64, np.int32),
        weight_scale=np.full(64, 1e-3, np.float32),
    )
    ops = (Quantize("quantize", "input", "x"), conv, Dequantize("dequantize", "y", "output"))
    io = Io("input", (BATCH, 64, 14, 14)), Io("output", (BATCH, 64, 14, 14))
    return Program({t.name: t for t in tensors}, ops, (io[0],), (io[1],))


def test_choices(pruned):
    assert chosen_kernels(pruned, choices={"conv": "sparse"})["conv"].startswith("sparse_")
    assert not chosen_kernels(pruned, choices={"conv": "dense"})["conv"].startswith("sparse_")


@pytest.mark.parametrize("isa", _core.available_isas()[1:])
def test_the_engine_chooses_by_the_share_of_zeros(pruned, isa):
    conv = pruned.ops[1]
    rng = np.random.default_rng(1)
    full = dataclasses.replace(conv, weight=rng.integers(1, 128, conv.weight.shape, np.int8))
    dense = dataclasses.replace(pruned, ops=(pruned.ops[0], full, pruned.ops[2]))
    with mock.patch.dict(os.environ, WBCQ_SPARSE=""):
        assert "sparse" in chosen_kernels(pruned, isa=isa)["conv"]
        assert "sparse" not in chosen_kernels(dense, isa=isa)["conv"]


@pytest.mark.parametrize("isa", _core.available_isas()[1:])
def test_the_engine_chooses_in_float_too(float_pruned, isa):
    full = np.ones((64, 3, 3, 64), np.float32)
    with mock.patch.dict(os.environ, WBCQ_SPARSE=""):
        assert chosen_kernels(float_pruned, isa=isa)["conv"].startswith("sparse_f32_f32_f32_1x1")
        masked = np.where(float_pruned.ops[0].weight == 0, np.float32(-0.0), full)
        assert "sparse" in chosen_kernels(float_program(masked), isa=isa)["conv"]
        assert "sparse" not in chosen_kernels(float_program(full), isa=isa)["conv"]
    rows = float_program(prune(full, "4x1", 0.125, np.random.default_rng(1)))
    assert chosen_kernels(rows, isa=isa)["conv"].startswith("sparse_f32_f32_f32_4x1")


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"absent": "dense"}, 'choice for operator "absent": the model has no such operator'),
        ({"conv": "fast"}, 'choice for operator "conv" is "fast", must be "dense" or "sparse"'),
        ({"quantize": "sparse"}, "only convolutions without groups"),
    ],
)
def test_bad_choices(pruned, choices, message):
    with pytest.raises(ValueError, match=message):
        _core.Model.from_bytes(program_bytes(pruned), choices=choices)


def test_choices_of_a_loaded_model_survive_copies(pruned, tmp_path):
    path = tmp_path / "pruned.wbcq"
    path.write_bytes(program_bytes(pruned))
    x = np.random.default_rng(2).normal(size=(2, 64, 14, 14)).astype(np.float32)
    sparse = wbcq.load(path, choices={"conv": "sparse"})
    assert np.array_equal(sparse(x), wbcq.load(path, choices={"conv": "dense"})(x))
    again = pickle.loads(pickle.dumps(sparse))
    assert np.array_equal(again(x), sparse(x))
    assert "sparse_" in str(again.profile(x, repeats=1))
