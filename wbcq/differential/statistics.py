"""Counts of classes with the intervals that small counts deserve."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

from wbcq.differential.cells import Cell

__all__ = ["ClassCount", "Differential", "differential", "from_counts", "wilson"]


@dataclass(frozen=True)
class ClassCount:
    """One line of a differential.

    Attributes:
        name: Of the class.
        count: Cells.
        share: Of all cells, 0 to 1; None where there are none.
        low: Lower end of the share's 95 % interval.
        high: Upper end.
        review: How many of the cells someone should look at.
    """

    name: str
    count: int
    share: float | None
    low: float
    high: float
    review: int


@dataclass(frozen=True)
class Differential:
    """How many white cells of each class.

    Attributes:
        classes: In the order of the models' classes.
        total: All cells.
        review: How many of them someone should look at.
    """

    classes: tuple[ClassCount, ...]
    total: int
    review: int

    def to_json(self) -> dict[str, Any]:
        """What JSON holds."""
        return asdict(self)


def differential(cells: Iterable[Cell], classes: Sequence[str]) -> Differential:
    """Counts cells by class.

    Args:
        cells: Each counts once.
        classes: Names in order; a class without cells has a line too.

    Example:
        >>> cell = Cell(box=(0, 0, 9, 9), kind="monocyte", confidence=0.9, score=0.9)
        >>> result = differential([cell] * 4, ("lymphocyte", "monocyte"))
        >>> [(line.name, line.count, round(line.low, 2)) for line in result.classes]
        [('lymphocyte', 0, 0.0), ('monocyte', 4, 0.51)]
    """
    counts, review = dict.fromkeys(classes, 0), dict.fromkeys(classes, 0)
    for cell in cells:
        counts[cell.kind] += 1
        review[cell.kind] += bool(cell.review)
    return from_counts(counts, review)


def from_counts(counts: Mapping[str, int], review: Mapping[str, int]) -> Differential:
    """Shares and intervals of classes that are counted already.

    Args:
        counts: Cells of each class, in order.
        review: How many of them someone should look at; none of a class that it lacks.
    """
    total = sum(counts.values())
    lines = []
    for name, count in counts.items():
        low, high = wilson(count, total)
        share = count / total if total else None
        lines.append(ClassCount(name, count, share, low, high, review.get(name, 0)))
    return Differential(tuple(lines), total, sum(line.review for line in lines))


def wilson(count: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share (E. B. Wilson, JASA 22, 1927).

    Of few cells, as of rare classes, it neither leaves 0..1 nor shrinks to a point at 0. It tells
    what chance does to a count, not what a wrong classification does.

    Args:
        count: Cells of the class.
        total: All cells; 0 gives 0..1.
        level: Confidence, in (0, 1).

    Returns:
        Lower and upper end, 0 to 1.

    Raises:
        ValueError: Not 0 <= ``count`` <= ``total``.
    """
    if not 0 <= count <= total:
        raise ValueError(f"{count} of {total} cells is no share")
    if not total:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = count / total
    scale = 1 + z * z / total
    centre = (share + z * z / (2 * total)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    return (
        0.0 if count == 0 else max(0.0, centre - half),
        1.0 if count == total else min(1.0, centre + half),
    )
