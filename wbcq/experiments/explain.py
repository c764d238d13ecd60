"""Where the networks look, in FP32 and in INT8, and which layers err most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from wbcq.data.pictures import ArrayPictures
from wbcq.data.sources.base import ALIGNED
from wbcq.experiments.results import Row, View, write_results
from wbcq.experiments.settings import Settings, load_cells
from wbcq.experiments.store import Store
from wbcq.experiments.training import calibration_batches, trained, training_key, training_unit
from wbcq.experiments.units import Unit
from wbcq.experiments.variants import ptq_unit, variant_key
from wbcq.report.files import replacing

__all__ = ["TITLE", "explain", "units", "write"]

TITLE = "Where the networks look: LayerCAM in FP32 and INT8"

_METHOD = "ptq-per-channel"
_MEASURED = 48
"""Test pictures whose maps are compared."""
_WRONG = 6
"""Shown pictures that FP32 or INT8 gets wrong, at most."""

_SIDE = 6
"""Least height and width of a map: the last layers of small pictures have too few pixels."""

_VIEWS = (
    View("architecture"),
    View("layer"),
    View("pictures", "d"),
    View("correlation", ".3f", spread="correlation sd"),
    View("least correlation", ".3f"),
    View("IoU of hottest fifths", ".3f"),
    View("energy inside", ".3f"),
    View("worst layer"),
    View("worst SQNR, dB", ".1f"),
)


def units(settings: Settings) -> list[Unit]:
    """One unit per network, on the first fold."""
    fold = settings.fold_numbers[0]
    listed = []
    for arch in settings.architectures:
        modality = settings.modality_of(arch)
        training, quantized = training_key(arch, modality, fold), variant_key(arch, fold, _METHOD)
        key = _key(arch, fold)
        arguments = {
            "key": key,
            "training": training,
            "quantized": quantized,
            "cells": settings.cells(fold, modality),
            "calibration": settings.calibration,
            "seed": settings.seed,
            "measured": _MEASURED,
            "side": _SIDE,
        }
        listed += [
            training_unit(settings, arch, fold),
            ptq_unit(settings, arch, fold),
            Unit(key, explain, arguments, needs=(training, quantized)),
        ]
    return listed


def _key(arch: str, fold: int) -> str:
    return f"explain/{arch}/fold{fold}"


def explain(
    store: Store,
    *,
    key: str,
    training: str,
    quantized: str,
    cells: Mapping[str, Any],
    calibration: int,
    seed: int,
    measured: int,
    side: int,
) -> dict[str, Any]:
    """Compares heat maps on some test pictures, keeps a few, and measures errors of layers.

    Maps of both explain the class that FP32 decides for. INT8's come from the network that is
    calibrated as the unit ``quantized`` was; ``"same_integers"`` tells whether it is that model to
    the bit, as it is on the same machine.
    """
    import torch

    import wbcq
    from wbcq.explain import agreement, last_spatial_layer, layer_cam, layer_errors
    from wbcq.train import batches, inputs_of
    from wbcq.train.sampling import balanced_sample

    sets, model = load_cells(cells), trained(store, training)
    pictures = calibration_batches(model, sets.train, calibration, seed)
    config = wbcq.QuantConfig(weights="per_channel", class_names=sets.test.classes)
    qat = wbcq.prepare_qat(model, pictures, config=config, progress=False)
    integer_model = wbcq.load(store.path(quantized, ".wbcq"))

    def maps(chosen: ArrayPictures) -> tuple[Any, Any]:
        (pixels, _), *_ = batches(chosen, len(chosen))
        inputs = inputs_of(model, pixels)
        layer = last_spatial_layer(model, *(x[:1] for x in inputs), side=side)
        full = layer_cam(model, inputs, layers=layer)
        return full, layer_cam(qat, inputs, layers=layer, targets=full.targets)

    store.progress(0, 3, "heat maps")
    test = balanced_sample(sets.test, measured, seed)
    full, integer = maps(test)
    measures = agreement(full.maps, integer.maps)
    store.progress(1, 3, "samples")
    shown = sets.test.subset(_shown(store, training, quantized, sets.test))
    of_full, of_integer = maps(shown)
    _save_maps(store, key, shown, of_full.maps, of_integer.maps)
    store.progress(2, 3, "errors of layers")
    parts = [inputs_of(model, pixels) for pixels, _ in batches(test, 16)]
    layers = layer_errors(integer_model, model, parts)
    (pixels, _), *_ = batches(test, len(test))
    answers = integer_model(*inputs_of(model, pixels))
    total = torch.stack(answers).sum(0) if isinstance(answers, tuple) else answers
    least = min(layers, key=lambda layer: layer.sqnr)
    return {
        "arch": store.result(training)["arch"],
        "method": "INT8 PTQ per channel",
        "layer": full.layers[0],
        "pictures": len(test),
        "correlation": float(measures.correlation.mean()),
        "correlation_sd": float(measures.correlation.std(ddof=1)) if len(test) > 1 else None,
        "least_correlation": float(measures.correlation.min()),
        "iou": float(measures.iou.mean()),
        "energy": float(measures.energy.mean()),
        "same_integers": bool(np.array_equal(np.asarray(total), integer.scores)),
        "worst_layer": least.layer,
        "worst_sqnr": _finite(least.sqnr),
        "layers": [
            {"layer": e.layer, "kind": e.kind, "sqnr": _finite(e.sqnr), "drift": e.drift}
            for e in layers
        ],
        "samples": _samples(store, training, quantized, shown, of_full.maps, of_integer.maps),
        "files": [".maps.npz"],
    }


def _finite(decibels: float) -> float | None:
    """None for a layer without any error."""
    return decibels if math.isfinite(decibels) else None


def _shown(
    store: Store, training: str, quantized: str, test: ArrayPictures
) -> npt.NDArray[np.int64]:
    """The first of each class, the same for all networks, and some that a network gets wrong."""
    first = [np.flatnonzero(test.labels == label)[:1] for label in range(len(test.classes))]
    wrong = np.zeros(len(test), dtype=np.bool_)
    for key in (training, quantized):
        wrong |= store.predictions(key).decisions != test.labels
    common = np.concatenate(first)
    others = np.setdiff1d(np.flatnonzero(wrong), common)[:_WRONG]
    return np.concatenate([common, others]).astype(np.int64)


def _save_maps(
    store: Store,
    key: str,
    shown: ArrayPictures,
    full: npt.NDArray[np.float32],
    integer: npt.NDArray[np.float32],
) -> None:
    pixels = shown.pixels
    if pixels.shape[3] == 3 * len(ALIGNED):
        place = 3 * ALIGNED.index("purple")
        pixels = pixels[..., place : place + 3]
    path = store.path(key, ".maps.npz")
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            pictures=pixels,
            full=np.rint(255 * full).astype(np.uint8),
            integer=np.rint(255 * integer).astype(np.uint8),
        )


def _samples(
    store: Store,
    training: str,
    quantized: str,
    shown: ArrayPictures,
    full: npt.NDArray[np.float32],
    integer: npt.NDArray[np.float32],
) -> list[dict[str, Any]]:
    from wbcq.explain import agreement

    measures = agreement(full, integer)
    answers = {}
    for name, key in (("full", training), ("integer", quantized)):
        found = store.predictions(key)
        shares = _shares(found.scores)
        rows = {picture: row for row, picture in enumerate(found.names)}
        answers[name] = shares[[rows[picture] for picture in shown.names]]
    samples = []
    for number, name in enumerate(shown.names):
        sample: dict[str, Any] = {"name": name, "label": shown.classes[shown.labels[number]]}
        for kind, shares in answers.items():
            best = int(shares[number].argmax())
            sample[kind] = shown.classes[best]
            sample[f"{kind}_share"] = float(shares[number, best])
        sample["correlation"] = float(measures.correlation[number])
        sample["iou"] = float(measures.iou[number])
        samples.append(sample)
    return samples


def _shares(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Probabilities of logits; of what are probabilities already, themselves."""
    scores = scores.astype(np.float64)
    if np.all(scores >= 0) and np.allclose(scores.sum(axis=1), 1, atol=1e-3):
        return cast("npt.NDArray[np.float64]", scores)
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return cast("npt.NDArray[np.float64]", shifted / shifted.sum(axis=1, keepdims=True))


