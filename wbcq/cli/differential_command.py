"""``wbcq differential``: how many white cells of each class. It needs no torch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wbcq.cli.counting_options import By, Classifier, DetectorFile, Review, Threads, Threshold
from wbcq.report.tables import Column, Table

if TYPE_CHECKING:
    from rich.console import Console

    from wbcq.differential import CellCounter, Count

__all__ = ["differential"]


def differential(
    pictures: Annotated[
        list[Path],
        typer.Argument(
            metavar="PICTURE...",
            help="Fields of view of a stained smear, or folders of such.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for JSON, CSV, annotated pictures and sheets of cells; a second run goes "
            "on from there.",
            show_default=False,
        ),
    ] = None,
    detector: DetectorFile = None,
    classifier: Classifier = None,
    by: Annotated[
        By,
        typer.Option(
            help="Who names a cell: the detector, the classifier, or both: cells on which they "
            "differ are marked for review.",
        ),
    ] = By.DETECTOR,
    threshold: Threshold = 0.25,
    review: Review = 0.6,
    scale: Annotated[
        float,
        typer.Option(
            min=0.05,
            max=4.0,
            help="Enlarge pictures by this, where cells are not as large as the detector knows "
            "them.",
        ),
    ] = 1.0,
    max_megapixels: Annotated[
        int, typer.Option(min=1, max=175, help="Larger pictures are refused.")
    ] = 120,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
    threads: Threads = None,
) -> None:
    """Count the white blood cells of a smear by class.

    Finds white cells in pictures of any size, names their classes and prints counts, shares and
    the shares' 95 % intervals, which tell what chance alone does to so few cells. Cells to review
    are doubtful ones, those on which two models differ, and those that the picture cuts.

    A picture that cannot be counted is reported, the others are counted, and the exit code is 1.
    Not for clinical use.

    For example:

    - `wbcq differential smear.jpg`
    - `wbcq differential fields/ --out result`
    - `wbcq differential fields/*.png --by both --review 0.8`
    """
    from rich.console import Console

    from wbcq.cli.progress import ConsoleReporter
    from wbcq.differential import Rules, count_pictures, find_pictures
    from wbcq.differential.models import load_counter

    rules = Rules(by=by.value, threshold=threshold, review=review, scale=scale)
    counter = load_counter(detector=detector, classifier=classifier, rules=rules, threads=threads)
    paths = find_pictures(pictures, out=out)
    count = count_pictures(
        counter,
        paths,
        out=out,
        max_pixels=max_megapixels * 1_000_000,
        reporter=ConsoleReporter(Console(stderr=True)),
    )
    if as_json:
        print(json.dumps(count.to_json(), indent=2))
    else:
        _show(Console(), count)
    _tell(count, counter, out)
    if count.failed:
        raise typer.Exit(1)


def _show(console: Console, count: Count) -> None:
    whole = count.differential()
    table = Table(
        [
            Column("class"),
            Column("cells", "d"),
            Column("%", ".1f"),
            Column("95 % interval", ">"),
            Column("to review", "d"),
        ]
    )
    for line in whole.classes:
        share = None if line.share is None else 100 * line.share
        interval = f"{100 * line.low:.1f} to {100 * line.high:.1f}" if whole.total else None
        table.add(line.name, line.count, share, interval, line.review)
    table.add("all", whole.total, 100.0 if whole.total else None, None, whole.review)
    if console.is_terminal:
        console.print(table.to_rich())
    else:
        print(table.to_markdown())


def _tell(count: Count, counter: CellCounter, out: Path | None) -> None:
    """What is not the result, on the error stream."""
    done = len(count.pictures) - len(count.failed)
    lines = [f"{done} picture{'s' if done != 1 else ''} counted"]
    if count.resumed:
        lines[0] += f", {count.resumed} of them by an earlier run"
    if not count.cells and done:
        lines.append(
            f"no white cell scores {counter.rules.threshold:g} or more. If there are some: --scale "
            "if they are larger or smaller than those that the detector knows, or --threshold"
        )
    for result in count.pictures:
        lines += [f"{result.picture}: {note}" for note in result.notes]
    lines += [
        f"{name}: the same contents as {first}; its cells count twice"
        for name, first in count.repeated
    ]
    lines += [f"wbcq: error: {result.error}" for result in count.failed]
    if out is not None:
        lines.append(f"results are in {out}")
    lines.append("Not for clinical use.")
    print("\n".join(lines), file=sys.stderr)
