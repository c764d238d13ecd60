"""``wbcq report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["report"]


def report(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Where `wbcq reproduce` wrote its results.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The page [DIR/report.html].", show_default=False),
    ] = None,
) -> None:
    """Make one HTML page of all that the experiments found.

    Tables, accuracy against time and size, confusion matrices, recalls with intervals, sample
    pictures with heat maps, errors of layers. The page holds everything that it shows. What is
    missing is left out, and the page says how to make it.

    For example:

    - `wbcq report results`
    - `wbcq report results --out study.html`
    """
    from wbcq.report.html import write_report

    path = write_report(folder, out)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
