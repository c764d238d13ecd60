"""``wbcq detect-train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["detect_train"]


def detect_train(
    arch: Annotated[str, typer.Option(help="yolov3_tiny or yolov3.")] = "yolov3_tiny",
    data: Annotated[
        str,
        typer.Option(
            help="Folder of pictures with boxes (Pascal VOC, COCO, YOLO, BCCD with types, Chula's "
            "WBC_Dataset); or synthetic."
        ),
    ] = "synthetic",
    out: Annotated[Path, typer.Option(help="Folder for the detector and figures.")] = Path(
        "wbcq-detector"
    ),
    classes: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: of these classes only, the others are background [all; of "
            "synthetic smears the white cells].",
            show_default=False,
        ),
    ] = None,
    width: Annotated[
        float, typer.Option(help="Of yolov3_tiny: factor of its channels; 0.25 makes 0.6 MB.")
    ] = 1.0,
    activation: Annotated[str, typer.Option(help="relu or leaky_relu.")] = "relu",
    size: Annotated[
        int, typer.Option(help="Height and width that the detector looks at, pixels.")
    ] = 512,
    tile: Annotated[int, typer.Option(help="Height and width of training tiles, pixels.")] = 416,
    epochs: Annotated[int, typer.Option(min=1, help="Looks at the validation part.")] = 30,
    tiles: Annotated[
        int, typer.Option(min=0, help="Training tiles of an epoch [one for each picture].")
    ] = 0,
    batch: Annotated[int, typer.Option(min=2, help="Tiles of a step.")] = 16,
    rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 2e-3,
    zoom: Annotated[
        float, typer.Option(min=1.0, help="Largest factor of scale of a tile, either way.")
    ] = 1.6,
    mosaic: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of tiles of four pictures.")
    ] = 0.5,
    init: Annotated[
        Path | None,
        typer.Option(
            help="State dict to start from; what fits by name and shape is taken.",
            show_default=False,
        ),
    ] = None,
    smears: Annotated[int, typer.Option(min=4, help="Synthetic training pictures.")] = 100,
    difficulty: Annotated[float, typer.Option(min=0.0, max=1.0, help="Of synthetic smears.")] = 0.5,
    on_bad: Annotated[
        str,
        typer.Option(
            help="Labels without area, beyond the picture or of no known class: skip or raise."
        ),
    ] = "skip",
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    precision: Annotated[
        str, typer.Option(help="fp32, bf16, or mixed: half on a GPU, fp32 on a CPU.")
    ] = "mixed",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads [torch's].", show_default=False)
    ] = None,
) -> None:
    """Train a detector of cells and quantize it.

    Writes detector.wbcq (INT8, for wbcq differential), weights.pt, history.json, metrics.json and
    .md to the output folder. Large pictures are looked at in tiles. Interrupted, the same command
    goes on.

    For example:

    - `wbcq detect-train --width 0.25 --tile 320 --epochs 10 --tiles 500`
    - `wbcq detect-train --data bccd --tile 416 --out bccd-tiny`
    - `wbcq detect-train --arch yolov3 --data smears --device cuda`
    """
    for name, value, known in (
        ("on-bad", on_bad, ("skip", "raise")),
        ("precision", precision, ("fp32", "bf16", "fp16", "mixed")),
    ):
        if value not in known:
            raise typer.BadParameter(
                f"--{name} is {value}; use one of {', '.join(known)}", param_hint=f"--{name}"
            )
    import torch
    from rich.console import Console

    from wbcq.cli.progress import ConsoleReporter
    from wbcq.data.synthetic import CLASSES
    from wbcq.data.synthetic.smear_writing import SmearSet
    from wbcq.detection.augment import TileConfig
    from wbcq.detection.data import open_fields, synthetic_fields
    from wbcq.detection.job import DetectJob, metrics_table, run_detect_job
    from wbcq.detection.train import DetectConfig

    if threads is not None:
        torch.set_num_threads(threads)
    reporter = ConsoleReporter(Console(stderr=True))
    config = DetectConfig(
        epochs=epochs,
        tiles=tiles,
        batch=batch,
        rate=rate,
        tile=TileConfig(size=tile, zoom=(1 / zoom, zoom), mosaic=mosaic),
        precision=precision,  # type: ignore[arg-type]
        device=device,
        seed=seed,
    )
    job = DetectJob(arch, out, width, activation, size, config=config, init=init)
    chosen = None if classes is None else tuple(name.strip() for name in classes.split(","))
    if data == "synthetic":
        field = SmearSet(1, 640, 640, seed=seed, difficulty=difficulty, shares=(0.2,) * 5)
        counts = smears, max(2, smears // 10), max(4, smears // 5)
        sets = synthetic_fields(field, counts, reporter=reporter).with_classes(chosen or CLASSES)
    else:
        bad = "raise" if on_bad == "raise" else "skip"
        sets = open_fields(data, classes=chosen, on_bad=bad, seed=seed)  # type: ignore[arg-type]
    outcome = run_detect_job(sets, job, reporter)
    console = Console()
    wide = console if console.is_terminal else Console(width=180)
    wide.print(metrics_table(outcome).to_rich())
    console.print(f"Results are in {out}.", highlight=False, markup=False, soft_wrap=True)
