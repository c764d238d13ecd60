"""Timing of calls that take turns."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("torch")
pytest.importorskip("scipy")

from wbcq.demo.timing import fastest_threads, quietest_ms


def test_calls_take_turns_and_are_told_apart() -> None:
    order: list[str] = []

    def call(name: str, seconds: float) -> None:
        if not order or order[-1] != name:
            order.append(name)
        time.sleep(seconds)

    turns: list[tuple[int, int]] = []
    ms = quietest_ms(
        {"slow": lambda: call("slow", 0.01), "fast": lambda: call("fast", 0.001)},
        rounds=2,
        seconds=0.02,
        on_round=lambda done, total: turns.append((done, total)),
    )
    assert order == ["slow", "fast", "slow", "fast"]
    assert turns == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert 10 <= ms["slow"] < 100
    assert 1 <= ms["fast"] < ms["slow"]


def test_a_disturbed_turn_does_not_count() -> None:
    state = {"turn": 0}

    def call() -> None:
        time.sleep(0.03 if state["turn"] == 0 else 0.001)

    def next_turn(done: int, _: int) -> None:
        state["turn"] = done

    assert quietest_ms({"x": call}, rounds=2, seconds=0.02, on_round=next_turn)["x"] < 20


def test_slow_calls_end_a_turn_early() -> None:
    calls: list[float] = []

    def call() -> None:
        calls.append(time.perf_counter())
        time.sleep(0.05)

    quietest_ms({"x": call}, rounds=1, seconds=0.01)
    assert len(calls) == 2  # one to warm up, one that counts


@pytest.mark.parametrize("best", [1, 3])
def test_fastest_threads(best: int) -> None:
    current = {"threads": 0}

    def work() -> None:
        time.sleep(0.001 if current["threads"] == best else 0.03)

    chosen = fastest_threads(work, lambda n: current.update(threads=n), [3, 1])
    assert chosen == best == current["threads"]
