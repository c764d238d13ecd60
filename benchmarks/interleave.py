"""Trustworthy timings on a shared machine: candidates take turns inside one run.

Machines drift: a ratio between two numbers of different runs says little. Here every candidate is
timed in each of many short rounds, in alternating order, and the figures are medians over rounds;
ratios are taken round by round. Slow candidates may sit out rounds.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Timing", "interleave"]

LONG_CALL = 0.2  # seconds


@dataclass(frozen=True)
class Timing:
    """Seconds for one call, over the rounds; None in ``rounds`` where it sat out."""

    median: float
    minimum: float
    maximum: float
    rounds: tuple[float | None, ...]

    @classmethod
    def of(cls, rounds: Sequence[float | None]) -> Timing:
        """From the time of each round."""
        taken = [seconds for seconds in rounds if seconds is not None]
        return cls(statistics.median(taken), min(taken), max(taken), tuple(rounds))

    def ratio_to(self, other: Timing) -> float:
        """Median of other / self over the rounds that both took: how many times faster this is."""
        return statistics.median(
            b / a
            for a, b in zip(self.rounds, other.rounds, strict=True)
            if a is not None and b is not None
        )


def interleave(
    candidates: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 15,
    seconds_per_round: float = 0.02,
    seconds_in_all: float = math.inf,
) -> dict[str, Timing]:
    """Times callables in turn.

    Args:
        candidates: Name to a callable without arguments.
        rounds: Rounds; the order of the candidates is reversed in every second one.
        seconds_per_round: Each candidate is repeated for about this long in a round.
        seconds_in_all: A candidate that takes longer sits out rounds, all but the first and the
            last where it must.

    Returns:
        A :class:`Timing` for each name.
    """
    repeats: dict[str, int] = {}
    turns: dict[str, set[int]] = {}
    warms_up: dict[str, bool] = {}
    for name, call in candidates.items():
        call()
        start = time.perf_counter()
        call()
        once = max(time.perf_counter() - start, 1e-7)
        repeats[name] = max(1, min(10_000, round(seconds_per_round / once)))
        # A turn begins with one call that is not timed, unless a call is long enough to do without.
        warms_up[name] = once < LONG_CALL
        most = seconds_in_all / ((repeats[name] + warms_up[name]) * once)
        turns[name] = _spread(rounds, max(2, int(min(rounds, most))))
    samples: dict[str, list[float | None]] = {name: [] for name in candidates}
    names = list(candidates)
    for index in range(rounds):
        for name in names if index % 2 == 0 else reversed(names):
            if index not in turns[name]:
                samples[name].append(None)
                continue
            call, count = candidates[name], repeats[name]
            if warms_up[name]:
                call()
            start = time.perf_counter()
            for _ in range(count):
                call()
            samples[name].append((time.perf_counter() - start) / count)
    return {name: Timing.of(rounds) for name, rounds in samples.items()}


def _spread(rounds: int, turns: int) -> set[int]:
    """Which rounds: the first, the last, and others evenly between them."""
    if turns >= rounds:
        return set(range(rounds))
    return {round(i * (rounds - 1) / (turns - 1)) for i in range(turns)}
