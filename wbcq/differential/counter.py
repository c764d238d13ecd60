"""From a picture to its white cells: detector, classifier, and who should be looked at."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from wbcq.detection.boxes import Detections
from wbcq.detection.detector import Detector
from wbcq.differential.cells import AT_THE_EDGE, DISPUTED, DOUBTFUL, Cell
from wbcq.differential.classifier import CellClassifier

__all__ = ["CellCounter", "Rules"]

Picture: TypeAlias = npt.NDArray[np.uint8]

_NOT_WHITE = frozenset({"platelet", "platelets", "rbc", "red_cell", "red cell", "background"})
_EDGE = 1.0
"""A box that ends so many pixels from the picture's border is cut by it."""


@dataclass(frozen=True)
class Rules:
    """How cells are found and named.

    Attributes:
        by: Who names a cell: ``"detector"``; ``"classifier"``, which looks at each cell that the
            detector found; or ``"both"``: the detector, and where the classifier names another
            class the cell is to be reviewed.
        threshold: Least score of a detection, 0 to 1.
        review: Confidence below which a cell is to be reviewed, 0 to 1.
        overlap: Intersection over union above which two boxes are one cell.
        scale: By what a picture is enlarged before the detector sees it, where cells are larger or
            smaller in it than in the detector's training.

    Raises:
        ValueError: A setting is out of range.
    """

    by: Literal["detector", "classifier", "both"] = "detector"
    threshold: float = 0.25
    review: float = 0.6
    overlap: float = 0.4
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.by not in ("detector", "classifier", "both"):
            raise ValueError(f"by is {self.by!r}; use 'detector', 'classifier' or 'both'")
        for name in ("threshold", "review", "overlap"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; use 0 to 1")
        if not 0.05 <= self.scale <= 4:
            raise ValueError(f"scale is {self.scale}; use 0.05 to 4")


class CellCounter:
    """Finds the white cells of pictures and names their classes. Needs numpy and Pillow.

    Args:
        detector: Its classes other than red cells and platelets are white cells.
        classifier: For rules that ask it.
        rules: How cells are found and named.

    Attributes:
        classes: Names that a cell can have, in order.

    Raises:
        ValueError: The rules ask a classifier and there is none, or the detector finds no white
            cells.
    """

    def __init__(
        self,
        detector: Detector,
        classifier: CellClassifier | None = None,
        rules: Rules | None = None,
    ) -> None:
        self.detector, self.classifier = detector, classifier
        self.rules = rules or Rules()
        white = [name for name in detector.classes if name.lower() not in _NOT_WHITE]
        if not white:
            raise ValueError(
                f"the detector finds {', '.join(detector.classes)}, no white cells. Remedy: a "
                "detector of white cells"
            )
        if self.rules.by != "detector" and classifier is None:
            raise ValueError(f"by is {self.rules.by!r}, which needs a classifier; pass one")
        self._white = np.array([detector.classes.index(name) for name in white])
        by_classifier = self.rules.by == "classifier" and classifier is not None
        self.classes = classifier.classes if by_classifier and classifier else tuple(white)

    def count(self, picture: Picture) -> list[Cell]:
        """Finds and names the cells of one picture.

        Args:
            picture: uint8 [H, W, 3], RGB.

        Returns:
            Each cell once, from top to bottom and left to right.
        """
        found = self._detect(picture)
        found = found[np.lexsort((found.boxes[:, 0], found.boxes[:, 1]))]
        asked = self.classifier if self.rules.by != "detector" else None
        shares = None if asked is None else asked.shares(picture, found.boxes, self.rules.scale)
        cells = []
        for index in range(len(found)):
            named = (
                {}
                if asked is None or shares is None
                else dict(zip(asked.classes, map(float, shares[index]), strict=True))
            )
            cells.append(self._cell(found, index, named, picture.shape[0], picture.shape[1]))
        return cells

    def fingerprint(self) -> str:
        """Of all that a count depends on beside the picture: models and rules."""
        models = [self.detector.model]
        if self.classifier is not None and self.rules.by != "detector":
            models.append(self.classifier.model)
        record = {
            "rules": asdict(self.rules),
            "models": [hashlib.sha256(model.to_bytes()).hexdigest() for model in models],
            "view": self.classifier.view if len(models) > 1 and self.classifier else None,
        }
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()

    def _detect(self, picture: Picture) -> Detections:
        rules, shown = self.rules, picture
        if rules.scale != 1:
            height, width = (max(1, round(side * rules.scale)) for side in picture.shape[:2])
            image = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
            shown = np.asarray(image, np.uint8)
        found = self.detector.detect(
            shown, threshold=rules.threshold, overlap=rules.overlap, across_classes=True
        )
        if rules.scale != 1:
            boxes = found.boxes / np.float32(rules.scale)
            found = Detections(boxes, found.scores, found.classes)
            found = found.clipped(*picture.shape[:2])
        return found[np.isin(found.classes, self._white)]

    def _cell(
        self, found: Detections, index: int, shares: Mapping[str, float], height: int, width: int
    ) -> Cell:
        x1, y1, x2, y2 = (round(float(v), 2) for v in found.boxes[index])
        score = float(found.scores[index])
        seen = self.detector.classes[found.classes[index]]
        guessed = max(shares, key=lambda name: shares[name]) if shares else seen
        by_classifier = self.rules.by == "classifier"
        kind, confidence = (guessed, shares[guessed]) if by_classifier else (seen, score)
        review = []
        if min(confidence, score) < self.rules.review:
            review.append(DOUBTFUL)
        if self.rules.by == "both" and guessed != seen:
            review.append(DISPUTED)
        if min(x1, y1) <= _EDGE or x2 >= width - _EDGE or y2 >= height - _EDGE:
            review.append(AT_THE_EDGE)
        return Cell((x1, y1, x2, y2), kind, confidence, score, shares, tuple(review))
