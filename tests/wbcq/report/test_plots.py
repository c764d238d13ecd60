"""Figures: written, of the right kind, and with the data in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("PIL")

from PIL import Image

from wbcq.report.plots import comparison, confusion_matrices, contact_sheet, training_curve


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def svg(path: Path) -> str:
    return path.read_text()


def test_confusion_matrices_show_counts_and_shades(tmp_path: Path) -> None:
    counts = np.array([[10, 0], [3, 7]])
    confusion_matrices(tmp_path / "a.png", {"x": counts}, ("a", "b"))
    confusion_matrices(tmp_path / "b.png", {"x": np.diag([10, 10])}, ("a", "b"))
    assert not np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))
    confusion_matrices(tmp_path / "c.png", {"x": counts, "y": counts}, ("a", "b"))
    assert pixels(tmp_path / "c.png").shape[1] > 1.5 * pixels(tmp_path / "a.png").shape[1]


def test_confusion_of_a_class_without_pictures(tmp_path: Path) -> None:
    confusion_matrices(tmp_path / "a.png", {"x": np.array([[4, 1], [0, 0]])}, ("a", "b"))
    assert pixels(tmp_path / "a.png").std() > 10


def test_format_follows_the_suffix(tmp_path: Path) -> None:
    comparison(tmp_path / "a.svg", ["FP32", "INT8"], [95.0, 94.5], [100.0, 20.0], [44.8, 11.2])
    assert "<svg" in svg(tmp_path / "a.svg")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.svg"]


def test_bars_are_as_long_as_their_values(tmp_path: Path) -> None:
    lengths = []
    for ms in ([100.0, 100.0], [100.0, 25.0]):
        comparison(tmp_path / "a.png", ["FP32", "INT8"], [90.0, 90.0], ms, [10.0, 10.0])
        blue = (pixels(tmp_path / "a.png") == [0x2F, 0x6D, 0xB3]).all(axis=2)
        lengths.append(blue.sum())
    assert lengths[1] / lengths[0] == pytest.approx((1 + 0.25) / 2, rel=0.02)


def test_training_curve(tmp_path: Path) -> None:
    training_curve(tmp_path / "a.png", [1.0], [0.5], 0)
    training_curve(tmp_path / "b.png", [1.0, 0.5, 0.2], [0.5, 0.7, 0.6], 1)
    assert not np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))


def test_contact_sheet_has_the_pictures_themselves(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (24, 24, 3), np.uint8)
    grey = rng.integers(0, 256, (24, 24, 1), np.uint8)
    contact_sheet(tmp_path / "a.png", {"one": [colour, grey], "two": [grey]}, columns=["a", "b"])
    sheet = pixels(tmp_path / "a.png")
    for picture in (colour, np.repeat(grey, 3, axis=2)):
        windows = np.lib.stride_tricks.sliding_window_view(sheet, (24, 24), axis=(0, 1))
        corner = (windows[..., 0, 0] == picture[0, 0]).all(axis=2)
        errors = [
            np.abs(sheet[y : y + 24, x : x + 24] - picture).mean()
            for y, x in zip(*np.nonzero(corner), strict=True)
        ]
        assert errors
        assert min(errors) < 1


def test_names_of_a_contact_sheet_do_not_reach_the_pictures(tmp_path: Path) -> None:
    picture = np.full((24, 24, 3), (255, 0, 0), np.uint8)
    contact_sheet(tmp_path / "a.png", {"a network of a very long name": [picture]})
    sheet = pixels(tmp_path / "a.png").astype(int)
    row = (sheet - (255, 0, 0) == 0).all(axis=2)
    assert row.sum() == 24 * 24  # none is covered
    first = row.any(axis=0).argmax()
    assert (sheet[:, :first] < 128).any()
    assert (sheet[:, first - 4 : first] > 250).all()
