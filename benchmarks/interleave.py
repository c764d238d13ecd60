"""Trustworthy timings on a shared machine: candidates take turns inside one run.

Machines drift: a ratio between two numbers of different runs says little. Here every candidate is
timed in each of many short rounds, in alternating order, and the figures are medians over rounds;
ratios are taken round by round.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Timing", "interleave"]


@dataclass(frozen=True)
class Timing:
    """Seconds for one call, over the rounds."""

    median: float
    minimum: float
    maximum: float
    rounds: tuple[float, ...]

    def ratio_to(self, other: Timing) -> float:
        """Median over rounds of other / self: how many times faster this one is."""
        return statistics.median(b / a for a, b in zip(self.rounds, other.rounds, strict=True))


def interleave(
    candidates: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 15,
    seconds_per_round: float = 0.02,
) -> dict[str, Timing]:
    """Times callables in turn.

    Args:
        candidates: Name to a callable without arguments.
        rounds: Rounds; the order of the candidates is reversed in every second one.
        seconds_per_round: Each candidate is repeated for about this long in a round.

    Returns:
        A :class:`Timing` for each name.
    """
    repeats: dict[str, int] = {}
    for name, call in candidates.items():
        call()
        start = time.perf_counter()
        call()
        once = max(time.perf_counter() - start, 1e-7)
        repeats[name] = max(1, min(10_000, round(seconds_per_round / once)))
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for index in range(rounds):
        for name in names if index % 2 == 0 else reversed(names):
            call, count = candidates[name], repeats[name]
            call()
            start = time.perf_counter()
            for _ in range(count):
                call()
            samples[name].append((time.perf_counter() - start) / count)
    return {
        name: Timing(statistics.median(s), min(s), max(s), tuple(s)) for name, s in samples.items()
    }
