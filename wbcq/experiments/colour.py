"""Which light shows most: ResNet-18 on each modality."""

from __future__ import annotations

from pathlib import Path

from wbcq.experiments.results import Row, View, score_columns, write_results
from wbcq.experiments.settings import Settings
from wbcq.experiments.store import Store
from wbcq.experiments.study import COLOUR
from wbcq.experiments.training import training_key, training_unit
from wbcq.experiments.units import Unit

__all__ = ["TITLE", "units", "write"]

TITLE = "ResNet-18 by modality"

_ARCH = "resnet18"

_VIEWS = (
    View("modality"),
    View("accuracy %", ".2f", spread="accuracy % sd"),
    View("macro F1", ".4f", spread="macro F1 sd"),
    View("study %", ".2f"),
    View("study F1", ".3f"),
)


def units(settings: Settings) -> list[Unit]:
    """One training per modality and fold."""
    return [
        training_unit(settings, _ARCH, fold, modality)
        for fold in settings.fold_numbers
        for modality in settings.source.modalities
    ]


def write(settings: Settings, store: Store) -> None:
    """Writes the table and a figure of accuracies."""
    listed = units(settings)
    results = store.results(listed)
    rows: list[Row] = []
    for modality in settings.source.modalities:
        keys = [training_key(_ARCH, modality, fold) for fold in settings.fold_numbers]
        found = [results[key] for key in keys if key in results]
        if not found:
            continue
        told = COLOUR.get(modality, (None, None))
        rows.append(
            {
                "modality": modality,
                **score_columns(found),
                "study %": told[0],
                "study F1": told[1],
            }
        )

    def figure(path: Path) -> None:
        from wbcq.report.charts import dots

        def column(name: str) -> list[float | None]:
            return [v if isinstance(v := row[name], float) else None for row in rows]

        names = [str(row["modality"]) for row in rows]
        series = {"here": column("accuracy %"), "study": column("study %")}
        dots(path, names, series, "accuracy of ResNet-18 in FP32, %")

    note = (
        "Each network saw one modality, in training and in the test. `stain` is the colour picture "
        "of a stained smear, which the study does not have. The study's figures are for its own "
        "pictures."
    )
    write_results(
        settings, store, "colour", TITLE, rows, _VIEWS, listed, notes=[note], figure=figure
    )
