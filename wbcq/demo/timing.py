"""Fair timing of several models on one machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

__all__ = ["fastest_threads", "quietest_ms"]


def quietest_ms(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 5,
    seconds: float = 0.3,
    on_round: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Milliseconds of each call: the smallest of its turns' medians.

    The calls take turns, so that all meet the same noise; the quietest turn is the one that other
    programs disturbed least.

    Args:
        calls: By name.
        rounds: Turns of each call. The first call of a turn wakes its threads and is not counted.
        seconds: Least time of a turn. A turn has at least three calls, or as many as fit into
            four times its least time.
        on_round: Called with the number of turns done and their total.

    Example:
        >>> quietest_ms({"nothing": lambda: None}, rounds=1, seconds=0.001)["nothing"] < 1
        True
    """
    medians: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds):
        for position, (name, call) in enumerate(calls.items()):
            call()
            begin = time.perf_counter()
            samples: list[float] = []
            # Three calls make a median, unless even they would take minutes in all.
            while (
                not samples
                or (spent := time.perf_counter() - begin) < seconds
                or (len(samples) < 3 and spent < 4 * seconds)
            ):
                start = time.perf_counter()
                call()
                samples.append(time.perf_counter() - start)
            medians[name].append(statistics.median(samples))
            if on_round is not None:
                on_round(turn * len(calls) + position + 1, rounds * len(calls))
    return {name: 1e3 * min(values) for name, values in medians.items()}


def fastest_threads(
    work: Callable[[], object],
    set_threads: Callable[[int], object],
    candidates: Sequence[int],
    *,
    rounds: int = 2,
) -> int:
    """The number of threads with which a piece of work takes the least time just now.

    On cores that other programs use, threads that wait for each other at the end of every layer
    can be several times slower than one thread alone.

    Args:
        work: Run with each candidate in turn, once more than ``rounds`` says to warm up.
        set_threads: Sets the number of threads; left at the one that is returned.
        candidates: Numbers to try; the first wins a tie.
        rounds: Runs of each that count; the shortest decides.

    Example:
        >>> fastest_threads(lambda: None, lambda threads: None, [4])
        4
    """
    times = dict.fromkeys(candidates, float("inf"))
    for turn in range(rounds + 1 if len(times) > 1 else 0):
        for threads in times:
            set_threads(threads)
            start = time.perf_counter()
            work()
            if turn > 0:
                times[threads] = min(times[threads], time.perf_counter() - start)
    best = min(times, key=times.__getitem__)
    set_threads(best)
    return best
