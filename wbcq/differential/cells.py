"""A white cell that was found, and why someone should look at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["AT_THE_EDGE", "DISPUTED", "DOUBTFUL", "Cell"]

DOUBTFUL = "doubtful"
"""The confidence is below the threshold of review."""

DISPUTED = "disputed"
"""Detector and classifier name different classes."""

AT_THE_EDGE = "edge"
"""The picture's border cuts the cell."""


@dataclass(frozen=True)
class Cell:
    """One white cell of a picture.

    Attributes:
        box: x1, y1, x2, y2 in the picture's pixels.
        kind: Its class.
        confidence: In that class, 0 to 1: the detector's score or the classifier's share, as
            counted.
        score: Of the detector: that there is such a cell.
        shares: The classifier's share of each class; empty where there was no classifier.
        review: Why someone should look at it, such as :data:`DOUBTFUL`; empty if nobody need.
    """

    box: tuple[float, float, float, float]
    kind: str
    confidence: float
    score: float
    shares: Mapping[str, float] = field(default_factory=dict)
    review: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What JSON holds."""
        return asdict(self)

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> Cell:
        """The inverse of :meth:`to_json`.

        Raises:
            KeyError: Something is missing.
            TypeError: Something is of another kind.
            ValueError: As TypeError.
        """
        x1, y1, x2, y2 = (float(v) for v in record["box"])
        return Cell(
            (x1, y1, x2, y2),
            str(record["kind"]),
            float(record["confidence"]),
            float(record["score"]),
            {str(name): float(share) for name, share in record["shares"].items()},
            tuple(str(reason) for reason in record["review"]),
        )
