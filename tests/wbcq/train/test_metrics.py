"""Metrics against values worked out by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("torch")

from wbcq.train import evaluate, flipped

CLASSES = ("a", "b", "c")
#                 a  a  a  a  b  b  b  c  c  c
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
CHOSEN = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 0])


class TestEvaluate:
    def test_against_hand_computed_values(self) -> None:
        metrics = evaluate(LABELS, CHOSEN, CLASSES)
        assert metrics.confusion.tolist() == [[3, 1, 0], [0, 2, 1], [1, 0, 2]]
        assert metrics.accuracy == pytest.approx(7 / 10)
        # F1 = 2 TP / (2 TP + FP + FN).
        assert metrics.macro_f1 == pytest.approx((6 / 8 + 4 / 6 + 4 / 6) / 3)
        np.testing.assert_allclose(metrics.recall, [3 / 4, 2 / 3, 2 / 3])
        # Agreement by chance: sum of products of row and column totals, over N squared.
        chance = (4 * 4 + 3 * 3 + 3 * 3) / 100
        assert metrics.kappa == pytest.approx((0.7 - chance) / (1 - chance))
        # MCC = (c s - sum p t) / sqrt((s^2 - sum p^2) (s^2 - sum t^2)).
        assert metrics.mcc == pytest.approx((7 * 10 - 34) / math.sqrt((100 - 34) * (100 - 34)))

    def test_perfect(self) -> None:
        metrics = evaluate(LABELS, LABELS, CLASSES)
        assert (metrics.accuracy, metrics.macro_f1, metrics.kappa, metrics.mcc) == (1, 1, 1, 1)

    def test_class_without_pictures(self) -> None:
        metrics = evaluate(np.array([0, 0, 1]), np.array([0, 1, 1]), CLASSES)
        assert math.isnan(metrics.recall[2])
        assert metrics.macro_f1 == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
        assert metrics.confusion.shape == (3, 3)

    def test_one_class_everywhere(self) -> None:
        metrics = evaluate(np.array([1, 1]), np.array([1, 1]), CLASSES)
        assert (metrics.accuracy, metrics.kappa, metrics.mcc) == (1, 1, 1)

    @pytest.mark.parametrize(("labels", "chosen"), [([], []), ([0, 1], [0])])
    def test_wrong_lengths(self, labels: list[int], chosen: list[int]) -> None:
        with pytest.raises(ValueError, match="one of each per picture"):
            evaluate(np.array(labels, np.int64), np.array(chosen, np.int64), CLASSES)


class TestFlipped:
    def test_flips_that_accuracy_hides(self) -> None:
        labels = np.array([0, 0, 1, 1])
        one, other = np.array([0, 1, 1, 1]), np.array([1, 0, 1, 1])
        assert evaluate(labels, one, CLASSES).accuracy == evaluate(labels, other, CLASSES).accuracy
        assert flipped(one, other).tolist() == [0, 1]

    def test_other_pictures(self) -> None:
        with pytest.raises(ValueError, match="same pictures"):
            flipped(np.zeros(3, np.int64), np.zeros(4, np.int64))


class TestIntervals:
    def test_wilson_by_hand(self) -> None:
        """Wilson 1927: (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)."""
        metrics = evaluate(LABELS, CHOSEN, CLASSES)
        z = 1.959963984540054
        for found, n, interval in (
            (7, 10, metrics.accuracy_interval),
            (3, 4, metrics.recall_interval[0]),
            (2, 3, metrics.recall_interval[1]),
        ):
            p = found / n
            middle = p + z * z / (2 * n)
            reach = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
            expected = [(middle + sign * reach) / (1 + z * z / n) for sign in (-1, 1)]
            np.testing.assert_allclose(interval, expected, rtol=1e-9)

    def test_a_class_without_pictures(self) -> None:
        metrics = evaluate(np.array([0, 0, 1]), np.array([0, 1, 1]), CLASSES)
        assert np.isnan(metrics.recall_interval[2]).all()

    def test_json(self) -> None:
        metrics = evaluate(np.array([0, 0, 1]), np.array([0, 1, 1]), CLASSES)
        record = json.loads(json.dumps(metrics.to_dict(), allow_nan=False))
        assert record["pictures"] == 3
        assert record["classes"]["a"]["recall"] == 0.5
        assert record["classes"]["c"] == {
            "pictures": 0,
            "recall": None,
            "recall_interval": [None, None],
        }
        low, high = record["accuracy_interval"]
        assert low < record["accuracy"] < high
