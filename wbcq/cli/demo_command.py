"""``wbcq demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo"]


def demo(
    data: Annotated[
        Path | None,
        typer.Option(
            help="Pictures to use instead of synthetic cells: a folder with one subfolder per "
            "class, with train, val and test folders of such, or the pbc_wbc5 layout.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for models and reports.")] = Path("wbcq-demo"),
    arch: Annotated[
        str, typer.Option(help="Network, for example resnet18; a wrong name lists them.")
    ] = "resnet18",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training pictures.")] = 8,
    size: Annotated[
        int, typer.Option(min=32, max=512, help="Height and width of the pictures in pixels.")
    ] = 96,
    crop: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=1.0,
            help="Centred square to keep, as a share of the shorter side [0.75 for the pbc_wbc5 "
            "layout, otherwise 1].",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Same seed and threads, same result on one machine.")
    ] = 0,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="CPU threads of PyTorch and wbcq [physical cores].", show_default=False
        ),
    ] = None,
    difficulty: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="How much synthetic classes overlap.")
    ] = 0.7,
) -> None:
    """Train, quantize and compare: FP32 against INT8 per tensor and per channel.

    Trains a network on synthetic white blood cells (a few minutes on two cores), quantizes it
    both ways and prints accuracy, macro F1, decisions that flip, milliseconds and size. Models,
    figures and a list of all flipped pictures go to the output folder.

    For example:

    - `wbcq demo`
    - `wbcq demo --epochs 2 --size 64` for a first look
    - `wbcq demo --data pbc_wbc5 --size 128 --epochs 20 --out pbc-results`
    """
    from rich.console import Console

    from wbcq.cli.progress import ConsoleReporter
    from wbcq.demo.outputs import comparison_table, conditions, recall_table, write_outputs
    from wbcq.demo.pipeline import DemoConfig, run_demo

    console = Console()
    config = DemoConfig(
        data=data,
        out=out,
        arch=arch,
        epochs=epochs,
        size=size,
        crop=crop,
        seed=seed,
        threads=threads,
        difficulty=difficulty,
    )
    result = run_demo(config, ConsoleReporter(Console(stderr=True)))
    write_outputs(result)
    # Tables keep their width in a pipe or file, where the console would guess 80 columns.
    wide = console if console.is_terminal else Console(width=160)
    wide.print(comparison_table(result).to_rich())
    wide.print(recall_table(result).to_rich())
    console.print(conditions(result), highlight=False, markup=False, soft_wrap=True)
    for variant in result.variants[1:]:
        share = f"{variant.flips} of {len(result.pictures.test)} decisions differ from FP32"
        console.print(f"{variant.name}: {share}", highlight=False, markup=False)
    console.print(
        f"Models, figures and flips.csv are in {out}. Next: wbcq bench "
        f"{out / result.variants[-1].file}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
