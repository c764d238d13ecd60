"""Running units: resuming, failing, a full disk; here and on a Dask cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.wbcq.experiments.work import (
    Listener,
    adding,
    begun,
    failing,
    fill_disk,
    interrupt,
    lines,
    not_json,
    nowhere,
)
from wbcq.experiments.runner import NoSpaceError, Outcome, run_units
from wbcq.experiments.store import Store
from wbcq.experiments.units import ExperimentError, Unit

CHAIN = [adding("a", 1), adding("x/b", 10, of=("a",)), adding("x/c", 100, of=("a", "x/b"))]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "out")


def run(store: Store, *units: Unit, dask: str | None = None) -> tuple[Outcome, Listener]:
    listener = Listener()
    return run_units(units, store, listener, dask=dask), listener


class TestSerial:
    def test_results_follow_from_each_other(self, store: Store) -> None:
        outcome, listener = run(store, *reversed(CHAIN))
        assert outcome.complete
        assert outcome.ran == ["a", "x/b", "x/c"]
        assert [store.result(key)["sum"] for key in outcome.ran] == [1, 11, 112]
        assert listener.stages == ["1/3 a", "2/3 x/b", "3/3 x/c"]
        assert listener.steps == [(1, 2, "half")] * 3

    def test_a_result_tells_how_it_came_about(self, store: Store) -> None:
        run(store, *CHAIN)
        record = json.loads((store.out / "units" / "x" / "b.json").read_text())
        assert record["arguments"] == CHAIN[1].arguments
        assert record["seconds"] >= 0.02
        assert {"wbcq", "python", "numpy"} <= record["versions"].keys()

    def test_what_is_done_is_kept(self, store: Store) -> None:
        run(store, *CHAIN[:2])
        outcome, listener = run(store, *CHAIN)
        assert outcome.kept == ["a", "x/b"]
        assert outcome.ran == ["x/c"]
        assert begun(store.out) == ["a", "x/b", "x/c"]
        assert listener.notes == ["2 of 3 units are done already"]

    def test_a_changed_unit_runs_again_with_those_that_need_it(self, store: Store) -> None:
        run(store, *CHAIN, adding("d"))
        changed = [CHAIN[0], adding("x/b", 20, of=("a",)), CHAIN[2], adding("d")]
        assert [*store.results(changed)] == ["a", "d"]
        outcome, _ = run(store, *changed)
        assert outcome.kept == ["a", "d"]
        assert outcome.ran == ["x/b", "x/c"]
        assert store.result("x/c")["sum"] == 122

    @pytest.mark.parametrize("damage", ["", "{", "[]", '{"result": {}}'])
    def test_a_damaged_result_counts_as_none(self, store: Store, damage: str) -> None:
        run(store, *CHAIN)
        store.path("x/c", ".json").write_text(damage)
        outcome, _ = run(store, *CHAIN)
        assert outcome.ran == ["x/c"]
        assert store.result("x/c")["sum"] == 112

    def test_a_missing_file_counts_as_not_done(self, store: Store) -> None:
        run(store, *CHAIN)
        store.path("a", ".txt").unlink()
        assert run(store, *CHAIN)[0].ran == ["a"]

    def test_a_failure_stops_only_what_needs_it(self, store: Store) -> None:
        units = [failing("bad"), adding("b", of=("bad",)), adding("c", of=("b",)), adding("d")]
        outcome, listener = run(store, *units)
        assert not outcome.complete
        assert outcome.failed == {"bad": "ValueError: a reason"}
        assert outcome.skipped == {"b": "bad", "c": "bad"}
        assert outcome.ran == ["d"]
        assert listener.notes == ["bad failed: ValueError: a reason"]
        assert "in fail" in store.path("bad", ".error.txt").read_text()

    def test_a_unit_that_is_repaired_leaves_no_trace_of_its_failure(self, store: Store) -> None:
        run(store, failing("a"))
        assert run(store, adding("a"))[0].complete
        assert not store.path("a", ".error.txt").exists()

    def test_a_full_disk_stops_all_and_keeps_what_is_done(self, store: Store) -> None:
        units = [adding("a"), Unit("b", fill_disk, {}), adding("c")]
        with pytest.raises(NoSpaceError, match=r"no space left while b ran; 1 of 3 units are done"):
            run(store, *units)
        assert store.result("a")["sum"] == 1
        assert run(store, adding("a"), adding("b"), adding("c"))[0].kept == ["a"]

    def test_an_interruption_keeps_what_is_done(self, store: Store) -> None:
        with pytest.raises(KeyboardInterrupt):
            run(store, adding("a"), Unit("b", interrupt, {}))
        assert run(store, adding("a"))[0].kept == ["a"]

    def test_what_json_cannot_hold_is_a_failure(self, store: Store) -> None:
        outcome, _ = run(store, Unit("a", not_json, {}))
        assert "unit a returned what JSON cannot hold" in outcome.failed["a"]

    def test_a_result_that_is_not_there(self, store: Store) -> None:
        with pytest.raises(ExperimentError, match=r"a\.json: no result of a; run it first"):
            store.result("a")


class TestPredictions:
    def test_they_come_back(self, store: Store) -> None:
        scores = np.array([[1, 0], [0, 2]], np.float32)
        store.save_predictions("x/a", ["ä.png", "b"], np.array([0, 1]), scores, ("p", "q"))
        found = store.predictions("x/a")
        assert found.names == ("ä.png", "b")
        assert found.classes == ("p", "q")
        assert found.decisions.tolist() == found.labels.tolist() == [0, 1]

    @pytest.mark.parametrize("damage", [None, b"", b"PK broken"])
    def test_missing_or_damaged(self, store: Store, damage: bytes | None) -> None:
        if damage is not None:
            store.path("a", ".npz").parent.mkdir(parents=True)
            store.path("a", ".npz").write_bytes(damage)
        with pytest.raises(ExperimentError, match=r"a\.npz: no predictions of a"):
            store.predictions("a")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        dashboard_address=None,
        host="127.0.0.1",
        protocol="tcp",
    ) as cluster:
        yield cluster.scheduler_address


class TestDask:
    def test_results_follow_from_each_other(self, store: Store, address: str) -> None:
        outcome, listener = run(store, *reversed(CHAIN), dask=address)
        assert outcome.ran == ["a", "x/b", "x/c"]
        assert store.result("x/c")["sum"] == 112
        assert listener.stages == [f"3 units on {address}"]
        assert listener.steps[-1][:2] == (3, 3)

    def test_what_is_done_is_kept(self, store: Store, address: str) -> None:
        run(store, *CHAIN[:2])
        assert run(store, *CHAIN, dask=address)[0].ran == ["x/c"]
        assert run(store, *CHAIN, dask=address)[0].ran == []

    def test_a_failure_stops_only_what_needs_it(self, store: Store, address: str) -> None:
        units = [failing("bad"), adding("b", of=("bad",)), adding("d")]
        outcome, _ = run(store, *units, dask=address)
        assert outcome.failed == {"bad": "ValueError: a reason"}
        assert outcome.skipped == {"b": "bad"}
        assert outcome.ran == ["d"]

    def test_units_that_want_to_be_alone_are(self, store: Store, address: str) -> None:
        timings = [adding(f"time{k}", of=("a",), alone=True) for k in range(2)]
        run(
            store,
            *timings,
            adding("a"),
            *(adding(f"b{k}", of=("a",)) for k in range(4)),
            dask=address,
        )
        assert lines(store.out)[-4:] == [
            "time0 begins", "time0 ends", "time1 begins", "time1 ends",
        ]  # fmt: skip

    def test_a_full_disk_stops_all(self, store: Store, address: str) -> None:
        run(store, adding("a"))
        with pytest.raises(NoSpaceError, match="1 of 2 units are done"):
            run(store, adding("a"), Unit("b", fill_disk, {}), dask=address)

    def test_a_worker_that_writes_elsewhere(self, store: Store, address: str) -> None:
        outcome, _ = run(store, Unit("a", nowhere, {"folder": "x"}), dask=address)
        assert "that folder must be shared by all machines" in outcome.failed["a"]

    def test_nobody_answers(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("distributed")
        monkeypatch.setattr("wbcq.experiments.cluster._CONNECT_SECONDS", 0.5)
        with pytest.raises(ExperimentError, match=r"127\.0\.0\.1:9: no Dask scheduler answers"):
            run(store, adding("a"), dask="tcp://127.0.0.1:9")
