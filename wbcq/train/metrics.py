"""Quality of classification decisions, and where two models decide differently."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Metrics", "evaluate", "flipped"]

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Metrics:
    """Of one model on one set.

    Attributes:
        accuracy: Share of right decisions, 0..1.
        macro_f1: Mean of the classes' F1 scores; a class without true or predicted pictures has 0.
        kappa: Cohen's kappa.
        mcc: Matthews correlation coefficient.
        recall: float64 [C], share of each class's pictures that are found; NaN for a class
            without pictures.
        confusion: int64 [C, C], rows are true classes, columns decisions.
        classes: Names.
        accuracy_interval: Lowest and highest accuracy of the 95 % interval (Wilson 1927): what
            drawing other pictures of the same kind could have given.
        recall_interval: float64 [C, 2], the same for each class's recall; NaN without pictures.
    """

    accuracy: float
    macro_f1: float
    kappa: float
    mcc: float
    recall: npt.NDArray[np.float64]
    confusion: Labels
    classes: tuple[str, ...]
    accuracy_interval: tuple[float, float]
    recall_interval: npt.NDArray[np.float64]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable record; None for a class without pictures."""
        per_class = {
            name: {
                "pictures": int(self.confusion[label].sum()),
                "recall": _known(self.recall[label]),
                "recall_interval": [_known(limit) for limit in self.recall_interval[label]],
            }
            for label, name in enumerate(self.classes)
        }
        return {
            "pictures": int(self.confusion.sum()),
            "accuracy": self.accuracy,
            "accuracy_interval": list(self.accuracy_interval),
            "macro_f1": self.macro_f1,
            "kappa": self.kappa,
            "mcc": self.mcc,
            "classes": per_class,
            "confusion": self.confusion.tolist(),
        }


def evaluate(labels: Labels, decisions: Labels, classes: Sequence[str]) -> Metrics:
    """Compares decisions with labels.

    Args:
        labels: int64 [N], N >= 1.
        decisions: int64 [N].
        classes: Names; every value of both arrays indexes them.

    Raises:
        ValueError: No pictures, or arrays of different lengths.

    Example:
        >>> import numpy as np
        >>> evaluate(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), ("a", "b")).accuracy
        0.75
    """
    from sklearn import metrics as sk

    if len(labels) == 0 or len(labels) != len(decisions):
        raise ValueError(
            f"{len(labels)} labels and {len(decisions)} decisions; pass one of each per picture"
        )
    indices = list(range(len(classes)))
    confusion = sk.confusion_matrix(labels, decisions, labels=indices).astype(np.int64)
    totals = confusion.sum(axis=1)
    with np.errstate(invalid="ignore"):
        recall = np.where(totals > 0, np.diag(confusion) / totals, np.nan)
    # One and the same class on both sides: chance-corrected scores are 0 / 0, agreement is full.
    trivial = np.count_nonzero(confusion) == 1 and np.trace(confusion) > 0
    return Metrics(
        accuracy=float(sk.accuracy_score(labels, decisions)),
        macro_f1=float(
            sk.f1_score(labels, decisions, labels=indices, average="macro", zero_division=0)
        ),
        kappa=1.0 if trivial else float(sk.cohen_kappa_score(labels, decisions, labels=indices)),
        mcc=1.0 if trivial else float(sk.matthews_corrcoef(labels, decisions)),
        recall=recall,
        confusion=confusion,
        classes=tuple(classes),
        accuracy_interval=_wilson(int(np.trace(confusion)), int(confusion.sum())),
        recall_interval=np.array(
            [_wilson(int(row[label]), int(row.sum())) for label, row in enumerate(confusion)]
        ),
    )


def _wilson(right: int, count: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    if count == 0:
        return math.nan, math.nan
    interval = binomtest(right, count).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def flipped(reference: Labels, other: Labels) -> Labels:
    """Indices of the pictures on which two models decide differently, ascending.

    Accuracy hides these: a right decision lost and another gained cancel out.
    """
    if reference.shape != other.shape:
        raise ValueError(
            f"{reference.shape} and {other.shape} decisions; compare models on the same pictures"
        )
    return np.flatnonzero(reference != other).astype(np.int64)
