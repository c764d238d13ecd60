"""Fair timing of several models on one machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

__all__ = ["quietest_ms"]


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
        seconds: Least time of a turn; a turn has at least three calls.
        on_round: Called with the number of turns done and their total.

    Example:
        >>> quietest_ms({"nothing": lambda: None}, rounds=1, seconds=0.001)["nothing"] < 1
        True
    """
    medians: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds):
        for position, (name, call) in enumerate(calls.items()):
            call()
            end = time.perf_counter() + seconds
            samples: list[float] = []
            while len(samples) < 3 or time.perf_counter() < end:
                start = time.perf_counter()
                call()
                samples.append(time.perf_counter() - start)
            medians[name].append(statistics.median(samples))
            if on_round is not None:
                on_round(turn * len(calls) + position + 1, rounds * len(calls))
    return {name: 1e3 * min(values) for name, values in medians.items()}
