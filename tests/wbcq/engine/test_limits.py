"""The machine's limits: the same interpolation as the C++ tool's, and a measurement."""

import math

import pytest

from wbcq import _core
from wbcq.engine.limits import MachineLimits, measure_limits

POINTS = ((100, 80.0), (10_000, 40.0), (1_000_000, 10.0))


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1, 80.0), (100, 80.0), (1000, 60.0), (10_000, 40.0), (100_000, 25.0), (1e9, 10.0)],
)
def test_bandwidth_lies_between_the_measured_sizes(size, expected):
    assert MachineLimits(1, 1.0, POINTS).bandwidth(size) == pytest.approx(expected)
    # Two threads share the bytes and have twice the bandwidth.
    assert MachineLimits(2, 1.0, POINTS).bandwidth(2 * size) == pytest.approx(2 * expected)


def test_measured_once_for_each_isa_and_number_of_threads():
    isa = _core.available_isas()[-1]
    limits = measure_limits(isa, 1)
    assert measure_limits(isa, 1) is limits
    assert limits.peak_gmacs > 0
    sizes = [size for size, _ in limits.bandwidths]
    assert sizes == sorted(set(sizes))
    assert all(math.isfinite(speed) and speed > 0 for _, speed in limits.bandwidths)
    with pytest.raises(ValueError, match="threads is 0"):
        measure_limits(isa, 0)
