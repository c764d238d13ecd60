"""Training tiles: boxes stay on their cells whatever is done to the picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("PIL")

from wbcq.detection.augment import Loaded, TileConfig, Tiles, load_fields
from wbcq.detection.data import FieldSet
from wbcq.detection.data.base import FieldOfView

COLOURS = np.array([(250, 30, 30), (30, 250, 30), (30, 30, 250)], np.uint8)


def loaded(seed: int, width: int = 300, height: int = 200) -> Loaded:
    """Grey ground and bright rectangles far from each other, whose colour is their class."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 128, np.uint8)
    boxes, labels = [], []
    for column in range(3):
        x, y = 20 + 95 * column + int(rng.integers(0, 20)), int(rng.integers(10, height - 70))
        w, h = (int(v) for v in rng.integers(24, 50, 2))
        label = int(rng.integers(3))
        picture[y : y + h, x : x + w] = COLOURS[label]
        boxes.append((x, y, x + w, y + h))
        labels.append(label)
    ground = np.full(3, 128, np.uint8)
    return Loaded(picture, np.array(boxes, np.float32), np.array(labels, np.int64), ground)


@given(
    seed=st.integers(0, 10_000),
    mosaic=st.sampled_from([0.0, 1.0]),
    zoom=st.tuples(st.floats(0.5, 1.0), st.floats(1.0, 2.0)),
)
def test_each_box_lies_on_its_cell(seed: int, mosaic: float, zoom: tuple[float, float]) -> None:
    config = TileConfig(size=160, zoom=zoom, mosaic=mosaic, light=0.0)
    tile = Tiles([loaded(1), loaded(2, 310, 260)], config).draw(np.random.default_rng(seed))
    assert tile.picture.shape == (160, 160, 3)
    assert tile.boxes.dtype == np.float32
    assert len(tile.boxes) == len(tile.labels)
    for box, label in zip(tile.boxes, tile.labels, strict=True):
        x1, y1, x2, y2 = box
        assert 0 <= x1 < x2 <= 160
        assert 0 <= y1 < y2 <= 160
        inner = tile.picture[int(np.ceil(y1)) + 2 : int(y2) - 2, int(np.ceil(x1)) + 2 : int(x2) - 2]
        if inner.size:
            worst = np.abs(inner.astype(int) - COLOURS[label]).max(axis=2)
            assert np.mean(worst < 60) > 0.97
    if mosaic == 0.0 and len(tile.boxes):
        # Nothing coloured lies outside of a box, but what shows too little of itself.
        rest = tile.picture.astype(int).copy()
        for x1, y1, x2, y2 in tile.boxes:
            rest[int(y1) : int(np.ceil(y2)) + 2, int(x1) : int(np.ceil(x2)) + 2] = 128
            rest[max(0, int(y1) - 2) : int(y2), max(0, int(x1) - 2) : int(x2)] = 128
        coloured = np.abs(rest - 128).max(axis=2) > 60
        edge = np.ones_like(coloured)
        edge[60:-60, 60:-60] = False
        assert not (coloured & ~edge).any()


def test_the_generator_decides() -> None:
    tiles = Tiles([loaded(1), loaded(2)], TileConfig(size=96))
    first, again = (tiles.draw(np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first.picture, again.picture)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    other = tiles.draw(np.random.default_rng(6))
    assert (other.picture != first.picture).any()


def test_balance_shows_rare_classes_as_often() -> None:
    fields = [loaded(k) for k in range(12)]
    for k, field in enumerate(fields):
        field.labels[:] = 2 if k == 0 else 0
    rng = np.random.default_rng(0)
    shares = {}
    for balance in (False, True):
        config = TileConfig(size=64, mosaic=0.0, near=1.0, zoom=(1, 1), light=0, balance=balance)
        drawn = [Tiles(fields, config).draw(rng).labels for _ in range(200)]
        shares[balance] = float(np.mean(np.concatenate(drawn) == 2))
    assert shares[False] < 0.2
    assert 0.4 < shares[True] < 0.6


def test_a_picture_smaller_than_a_tile_is_framed_with_its_ground() -> None:
    small = Loaded(
        np.full((20, 30, 3), 200, np.uint8),
        np.array([(5, 5, 20, 18)], np.float32),
        np.array([1]),
        np.array([10, 20, 30], np.uint8),
    )
    config = TileConfig(size=64, mosaic=0.0, zoom=(1.0, 1.0), light=0.0)
    tile = Tiles([small], config).draw(np.random.default_rng(0))
    assert (tile.picture == (10, 20, 30)).all(axis=2).mean() > 0.8
    assert (tile.picture == 200).all(axis=2).sum() >= 19 * 29
    assert tile.labels.tolist() == [1]


def test_pictures_without_cells_are_drawn_too() -> None:
    empty = Loaded(
        np.full((80, 80, 3), 9, np.uint8),
        np.empty((0, 4), np.float32),
        np.empty(0, np.int64),
        np.full(3, 9, np.uint8),
    )
    tile = Tiles([empty], TileConfig(size=64, light=0.0)).draw(np.random.default_rng(1))
    assert tile.boxes.shape == (0, 4)
    assert (tile.picture == 9).all()


def test_light_changes_colours_but_not_places() -> None:
    plain, lit = (
        Tiles([loaded(3)], TileConfig(size=96, light=light)).draw(np.random.default_rng(2))
        for light in (0.0, 0.3)
    )
    np.testing.assert_array_equal(plain.boxes, lit.boxes)
    assert (plain.picture != lit.picture).mean() > 0.5


def test_pictures_are_loaded_at_a_scale() -> None:
    source = loaded(4)
    field = FieldOfView("x", 300, 200, source.boxes, source.labels, lambda: source.picture)
    seen: list[tuple[int, int]] = []
    (half,) = load_fields(
        FieldSet(("a", "b", "c"), (field,)), scale=0.5, progress=lambda *at: seen.append(at)
    )
    assert half.picture.shape == (100, 150, 3)
    np.testing.assert_allclose(half.boxes, source.boxes / 2)
    assert seen == [(1, 1)]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"size": 100}, "size is 100"),
        ({"zoom": (2.0, 1.0)}, "zoom is"),
        ({"mosaic": 1.5}, "mosaic is 1.5"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TileConfig(**settings)  # type: ignore[arg-type]
