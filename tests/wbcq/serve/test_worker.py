"""The process that counts: ended when it takes too long, replaced when it dies."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("PIL")

from tests.wbcq.serve.service import LIMITS, png
from wbcq.serve import CountError, Limits, Models, Worker


@pytest.fixture
def worker(models: Models) -> Worker:
    worker = Worker(models, LIMITS)
    yield worker
    worker.close()


def pid(worker: Worker) -> int:
    return worker._process.pid


def test_too_long(models: Models) -> None:
    worker = Worker(models, replace(LIMITS, seconds=0.3))
    try:
        worker.start()
        first = pid(worker)
        os.kill(first, signal.SIGSTOP)  # as slow as can be
        with pytest.raises(CountError, match=r"x: not counted within 0\.3 seconds") as caught:
            worker.count(png(), "x")
        assert caught.value.too_long
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
        worker.start()
        assert pid(worker) != first
    finally:
        worker.close()


def test_a_dead_process_is_replaced(worker: Worker) -> None:
    assert worker.count(png(), "x")["total"] > 0
    first = pid(worker)
    os.kill(first, signal.SIGKILL)
    worker._process.join(10)
    assert worker.count(png(), "x")["total"] > 0
    assert pid(worker) != first


def test_death_at_work_is_told(worker: Worker) -> None:
    worker.start()
    first = pid(worker)
    os.kill(first, signal.SIGSTOP)
    killer = threading.Timer(0.3, lambda: os.kill(first, signal.SIGKILL))
    killer.start()
    with pytest.raises(CountError, match="x: counting it ended the process") as caught:
        worker.count(png(), "x")
    assert not caught.value.too_long
    assert worker.count(png(), "x")["total"] > 0


def test_memory_is_limited(models: Models) -> None:
    """A picture that is allowed but does not fit is refused; the next one is counted."""
    from tests.wbcq.differential.test_pictures import bomb

    limits = replace(LIMITS, memory_bytes=1_500_000_000, pixels=175_000_000)
    worker = Worker(models, limits)
    try:
        worker.start()
        for _ in range(2):
            with pytest.raises(CountError, match=r"x: "):
                worker.count(bomb(13_000, 13_000), "x")
        assert worker.count(png(), "y")["total"] > 0
    finally:
        worker.close()


def test_models_that_cannot_be_loaded(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.wbcq")
    worker = Worker(Models(missing), LIMITS)
    with pytest.raises(CountError, match=r"none\.wbcq"):
        worker.start()
    damaged = tmp_path / "bad.wbcq"
    damaged.write_bytes(bytes(300))
    with pytest.raises(CountError, match=r"bad\.wbcq"):
        Worker(Models(str(damaged)), LIMITS).start()


def test_limits_are_checked() -> None:
    with pytest.raises(ValueError, match="seconds is 0"):
        Limits(seconds=0)
    assert Limits(waiting=0).waiting == 0
