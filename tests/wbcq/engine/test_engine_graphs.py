"""The C++ engine on views, several inputs, tables and graphs of them: the oracle's bits.

Float operators are close to the oracle, and do not depend on threads or batch size.
"""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wbcq.engine import golden_wide
from tests.wbcq.engine.graphs import (
    FLOAT_STEPS,
    STEPS,
    float_inputs_for,
    float_programs,
    graphs,
    steps,
)
from tests.wbcq.engine.strategies import cases, inputs_for
from tests.wbcq.engine.test_engine_bits import BATCHES, assert_same_bits, check
from wbcq.engine.exact import ExactExecutor
from wbcq.engine.program_file import program_bytes

_core = pytest.importorskip("wbcq._core", reason="the extension module is not built")


@pytest.mark.parametrize("kind", STEPS)
@cases(1)
@given(st.data())
def test_steps(kind, data):
    program = data.draw(steps(kind))
    check(program, data.draw(inputs_for(program, max(BATCHES))))


@cases(10)
@given(st.data())
def test_graphs(data):
    program = data.draw(graphs())
    check(program, data.draw(inputs_for(program, max(BATCHES))))


def check_float(program, inputs):
    expected = ExactExecutor(program).run(*inputs)
    data = program_bytes(program)
    for isa in _core.available_isas():
        model = _core.Model.from_bytes(data, isa)
        first = _core.Session(model, 1).run(inputs)
        for output, reference in zip(first, expected, strict=True):
            tolerance = 1e-4 * (1 + np.abs(reference).max())
            np.testing.assert_allclose(output, reference, rtol=0, atol=tolerance, err_msg=isa)
        for threads in (1, 2):
            session = _core.Session(model, threads)
            for batch in BATCHES:
                outputs = session.run([array[:batch] for array in inputs])
                for output, whole in zip(outputs, first, strict=True):
                    what = f"{isa} with {threads} threads and batch {batch}"
                    assert_same_bits(output, whole[:batch], what)


@pytest.mark.parametrize("kind", FLOAT_STEPS)
@cases(1)
@given(st.data())
def test_float_steps(kind, data):
    program = data.draw(float_programs(kind))
    check_float(program, data.draw(float_inputs_for(program, max(BATCHES))))


@cases(3)
@given(st.data())
def test_float_programs(data):
    program = data.draw(float_programs())
    check_float(program, data.draw(float_inputs_for(program, max(BATCHES))))


def test_the_golden_file_of_version_1_1():
    inputs = golden_wide.golden_inputs()
    with np.load(golden_wide.DATA / "golden_v1_1.npz") as arrays:
        expected = [arrays[f"output{i}"] for i in range(3)]
    for isa in _core.available_isas():
        model = _core.Model(os.fspath(golden_wide.DATA / "golden_v1_1.wbcq"), isa)
        outputs = _core.Session(model, 2).run(inputs)
        for i, (actual, reference) in enumerate(zip(outputs, expected, strict=True)):
            atol = 0 if i < len(golden_wide.EXACT_OUTPUTS) else 1e-5
            np.testing.assert_allclose(actual, reference, rtol=0, atol=atol, err_msg=isa)
