"""Dense or sparse by time: the times here are made up, nothing depends on how fast anything is."""

import json
import os
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wbcq
from tests.wbcq.engine.strategies import cases
from tests.wbcq.engine.test_engine_sparse import prune
from tests.wbcq.engine.test_program_file import JSON
from wbcq.engine.program import BATCH, Conv2d, Dequantize, Io, Program, Quantize, Tensor
from wbcq.engine.program_file import program_bytes, read_program
from wbcq.engine.tuned import Machine, TunedChoices, tuned_from_metadata, with_tuned

_core = pytest.importorskip("wbcq._core", reason="the extension module is not built")

LAYERS = ("one", "two", "three", "full")
DENSITY = {"one": 0.1, "two": 0.2, "three": 0.3, "full": 1}


@pytest.fixture(scope="module")
def program():
    """Four convolutions, of which the last has no zero block."""
    rng = np.random.default_rng(0)
    picture = {"height": 6, "width": 6, "channels": 64}
    tensors = [Tensor("input", "f32", **picture), Tensor("x", "u8", **picture, scale=0.02)]
    ops = [Quantize("quantize", "input", "x")]
    for name in LAYERS:
        weight = rng.integers(1, 128, (64, 1, 1, 64), np.int8)
        ops.append(
            Conv2d(
                name,
                ops[-1].y,
                name,
                weight=prune(weight, "1x4", DENSITY[name], rng),
                bias=np.zeros(64, np.int32),
                weight_scale=np.full(64, 1e-3, np.float32),
            )
        )
        tensors.append(Tensor(name, "u8", **picture, scale=0.02, zero_point=3))
    tensors.append(Tensor("output", "f32", **picture))
    ops.append(Dequantize("dequantize", "full", "output"))
    shape = (BATCH, 64, 6, 6)
    return Program(
        {t.name: t for t in tensors},
        tuple(ops),
        (Io("input", shape),),
        (Io("output", shape),),
        {"classes": ["a"], "note": "ä"},
    )


@pytest.fixture
def model(program):
    return wbcq.QuantizedModel(program_bytes(program), threads=1)


def sparse_layers(model):
    x = np.zeros((1, 64, 6, 6), np.float32)
    rows = model.profile(x, repeats=1).rows
    return {row.name for row in rows if row.kernel.startswith("sparse_")}


class FakeClock:
    """A dense operator takes a second, a sparse one what is said; so the network, if not said."""

    def __init__(self, sparse, networks=None):
        self.sparse, self.networks = sparse, networks or {}
        self.timed = []

    def operators(self, model, inputs, repeats):
        sparse = sparse_layers(model)
        self.timed.append(sparse)
        return {
            op.name: self.sparse[op.name] if op.name in sparse else 1.0 for op in model.program.ops
        }

    def network(self, model, inputs, repeats):
        sparse = frozenset(sparse_layers(model))
        seconds = sum(self.operators(model, inputs, repeats).values())
        return self.networks.get(sparse, seconds)


TIMES = {"one": 0.2, "two": 1.5, "three": 0.9}


def test_each_operator_keeps_what_is_faster(model):
    tuning = wbcq.tune(model, clock=FakeClock(TIMES))
    assert [(op.name, op.choice) for op in tuning.operators] == [
        ("one", "sparse"),
        ("two", "dense"),
        ("three", "sparse"),
    ]
    assert [op.sparse_seconds for op in tuning.operators] == list(TIMES.values())
    assert all(op.dense_seconds == 1.0 for op in tuning.operators)
    shares = [np.mean(model.program.ops[i].weight == 0) for i in (1, 2, 3)]
    assert [op.zero_blocks for op in tuning.operators] == pytest.approx(shares)
    assert tuning.choices.letters == "-sds--"
    assert tuning.choices.dense_ms == pytest.approx(6000)
    assert tuning.choices.tuned_ms == pytest.approx(5100)
    assert sparse_layers(tuning.model) == {"one", "three"}
    assert not model.tunings