def write(settings: Settings, store: Store) -> None:
    """Writes the table, and heat maps of one cell of each class by all networks."""
    listed = units(settings)
    results = store.results(listed)
    found = {key: result for key, result in results.items() if key.startswith("explain/")}
    rows = [_row(result) for result in found.values()]

    def figure(path: Path) -> None:
        _draw(path, store, found)

    notes = [
        "Maps are LayerCAM's (Jiang et al. 2021) at the last layer of at least "
        f"{_SIDE}x{_SIDE} pixels, for the class that FP32 decides for, of test pictures drawn "
        "evenly from the classes. IoU is that of the hottest fifth of the pixels; energy inside is "
        "the share of INT8's map on FP32's hottest fifth. SQNR is the signal to quantization noise "
        "of a layer's output, with all layers before it quantized.",
    ]
    other = [key for key, result in found.items() if not result["same_integers"]]
    if other:
        notes.append(
            f"Of {', '.join(other)} the INT8 maps are those of a network calibrated anew, which "
            "differs from the saved one in some integers: it was made on another machine."
        )
    write_results(
        settings, store, "explain", TITLE, rows, _VIEWS, listed, notes=notes, figure=figure
    )


def _row(result: Mapping[str, Any]) -> Row:
    return {
        "architecture": result["arch"],
        "layer": result["layer"],
        "pictures": result["pictures"],
        "correlation": result["correlation"],
        "correlation sd": result["correlation_sd"],
        "least correlation": result["least_correlation"],
        "IoU of hottest fifths": result["iou"],
        "energy inside": result["energy"],
        "worst layer": result["worst_layer"],
        "worst SQNR, dB": result["worst_sqnr"],
    }


def _draw(path: Path, store: Store, found: Mapping[str, Mapping[str, Any]]) -> None:
    from wbcq.report.inline import heat_overlay
    from wbcq.report.plots import contact_sheet

    sheets: dict[str, list[npt.NDArray[np.uint8]]] = {}
    titles: Sequence[str] = ()
    for key, result in found.items():
        with np.load(store.path(key, ".maps.npz"), allow_pickle=False) as file:
            pictures, full, integer = file["pictures"], file["full"], file["integer"]
        labels = [sample["label"] for sample in result["samples"]]
        common = [labels.index(label) for label in dict.fromkeys(labels)]
        titles = [f"{labels[k][:5]}. {kind}" for k in common for kind in ("FP32", "INT8")]
        if not sheets:
            sheets["picture"] = [pictures[k] for k in common for _ in range(2)]
        sheets[result["arch"]] = [
            heat_overlay(pictures[k], maps[k] / 255) for k in common for maps in (full, integer)
        ]
    side = next(iter(sheets.values()))[0].shape[0]
    contact_sheet(path, sheets, columns=titles, scale=96 / side)
