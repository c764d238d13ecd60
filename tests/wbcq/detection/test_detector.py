"""A detector of coloured discs: all found, wherever, with the same bits on every machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import wbcq
from tests.wbcq.detection.toy import COLOURS, field, spot_model
from wbcq._core import available_isas
from wbcq.detection import Detections, Detector, DetectorError


@pytest.fixture(scope="module")
def model() -> wbcq.QuantizedModel:
    return spot_model()


@pytest.mark.parametrize("shape", [(128, 128), (128, 416), (320, 224), (64, 96), (40, 416)])
def test_finds_each_disc_once(model: wbcq.QuantizedModel, shape: tuple[int, int]) -> None:
    picture, boxes, classes = field(*shape, seed=sum(shape))
    found = Detector(model).detect(picture, across_classes=True, margin=32)
    order = np.lexsort((found.boxes[:, 0].round(), found.boxes[:, 1].round()))
    found = found[order]
    assert len(found) == len(boxes) > 0
    np.testing.assert_allclose(found.boxes, boxes, atol=1.5)
    np.testing.assert_array_equal(found.classes, classes)


def test_same_bits_on_every_instruction_set_and_in_the_oracle(model: wbcq.QuantizedModel) -> None:
    picture, _, _ = field(220, 300, seed=5)
    picture = np.clip(picture.astype(int) - np.arange(300)[:, None] % 40, 0, 255).astype(np.uint8)
    results: list[Detections] = []
    for isa in available_isas():
        for threads in (1, 2):
            other = wbcq.QuantizedModel(model.to_bytes(), isa=isa, threads=threads)
            results.append(Detector(other).detect(picture, threshold=0.01, every_class=True))
    assert len(results[0]) > 10

    class Oracle(wbcq.QuantizedModel):
        def __call__(self, *inputs: object) -> object:
            return self.simulate(*inputs)

    results.append(
        Detector(Oracle(model.to_bytes())).detect(picture, threshold=0.01, every_class=True)
    )
    for result in results[1:]:
        assert result.boxes.tobytes() == results[0].boxes.tobytes()
        assert result.scores.tobytes() == results[0].scores.tobytes()
        assert result.classes.tobytes() == results[0].classes.tobytes()


def test_an_empty_field(model: wbcq.QuantizedModel) -> None:
    assert len(Detector(model).detect(np.full((300, 200, 3), 255, np.uint8))) == 0


def test_loads_a_file_and_tells_what_it_is(model: wbcq.QuantizedModel, tmp_path: Path) -> None:
    model.save(tmp_path / "spots.wbcq")
    detector = Detector.load(tmp_path / "spots.wbcq", threads=1)
    assert detector.classes == tuple(COLOURS)
    assert "basophil, lymphocyte, neutrophil: 128x128" in repr(detector)


def test_a_classifier_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "cells.wbcq"
    wbcq.example_model().save(path)
    with pytest.raises(DetectorError, match=r"cells\.wbcq: the model is no detector"):
        Detector.load(path)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"size": 256}, "says one RGB picture of 256x256"),
        ({"classes": ["a"]}, "need"),
        ({"classes": []}, "need"),
        ({"strides": [32, 16]}, "strides"),
        ({"strides": [0]}, "strides"),
        ({"anchors": [[[20, 20], [30, 30]]]}, "need"),
        ({"anchors": [[20, 20]]}, "not usable"),
        ({"size": None}, "not usable"),
    ],
)
def test_records_that_do_not_fit(record: dict[str, object], message: str) -> None:
    with pytest.raises(DetectorError, match=message):
        Detector(spot_model(record=record))


@pytest.mark.parametrize(
    "picture",
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32)],
)
def test_pictures_of_another_kind(model: wbcq.QuantizedModel, picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"must be uint8 \[H, W, 3\]"):
        Detector(model).detect(picture)
