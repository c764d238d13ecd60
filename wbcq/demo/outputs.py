"""What the demonstration writes: the table, figures, and every decision that changed."""

from __future__ import annotations

import csv
import io
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np

from wbcq.demo.pipeline import DemoResult
from wbcq.report.files import write_text
from wbcq.report.plots import comparison, confusion_matrices, contact_sheet, training_curve
from wbcq.report.tables import Column, Table
from wbcq.version import __version__

__all__ = ["comparison_table", "conditions", "recall_table", "write_outputs"]

BUSY = 1.5


def comparison_table(result: DemoResult) -> Table:
    """One row per variant, in the form of the usual tables on quantization."""
    columns = [
        Column("architecture"),
        Column("dtype"),
        Column("method"),
        Column("accuracy %", ".2f"),
        Column("macro F1", ".4f"),
        Column("flips", "d"),
        Column("ms, batch 1", ".2f"),
        Column("ms, batch 8", ".2f"),
        Column("parameters M", ".3f"),
        Column("MB", ".2f"),
    ]
    table = Table(columns, title=f"{len(result.pictures.test)} test pictures")
    for variant in result.variants:
        table.add(
            result.config.arch,
            variant.dtype,
            variant.method,
            100 * variant.metrics.accuracy,
            variant.metrics.macro_f1,
            variant.flips if variant.method else None,
            variant.ms[1],
            variant.ms[8],
            variant.parameters / 1e6,
            variant.bytes / 1e6,
        )
    return table


def recall_table(result: DemoResult) -> Table:
    """Share of each class's pictures that is found, by variant: rare classes suffer first."""
    names = [variant.name for variant in result.variants]
    table = Table(
        [Column("recall %"), Column("pictures", "d"), *(Column(name, ".2f") for name in names)]
    )
    totals = result.variants[0].metrics.confusion.sum(axis=1)
    for label, name in enumerate(result.pictures.test.classes):
        found = [100 * float(variant.metrics.recall[label]) for variant in result.variants]
        table.add(name, int(totals[label]), *found)
    return table


def write_outputs(result: DemoResult) -> list[Path]:
    """Writes the reports next to the models.

    Returns:
        Paths of the written files.
    """
    out = result.config.out
    paths = {
        name: out / name
        for name in (
            "results.md",
            "results.json",
            "flips.csv",
            "comparison.png",
            "confusion.png",
            "training.png",
        )
    }
    write_text(paths["results.md"], _markdown(result))
    write_text(paths["results.json"], json.dumps(_record(result), indent=2) + "\n")
    write_text(paths["flips.csv"], _flips_csv(result))
    names = [variant.name for variant in result.variants]
    comparison(
        paths["comparison.png"],
        names,
        [100 * variant.metrics.accuracy for variant in result.variants],
        [variant.ms[8] for variant in result.variants],
        [variant.bytes / 1e6 for variant in result.variants],
    )
    confusion_matrices(
        paths["confusion.png"],
        {variant.name: variant.metrics.confusion for variant in result.variants},
        result.pictures.test.classes,
    )
    training_curve(
        paths["training.png"],
        [epoch.loss for epoch in result.training.history],
        [epoch.val_accuracy for epoch in result.training.history],
        result.training.best_epoch,
    )
    written = list(paths.values())
    if result.config.data is None:
        written.append(out / "cells.png")
        contact_sheet(written[-1], _examples(result))
    return written


def conditions(result: DemoResult) -> str:
    """What the figures were measured on."""
    pictures = result.pictures
    counts = f"{len(pictures.train)} / {len(pictures.val)} / {len(pictures.test)}"
    busy = (
        f" The machine was busy (load {result.load:.1f} per core), so times are too long."
        if result.load > BUSY
        else ""
    )
    return (
        f"{pictures.description}; {counts} pictures for training / validation / test, "
        f"{result.config.size}x{result.config.size}; {_many(result.config.epochs, 'epoch')}, the "
        f"best on validation is epoch {result.training.best_epoch + 1}. Times with "
        f"{_many(result.threads, 'thread')}, the smallest median of five turns: FP32 is eager "
        f"PyTorch in its faster layout, INT8 is wbcq's engine ({result.isa}).{busy}"
    )


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _markdown(result: DemoResult) -> str:
    parts = [
        f"# {result.config.arch}: FP32 against INT8",
        comparison_table(result).to_markdown(),
        "A flip is a test picture whose class differs from the one FP32 chose; `flips.csv` lists "
        "them.",
        conditions(result),
        recall_table(result).to_markdown(),
    ]
    return "\n\n".join(parts) + "\n"


def _record(result: DemoResult) -> dict[str, Any]:
    import torch

    config = result.config
    return {
        "wbcq": __version__,
        "torch": str(torch.__version__),
        "machine": {
            "processor": platform.machine(),
            "isa": result.isa,
            "load_per_core": round(result.load, 2),
        },
        "data": result.pictures.description,
        "pictures": {
            "train": len(result.pictures.train),
            "val": len(result.pictures.val),
            "test": len(result.pictures.test),
        },
        "arch": config.arch,
        "size": config.size,
        "epochs": config.epochs,
        "best_epoch": result.training.best_epoch + 1,
        "seed": config.seed,
        "threads": result.threads,
        "variants": [
            {
                "name": variant.name,
                "accuracy": variant.metrics.accuracy,
                "macro_f1": variant.metrics.macro_f1,
                "kappa": variant.metrics.kappa,
                "mcc": variant.metrics.mcc,
                "flips": variant.flips,
                "ms": {str(batch): value for batch, value in variant.ms.items()},
                "parameters": variant.parameters,
                "bytes": variant.bytes,
                "file": variant.file,
                "confusion": variant.metrics.confusion.tolist(),
            }
            for variant in result.variants
        ],
    }


def _flips_csv(result: DemoResult) -> str:
    """One line for each test picture on which any variant disagrees with FP32."""
    test = result.pictures.test
    reference, *others = result.variants
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["picture", "true class", *(variant.name for variant in result.variants)])
    differs = np.any([v.decisions != reference.decisions for v in others], axis=0)
    for index in np.flatnonzero(differs):
        chosen = [test.classes[int(v.decisions[index])] for v in result.variants]
        writer.writerow([test.names[index], test.classes[int(test.labels[index])], *chosen])
    return buffer.getvalue()


def _examples(result: DemoResult) -> dict[str, list[Any]]:
    test = result.pictures.test
    return {
        name: [test.picture(int(i)) for i in np.flatnonzero(test.labels == label)[:6]]
        for label, name in enumerate(test.classes)
    }
