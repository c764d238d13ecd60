"""How good a detector is: average precision as COCO defines it, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from wbcq.data.pictures import Progress
from wbcq.detection.anchors import HeadAnchors
from wbcq.detection.boxes import Detections, iou
from wbcq.detection.data.base import FieldSet
from wbcq.detection.detector import Detector

__all__ = [
    "DetectionMetrics",
    "HeadModel",
    "Layout",
    "as_arrays",
    "average_precision",
    "detect_fields",
]

_LEAST_SCORE = 0.01
_SURE = 0.25
_MOST = 300


class HeadModel(Protocol):
    """What is evaluated: a :class:`wbcq.QuantizedModel`, or anything that is called like one."""

    def __call__(self, pictures: npt.NDArray[np.float32], /) -> Any:
        """Raw heads of float32 [1, 3, size, size] in 0..1."""


@dataclass(frozen=True)
class Layout:
    """What a detector's heads mean; the ``"detector"`` record of a model's metadata.

    Attributes:
        classes: Names.
        anchors: For each head widths and heights in pixels.
        strides: For each head pixels of a cell of its grid.
        size: Height and width of the input.
    """

    classes: tuple[str, ...]
    anchors: HeadAnchors
    strides: tuple[int, ...]
    size: int

    def to_metadata(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "classes": list(self.classes),
            "anchors": [[list(anchor) for anchor in head] for head in self.anchors],
            "strides": list(self.strides),
            "size": self.size,
        }

    @property
    def head_shapes(self) -> tuple[tuple[int, int, int, int], ...]:
        """Of the heads of one picture."""
        return tuple(
            (1, len(head) * (5 + len(self.classes)), self.size // stride, self.size // stride)
            for head, stride in zip(self.anchors, self.strides, strict=True)
        )


@dataclass(frozen=True)
class DetectionMetrics:
    """Of all pictures of a set.

    Attributes:
        map50: Mean over classes of the average precision at IoU 0.5, of the classes that occur.
        map: The same, mean over IoU 0.5, 0.55, ... 0.95.
        ap50: For each class its average precision at IoU 0.5; None where it does not occur.
        cells: For each class how many there are.
        found: Share of the cells that a box of any class with a score of at least 0.25 finds.
        class_accuracy: Share of those whose box has the right class.
    """

    map50: float
    map: float
    ap50: dict[str, float | None]
    cells: dict[str, int]
    found: float
    class_accuracy: float

    def map50_of(self, least: int) -> float:
        """``map50`` over the classes of which there are at least so many cells.

        The average precision of a class of one or two cells jumps by halves.
        """
        values = [v for k, v in self.ap50.items() if v is not None and self.cells[k] >= least]
        return float(np.mean(values)) if values else 0.0


class _Named:
    """A network as :class:`wbcq.detection.Detector` takes it."""

    def __init__(self, run: HeadModel, layout: Layout) -> None:
        self._run = run
        self.metadata = {"detector": layout.to_metadata()}
        self.input_shapes = ((1, 3, layout.size, layout.size),)
        self.output_shapes = layout.head_shapes

    def __call__(self, pictures: npt.NDArray[np.float32]) -> Any:
        return self._run(pictures)


def detect_fields(
    run: HeadModel,
    layout: Layout,
    fields: FieldSet,
    *,
    overlap: float = 0.45,
    progress: Progress | None = None,
) -> list[Detections]:
    """What a network finds in each picture, in overlapping windows where it is large.

    Every network goes through the same windows, decoding and suppression, so that only the heads
    differ. Boxes of all scores that average precision wants are kept.

    Args:
        run: The network.
        layout: What its heads mean.
        fields: The pictures.
        overlap: IoU above which two boxes of a class are one cell.
        progress: Called after each picture.
    """
    detector = Detector(cast(Any, _Named(run, layout)))
    found = []
    for index, field in enumerate(fields.fields):
        found.append(
            detector.detect(field.read(), threshold=_LEAST_SCORE, overlap=overlap, every_class=True)
        )
        if progress is not None:
            progress(index + 1, len(fields))
    return found


def average_precision(found: Sequence[Detections], fields: FieldSet) -> DetectionMetrics:
    """Compares what was found with what is there.

    Args:
        found: For each picture.
        fields: The pictures, with at least one cell.

    Raises:
        ValueError: Other numbers of pictures, or no cells.
    """
    counts = fields.counts
    if len(found) != len(fields) or not sum(counts.values()):
        raise ValueError(
            f"detections of {len(found)} pictures for {len(fields)} with {sum(counts.values())} "
            "cells; pass one for each, with cells"
        )
    # [threshold, recall, class]; -1 where a class does not occur.
    precision = _coco_precision(found, fields)
    each = [float(precision[0, :, k].mean()) for k in range(len(fields.classes))]
    present = [k for k, name in enumerate(fields.classes) if counts[name]]
    share, right = _class_accuracy(found, fields)
    return DetectionMetrics(
        float(np.mean([each[k] for k in present])),
        float(precision[:, :, present].mean()),
        {name: each[k] if counts[name] else None for k, name in enumerate(fields.classes)},
        counts,
        share,
        right,
    )


def _coco_precision(found: Sequence[Detections], fields: FieldSet) -> npt.NDArray[np.float64]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth: list[dict[str, Any]] = []
    guesses: list[dict[str, Any]] = []
    for number, (field, guess) in enumerate(zip(fields.fields, found, strict=True), start=1):
        for box, label in zip(field.boxes, field.labels, strict=True):
            x, y, width, height = _xywh(box)
            record = {"bbox": [x, y, width, height], "area": width * height, "iscrowd": 0}
            truth.append(_placed(record, number, int(label), len(truth) + 1))
        for box, label, score in zip(guess.boxes, guess.classes, guess.scores, strict=True):
            x, y, width, height = _xywh(box)
            record = {"bbox": [x, y, width, height], "area": width * height, "score": float(score)}
            guesses.append(_placed(record, number, int(label), len(guesses) + 1))
    images = [{"id": number + 1} for number in range(len(fields))]
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(fields.classes)]
    with contextlib.redirect_stdout(io.StringIO()):
        expected, given = COCO(), COCO()
        for coco, annotations in ((expected, truth), (given, guesses)):
            coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
            coco.createIndex()
        evaluation = COCOeval(expected, given, "bbox")
        evaluation.params.maxDets = [_MOST]
        evaluation.params.areaRng = evaluation.params.areaRng[:1]
        evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:1]
        evaluation.evaluate()
        evaluation.accumulate()
    precision: npt.NDArray[np.float64] = evaluation.eval["precision"][..., 0, 0]
    return precision


def _placed(record: dict[str, Any], picture: int, label: int, number: int) -> dict[str, Any]:
    return {**record, "image_id": picture, "category_id": label + 1, "id": number}


def _xywh(box: npt.NDArray[np.float32]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(value) for value in box)
    return x1, y1, x2 - x1, y2 - y1


def _class_accuracy(found: Sequence[Detections], fields: FieldSet) -> tuple[float, float]:
    """Share of cells that are found, and of those the share with the right class."""
    hits = right = total = 0
    for field, guess in zip(fields.fields, found, strict=True):
        total += len(field.labels)
        sure = guess[guess.scores >= _SURE]
        if not len(field.labels) or not len(sure):
            continue
        overlaps = iou(field.boxes, sure.boxes)
        for row, label in zip(overlaps, field.labels, strict=True):
            near = np.flatnonzero(row >= 0.5)
            if len(near):
                hits += 1
                right += int(sure.classes[near[sure.scores[near].argmax()]] == label)
    return hits / total, right / max(1, hits)


def as_arrays(run: Callable[..., Any]) -> HeadModel:
    """A function of torch tensors as one of arrays."""
    import torch

    def call(pictures: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], ...]:
        with torch.inference_mode():
            heads = run(torch.from_numpy(pictures))
        return tuple(head.float().cpu().numpy() for head in heads)

    return call
