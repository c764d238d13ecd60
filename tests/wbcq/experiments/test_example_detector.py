"""The example detector: made from scratch in little, and the one that is shipped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("pycocotools")
pytest.importorskip("scipy")
pytest.importorskip("wbcq._core")

from wbcq.data.synthetic import CLASSES, render_smear
from wbcq.data.synthetic.smear_writing import SmearSet
from wbcq.detection.boxes import iou
from wbcq.detection.detector import Detector
from wbcq.experiments.example_detector import ExampleDetector, main, make
from wbcq.models.pretrained import DETECTOR, example_detector


def test_made_in_little_it_tells_what_it_is(tmp_path: Path) -> None:
    config = ExampleDetector(
        tmp_path, smears=20, width=0.125, size=128, epochs=1, tiles=8, tile=64, calibration=8
    )
    figures = make(config)
    detector = Detector.load(tmp_path / DETECTOR, threads=1)
    assert detector.classes == CLASSES
    assert detector.model.metadata["results"]["tests"] == figures["tests"]
    assert json.loads((tmp_path / "figures.json").read_text()) == figures
    assert set(figures["tests"]) == {"synthetic 0.3", "synthetic 0.7"}
    readme = (tmp_path / "README-detector.md").read_text()
    assert DETECTOR in readme
    assert "10 of synthetic 0.3, 10 of synthetic 0.7" in readme
    assert max(map(len, readme.split("Found is")[1].splitlines())) <= 100
    # Again: the training is not repeated, and the file is the same to the bit.
    before = (tmp_path / DETECTOR).read_bytes()
    make(config)
    assert (tmp_path / DETECTOR).read_bytes() == before


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--bccd", str(tmp_path / "no"), "--smears", "2", "--out", str(tmp_path / "out")])
    assert "no such folder" in capsys.readouterr().err


class TestShipped:
    def test_is_small_and_names_its_sources(self) -> None:
        model = example_detector(threads=1)
        assert model.file_size < 700_000
        assert "MIT" in model.metadata["credits"]["bccd"]
        assert model.metadata["results"]["tests"]["bccd"]["int8"]["found"] > 0.95
        assert "clinical" in model.metadata["credits"]["notice"]

    def test_finds_synthetic_cells_that_it_has_never_seen(self) -> None:
        detector = Detector(example_detector(threads=1))
        found = there = right = 0
        for index in range(4):
            smears = SmearSet(1, 640, 640, seed=77, difficulty=0.5, shares=(0.2,) * 5, first=index)
            smear = smears.render(0)
            boxes, labels = smear.white
            cells = detector.detect(smear.picture, across_classes=True)
            overlaps = iou(boxes, cells.boxes)
            there += len(boxes)
            best = overlaps.argmax(axis=1)
            hit = overlaps.max(axis=1) > 0.5
            found += int(hit.sum())
            right += int((cells.classes[best][hit] == labels[hit]).sum())
            assert len(cells) <= len(boxes) + 2
        assert there >= 5
        assert found == there
        assert right >= 0.75 * there

    def test_finds_nothing_where_there_is_nothing(self) -> None:
        detector = Detector(example_detector(threads=1))
        blank = np.full((700, 600, 3), (236, 214, 190), np.uint8)
        assert len(detector.detect(blank)) == 0
        red = render_smear(640, 640, seed=5, index=3, white=0).picture
        assert len(detector.detect(red, threshold=0.5)) == 0
