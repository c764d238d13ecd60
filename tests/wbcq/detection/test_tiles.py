"""Windows cover a picture, and what they show becomes one list in which each cell is once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbcq.detection import Detections, Window, merge_windows, windows

SIZE, OVERLAP = 64, 20


def test_a_picture_no_larger_than_a_window() -> None:
    assert windows(10, 64, SIZE, OVERLAP) == [Window(0, 0, SIZE)]


@given(st.integers(1, 400), st.integers(1, 400), st.data())
def test_whatever_is_no_larger_than_the_overlap_lies_in_one_window(
    height: int, width: int, data: st.DataObject
) -> None:
    places = windows(height, width, SIZE, OVERLAP)
    x = data.draw(st.integers(0, max(0, width - OVERLAP)))
    y = data.draw(st.integers(0, max(0, height - OVERLAP)))
    right, bottom = min(x + OVERLAP, width), min(y + OVERLAP, height)
    assert any(
        p.x <= x and p.y <= y and right <= p.x + SIZE and bottom <= p.y + SIZE for p in places
    )
    assert all(p.x >= 0 and (p.x + SIZE <= width or p.x == 0) for p in places)


@given(st.integers(0, 2**32 - 1), st.integers(30, 300), st.integers(30, 300))
def test_each_cell_once(seed: int, height: int, width: int) -> None:
    """Windows that find all they see, cut at their borders, give back the cells of the picture."""
    rng = np.random.default_rng(seed)
    cells: list[tuple[float, float, float, float]] = []
    for _ in range(60):
        w, h = rng.uniform(6, OVERLAP - 4, 2)
        x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
        if all(x > b[2] or x + w < b[0] or y > b[3] or y + h < b[1] for b in cells):
            cells.append((x, y, x + w, y + h))
    boxes = np.array(cells, np.float32)
    classes = rng.integers(0, 5, len(cells))
    places = windows(height, width, SIZE, OVERLAP)
    parts = []
    for place in places:
        shift = np.array([place.x, place.y] * 2, np.float32)
        seen = np.clip(boxes - shift, 0, SIZE)
        there = ((seen[:, 2:] - seen[:, :2]) > 2).all(1)
        # Views differ a little, and a cut cell may have the better score and another class.
        jitter = rng.uniform(-0.4, 0.4, (int(there.sum()), 4)).astype(np.float32)
        scores = rng.uniform(0.3, 1, int(there.sum())).astype(np.float32)
        whole = (seen[there] == (boxes - shift)[there]).all(1)
        labels = np.where(whole, classes[there], rng.integers(0, 5, int(there.sum())))
        parts.append(Detections(seen[there] + jitter, scores, labels))
    found = merge_windows(parts, places, height, width, across_classes=True)
    assert len(found) == len(cells)
    assert (np.diff(found.scores) <= 0).all()
    distances = np.abs(found.boxes[:, None] - boxes[None]).max(2)
    np.testing.assert_array_equal(np.sort(distances.argmin(1)), np.arange(len(cells)))
    assert distances.min(1).max() < 0.5
    np.testing.assert_array_equal(found.classes, classes[distances.argmin(1)])


def test_classes_stay_apart_unless_asked() -> None:
    box = np.array([[30, 5, 40, 15]], np.float32)
    parts = [
        Detections(box, np.array([0.9], np.float32), np.array([0])),
        Detections(
            box - np.array([20, 0] * 2, np.float32), np.array([0.8], np.float32), np.array([1])
        ),
    ]
    places = [Window(0, 0, 64), Window(20, 0, 64)]
    assert len(merge_windows(parts, places, 64, 84)) == 2
    merged = merge_windows(parts, places, 64, 84, across_classes=True)
    assert merged.classes.tolist() == [0]


def test_a_small_find_does_not_swallow_a_cell_that_every_window_cuts() -> None:
    """The large box touches its window's border; the small one inside it is another's."""
    large = Detections(
        np.array([[10, 10, 64, 60]], np.float32), np.array([0.9], np.float32), np.array([0])
    )
    small = Detections(
        np.array([[10, 30, 20, 40]], np.float32), np.array([0.3], np.float32), np.array([0])
    )
    found = merge_windows([large, small], [Window(0, 0, 64), Window(36, 0, 64)], 64, 100)
    assert found.scores.round(1).tolist() == pytest.approx([0.9, 0.3])


def test_no_cells() -> None:
    places = windows(100, 100, SIZE, OVERLAP)
    assert len(merge_windows([Detections.empty()] * len(places), places, 100, 100)) == 0


def test_refused() -> None:
    with pytest.raises(ValueError, match="0x5 pixels has no windows"):
        windows(0, 5, SIZE, OVERLAP)
    with pytest.raises(ValueError, match="overlap is 64; use 0 to 63"):
        windows(5, 5, SIZE, 64)
