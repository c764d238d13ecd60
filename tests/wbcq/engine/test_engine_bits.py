"""The C++ engine gives the oracle's bits: every ISA, 1 and 2 threads, batches of 1, 3 and 8.

In the ``ci`` profile 2,500 programs are drawn.
"""

import os
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wbcq.engine.strategies import cases, chains, inputs_for, single_op_programs
from wbcq.engine.exact import ExactExecutor
from wbcq.engine.program_file import program_bytes

_core = pytest.importorskip("wbcq._core", reason="the extension module is not built")

BATCHES = (8, 3, 1)


def assert_same_bits(actual, expected, what):
    """Equal bit patterns, so that -0.0 is not 0.0; any NaN equals any other."""
    assert actual.dtype == expected.dtype == np.float32, what
    assert actual.shape == expected.shape, what
    nan = np.isnan(expected)
    assert np.array_equal(np.isnan(actual), nan), what
    different = (actual.view(np.uint32) != expected.view(np.uint32)) & ~nan
    if different.any():
        where = tuple(int(i) for i in np.argwhere(different)[0])
        raise AssertionError(
            f"{what}: {int(different.sum())} of {different.size} differ, first at {where}: "
            f"{actual[where]!r}, must be {expected[where]!r}"
        )


def check(program, inputs):
    """The results of one picture do not depend on its batch, so that the oracle runs once."""
    expected = ExactExecutor(program).run(*inputs)
    data = program_bytes(program)
    for isa in _core.available_isas():
        model = _core.Model.from_bytes(data, isa)
        for threads in (1, 2):
            session = _core.Session(model, threads)
            for batch in BATCHES:
                outputs = session.run([array[:batch] for array in inputs])
                assert len(outputs) == len(expected)
                for i, (output, reference) in enumerate(zip(outputs, expected, strict=True)):
                    what = f"output {i} on {isa} with {threads} threads and batch {batch}"
                    assert_same_bits(output, reference[:batch], what)


def draw_and_check(data, strategy):
    program = data.draw(strategy)
    check(program, data.draw(inputs_for(program, max(BATCHES))))


@cases(6)
@given(st.data())
def test_conv2d(data):
    draw_and_check(data, single_op_programs("conv2d"))


@cases(2)
@given(st.data())
def test_depthwise_conv2d(data):
    draw_and_check(data, single_op_programs("depthwise"))


@cases(2)
@given(st.data())
def test_float_head(data):
    draw_and_check(data, single_op_programs("head"))


@cases(3)
@given(st.data())
def test_linear(data):
    draw_and_check(data, single_op_programs("linear"))


@cases(3)
@given(st.data())
def test_conv2d_with_residual(data):
    draw_and_check(data, single_op_programs("residual"))


@cases(3)
@given(st.data())
def test_winograd(data):
    """Small maps too, which would be convolved directly."""
    with mock.patch.dict(os.environ, WBCQ_WINOGRAD="always"):
        draw_and_check(data, single_op_programs("winograd"))


@cases(2)
@given(st.data())
def test_max_pool2d(data):
    draw_and_check(data, single_op_programs("max_pool2d"))


@cases(2)
@given(st.data())
def test_avg_pool2d(data):
    draw_and_check(data, single_op_programs("avg_pool2d"))


@cases(1)
@given(st.data())
def test_add(data):
    draw_and_check(data, single_op_programs("add"))


@cases(1)
@given(st.data())
def test_quantize_and_dequantize(data):
    draw_and_check(data, single_op_programs("convert"))


@cases(3)
@given(st.data())
def test_chains(data):
    draw_and_check(data, chains())
