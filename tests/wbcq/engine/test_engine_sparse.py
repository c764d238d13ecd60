"""Convolutions that leave out zero blocks give the bits of dense ones, and both the oracle's."""

import dataclasses
import os
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wbcq.engine.strategies import cases, inputs_for, single_op_programs
from tests.wbcq.engine.test_engine_bits import BATCHES, check
from wbcq.engine.program import Conv2d
from wbcq.engine.program_file import program_bytes

_core = pytest.importorskip("wbcq._core", reason="the extension module is not built")

PATTERNS = ("1x4", "4x4", "empty rows", "one block", "nothing")


def prune(weight, pattern, density, rng):
    """Zeros in an OHWI weight, in whole blocks."""
    outputs, height, width, inputs = weight.shape
    rows = 4 if pattern == "4x4" else 1
    grid = (-(-outputs // rows), height, width, -(-inputs // 4))
    keep = rng.random(grid) < density
    if pattern == "empty rows":
        keep[rng.random(grid[0]) < 0.5] = False
    elif pattern in ("one block", "nothing"):
        keep[:] = False
        if pattern == "one block":
            keep.flat[rng.integers(keep.size)] = True
    keep = keep.repeat(rows, 0).repeat(4, 3)[:outputs, ..., :inputs]
    return np.where(keep, weight, 0).astype(np.int8)


@st.composite
def sparse_programs(draw, kind):
    program = draw(single_op_programs(kind))
    pattern, density = draw(st.sampled_from(PATTERNS)), draw(st.sampled_from((0.05, 0.25, 0.6, 1)))
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
    program = data.draw(sparse_programs(kind))
    inputs = data.draw(inputs_for(program, max(BATCHES)))
    for use in ("always", "never", ""):
        with mock.patch.dict(os.environ, WBCQ_SPARSE=use):
            check(program, inputs)


@settings(max_examples=1)
@given(program=single_op_programs("conv2d"))
def test_unknown_use_is_refused(program):
    with (
        mock.patch.dict(os.environ, WBCQ_SPARSE="sometimes"),
        pytest.raises(ValueError, match='WBCQ_SPARSE is "sometimes"; use always or never'),
    ):
        _core.Model.from_bytes(program_bytes(program))