def test_in_float_single_zeros_count():
    rng = np.random.default_rng(0)
    weight = rng.uniform(0.5, 1, (64, 1, 1, 64)).astype(np.float32)
    weight *= np.arange(64 * 64).reshape(weight.shape) % 2  # no block of four is empty
    ops = tuple(
        Conv2d(y, x, y, weight, np.zeros(64, np.float32), None)
        for x, y in (("x", "one"), ("one", "two"))
    )
    shape = (BATCH, 64, 6, 6)
    program = Program(
        {name: Tensor(name, "f32", 6, 6, 64) for name in ("x", "one", "two")},
        ops,
        (Io("x", shape),),
        (Io("two", shape),),
    )
    model = wbcq.QuantizedModel(program_bytes(program), threads=1)
    tuning = wbcq.tune(model, clock=FakeClock(TIMES))
    assert [(op.name, op.zero_blocks) for op in tuning.operators] == [("one", 0.5), ("two", 0.5)]
    assert tuning.choices.letters == "sd"
    assert sparse_layers(tuning.model) == {"one"}


def test_the_file_remembers(model, tmp_path):
    tuned = wbcq.tune(model, clock=FakeClock(TIMES)).model
    tuned.save(tmp_path / "tuned.wbcq")
    again = wbcq.load(tmp_path / "tuned.wbcq", threads=1)
    assert sparse_layers(again) == {"one", "three"}
    (choices,) = again.tunings
    assert choices.machine == Machine(_core.cpu_name(), _core.available_isas()[-1], 1)
    assert (choices.batch, choices.letters) == (1, "-sds--")
    x = np.random.default_rng(1).random((3, 64, 6, 6), np.float32)
    np.testing.assert_array_equal(again(x), model(x))


def test_everything_but_the_metadata_stays(model):
    before, after = model.to_bytes(), wbcq.tune(model, clock=FakeClock(TIMES)).model.to_bytes()
    program = read_program(after)
    assert program_bytes(replace(program, metadata=read_program(before).metadata)) == before
    assert {key: program.metadata[key] for key in ("classes", "note")} == {
        "classes": ["a"],
        "note": "ä",
    }
    version, features = slice(8, 12), slice(24, 32)
    assert (before[version], before[features]) == (after[version], after[features])


def test_a_network_that_is_slower_than_dense_stays_dense(model):
    clock = FakeClock(TIMES, networks=dict.fromkeys([frozenset({"one", "three"})], 6.001))
    clock.networks[frozenset(sparse_layers(model))] = 6.001
    tuning = wbcq.tune(model, clock=clock)
    assert tuning.choices.letters == "-ddd--"
    assert tuning.choices.tuned_ms == tuning.choices.dense_ms
    assert {op.choice for op in tuning.operators} == {"dense"}
    assert sparse_layers(tuning.model) == set()


def test_the_engines_own_choice_stays_if_it_is_the_fastest(model):
    own = frozenset(sparse_layers(model))
    tuning = wbcq.tune(model, clock=FakeClock(TIMES, networks={own: 0.5}))
    assert sparse_layers(tuning.model) == own
    assert tuning.engine_seconds == (0.5 if own else pytest.approx(0.5))


def test_nothing_that_is_far_slower_is_timed_again(model):
    clock = FakeClock({"one": 0.2, "two": 50.0, "three": 0.9})
    tuning = wbcq.tune(model, clock=clock, rounds=5)
    assert sum("two" in sparse for sparse in clock.timed) == 1
    assert [op.sparse_seconds for op in tuning.operators] == [0.2, 50.0, 0.9]
    assert tuning.choices.letters == "-sds--"


def test_medians_of_interleaved_rounds_count(model):
    class Noisy(FakeClock):
        def operators(self, model, inputs, repeats):
            times = super().operators(model, inputs, repeats)
            slow = len(self.timed) % 5 == 0
            return {name: 100 * t if slow else t for name, t in times.items()}

        def network(self, model, inputs, repeats):
            return sum(FakeClock.operators(self, model, inputs, repeats).values())

    assert wbcq.tune(model, clock=Noisy(TIMES), rounds=9).choices.letters == "-sds--"


