"""Parts of the demonstration that its end-to-end test cannot tell apart."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("scipy")
pytest.importorskip("sklearn")
pytest.importorskip("wbcq._core")

import torch

from wbcq.data.pictures import ArrayPictures
from wbcq.demo.pipeline import DemoConfig, _calibration


def pictures(labels: list[int]) -> ArrayPictures:
    pixels = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    names = tuple(f"{k}" for k in range(len(labels)))
    return ArrayPictures(pixels.repeat(3, 3), np.array(labels), ("a", "b", "c"), names)


def chosen(train: ArrayPictures, count: int, seed: int = 0) -> list[int]:
    batches = _calibration(train, DemoConfig(calibration=count, seed=seed))
    assert all(len(batch) <= 32 for batch in batches)
    return [round(float(value) * 255) for value in torch.cat(list(batches))[:, 0, 0, 0]]


def test_calibration_pictures_are_balanced() -> None:
    labels = [0] * 100 + [1] * 50 + [2] * 5
    found = chosen(pictures(labels), 45)
    assert len(set(found)) == 45
    assert np.bincount(np.array(labels)[found]).tolist() == [20, 20, 5]


def test_calibration_takes_all_if_there_are_few() -> None:
    assert sorted(chosen(pictures([0, 1, 2, 0]), 256)) == [0, 1, 2, 3]


def test_calibration_follows_the_seed() -> None:
    train = pictures([0] * 60 + [1] * 60 + [2] * 60)
    assert chosen(train, 30) == chosen(train, 30)
    assert chosen(train, 30) != chosen(train, 30, seed=1)
