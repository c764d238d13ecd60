"""Decoding: the same bits everywhere, and the formula of the paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbcq.detection import decode
from wbcq.detection.decode import _LN2_HIGH, _LN2_LOW, _TAYLOR, exp, sigmoid


def scalar_exp(x: float) -> float:
    """The definition in Python's own floats, which no vector unit computes."""
    power = round(x * (1 / math.log(2)))
    rest = (x - power * _LN2_HIGH) - power * _LN2_LOW
    value = _TAYLOR[0]
    for coefficient in _TAYLOR[1:]:
        value = value * rest + coefficient
    return math.ldexp(value, power)


@given(st.lists(st.floats(-700, 700), min_size=1, max_size=40))
def test_exp_is_its_definition_to_the_bit_and_close_to_the_truth(values: list[float]) -> None:
    found = exp(np.array(values))
    assert found.tolist() == [scalar_exp(x) for x in values]
    for y, x in zip(found, values, strict=True):
        assert abs(y - math.exp(x)) <= 2 * math.ulp(math.exp(x))


def test_exp_known_bits() -> None:
    """Computed once; another machine must find the same."""
    x = np.linspace(-30, 30, 4001).astype(np.float32)
    total = np.bitwise_xor.reduce(exp(x).view(np.uint64))
    assert hex(total) == KNOWN
    assert (np.diff(sigmoid(x)) >= 0).all()


KNOWN = "0x3f355c5a2fed2806"


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 0.5, 0.9]), st.booleans())
def test_against_the_formula(seed: int, threshold: float, every_class: bool) -> None:
    rng = np.random.default_rng(seed)
    anchors = [[(10.0, 20.0), (30.0, 5.0)], [(7.0, 7.0)]]
    strides = [32, 16]
    classes = int(rng.integers(1, 4))
    heads = [
        rng.normal(0, 2, (2, len(sizes) * (5 + classes), 64 // s, 96 // s)).astype(np.float32)
        for sizes, s in zip(anchors, strides, strict=True)
    ]
    found = decode(heads, anchors, strides, threshold, every_class=every_class)
    assert len(found) == 2
    for picture, detections in enumerate(found):
        expected = []
        for head, sizes, stride in zip(heads, anchors, strides, strict=True):
            for a, (w, h) in enumerate(sizes):
                block = head[picture].reshape(len(sizes), 5 + classes, *head.shape[2:])[a]
                for row, column in np.ndindex(*head.shape[2:]):
                    x, y, tw, th, *logits = (float(v) for v in block[:, row, column])
                    shares = [1 / (1 + math.exp(-v)) for v in logits]
                    scores = [shares[0] * share for share in shares[1:]]
                    cx = (1 / (1 + math.exp(-x)) + column) * stride
                    cy = (1 / (1 + math.exp(-y)) + row) * stride
                    bw, bh = w * math.exp(tw) / 2, h * math.exp(th) / 2
                    box = (cx - bw, cy - bh, cx + bw, cy + bh)
                    chosen = range(classes) if every_class else [int(np.argmax(scores))]
                    expected += [(*box, scores[c], c) for c in chosen if scores[c] >= threshold]
        assert len(detections) == len(expected)
        if expected:
            table = np.array(expected)
            np.testing.assert_allclose(detections.boxes, table[:, :4], rtol=1e-5, atol=1e-3)
            np.testing.assert_allclose(detections.scores, table[:, 4], rtol=1e-6)
            np.testing.assert_array_equal(detections.classes, table[:, 5])


def test_values_that_are_not_numbers_give_no_box() -> None:
    head = np.full((1, 6, 2, 2), 5, np.float32)
    head[0, 0, 0, 0], head[0, 4, 0, 1], head[0, 5, 1, 0] = np.nan, np.inf, -np.inf
    (found,) = decode([head], [[(8, 8)]], [32])
    assert len(found) == 1
    head[0, 2, 1, 1] = 1e30
    (found,) = decode([head], [[(8, 8)]], [32])
    assert np.isfinite(found.boxes).all()


@pytest.mark.parametrize(
    ("shapes", "anchors", "strides", "threshold", "message"),
    [
        ([(1, 6, 2, 2)], [[(8, 8)]], [32, 16], 0.5, "1 heads, anchors of 1 and strides of 2"),
        ([], [], [], 0.5, "0 heads"),
        ([(1, 7, 2, 2)], [[(8, 8), (9, 9)]], [32], 0.5, r"head 0 has shape \[1, 7, 2, 2\]"),
        ([(1, 5, 2, 2)], [[(8, 8)]], [32], 0.5, r"must be \[N, 1 \* \(5 \+ classes\), H, W\]"),
        ([(1, 6, 2)], [[(8, 8)]], [32], 0.5, "head 0 has shape"),
        ([(1, 6, 2, 2)], [[]], [32], 0.5, "head 0 has shape"),
        ([(1, 6, 2, 2), (2, 6, 4, 4)], [[(8, 8)]] * 2, [32, 16], 0.5, "head 1 has shape"),
        ([(1, 6, 2, 2), (1, 7, 4, 4)], [[(8, 8)]] * 2, [32, 16], 0.5, r"heads of \[1, 2\] classes"),
        ([(1, 6, 2, 2)], [[(8, 8)]], [32], 25, "threshold is 25"),
    ],
)
def test_refused(shapes, anchors, strides, threshold, message) -> None:
    with pytest.raises(ValueError, match=message):
        decode([np.zeros(shape, np.float32) for shape in shapes], anchors, strides, threshold)
