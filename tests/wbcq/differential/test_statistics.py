"""Counts and intervals, against scipy's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbcq.differential import Cell, wilson
from wbcq.differential.statistics import differential


@given(st.integers(1, 5000), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_interval_is_that_of_scipy(total: int, data: st.DataObject, level: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    count = data.draw(st.integers(0, total))
    expected = stats.binomtest(count, total).proportion_ci(level, method="wilson")
    assert wilson(count, total, level) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_nothing_is_known_of_no_cells() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="3 of 2 cells"):
        wilson(3, 2)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30))
def test_every_cell_is_counted_once(kinds: list[tuple[str, bool]]) -> None:
    cells = [
        Cell((0, 0, 1, 1), kind, 0.9, 0.9, review=("doubtful",) if review else ())
        for kind, review in kinds
    ]
    result = differential(cells, ("a", "b", "c"))
    assert [line.count for line in result.classes] == [
        sum(kind == name for kind, _ in kinds) for name in "abc"
    ]
    assert result.total == len(cells)
    assert result.review == sum(line.review for line in result.classes) == sum(r for _, r in kinds)
    for line in result.classes:
        if cells:
            assert line.low <= line.share <= line.high
        else:
            assert line.share is None
    if cells:
        assert sum(line.share for line in result.classes) == pytest.approx(1)
