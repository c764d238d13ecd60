"""A synthetic data set as files, in the study's layout."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from wbcq.data.pictures import DatasetError
from wbcq.data.sources.synthetic import SyntheticSource
from wbcq.data.synthetic.cells import CLASSES
from wbcq.data.synthetic.dataset import ALIGNED, render_cell
from wbcq.report.files import replacing, write_text
from wbcq.report.reporter import Reporter

__all__ = ["claim", "in_processes", "write_dataset"]

COLUMNS = {"fluor": "Fluor", "green": "Green", "purple": "Purple", "red": "Red"}

_CELLS_OF_A_TASK = 32

_T = TypeVar("_T")


@dataclass(frozen=True)
class _Task:
    """Some cells for one process to render and write."""

    out: Path
    cells: Sequence[tuple[int, int]]
    """(label, number in its class)."""
    size: int
    seed: int
    difficulty: float


def write_dataset(
    source: SyntheticSource,
    out: str | Path,
    *,
    size: int = 128,
    processes: int | None = None,
    reporter: Reporter,
) -> None:
    """Renders every cell of a source in four modalities and lists them in fold tables.

    Below ``out``: grey PNG files in ``Fluor``, ``Green``, ``Purple`` and ``Red``, and for each fold
    ``train_{fold}.csv`` and ``val_{fold}.csv``, which :func:`wbcq.data.open_source` reads. Tables
    come last. Interrupted, the same call goes on with what is missing.

    Args:
        source: The cells and their folds.
        out: A folder; made if missing.
        size: Height and width of the pictures.
        processes: How many render; None for one per core.
        reporter: Told how far it is.

    Raises:
        DatasetError: The folder holds a data set of other settings.
        OSError: It cannot be written.
    """
    out = Path(out)
    cells = source.cells("all", size)
    settings = {
        "classes": list(CLASSES),
        "cells": [int((cells.labels == label).sum()) for label in range(len(CLASSES))],
        "size": size,
        "seed": source.seed,
        "difficulty": cells.difficulty,
    }
    claim(out, settings)
    for column in COLUMNS.values():
        (out / column).mkdir(exist_ok=True)
    missing = [cell for cell in cells.items if not _is_written(out, *cell)]
    if len(missing) < len(cells):
        reporter.note(f"{out}: {len(cells) - len(missing)} of {len(cells)} cells are there already")
    tasks = [
        _Task(out, missing[start : start + _CELLS_OF_A_TASK], size, source.seed, cells.difficulty)
        for start in range(0, len(missing), _CELLS_OF_A_TASK)
    ]
    with reporter.stage("Rendering cells") as stage:
        done = len(cells) - len(missing)
        for count in in_processes(_write_cells, tasks, processes):
            done += count
            stage(done, len(cells))
    for fold in source.folds:
        parts = source.parts(fold)
        rest = sorted([*parts["train"], *parts["val"]])
        _write_table(out / f"train_{fold}.csv", [cells.items[k] for k in rest])
        _write_table(out / f"val_{fold}.csv", [cells.items[k] for k in parts["test"]])


def claim(out: Path, settings: dict[str, object]) -> None:
    """Notes the settings in a new folder, or compares them with those of an older call.

    Raises:
        DatasetError: It holds other settings, or other files.
    """
    record = out / "synthetic.json"
    text = json.dumps(settings, indent=2) + "\n"
    if record.exists():
        if record.read_text(encoding="utf-8") != text:
            raise DatasetError(
                f"{record}: the folder holds synthetic pictures of other settings; use them, "
                "another folder, or remove this one"
            )
    elif out.is_dir() and any(out.iterdir()):
        raise DatasetError(f"{out}: not empty, and no synthetic data set; use another folder")
    else:
        write_text(record, text)


def in_processes(
    function: Callable[[_T], int], tasks: Sequence[_T], processes: int | None
) -> Iterator[int]:
    """Yields what a function of a module returns for each task, as they end.

    Args:
        function: Called with each task.
        tasks: Values that can be pickled.
        processes: How many work; None for one per core.
    """
    processes = processes or os.cpu_count() or 1
    if processes == 1 or len(tasks) < 2:
        for task in tasks:
            yield function(task)
        return
    # A forked process could hold a lock that a thread of this one had taken.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(tasks)), mp_context=context) as pool:
        futures = [pool.submit(function, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _write_cells(task: _Task) -> int:
    from PIL import Image

    for label, number in task.cells:
        pictures = render_cell(
            label,
            size=task.size,
            seed=task.seed,
            index=number,
            difficulty=task.difficulty,
            modalities=ALIGNED,
        )
        for modality, picture in pictures.items():
            with replacing(task.out / _name(modality, label, number)) as temporary:
                # Noise does not compress: the fastest level loses a few per cent of space.
                Image.fromarray(picture[..., 0]).save(temporary, compress_level=1)
    return len(task.cells)


def _name(modality: str, label: int, number: int) -> str:
    return f"{COLUMNS[modality]}/{CLASSES[label]}-{number:05d}.png"


def _is_written(out: Path, label: int, number: int) -> bool:
    return all((out / _name(modality, label, number)).is_file() for modality in ALIGNED)


def _write_table(path: Path, cells: Sequence[tuple[int, int]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["label", *COLUMNS.values()])
    for label, number in cells:
        writer.writerow([CLASSES[label], *(_name(m, label, number) for m in COLUMNS)])
    write_text(path, text.getvalue())
