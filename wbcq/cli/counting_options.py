"""Options that ``wbcq differential`` and ``wbcq serve`` share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["By", "Classifier", "DetectorFile", "Review", "Threads", "Threshold"]


class By(str, Enum):
    """Who names a cell."""

    DETECTOR = "detector"
    CLASSIFIER = "classifier"
    BOTH = "both"


DetectorFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A detector (.wbcq) [the example that comes with wbcq].",
        show_default=False,
    ),
]
Classifier = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A classifier of single cells (.wbcq) [the example that comes with wbcq].",
        show_default=False,
    ),
]
Threshold = Annotated[float, typer.Option(min=0.0, max=1.0, help="Least score of a cell.")]
Review = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Confidence below which to review a cell.")
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads [physical cores].", show_default=False)
]
