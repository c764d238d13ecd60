"""Fields of known cells: each is found, named, and marked where it should be."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import wbcq
from tests.wbcq.detection.toy import COLOURS, SIDE, field, spot_model
from wbcq.detection import Detector
from wbcq.differential import CellClassifier, CellCounter, ClassifierError, Rules
from wbcq.differential.classifier import cut_out
from wbcq.engine.program_file import program_bytes


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(spot_model())


def colour_classifier(names: tuple[str, ...], size: int = 24) -> wbcq.QuantizedModel:
    """The class of the picture's mean colour, in the order of the discs' colours."""
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, len(names), 1), torch.nn.AvgPool2d(size), torch.nn.Flatten()
    )
    with torch.no_grad():
        for index, colour in enumerate(COLOURS.values()):
            for channel in range(3):
                net[0].weight[index, channel] = 10.0 if colour[channel] else -10.0
        net[0].bias.zero_()
    return named(net, names, size)


def named(net: torch.nn.Module, names: tuple[str, ...], size: int) -> wbcq.QuantizedModel:
    model = wbcq.quantize(net.eval(), [torch.rand(8, 3, size, size)], progress=False)
    metadata = {**model.metadata, "classes": list(names)}
    return wbcq.QuantizedModel(program_bytes(dataclasses.replace(model.program, metadata=metadata)))


@pytest.fixture(scope="module")
def agreeing() -> CellClassifier:
    return CellClassifier(colour_classifier(tuple(COLOURS)), view=28)


@pytest.fixture(scope="module")
def contrary() -> CellClassifier:
    """It calls every class by the next one's name."""
    names = tuple(COLOURS)
    return CellClassifier(colour_classifier((*names[1:], names[0])), view=28)


def kinds(classes: np.ndarray) -> list[str]:
    return [tuple(COLOURS)[label] for label in classes]


@pytest.mark.parametrize("by", ["detector", "classifier", "both"])
def test_finds_and_names(detector: Detector, agreeing: CellClassifier, by: str) -> None:
    picture, boxes, classes = field(128, 256, seed=2)
    cells = CellCounter(detector, agreeing, Rules(by=by)).count(picture)
    assert len(cells) == len(boxes) > 3
    found = {tuple(np.round(np.array(cell.box) / 10).astype(int)): cell for cell in cells}
    for box, kind in zip(boxes, kinds(classes), strict=True):
        cell = found[tuple(np.round(box / 10).astype(int))]
        assert cell.kind == kind
        assert cell.review == ()
        assert set(cell.shares) == (set() if by == "detector" else set(COLOURS))
    rows = [cell.box[1] for cell in cells]
    assert rows == sorted(rows)


def test_who_decides(detector: Detector, contrary: CellClassifier) -> None:
    picture, _, classes = field(128, 128, seed=2)
    names = tuple(COLOURS)
    by_detector = CellCounter(detector, contrary).count(picture)
    by_classifier = CellCounter(detector, contrary, Rules(by="classifier")).count(picture)
    both = CellCounter(detector, contrary, Rules(by="both")).count(picture)
    assert len(classes) == len(both) > 3
    for one, other, two in zip(by_detector, by_classifier, both, strict=True):
        assert other.kind == names[(names.index(one.kind) + 1) % len(names)]
        assert two.kind == one.kind
        assert "disputed" in two.review
        assert one.review == () == other.review


def test_cells_to_review(detector: Detector) -> None:
    picture, boxes, _ = field(128, 128, seed=2)
    x1, y1, x2, y2 = boxes[0].astype(int)
    picture = picture[y1 + 3 :, :]  # the border cuts the first cell
    picture = np.concatenate((picture, np.full((y1 + 3, 128, 3), 255, np.uint8)))
    assert x2 > x1
    assert y2 > y1
    cells = CellCounter(detector, rules=Rules(threshold=0.05)).count(picture)
    assert {cell.review for cell in cells if cell.box[1] <= 1} <= {("edge",), ("doubtful", "edge")}
    every = CellCounter(detector, rules=Rules(threshold=0.05, review=1.0)).count(picture)
    assert all("doubtful" in cell.review for cell in every)


def test_scale(detector: Detector) -> None:
    picture, boxes, classes = field(256, 256, seed=4)
    large = np.repeat(np.repeat(picture, 2, 0), 2, 1)
    cells = CellCounter(detector, rules=Rules(scale=0.5)).count(large)
    assert len(cells) == len(boxes)
    assert sorted(cell.kind for cell in cells) == sorted(kinds(classes))
    middle = [(cell.box[0] + cell.box[2]) / 2 % (2 * SIDE) for cell in cells]
    np.testing.assert_allclose(middle, SIDE, atol=4)


def test_red_cells_are_not_counted() -> None:
    names = ["Platelets", "lymphocyte", "RBC"]
    detector = Detector(spot_model(record={"classes": names}))
    picture, _, classes = field(128, 128, seed=2)
    counter = CellCounter(detector)
    assert counter.classes == ("lymphocyte",)
    assert len(counter.count(picture)) == int((classes == 1).sum()) > 0
    red = Detector(spot_model(record={"classes": ["red_cell", "rbc", "platelet"]}))
    with pytest.raises(ValueError, match=r"no white cells\. Remedy"):
        CellCounter(red)


def test_fingerprint_tells_models_and_rules_apart(
    detector: Detector, agreeing: CellClassifier, contrary: CellClassifier
) -> None:
    prints = [
        CellCounter(detector).fingerprint(),
        CellCounter(detector, rules=Rules(threshold=0.4)).fingerprint(),
        CellCounter(detector, agreeing, Rules(by="both")).fingerprint(),
        CellCounter(detector, contrary, Rules(by="both")).fingerprint(),
    ]
    assert len(set(prints)) == 4
    assert CellCounter(detector, contrary).fingerprint() == prints[0]  # it is not asked


def test_cut_out_repeats_the_border() -> None:
    picture = np.zeros((10, 10, 3), np.uint8)
    picture[:, 5:] = 200
    boxes = np.array([[6, 2, 10, 6], [0, 0, 4, 4]], np.float32)
    right, left = cut_out(picture, boxes, 16, np.array([6.0, 6.0]))
    assert (right[:, 8:] == 200).all()
    assert (left[:, :8] == 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": "nobody"}, "by is 'nobody'"),
        ({"threshold": 2}, "threshold is 2"),
        ({"review": -1}, "review is -1"),
        ({"overlap": float("nan")}, "overlap is nan"),
        ({"scale": 0}, "scale is 0"),
    ],
)
def test_rules_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rules(**settings)


def test_models_that_do_not_classify(detector: Detector) -> None:
    with pytest.raises(ClassifierError, match="not a score of each class"):
        CellClassifier(detector.model)
    model = colour_classifier(tuple(COLOURS))
    metadata = {**model.metadata, "classes": ["a", "b"]}
    unnamed = program_bytes(dataclasses.replace(model.program, metadata=metadata))
    with pytest.raises(ClassifierError, match="3 scores, its metadata name 2 classes"):
        CellClassifier(wbcq.QuantizedModel(unnamed))
    with pytest.raises(ValueError, match="needs a classifier"):
        CellCounter(detector, rules=Rules(by="both"))
