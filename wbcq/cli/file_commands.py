"""Commands on a model file: ``wbcq info``, ``run`` and ``bench``. They need no torch."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from wbcq.cli.inputs import ModelInputError, class_shares, read_input
from wbcq.engine.islands import describe_islands
from wbcq.engine.tuned import SPARSE

if TYPE_CHECKING:
    from wbcq.engine.profile import Profile

__all__ = ["bench", "info", "run"]


Array = npt.NDArray[np.float32]

ModelFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="A model file (.wbcq).", show_default=False)
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads [physical cores].", show_default=False)
]
Isa = Annotated[
    str | None,
    typer.Option(help="Instruction set, for example avx2 [the CPU's best].", show_default=False),
]


def info(
    file: ModelFile,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Show what a model file holds: inputs, classes, layers, sizes.

    For example:

    - `wbcq info cells.wbcq`
    - `wbcq info cells.wbcq --json | jq .classes`
    """
    import wbcq

    model = wbcq.load(file)
    record = {
        "file": str(file),
        "bytes": model.file_size,
        "parameters": model.num_parameters,
        "inputs": [list(shape) for shape in model.input_shapes],
        "outputs": [list(shape) for shape in model.output_shapes],
        **model.metadata,
    }
    if as_json:
        print(json.dumps(record, indent=2))
        return
    islands = model.float_operators
    told_below = {"tuned", "tuning"} if model.tunings else set()
    if islands:
        told_below.add("float_operators")
    for key, value in record.items():
        if key in told_below:
            continue
        shown = value if isinstance(value, str) else json.dumps(value)
        print(f"{key + ':':<14} {shown}")
    print()
    print(model.summary())
    if islands:
        print(f"\nfloat32 although the network is INT8, {len(islands)} of its operators:")
        print(describe_islands(islands, most=len(islands)))
    names = [op.name for op in model.program.ops]
    for tuned in model.tunings:
        print(f"\ntuned for {tuned}")
        for name, letter in zip(names, tuned.letters, strict=False):
            if letter == SPARSE:
                print(f"  sparse: {name}")


def run(
    file: ModelFile,
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="PICTURE...",
            help="Pictures, or .npy files with float32 [C, H, W] or [N, C, H, W] as the model "
            "takes them.",
            show_default=False,
        ),
    ],
    top: Annotated[int, typer.Option(min=1, help="Classes to show for each picture.")] = 1,
    save: Annotated[
        Path | None,
        typer.Option(help="Write all outputs to this .npy file.", show_default=False),
    ] = None,
    threads: Threads = None,
    isa: Isa = None,
) -> None:
    """Classify pictures.

    A picture is cropped and resized as the model file says; a .npy array goes in as it is.

    For example:

    - `wbcq run cells.wbcq smear/*.png --top 2`
    - `wbcq run cells.wbcq batch.npy --save scores.npy`
    """
    import wbcq

    model = wbcq.load(file, threads=threads, isa=isa)
    outputs = [(path, model(read_input(path, model))) for path in inputs]
    for path, result in outputs:
        if isinstance(result, tuple) or result.ndim != 2:
            results = result if isinstance(result, tuple) else (result,)
            print(f"{path}  outputs {', '.join(str(list(r.shape)) for r in results)}")
        else:
            _print_classes(path, result, model.metadata.get("classes"), top)
    if save is not None:
        _save_outputs(save, [result for _, result in outputs])


def bench(
    file: ModelFile,
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Pictures per call.")] = 1,
    threads: Threads = None,
    isa: Isa = None,
    memory: Annotated[
        str, typer.Option(help="speed, or small: less memory at some cost in speed.")
    ] = "speed",
    repeats: Annotated[int, typer.Option(min=3, help="Calls to take the median of.")] = 50,
    profile: Annotated[
        bool, typer.Option(help="Show each layer's time, beside what the machine could do.")
    ] = True,
) -> None:
    """Measure a model's speed, as a whole and layer by layer.

    For example:

    - `wbcq bench cells.wbcq`
    - `wbcq bench cells.wbcq --batch 8 --threads 1 --no-profile`
    - `wbcq bench cells.wbcq --memory small`
    """
    import wbcq

    model = wbcq.load(file, threads=threads, isa=isa, memory=memory)
    rng = np.random.default_rng(0)
    arrays = [rng.random((batch, *shape[1:]), dtype=np.float32) for shape in model.input_shapes]
    for _ in range(3):
        model(*arrays)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        model(*arrays)
        times.append(time.perf_counter() - start)
    median = statistics.median(times)
    threads_text = f"{model.threads} thread{'s' if model.threads > 1 else ''}"
    print(
        f"{file}: batch {batch}, {threads_text}, {model.isa}: median "
        f"{1e3 * median:.3f} ms, fastest {1e3 * min(times):.3f} ms of {repeats} calls, "
        f"{batch / median:,.0f} pictures/s"
    )
    use = model.memory_use(batch)
    megabytes = ", ".join(f"{key.replace('_', ' ')} {size / 1e6:.2f}" for key, size in use.items())
    print(f"memory, MB: {megabytes}")
    if profile:
        _print_profile(model.profile(*arrays, repeats=min(repeats, 50)))


def _print_profile(profile: Profile) -> None:
    """A table for eyes in a terminal; Markdown, which other programs can read, elsewhere."""
    from rich.console import Console

    console = Console()
    print()
    if console.is_terminal:
        console.print(profile.table().to_rich())
        print(profile.notes())
    else:
        print(profile)


def _print_classes(path: Path, scores: Array, classes: list[str] | None, top: int) -> None:
    shares = class_shares(scores)
    names = classes if classes and len(classes) == scores.shape[1] else None
    for row, share in enumerate(shares):
        best = np.argsort(-share, kind="stable")[:top]
        shown = ", ".join(f"{names[k] if names else k} {share[k]:.3f}" for k in best)
        print(f"{path}{f'[{row}]' if len(shares) > 1 else ''}  {shown}")


def _save_outputs(path: Path, results: list[Any]) -> None:
    from wbcq.report.files import replacing

    if path.suffix.lower() != ".npy":
        raise ModelInputError(f"{path}: outputs are saved as .npy; give the file that suffix")
    if any(isinstance(result, tuple) for result in results):
        raise ModelInputError("the model has several outputs; --save writes models with one")
    with replacing(path) as temporary:
        np.save(temporary, np.concatenate(results))
