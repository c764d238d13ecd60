"""``wbcq train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from wbcq.train import TrainConfig

__all__ = ["train"]


def train(
    arch: Annotated[str, typer.Option(help="Network; a wrong name lists them.")] = "resnet18",
    data: Annotated[
        str,
        typer.Option(
            help="Folder or CSV table of pictures, in any layout that wbcq.data.open_source knows; "
            "or synthetic."
        ),
    ] = "synthetic",
    out: Annotated[Path, typer.Option(help="Folder for weights and figures.")] = Path("wbcq-train"),
    fold: Annotated[int, typer.Option(min=0, help="Which of the data's folds.")] = 0,
    modality: Annotated[
        str | None,
        typer.Option(
            help="fluor, green, purple, red, stain or all [stain where there is one; all for "
            "mm_mimo3].",
            show_default=False,
        ),
    ] = None,
    size: Annotated[int, typer.Option(min=16, max=1024, help="Height and width, pixels.")] = 96,
    recipe: Annotated[
        str, typer.Option(help="study: the published recipe; wbcq: ours, for fewer epochs.")
    ] = "study",
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the training part [25].", show_default=False),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=2, help="Pictures of a step, of all processes [64].", show_default=False),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.0, help="Peak learning rate [the recipe's].", show_default=False),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1, help="Stop after so many epochs without gain [never].", show_default=False
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            help="State dict to start from; what fits by name and shape is taken.",
            show_default=False,
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="Weights of a network to learn from too.", show_default=False),
    ] = None,
    teacher_arch: Annotated[
        str | None,
        typer.Option(
            help="Its architecture [what history.json beside it says, or else --arch].",
            show_default=False,
        ),
    ] = None,
    prune: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Prune this share of the weights while training [none].",
            show_default=False,
        ),
    ] = None,
    pattern: Annotated[
        str,
        typer.Option(
            help="Of what is pruned: 1x4, 2x4, 4x4 (outputs x inputs), 2:4, unstructured."
        ),
    ] = "1x4",
    schedule: Annotated[
        str, typer.Option(help="Of pruning: cubic, more and more; or oneshot, from the start.")
    ] = "cubic",
    scope: Annotated[
        str,
        typer.Option(
            help="Of pruning: global, the least important of all; or local, each layer alike."
        ),
    ] = "global",
    score: Annotated[
        str | None,
        typer.Option(
            help="Of pruning: l1, l2, or taylor, from the training's gradients [taylor; l1 with "
            "oneshot].",
            show_default=False,
        ),
    ] = None,
    preset: Annotated[
        str, typer.Option(help="Of synthetic cells: balanced, or study with its imbalance.")
    ] = "balanced",
    scale: Annotated[float, typer.Option(help="Factor of the number of synthetic cells.")] = 1.0,
    difficulty: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="Of synthetic cells [the preset's].", show_default=False
        ),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="How many, where the data do not say.")] = 5,
    crop: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=1.0,
            help="Centred square to keep, share of the shorter side [0.75 for the pbc_wbc5 "
            "layout, otherwise 1].",
            show_default=False,
        ),
    ] = None,
    on_corrupt: Annotated[
        str, typer.Option(help="Unreadable pictures: skip them with a note, or raise.")
    ] = "skip",
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32, bf16, fp16, or mixed: half on a GPU, fp32 on a CPU [mixed].",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads of each process [torch's].", show_default=False),
    ] = None,
) -> None:
    """Train a classifier, in one process or several.

    Writes weights.pt, history.json, metrics.json and .md, a learning curve and a confusion matrix
    to the output folder. The epoch is chosen on a validation part, the test part is only reported.
    Interrupted, the same command goes on.

    For example:

    - `wbcq train --arch shufflenet_v2_x0_5 --epochs 5`
    - `wbcq train --arch resnet18 --data pbc_wbc5 --size 128 --out r18`
    - `wbcq train --arch mobilenet_v2 --data pbc_wbc5 --teacher r18/weights.pt --out mv2`
    - `wbcq train --arch resnet18 --init r18/weights.pt --prune 0.75 --pattern 1x4 --out r18-75`
    - `torchrun --nproc-per-node 2 -m wbcq train --arch resnet18 --data pbc_wbc5`
    """
    _check(recipe, on_corrupt)
    import torch
    from rich.console import Console

    from wbcq.cli.progress import ConsoleReporter
    from wbcq.data.sources import open_source
    from wbcq.pruning.schedules import PruneConfig
    from wbcq.train.job import TrainJob, run_job
    from wbcq.train.job_outputs import metrics_table, recall_table, write_outputs
    from wbcq.train.processes import process_group

    if threads is not None:
        torch.set_num_threads(threads)
    given = {"epochs": epochs, "batch": batch, "rate": rate, "precision": precision}
    settings: dict[str, Any] = {n: value for n, value in given.items() if value is not None}
    if prune is not None:
        score = score or ("taylor" if schedule == "cubic" else "l1")
        gradual = {"schedule": schedule, "scope": scope, "score": score}
        settings["prune"] = PruneConfig(prune, pattern, **gradual)  # type: ignore[arg-type]
    config = _config(recipe, {**settings, "patience": patience, "seed": seed, "device": device})
    source = open_source(
        None if data == "synthetic" else Path(data),
        preset=preset,
        seed=seed,
        scale=scale,
        difficulty=difficulty,
        folds=folds,
        crop=crop,
        on_corrupt="raise" if on_corrupt == "raise" else "skip",
    )
    job = TrainJob(arch, out, fold, modality, size, config, init, teacher, teacher_arch)
    with process_group() as processes:
        result = run_job(source, job, ConsoleReporter(Console(stderr=True)))
    if not processes.first:
        return
    write_outputs(result)
    console = Console()
    wide = console if console.is_terminal else Console(width=160)
    wide.print(metrics_table(result).to_rich())
    wide.print(recall_table(result.test).to_rich())
    console.print(f"Results are in {out}.", highlight=False, markup=False, soft_wrap=True)


def _check(recipe: str, on_corrupt: str) -> None:
    for name, value, known in (
        ("recipe", recipe, ("study", "wbcq")),
        ("on-corrupt", on_corrupt, ("skip", "raise")),
    ):
        if value not in known:
            raise typer.BadParameter(
                f"--{name} is {value}; use one of {', '.join(known)}", param_hint=f"--{name}"
            )


def _config(recipe: str, settings: dict[str, Any]) -> TrainConfig:
    from wbcq.train import TrainConfig

    return TrainConfig.study(**settings) if recipe == "study" else TrainConfig.wbcq(**settings)
