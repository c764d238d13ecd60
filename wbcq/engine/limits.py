"""What this machine can do at most, measured: the measure of every operator's speed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from wbcq import _core

__all__ = ["MachineLimits", "measure_limits"]


@dataclass(frozen=True)
class MachineLimits:
    """Limits of so many threads together.

    Attributes:
        threads: Threads that were measured.
        peak_gmacs: Billions of int8 multiply-accumulates a second.
        bandwidths: Bytes that a thread works on, and gigabytes (10^9) that it reads and writes a
            second while all threads do; in growing order of bytes.
    """

    threads: int
    peak_gmacs: float
    bandwidths: tuple[tuple[int, float], ...]

    def bandwidth(self, size: float) -> float:
        """Gigabytes a second for all threads that share ``size`` bytes.

        Between two measured sizes it is interpolated on a logarithmic scale.
        """
        mine = size / self.threads
        below = [point for point in self.bandwidths if point[0] < mine]
        above = [point for point in self.bandwidths if point[0] >= mine]
        if not below or not above:
            return self.threads * (above[0] if above else below[-1])[1]
        (low, slow), (high, fast) = below[-1], above[0]
        position = math.log(mine / low) / math.log(high / low)
        return self.threads * (slow + position * (fast - slow))


@lru_cache
def measure_limits(isa: str, threads: int) -> MachineLimits:
    """Measures once in a process; takes about half a second.

    Args:
        isa: Instruction set whose multiplications count.
        threads: Threads at once.
    """
    peak = _core.measure_peak(isa, threads)
    return MachineLimits(threads, peak, tuple(_core.measure_bandwidths(threads)))
