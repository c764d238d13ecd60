"""``wbcq synthesize``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from wbcq.data.synthetic.smear_writing import SmearSet

__all__ = ["synthesize"]


def synthesize(
    out: Annotated[Path, typer.Option(help="Folder of the data set.")] = Path("wbcq-cells"),
    preset: Annotated[
        str, typer.Option(help="balanced, or study with its imbalance and fold sizes.")
    ] = "study",
    scale: Annotated[float, typer.Option(help="Factor of the number of cells.")] = 1.0,
    size: Annotated[int, typer.Option(min=16, max=2048, help="Height and width, pixels.")] = 128,
    difficulty: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="How much classes overlap [the preset's].", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the cells.")] = 0,
    sheet: Annotated[
        Path | None,
        typer.Option(
            help="Only draw some cells of each class into this picture file.", show_default=False
        ),
    ] = None,
    smears: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Write so many fields of view with boxes instead of single cells.",
            show_default=False,
        ),
    ] = None,
    width: Annotated[int, typer.Option(help="Of a field of view, pixels.")] = 1024,
    height: Annotated[int, typer.Option(help="Of a field of view, pixels.")] = 1024,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="How many render [one per core].", show_default=False),
    ] = None,
) -> None:
    """Write synthetic cells as files: four aligned pictures each, five folds in CSV tables.

    The layout is the study's: train_0.csv, val_0.csv and so on with the columns label, Fluor,
    Green, Purple, Red. Interrupted, the same command goes on.

    With --smears: fields of view with many red cells, platelets and several white cells, as
    images/*.png with boxes in labels/*.txt, the layout of YOLO; of presets balanced makes all
    classes equally frequent, study as frequent as in blood.

    For example:

    - `wbcq synthesize --out cells`, then `wbcq train --data cells --modality purple`
    - `wbcq synthesize --preset balanced --scale 0.1 --size 64`
    - `wbcq synthesize --difficulty 0.3 --size 96 --sheet cells.png`
    - `wbcq synthesize --smears 100 --preset balanced --out smears`
    """
    from rich.console import Console

    from wbcq.cli.progress import ConsoleReporter
    from wbcq.data.sources import SyntheticSource
    from wbcq.data.synthetic.sheet import write_sheet
    from wbcq.data.synthetic.smear_writing import write_smears
    from wbcq.data.synthetic.writing import write_dataset

    if smears is not None:
        fields = _fields(preset, smears, width, height, seed, difficulty)
        write_smears(
            fields, out, processes=processes, reporter=ConsoleReporter(Console(stderr=True))
        )
        print(f"{smears} fields of {width}x{height} pixels: in {out}")
        return
    source = SyntheticSource(preset, seed, scale, difficulty)
    if sheet is not None:
        level = source.cells("stain", size).difficulty
        write_sheet(sheet, difficulty=level, size=size, seed=seed)
        print(f"difficulty {level:g}, seed {seed}: {sheet}")
        return
    reporter = ConsoleReporter(Console(stderr=True))
    write_dataset(source, out, size=size, processes=processes, reporter=reporter)
    print(f"{source.description}: in {out}")


def _fields(
    preset: str, count: int, width: int, height: int, seed: int, difficulty: float | None
) -> SmearSet:
    from wbcq.data.synthetic.smear_writing import SmearSet
    from wbcq.data.synthetic.smears import BLOOD

    shares = {"balanced": (0.2,) * 5, "study": BLOOD}
    if preset not in shares:
        raise typer.BadParameter(
            f"--preset is {preset}; use one of {', '.join(shares)}", param_hint="--preset"
        )
    level = 0.5 if difficulty is None else difficulty
    return SmearSet(count, width, height, seed, level, shares=shares[preset])
