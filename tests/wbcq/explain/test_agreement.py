"""Measures of agreement, on maps whose agreement is known."""

from __future__ import annotations

import numpy as np
import pytest

from wbcq.explain import agreement, energy_inside, top_share


def ramp(turned: bool = False) -> np.ndarray:
    maps = np.arange(100.0).reshape(1, 10, 10)
    return maps[:, ::-1, ::-1] if turned else maps


def test_same_opposite_and_shifted() -> None:
    same = agreement(ramp(), 3 * ramp() + 1)
    assert same.correlation[0] == pytest.approx(1)
    assert same.iou[0] == 1
    opposite = agreement(ramp(), ramp(turned=True))
    assert opposite.correlation[0] == pytest.approx(-1)
    assert opposite.iou[0] == 0
    shifted = agreement(ramp(), np.roll(ramp(), 10))  # one row down: 10 of 20 pixels in common
    assert shifted.iou[0] == pytest.approx(10 / 30)
    # Top fifth of the ramp is 80..99; of the shifted map these hold 70..89.
    assert shifted.energy[0] == pytest.approx(sum(range(70, 90)) / sum(range(100)))


def test_correlation_agrees_with_numpy() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 4, 7, 5))
    wanted = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(agreement(first, second).correlation, wanted)


def test_maps_without_contrast() -> None:
    flat, full = np.zeros((1, 10, 10)), ramp()
    assert agreement(flat, flat).correlation[0] == 1
    assert agreement(flat, full).correlation[0] == 0
    assert agreement(full, flat).energy[0] == 0


def test_the_share_is_exact_even_among_equals() -> None:
    assert top_share(np.zeros((2, 10, 10)), 0.2).sum((1, 2)).tolist() == [20, 20]
    assert top_share(ramp(), 0.015).sum() == 2
    masks = np.zeros((1, 10, 10), dtype=bool)
    masks[0, 5:] = True
    assert energy_inside(ramp(), masks)[0] == pytest.approx(sum(range(50, 100)) / sum(range(100)))


def test_errors() -> None:
    with pytest.raises(ValueError, match="compare maps of the same pictures"):
        agreement(ramp(), ramp()[:, :5])
    with pytest.raises(ValueError, match="share is 1"):
        agreement(ramp(), ramp(), share=1)
    with pytest.raises(ValueError, match="reference: pass finite heat maps"):
        agreement(-ramp(), ramp())
    with pytest.raises(ValueError, match="masks of"):
        energy_inside(ramp(), np.ones((1, 5, 5), dtype=bool))
