"""Anchors: nearest by IoU, in order, the same by seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wbcq.detection.anchors import head_anchors, kmeans_anchors, size_iou
from wbcq.detection.boxes import iou

SIZES = arrays(np.float64, st.tuples(st.integers(1, 40), st.just(2)), elements=st.floats(1, 500))


@given(first=SIZES, second=SIZES)
def test_iou_of_sizes_is_that_of_boxes_with_a_common_corner(
    first: np.ndarray, second: np.ndarray
) -> None:
    boxes = [np.concatenate([np.zeros_like(s), s], 1).astype(np.float32) for s in (first, second)]
    np.testing.assert_allclose(size_iou(first, second), iou(*boxes), rtol=1e-4, atol=1e-6)


@given(sizes=SIZES, count=st.integers(1, 9), seed=st.integers(0, 99))
def test_anchors_are_within_the_boxes_rising_and_repeatable(
    sizes: np.ndarray, count: int, seed: int
) -> None:
    found = kmeans_anchors(sizes, count, seed=seed)
    np.testing.assert_array_equal(found, kmeans_anchors(sizes, count, seed=seed))
    assert found.shape == (count, 2)
    assert (np.diff(found.prod(axis=1)) >= 0).all()
    assert (found >= sizes.min(axis=0) * 0.999).all()


def test_clusters_are_found_and_fit_better_than_their_mean() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([(20, 20), (60, 30), (110, 120), (200, 90)])
    sizes = np.concatenate([c * rng.uniform(0.95, 1.05, (50, 2)) for c in truth])
    found = kmeans_anchors(sizes, 4, seed=1)
    np.testing.assert_allclose(found, truth[np.argsort(truth.prod(axis=1))], rtol=0.04)
    assert size_iou(sizes, found).max(axis=1).mean() > 0.9


def test_the_first_head_has_the_largest() -> None:
    sizes = [(k, k) for k in range(10, 130)]
    heads = head_anchors(sizes, 3, 2)
    assert [len(head) for head in heads] == [2, 2, 2]
    areas = [width * height for head in heads[::-1] for width, height in head]
    assert areas == sorted(areas)


@pytest.mark.parametrize("sizes", [[], [(3, 0)], [(-1, 4)]])
def test_boxes_without_area_are_refused(sizes: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="boxes with an area"):
        kmeans_anchors(sizes, 2)
