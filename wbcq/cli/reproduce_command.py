"""``wbcq reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["reproduce"]


def reproduce(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="Experiments, or `all`; a wrong name lists them."),
    ],
    quick: Annotated[
        bool, typer.Option("--quick", help="Minutes instead of hours: one fold, small pictures.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Pictures instead of synthetic cells: a folder with one subfolder per class, CSV "
            "tables with folds (train_0.csv, val_0.csv), or the pbc_wbc5 or bcisc layout.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for results; it is gone on from there.")] = Path(
        "wbcq-results"
    ),
    shifted: Annotated[
        Path | None,
        typer.Option(
            help="Another data set of the same classes, on which the experiment shift tests.",
            show_default=False,
        ),
    ] = None,
    fields: Annotated[
        Path | None,
        typer.Option(
            help="Pictures with boxes instead of synthetic smears, for detection: Pascal VOC, "
            "COCO, YOLO, BCCD with types, Chula's WBC_Dataset.",
            show_default=False,
        ),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            help="Network of detection: yolov3 or yolov3_tiny [yolov3 if there is a GPU].",
            show_default=False,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Synthetic cells: balanced, or study for its imbalance [study; balanced if "
            "--quick].",
            show_default=False,
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Factor of the number of synthetic cells.", show_default=False
        ),
    ] = None,
    folds: Annotated[
        int | None, typer.Option(min=1, help="Folds to run [5; 1 if --quick].", show_default=False)
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=32,
            max=512,
            help="Height and width of the pictures [96; 64 if --quick].",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Of each training [20; less if --quick].", show_default=False),
    ] = None,
    qat_epochs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Of quantization-aware training [5; 1 if --quick].", show_default=False
        ),
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="How to train: ours, or study for the study's.")
    ] = "ours",
    seed: Annotated[int, typer.Option(min=0, help="Of cells, folds and trainings.")] = 0,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Of each unit of work [physical cores].", show_default=False),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run on a Dask cluster whose machines share the folder of --out, such as "
            "tcp://10.0.0.1:8786; start workers with --nthreads 1.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Reproduce the study's tables and figures.

    The work is cut into units (a training, a quantization, a timing). Each leaves its result in the
    output folder, so an interrupted run goes on where it was, and one with other settings repeats
    only what they change. Each experiment writes a table (JSON and Markdown) and a figure.

    For example:

    - `wbcq reproduce all --quick` on synthetic cells
    - `wbcq reproduce quantization shift --data pbc_wbc5 --shifted bcisc --out pbc-results`
    - `wbcq reproduce colour bits --quick --epochs 8`
    - `wbcq reproduce detection detection-pruning --fields bccd --detector yolov3_tiny`
    """
    from rich.console import Console

    from wbcq import _core
    from wbcq import experiments as known
    from wbcq.cli.progress import ConsoleReporter
    from wbcq.experiments.runner import run_units
    from wbcq.experiments.settings import Settings
    from wbcq.experiments.store import Store

    every = tuple(name for name in known.names() if name != "shift" or shifted is not None)
    chosen = every if "all" in names else tuple(dict.fromkeys(names))
    modules = {name: known.experiment(name) for name in chosen}
    defaults = Settings.quick(out) if quick else Settings(out)
    settings = defaults.changed(
        data=data,
        shifted=shifted,
        fields=fields,
        detector=detector,
        preset=preset,
        scale=scale,
        folds=folds,
        size=size,
        epochs=epochs,
        qat_epochs=qat_epochs,
        recipe=recipe,
        seed=seed,
        threads=threads or _core.default_threads(),
    )
    console, errors = Console(), Console(stderr=True)
    reporter = ConsoleReporter(errors)
    if not settings.has_all_modalities:
        reporter.note(
            f"{settings.source.name} has no four aligned pictures of each cell: without "
            "multi-modal networks"
        )
    store = Store(out)
    units = [unit for module in modules.values() for unit in module.units(settings)]
    outcome = run_units(units, store, reporter, threads=settings.threads, dask=dask)
    for name, module in modules.items():
        module.write(settings, store)
        line = f"{module.TITLE}: {out / name}.md"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if not outcome.complete:
        count = f"{len(outcome.failed)} unit{'s' * (len(outcome.failed) > 1)}"
        waiting = f", {len(outcome.skipped)} more wait for that" if outcome.skipped else ""
        errors.print(
            f"wbcq: {count} failed{waiting}; the tables lack them. Traces are "
            f"in {out / 'units'} (*.error.txt). Failed: {', '.join(outcome.failed)}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(1)
