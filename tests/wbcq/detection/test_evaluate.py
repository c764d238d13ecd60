"""Average precision: known by hand, and blind to what it must not see."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pycocotools")
pytest.importorskip("PIL")

from wbcq.detection.boxes import Detections
from wbcq.detection.data import FieldSet
from wbcq.detection.data.base import FieldOfView
from wbcq.detection.evaluate import Layout, average_precision, detect_fields


def field(name: str, boxes: list[tuple[float, ...]], labels: list[int], size: int = 64):
    return FieldOfView(
        name,
        size,
        size,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int64),
        lambda: np.full((size, size, 3), 7, np.uint8),
    )


def found(boxes: list[tuple[float, ...]], scores: list[float], classes: list[int]) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(classes, np.int64),
    )


A, B, C = (0.0, 0.0, 20.0, 20.0), (30.0, 30.0, 50.0, 60.0), (5.0, 40.0, 15.0, 52.0)
FIELDS = FieldSet(("x", "y", "z"), (field("1", [A, B], [0, 1]), field("2", [C], [0])))


def test_all_right_is_one() -> None:
    guesses = [found([A, B], [0.9, 0.8], [0, 1]), found([C], [0.7], [0])]
    metrics = average_precision(guesses, FIELDS)
    assert [metrics.map50, metrics.map] == pytest.approx([1, 1])
    assert metrics.ap50 == {"x": pytest.approx(1), "y": pytest.approx(1), "z": None}
    assert metrics.cells == {"x": 2, "y": 1, "z": 0}
    assert metrics.found == metrics.class_accuracy == 1


def test_nothing_found_is_zero() -> None:
    metrics = average_precision([Detections.empty()] * 2, FIELDS)
    assert metrics.map50 == metrics.map == metrics.found == 0


def test_a_better_false_alarm_halves_what_follows() -> None:
    # Of class x: false, true, true by score: precision 0, 1/2, 2/3; the envelope is 2/3 throughout.
    guesses = [found([B, A], [0.9, 0.8], [0, 0]), found([C], [0.7], [0])]
    assert average_precision(guesses, FIELDS).ap50["x"] == pytest.approx(2 / 3)
    # Of two cells one: half of the recalls (51 of 101 points) at precision 1.
    guesses = [found([A], [0.9], [0]), Detections.empty()]
    assert average_precision(guesses, FIELDS).ap50["x"] == pytest.approx(51 / 101)


def test_a_loose_box_counts_at_half_overlap_only() -> None:
    loose = (0.0, 0.0, 20.0, 14.0)  # IoU 0.7 with A: right up to that threshold
    guesses = [found([loose, B], [0.9, 0.8], [0, 1]), found([C], [0.7], [0])]
    metrics = average_precision(guesses, FIELDS)
    assert metrics.map50 == pytest.approx(1)
    assert 0.6 < metrics.map < 0.9


def test_the_wrong_class_is_found_but_not_right() -> None:
    guesses = [found([A, B], [0.9, 0.8], [1, 1]), found([C], [0.7], [0])]
    metrics = average_precision(guesses, FIELDS)
    assert metrics.found == 1
    assert metrics.class_accuracy == pytest.approx(2 / 3)
    # A score below a quarter finds nothing.
    faint = [found([A, B], [0.2, 0.8], [0, 1]), found([C], [0.7], [0])]
    assert average_precision(faint, FIELDS).found == pytest.approx(2 / 3)


def test_rare_classes_can_be_left_out_of_the_mean() -> None:
    guesses = [found([A], [0.9], [0]), found([C], [0.7], [0])]
    metrics = average_precision(guesses, FIELDS)
    assert metrics.map50 == pytest.approx(0.5)
    assert metrics.map50_of(2) == pytest.approx(1)
    assert metrics.map50_of(9) == 0


def test_a_set_without_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="with cells"):
        average_precision([Detections.empty()], FieldSet(("x",), (field("1", [], []),)))
    with pytest.raises(ValueError, match="1 pictures for 2"):
        average_precision([Detections.empty()], FIELDS)


def test_every_network_goes_through_the_same_windows() -> None:
    layout = Layout(("x", "y"), (((16.0, 16.0),),), (32,), 64)
    seen: list[tuple[int, ...]] = []

    def run(pictures: np.ndarray) -> tuple[np.ndarray, ...]:
        seen.append(pictures.shape)
        assert pictures.max() == np.float32(7) / np.float32(255)
        head = np.full((1, 7, 2, 2), -9, np.float32)
        head[0, :, 0, 1] = (0, 0, 0, 0, 4, -9, 5)
        return (head,)

    fields = FieldSet(("x", "y"), (field("s", [A], [0]), field("l", [A], [0], size=112)))
    small, large = detect_fields(run, layout, fields)
    assert set(seen) == {(1, 3, 64, 64)}
    assert len(seen) >= 5  # one, and four at least of the larger picture
    best = small[:1]
    np.testing.assert_allclose(best.boxes, [(40, 8, 56, 24)])
    assert best.classes.tolist() == [1]
    assert len(large) > len(small)
