"""How few bits suffice: ResNet-18 with weights and activations of 8 to 3 bits."""

from __future__ import annotations

from pathlib import Path

from wbcq.experiments.results import Row, View, score_columns, write_results
from wbcq.experiments.settings import Settings
from wbcq.experiments.store import Store
from wbcq.experiments.study import BITS_F1
from wbcq.experiments.training import training_key, training_unit
from wbcq.experiments.units import Unit
from wbcq.experiments.variants import ptq_unit

__all__ = ["TITLE", "units", "write"]

TITLE = "ResNet-18 by bits of weights and activations"

_ARCH = "resnet18"
_BITS = (8, 6, 4, 3)
_SQUARED = 4
"""Up to so many bits, weights' ranges minimise the squared error."""

_VIEWS = (
    View("weights", "d"),
    View("activations", "d"),
    View("accuracy %", ".2f", spread="accuracy % sd"),
    View("macro F1", ".4f", spread="macro F1 sd"),
    View("flips %", ".2f"),
    View("study F1", ".3f"),
)


def units(settings: Settings) -> list[Unit]:
    """The training, and PTQ with each pair of widths."""
    return [
        unit
        for fold in settings.fold_numbers
        for unit in (
            training_unit(settings, _ARCH, fold),
            *(
                _unit(settings, fold, weights, activations)
                for weights, activations in _pairs(settings)
            ),
        )
    ]


def write(settings: Settings, store: Store) -> None:
    """Writes the table and a figure of macro F1."""
    listed = units(settings)
    results = store.results(listed)
    rows: list[Row] = []
    for weights, activations in ((32, 32), *_pairs(settings)):
        keys = [_key(settings, fold, weights, activations) for fold in settings.fold_numbers]
        found = [results[key] for key in keys if key in results]
        if not found:
            continue
        rows.append(
            {
                "weights": weights,
                "activations": activations,
                **score_columns(found),
                "study F1": BITS_F1.get(weights) if weights == activations else None,
            }
        )

    def figure(path: Path) -> None:
        from wbcq.report.charts import lines

        by_pair = {(row["weights"], row["activations"]): row["macro F1"] for row in rows}

        def along(pairs: list[tuple[int, int]]) -> list[float | None]:
            return [v if isinstance(v := by_pair.get(p), float) else None for p in pairs]

        widths = (32, *_BITS)
        series = {
            "weights and activations": along([(b, b) for b in widths]),
            "weights alone": along([(b, 8) for b in widths]),
            "activations alone": along([(8, b) for b in widths]),
            "study, both": [BITS_F1.get(b) for b in widths],
        }
        drawn = {name: v for name, v in series.items() if sum(x is not None for x in v) > 1}
        lines(path, [str(b) for b in widths], drawn, "bits", "macro F1")

    note = (
        f"PTQ per channel; up to {_SQUARED} bits the weights' ranges minimise the squared error. "
        "Values of fewer bits are simulated: they are bytes of the engine that take only so many "
        "values. Where one of the two has fewer bits alone, the other has 8. The study's F1 with "
        "16 bits is .727, as with 32."
    )
    write_results(settings, store, "bits", TITLE, rows, _VIEWS, listed, notes=[note], figure=figure)


def _pairs(settings: Settings) -> list[tuple[int, int]]:
    """Bits of weights and of activations."""
    both = [(b, b) for b in _BITS]
    if settings.brief:
        return both
    return [*both, *((b, 8) for b in _BITS[1:]), *((8, b) for b in _BITS[1:])]


def _key(settings: Settings, fold: int, weights: int, activations: int) -> str:
    if weights == 32:
        return training_key(_ARCH, settings.modality_of(_ARCH), fold)
    return _unit(settings, fold, weights, activations).key


def _unit(settings: Settings, fold: int, weights: int, activations: int) -> Unit:
    if weights == activations == 8:  # shared with the table of methods
        return ptq_unit(settings, _ARCH, fold)
    config = {
        "weights": "per_channel",
        "weight_bits": weights,
        "weight_observer": "histogram" if weights <= _SQUARED else "minmax",
        "activation_bits": activations,
    }
    key = f"bits/{_ARCH}/fold{fold}/w{weights}a{activations}"
    return ptq_unit(settings, _ARCH, fold, key, config)
