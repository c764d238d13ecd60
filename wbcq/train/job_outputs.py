"""What ``wbcq train`` writes beside the weights: metrics, and figures of how they came about."""

from __future__ import annotations

import json

from wbcq.report.files import write_text
from wbcq.report.plots import confusion_matrices, training_curve
from wbcq.report.tables import Column, Table
from wbcq.train.job import JobResult
from wbcq.train.metrics import Metrics

__all__ = ["metrics_table", "recall_table", "write_outputs"]


def metrics_table(result: JobResult) -> Table:
    """Accuracy and chance-corrected scores of the test and validation parts."""
    table = Table(
        [
            Column("part"),
            Column("pictures", "d"),
            Column("accuracy %", ".2f"),
            Column("95 % interval"),
            Column("macro F1", ".4f"),
            Column("kappa", ".4f"),
            Column("MCC", ".4f"),
        ],
        title=f"{result.job.arch}, {result.sets.description}",
    )
    for name, metrics in (("test", result.test), ("validation", result.val)):
        table.add(
            name,
            int(metrics.confusion.sum()),
            100 * metrics.accuracy,
            _interval(*metrics.accuracy_interval),
            metrics.macro_f1,
            metrics.kappa,
            metrics.mcc,
        )
    return table


def recall_table(metrics: Metrics) -> Table:
    """Share of each class's pictures that is found."""
    table = Table(
        [
            Column("class"),
            Column("pictures", "d"),
            Column("recall %", ".2f"),
            Column("95 % interval"),
        ]
    )
    for label, name in enumerate(metrics.classes):
        count = int(metrics.confusion[label].sum())
        if count:
            low, high = (float(limit) for limit in metrics.recall_interval[label])
            table.add(name, count, 100 * float(metrics.recall[label]), _interval(low, high))
        else:
            table.add(name, 0, None, "")
    return table


def write_outputs(result: JobResult) -> None:
    """Writes ``metrics.json``, ``metrics.md``, ``learning-curve.png`` and ``confusion.png``."""
    out = result.job.out
    record = {
        "arch": result.job.arch,
        "parameters": sum(p.numel() for p in result.model.parameters()),
        "source": result.sets.description,
        "fold": result.job.fold,
        "modality": result.job.modality,
        "size": result.job.size,
        "test": result.test.to_dict(),
        "val": result.val.to_dict(),
    }
    tables = (metrics_table(result), recall_table(result.test))
    text = [f"# {result.job.arch}", result.sets.description + "."]
    text += [table.to_markdown() for table in tables]
    text.append("The epoch was chosen on the validation part; the test part had no say in it.")
    text += [
        "Notes on the data:\n\n" + "\n".join(f"- {note}" for note in result.sets.notes)
    ] * bool(result.sets.notes)
    write_text(out / "metrics.md", "\n\n".join(text) + "\n")
    history = result.training.history
    training_curve(
        out / "learning-curve.png",
        [epoch.loss for epoch in history],
        [epoch.val_accuracy for epoch in history],
        result.training.best_epoch,
    )
    confusion_matrices(out / "confusion.png", {"test": result.test.confusion}, result.test.classes)
    # Last: a reader that finds it finds all.
    write_text(out / "metrics.json", json.dumps(record, indent=2, allow_nan=False) + "\n")


def _interval(low: float, high: float) -> str:
    return f"{100 * low:.2f} to {100 * high:.2f}"
