"""Models by file, or those that come with the package."""

from __future__ import annotations

from pathlib import Path

from wbcq.detection.detector import Detector, DetectorError
from wbcq.differential.classifier import CellClassifier, ClassifierError
from wbcq.differential.counter import CellCounter, Rules

__all__ = ["load_counter"]


def load_counter(
    *,
    detector: str | Path | None = None,
    classifier: str | Path | None = None,
    rules: Rules | None = None,
    threads: int | None = None,
) -> CellCounter:
    """Makes a counter of model files.

    Args:
        detector: A detector's file; the example that comes with the package if None.
        classifier: As ``detector``, of a classifier of single cells; loaded if the rules ask it.
        rules: How cells are found and named.
        threads: As for :func:`wbcq.load`.

    Raises:
        DetectorError: The first file is no detector; names it. Or there is none.
        ClassifierError: The second is no classifier; names it.
        ModelFileError: A file is damaged or no model file.
        OSError: A file cannot be read.
    """
    from wbcq.engine.model import load
    from wbcq.models.pretrained import example_detector, example_model

    rules = rules or Rules()
    if detector is None:
        try:
            found = Detector(example_detector(threads=threads))
        except FileNotFoundError:
            raise DetectorError(
                "no detector comes with this copy of wbcq. Remedy: name one with --detector"
            ) from None
    else:
        found = Detector.load(detector, threads=threads)
    if rules.by == "detector":
        return CellCounter(found, None, rules)
    if classifier is None:
        return CellCounter(found, CellClassifier(example_model(threads=threads)), rules)
    try:
        return CellCounter(found, CellClassifier(load(classifier, threads=threads)), rules)
    except ClassifierError as error:
        raise ClassifierError(f"{classifier}: {error}") from None
