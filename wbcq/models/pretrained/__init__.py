"""The example models that come with the package, for a first try. Not for clinical use."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wbcq.detection.detector import Detector
    from wbcq.engine.model import QuantizedModel

__all__ = ["DETECTOR", "EXAMPLE", "example_detector", "example_model"]

EXAMPLE = "shufflenet_v2_x0_5-pbc.wbcq"
"""File name of the classifier."""

DETECTOR = "yolov3_tiny-wbc5.wbcq"
"""File name of the detector."""


def example_model(*, threads: int | None = None, isa: str | None = None) -> QuantizedModel:
    """Loads a small INT8 classifier of five kinds of white blood cells. Needs numpy alone.

    ShuffleNetV2 x0.5 trained on stained single cells of the PBC data set (Acevedo et al. 2020,
    CC BY 4.0). Its metadata tell how its pictures are prepared, how well it does, on another
    laboratory's pictures too, and whom to credit. Not for clinical use.

    Args:
        threads: As for :func:`wbcq.load`.
        isa: As for :func:`wbcq.load`.

    Example:
        >>> import numpy as np, wbcq
        >>> model = wbcq.example_model()
        >>> model.metadata["classes"]
        ['basophil', 'eosinophil', 'lymphocyte', 'monocyte', 'neutrophil']
        >>> model(np.zeros((1, *model.input_shapes[0][1:]), np.float32)).shape
        (1, 5)
    """
    from wbcq.engine.model import load

    with as_file(files(__name__) / EXAMPLE) as path:
        return load(path, threads=threads, isa=isa)


def example_detector(*, threads: int | None = None) -> Detector:
    """Loads a small INT8 detector of five kinds of white blood cells. Needs numpy alone.

    YOLOv3-tiny of a quarter of the width, trained on synthetic smears and on the training parts of
    two small public data sets. Its metadata tell how well it does and whom to credit. Not for
    clinical use.

    Args:
        threads: As for :func:`wbcq.load`.

    Example:
        >>> import numpy as np
        >>> from wbcq.models.pretrained import example_detector
        >>> example_detector().detect(np.full((600, 700, 3), 230, np.uint8))
        Detections(0 cells)
    """
    from wbcq.detection.detector import Detector

    with as_file(files(__name__) / DETECTOR) as path:
        return Detector.load(path, threads=threads)