def test_progress_comes_to_its_end(model):
    steps = []
    wbcq.tune(model, clock=FakeClock(TIMES), rounds=3, progress=lambda *s: steps.append(s[:2]))
    assert steps == [(i, 6) for i in range(7)]


def tuned_for(model, machine, letters):
    return with_tuned(model.to_bytes(), TunedChoices(machine, 1, 2.0, 1.0, letters))


def test_other_machines_decide_for_themselves(model):
    own = sparse_layers(model)
    here = Machine(_core.cpu_name(), model.isa, 1)
    for letters in ("-sss--", "-ddd--"):
        for other in (
            replace(here, cpu="Another CPU"),
            replace(here, threads=2),
            replace(here, isa="abacus"),
        ):
            tuned = wbcq.QuantizedModel(tuned_for(model, other, letters), threads=1)
            assert sparse_layers(tuned) == own
            assert [t.machine for t in tuned.tunings] == [other]
        tuned = wbcq.QuantizedModel(tuned_for(model, here, letters), threads=1)
        assert len(sparse_layers(tuned)) == letters.count("s")


def test_choices_of_other_machines_stay(model):
    other = Machine("Another CPU", "neondot", 4)
    data = tuned_for(model, other, "-sdd--")
    tuning = wbcq.tune(wbcq.QuantizedModel(data, threads=1), clock=FakeClock(TIMES))
    assert [t.letters for t in tuning.model.tunings] == ["-sdd--", "-sds--"]
    again = wbcq.tune(tuning.model, clock=FakeClock(dict.fromkeys(TIMES, 0.5)))
    assert [t.letters for t in again.model.tunings] == ["-sdd--", "-sss--"]


def test_threads_are_those_of_the_load(program, tmp_path):
    model = wbcq.QuantizedModel(program_bytes(program), threads=2)
    tuning = wbcq.tune(model, clock=FakeClock(TIMES))
    assert tuning.choices.machine.threads == 2
    tuning.model.save(tmp_path / "two.wbcq")
    with mock.patch.dict(os.environ, WBCQ_NUM_THREADS="2"):
        assert sparse_layers(wbcq.load(tmp_path / "two.wbcq")) == {"one", "three"}
    one = wbcq.tune(tmp_path / "two.wbcq", threads=1, clock=FakeClock(dict.fromkeys(TIMES, 2.0)))
    assert [t.letters for t in one.model.tunings] == ["-sds--", "-ddd--"]
    assert sparse_layers(one.model) == set()


def test_what_overrules_the_file(model):
    here = Machine(_core.cpu_name(), model.isa, 1)
    data = tuned_for(model, here, "-sss--")
    chosen = wbcq.QuantizedModel(data, threads=1, choices={"two": "dense"})
    assert sparse_layers(chosen) == {"one", "three"}
    with mock.patch.dict(os.environ, WBCQ_SPARSE="never"):
        assert sparse_layers(wbcq.QuantizedModel(data, threads=1)) == set()
        with pytest.raises(ValueError, match=r"WBCQ_SPARSE is 'never'.* Remedy: unset it"):
            wbcq.tune(model)
    small = wbcq.QuantizedModel(data, threads=1, memory="small")
    untuned = wbcq.QuantizedModel(model.to_bytes(), threads=1, memory="small")
    assert sparse_layers(small) == sparse_layers(untuned)


def test_choices_of_another_program_are_not_followed(model):
    here = Machine(_core.cpu_name(), model.isa, 1)
    for letters in ("", "s", "-sss-", "-sss---"):
        tuned = wbcq.QuantizedModel(tuned_for(model, here, letters), threads=1)
        assert sparse_layers(tuned) == sparse_layers(model)


