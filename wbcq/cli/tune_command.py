"""``wbcq tune``: times dense and sparse kernels on this machine. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wbcq.cli.file_commands import Isa, ModelFile, Threads

__all__ = ["tune"]


def tune(
    file: ModelFile,
    out: Annotated[
        Path | None,
        typer.Option(help="Write this file instead of FILE itself.", show_default=False),
    ] = None,
    threads: Threads = None,
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Pictures per call.")] = 1,
    isa: Isa = None,
    rounds: Annotated[int, typer.Option(min=1, help="Timings to take the median of.")] = 9,
) -> None:
    """Choose the faster kernels of a pruned model, by timing them on this machine.

    Every layer with zero blocks runs dense and sparse inside the network, and keeps the faster; the
    whole network is never left slower than all dense. The choices are kept in the file, for this
    CPU, instruction set and number of threads; results stay the same. Let the machine do
    nothing else meanwhile.

    For example:

    - `wbcq tune pruned.wbcq`
    - `wbcq tune pruned.wbcq --threads 1 --batch 8 --out tuned.wbcq`
    """
    from rich.console import Console

    import wbcq
    from wbcq.cli.progress import ConsoleReporter

    target = file if out is None else out
    if not target.resolve().parent.is_dir():
        raise FileNotFoundError(2, "No such folder", str(target.parent))
    with ConsoleReporter(Console(stderr=True)).stage(f"timing {file.name}") as stage:
        tuning = wbcq.tune(
            file, threads=threads, isa=isa, batch=batch, rounds=rounds, progress=stage
        )
    console = Console()
    if not tuning.operators:
        print(f"{file}: {tuning.notes()}")
    elif console.is_terminal:
        console.print(tuning.table().to_rich())
        print(tuning.notes())
    else:
        print(tuning)
    if tuning.operators or out is not None:
        tuning.model.save(target)
        print(f"wrote {target}")
