"""Boxes: overlap against a count of pixels, and what suppression promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbcq.detection import Detections, iou, nms

CORNERS = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 8), st.integers(0, 8))


@st.composite
def detections(draw: st.DrawFn) -> Detections:
    corners = draw(st.lists(CORNERS, max_size=12))
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in corners], np.float32).reshape(-1, 4)
    scores = draw(
        st.lists(st.sampled_from([0.1, 0.5, 0.5, 0.9]), min_size=len(boxes), max_size=len(boxes))
    )
    classes = draw(st.lists(st.integers(0, 2), min_size=len(boxes), max_size=len(boxes)))
    return Detections(boxes, np.array(scores, np.float32), np.array(classes, np.int64))


def pixels(box: np.ndarray) -> np.ndarray:
    mask = np.zeros((24, 24), np.bool_)
    x1, y1, x2, y2 = box.astype(int)
    mask[y1:y2, x1:x2] = True
    return mask


@given(detections(), detections())
def test_iou_is_the_share_of_common_pixels(first: Detections, second: Detections) -> None:
    found = iou(first.boxes, second.boxes)
    for i, a in enumerate(map(pixels, first.boxes)):
        for j, b in enumerate(map(pixels, second.boxes)):
            either = (a | b).sum()
            assert found[i, j] == ((a & b).sum() / either if either else 0)


@given(detections(), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.booleans())
def test_suppression(given: Detections, overlap: float, across: bool) -> None:
    kept = nms(given, overlap, across_classes=across)
    assert (np.diff(kept.scores) <= 0).all()

    def same_cell(a: Detections, b: Detections) -> np.ndarray:
        return (iou(a.boxes, b.boxes) > overlap) & (across | (a.classes[:, None] == b.classes))

    among_kept = same_cell(kept, kept)
    np.fill_diagonal(among_kept, False)
    assert not among_kept.any()
    rows = {
        (*b, s, c) for b, s, c in zip(kept.boxes.tolist(), kept.scores, kept.classes, strict=True)
    }
    for k in range(len(given)):
        one = given[k : k + 1]
        if (*one.boxes[0].tolist(), one.scores[0], one.classes[0]) not in rows:
            assert (same_cell(one, kept)[0] & (kept.scores >= one.scores[0])).any()
    again = nms(kept, overlap, across_classes=across)
    np.testing.assert_array_equal(again.boxes, kept.boxes)


def test_equal_scores_keep_their_order() -> None:
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 5], [9, 9, 12, 12]], np.float32)
    given = Detections(boxes, np.full(3, 0.5, np.float32), np.zeros(3, np.int64))
    np.testing.assert_array_equal(nms(given, 0.5).boxes, boxes[[0, 2]])


def test_clipping_leaves_out_what_lies_outside() -> None:
    boxes = np.array([[-5, -5, 3, 3], [8, 2, 30, 4], [-9, 0, -1, 4], [2, 2, 2, 5]], np.float32)
    given = Detections(boxes, np.ones(4, np.float32), np.arange(4))
    kept = given.clipped(height=6, width=10)
    assert kept.boxes.tolist() == [[0, 0, 3, 3], [8, 2, 10, 4]]
    assert kept.classes.tolist() == [0, 1]


def test_refused() -> None:
    with pytest.raises(ValueError, match=r"boxes is float64 \[2, 4\], must be float32 \[2, 4\]"):
        Detections(np.zeros((2, 4)), np.zeros(2, np.float32), np.zeros(2, np.int64))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"scores is .* \[2, 1\], must be float32 \[2\]"):
        Detections(
            np.zeros((2, 4), np.float32), np.zeros((2, 1), np.float32), np.zeros(2, np.int64)
        )
    with pytest.raises(ValueError, match="overlap is 45"):
        nms(Detections.empty(), 45)
