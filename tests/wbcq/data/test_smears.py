"""Synthetic fields of view: reproducible, boxes exact, and as files what was rendered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("scipy")
pytest.importorskip("PIL")
pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("sklearn")

from PIL import Image

from wbcq.cli.app import run
from wbcq.data import DatasetError
from wbcq.data.synthetic import CLASSES, OBJECTS, render_smear
from wbcq.data.synthetic.smear_writing import SmearSet, write_smears
from wbcq.report.reporter import SILENT


def darkness(smear_picture: np.ndarray) -> np.ndarray:
    """How much darker than the empty field, per pixel."""
    grey = smear_picture.astype(np.float64).mean(axis=2)
    return np.percentile(grey, 99) - grey


def test_same_arguments_same_bytes_and_another_index_another_field() -> None:
    first, again = (render_smear(160, 128, seed=3, index=5) for _ in range(2))
    np.testing.assert_array_equal(first.picture, again.picture)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    other = render_smear(160, 128, seed=3, index=6)
    assert np.mean(other.picture != first.picture) > 0.5


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    width=st.integers(64, 300),
    height=st.integers(64, 300),
    difficulty=st.floats(0, 1),
    pixel_um=st.floats(0.08, 0.4),
)
def test_boxes_are_whole_numbers_inside_the_picture_and_not_empty(
    seed: int, width: int, height: int, difficulty: float, pixel_um: float
) -> None:
    smear = render_smear(
        width, height, seed=seed, white=2, difficulty=difficulty, pixel_um=pixel_um
    )
    assert smear.picture.shape == (height, width, 3)
    assert smear.boxes.shape == (len(smear.labels), 4)
    np.testing.assert_array_equal(smear.boxes, np.round(smear.boxes))
    x1, y1, x2, y2 = smear.boxes.T
    assert smear.boxes[:, :2].min(initial=0) >= 0
    assert (x2 <= width).all()
    assert (y2 <= height).all()
    assert (x1 < x2).all()
    assert (y1 < y2).all()


def test_white_cells_stand_where_they_were_put_at_their_size() -> None:
    cells = [("lymphocyte", 60, 70), (3, 200, 90), ("basophil", 330, 150)]
    smear = render_smear(400, 200, seed=1, white=cells, difficulty=0.2)
    boxes, labels = smear.white
    assert [CLASSES[k] for k in labels] == ["lymphocyte", "monocyte", "basophil"]
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    np.testing.assert_allclose(middles, [(60, 70), (200, 90), (330, 150)], atol=10)


def test_sizes_are_those_of_blood() -> None:
    diameters = {}
    for kind in ("lymphocyte", "monocyte"):
        cells = [(kind, 80.0 + 160 * k, 80.0) for k in range(8)]
        boxes, _ = render_smear(1280, 160, seed=1, white=cells, difficulty=0.0).white
        diameters[kind] = (boxes[:, 2:] - boxes[:, :2]).mean() * 0.125
    assert 8.5 < diameters["lymphocyte"] < 12.0
    assert 13.5 < diameters["monocyte"] < 18.0


@pytest.mark.parametrize("label", range(5))
def test_a_box_holds_its_cell_and_no_more(label: int) -> None:
    """The same field with and without the cell differs inside of its box alone."""
    smear = render_smear(
        220, 220, seed=4, white=[(label, 110, 110)], difficulty=0.0, shares=(1, 1, 1, 1, 1)
    )
    (x1, y1, x2, y2) = smear.white[0][0].astype(int)
    dark = darkness(smear.picture) > 25
    inside = dark[y1:y2, x1:x2]
    assert inside.mean() > 0.6  # an ellipse fills 0.785 of its box
    for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
        assert edge.mean() < 0.6  # it touches its box, but does not go on outside
    for edge in (inside[:4], inside[-4:], inside[:, :4], inside[:, -4:]):
        assert edge.any()


def test_a_cell_at_the_border_has_the_box_of_what_is_seen() -> None:
    smear = render_smear(200, 200, seed=2, white=[("neutrophil", 1, 100)])
    box = smear.white[0][0]
    assert box[0] == 0
    assert 30 < box[2] < 70


def test_red_cells_and_platelets_have_their_sizes() -> None:
    smear = render_smear(800, 600, seed=5, white=0)
    assert not len(smear.white[1])
    sizes = (smear.boxes[:, 2:] - smear.boxes[:, :2]).mean(axis=1) * 0.125
    x1, y1, x2, y2 = smear.boxes.T
    whole = (x1 > 0) & (y1 > 0) & (x2 < 800) & (y2 < 600)
    red = smear.labels == OBJECTS.index("red_cell")
    platelet = smear.labels == OBJECTS.index("platelet")
    assert red.sum() > 40
    assert platelet.sum() >= 1
    assert 6.3 < np.median(sizes[red & whole]) < 8.0
    assert 1.2 < np.median(sizes[platelet & whole]) < 3.5


def test_shares_choose_the_classes() -> None:
    smear = render_smear(1000, 800, seed=1, white=8, shares=(0, 0, 1, 0, 0))
    assert set(smear.white[1].tolist()) == {CLASSES.index("lymphocyte")}
    assert len(smear.white[1]) == 8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"width": 10}, "10x1024 pixels"),
        ({"width": 10000, "height": 10000}, "33554432"),
        ({"difficulty": 2.0}, "difficulty is 2.0"),
        ({"index": -1}, "index is -1"),
        ({"pixel_um": 5.0}, "pixel_um is 5.0"),
        ({"shares": (1, 2)}, r"shares is \[1, 2\]"),
        ({"modality": "fluor"}, "modality is 'fluor'"),
        ({"white": [("monocyte", 2000, 10)]}, "outside the picture of 1024x1024"),
        ({"white": [("blast", 20, 10)]}, "'blast'"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        render_smear(**arguments)  # type: ignore[arg-type]


class TestFiles:
    SET = SmearSet(3, 96, 80, seed=7, pixel_um=0.25)

    def test_are_what_was_rendered(self, tmp_path: Path) -> None:
        write_smears(self.SET, tmp_path / "s", processes=1, reporter=SILENT)
        assert (tmp_path / "s/classes.txt").read_text().split() == list(OBJECTS)
        for index in range(3):
            smear = self.SET.render(index)
            stem = f"smear-{index:05d}"
            picture = np.asarray(Image.open(tmp_path / f"s/images/{stem}.png"))
            np.testing.assert_array_equal(picture, smear.picture)
            rows = np.loadtxt(tmp_path / f"s/labels/{stem}.txt", ndmin=2)
            np.testing.assert_array_equal(rows[:, 0], smear.labels)
            middle, size = rows[:, 1:3] * (96, 80), rows[:, 3:] * (96, 80)
            boxes = np.concatenate([middle - size / 2, middle + size / 2], axis=1)
            np.testing.assert_allclose(boxes, smear.boxes, atol=1e-4)

    def test_are_completed_and_never_mixed(self, tmp_path: Path) -> None:
        write_smears(self.SET, tmp_path / "s", processes=1, reporter=SILENT)
        kept, lost = (tmp_path / f"s/images/smear-0000{k}.png" for k in (0, 1))
        before, time = lost.read_bytes(), kept.stat().st_mtime_ns
        lost.unlink()
        write_smears(self.SET, tmp_path / "s", processes=1, reporter=SILENT)
        assert lost.read_bytes() == before
        assert kept.stat().st_mtime_ns == time
        with pytest.raises(DatasetError, match="other settings"):
            write_smears(SmearSet(3, 96, 80, seed=8), tmp_path / "s", reporter=SILENT)

    def test_by_the_command(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = tmp_path / "s"
        arguments = ["synthesize", "--smears", "2", "--width", "128", "--height", "64"]
        assert run([*arguments, "--out", str(out), "--processes", "1"]) == 0
        assert len(list((out / "images").glob("*.png"))) == 2
        assert "2 fields of 128x64" in capsys.readouterr().out
        assert run([*arguments, "--out", str(out), "--preset", "odd"]) == 2