def test_letters_where_nothing_can_be_sparse_are_no_harm(model):
    here = Machine(_core.cpu_name(), model.isa, 1)
    tuned = wbcq.QuantizedModel(tuned_for(model, here, "sssdxs"), threads=1)
    assert {"one", "two"} <= sparse_layers(tuned) <= {"one", "two", "full"}


def test_without_zero_blocks_nothing_is_timed(program):
    ops = (program.ops[0], replace(program.ops[4], x="x"), program.ops[5])
    tensors = {name: program.tensors[name] for name in ("input", "x", "full", "output")}
    data = program_bytes(replace(program, ops=ops, tensors=tensors))
    tuning = wbcq.tune(wbcq.QuantizedModel(data, threads=1), clock=FakeClock({}))
    assert tuning.operators == ()
    assert tuning.model.to_bytes() == data
    assert "no operator has zero blocks" in str(tuning)


def test_the_table_is_aligned(model):
    lines = str(wbcq.tune(model, clock=FakeClock(TIMES))).splitlines()
    assert len({len(line) for line in lines[:5]}) == 1
    assert [line.split("|")[1].strip() for line in lines[2:5]] == ["one", "two", "three"]
    assert lines[5].startswith(f"{_core.cpu_name()}, {model.isa}, 1 thread, batch 1: all dense")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 0}, "batch is 0, must be an integer of at least 1"),
        ({"rounds": True}, "rounds is True"),
        ({"threads": 0}, "threads is 0"),
        ({"isa": "abacus"}, "abacus"),
    ],
)
def test_bad_arguments(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        wbcq.tune(model, **arguments)


def test_bad_files_are_named(tmp_path):
    (tmp_path / "bad.wbcq").write_bytes(b"WBCQ")
    with pytest.raises(wbcq.ModelFileError, match=r"bad\.wbcq"):
        wbcq.tune(tmp_path / "bad.wbcq")


@pytest.mark.parametrize(
    "metadata",
    [
        {"tuned": 7, "tuning": {}},
        {"tuned": {"a|b|1": "s"}},
        {"tuned": {"a|b|1": "s"}, "tuning": {"a|b|1": 3}},
        {"tuned": {"a|b|1": "s"}, "tuning": {"a|b|1": {"batch": 1}}},
        {"tuned": {"a|b": "s"}, "tuning": {"a|b": {"batch": 1, "dense_ms": 1, "tuned_ms": 1}}},
        {
            "tuned": {"a|b|1": "s"},
            "tuning": {"a|b|1": {"batch": [], "dense_ms": 1, "tuned_ms": 1}},
        },
    ],
)
def test_foreign_metadata_are_no_tunings(metadata):
    assert tuned_from_metadata(metadata) == ()


@cases(1)
@given(st.dictionaries(st.text(st.characters(codec="utf-8")), JSON), st.data())
def test_the_engine_finds_what_was_stored_among_any_metadata(program, metadata, data):
    here = Machine(_core.cpu_name(), _core.available_isas()[-1], 1)
    own = sparse_layers(wbcq.QuantizedModel(program_bytes(program), threads=1))
    # As text it is no choice.
    quoted = json.dumps({"tuned": {here.key: "-sss--"}}, separators=(",", ":"))
    metadata = {key: value for key, value in metadata.items() if key not in ("tuned", "tuning")}
    metadata[data.draw(st.sampled_from(["note", quoted]))] = quoted
    plain = wbcq.QuantizedModel(program_bytes(replace(program, metadata=metadata)), threads=1)
    assert sparse_layers(plain) == own
    letters = data.draw(st.sampled_from(["-sss--", "-dds--", "-ddd--"]))
    tuned = wbcq.QuantizedModel(tuned_for(plain, here, letters), threads=1)
    expected = {op.name for op, c in zip(program.ops, letters, strict=True) if c == "s"}
    assert sparse_layers(tuned) == expected
    assert {k: v for k, v in tuned.metadata.items() if k not in ("tuned", "tuning")} == metadata
