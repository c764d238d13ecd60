"""One small network through everything that is made of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("wbcq._core")

from PIL import Image

import wbcq
from tests.wbcq.experiments.work import Listener
from wbcq.data.pictures import DatasetError
from wbcq.experiments import shift
from wbcq.experiments.runner import run_units
from wbcq.experiments.settings import Settings, load_cells
from wbcq.experiments.store import Store
from wbcq.experiments.timing import timing_unit
from wbcq.experiments.training import trained, training_key
from wbcq.experiments.units import Unit
from wbcq.experiments.variants import METHODS, ptq_unit, variant_key, variant_units
from wbcq.train import predict

ARCH = "shufflenet_v2_x0_5"
TRAINING = training_key(ARCH, "stain", 0)


@pytest.fixture(scope="module")
def store(tiny: Settings) -> Store:
    few_bits = ptq_unit(tiny, ARCH, 0, "bits/w2a2", {"weight_bits": 2, "activation_bits": 2})
    units = [*variant_units(tiny, ARCH, 0), few_bits, timing_unit(tiny, ARCH)]
    store = Store(tiny.out)
    outcome = run_units(units, store, Listener(), threads=1)
    assert outcome.failed == {}
    return store


def result(store: Store, method: str) -> dict[str, Any]:
    return store.result(variant_key(ARCH, 0, method))


def test_the_training_is_kept(store: Store, tiny: Settings) -> None:
    test = load_cells(tiny.cells(0, "stain")).test
    found = store.predictions(TRAINING)
    assert found.names == test.names
    assert np.array_equal(found.labels, test.labels)
    scores = predict(trained(store, TRAINING), test)
    assert np.allclose(found.scores, scores, atol=1e-4)
    record = store.result(TRAINING)
    assert record["accuracy"] == np.mean(found.decisions == found.labels)
    assert record["pictures_by_part"]["test"] == len(test)
    assert not list(store.out.rglob("*.ckpt"))


@pytest.mark.parametrize("method", ["float", "ptq-per-tensor", "ptq-per-channel", "qat"])
def test_a_saved_model_gives_the_scores_that_were_judged(
    store: Store, tiny: Settings, method: str
) -> None:
    key = variant_key(ARCH, 0, method)
    model = wbcq.load(store.path(key, ".wbcq"), threads=1)
    test = load_cells(tiny.cells(0, "stain")).test
    assert np.array_equal(predict(model, test), store.predictions(key).scores)
    assert model.metadata["model"] == ARCH
    assert result(store, method)["bytes"] == store.path(key, ".wbcq").stat().st_size


def test_float_is_fp32(store: Store) -> None:
    assert result(store, "float")["flips"] == 0
    key = variant_key(ARCH, 0, "float")
    reference = store.predictions(TRAINING).scores
    assert np.allclose(store.predictions(key).scores, reference, atol=1e-3)


def test_flips_are_counted_against_fp32(store: Store) -> None:
    for method in METHODS:
        chosen = store.predictions(variant_key(ARCH, 0, method)).decisions
        labels = store.predictions(TRAINING).labels
        right = int((chosen == labels).sum())
        was_right = int((store.predictions(TRAINING).decisions == labels).sum())
        record = result(store, method)
        assert was_right - right == record["lost"] - record["gained"]
        differs = chosen != store.predictions(TRAINING).decisions
        assert result(store, method)["flips"] == differs.sum()


def test_granularity_is_as_asked(store: Store) -> None:
    for method, weights in (("ptq-per-tensor", "per_tensor"), ("ptq-per-channel", "per_channel")):
        model = wbcq.load(store.path(variant_key(ARCH, 0, method), ".wbcq"))
        assert model.metadata["config"]["weights"] == weights


def test_pytorch_is_close_to_fp32(store: Store) -> None:
    reference = store.predictions(TRAINING).scores
    for kind in ("tensor", "channel"):
        scores = store.predictions(variant_key(ARCH, 0, f"pytorch-per-{kind}")).scores
        assert scores.shape == reference.shape
        assert np.abs(scores - reference).mean() < 0.5 * np.abs(reference).mean() + 0.1


def test_qat_starts_from_ptq_and_never_ends_below(store: Store) -> None:
    record = result(store, "qat")
    chosen = record["start"]["val_accuracy"]
    if record["best_epoch"] > 0:
        chosen = record["history"][record["best_epoch"] - 1]["val_accuracy"]
    assert chosen >= record["start"]["val_accuracy"]


def test_few_bits_differ_more(store: Store) -> None:
    reference = store.predictions(TRAINING).scores
    eight = store.predictions(variant_key(ARCH, 0, "ptq-per-channel")).scores
    two = store.predictions("bits/w2a2").scores
    assert np.abs(two - reference).mean() > 3 * np.abs(eight - reference).mean()


def test_all_forms_are_timed(store: Store) -> None:
    record = store.result(f"timing/{ARCH}/all")
    assert set(record["ms"]) == {"pytorch", *METHODS}
    assert all(0 < ms < 1e4 for ms in record["ms"].values())
    assert (record["batch"], record["size"], record["threads"]) == (8, 48, 1)


def elsewhere(root: Path, classes: tuple[str, ...]) -> Path:
    """Random pictures, six of each class."""
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for k in range(6):
            pixels = rng.integers(0, 255, (50, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{k}.png")
    return root


def shifted_units(settings: Settings) -> dict[str, Unit]:
    """By method, of the one network that is trained here."""
    keys = [unit for unit in shift.units(replace(settings, folds=1)) if ARCH in unit.key]
    return {u.key.rsplit("/", 1)[1]: u for u in keys if u.key.startswith("shift/")}


def test_models_are_tested_on_another_data_set(
    store: Store, tiny: Settings, tmp_path: Path
) -> None:
    data = elsewhere(tmp_path / "cells", store.predictions(TRAINING).classes)
    units = shifted_units(replace(tiny, shifted=data))
    assert list(units) == ["pytorch", *METHODS]
    results = {
        method: unit.run(store, **unit.arguments)
        for method, unit in units.items()
        if method in ("pytorch", "float", "ptq-per-channel", "pytorch-per-channel")
    }
    assert {result["pictures"] for result in results.values()} == {30}
    assert results["float"]["flips"] == 0
    key = f"shift/{ARCH}/fold0"
    reference = store.predictions(f"{key}/pytorch").scores
    for method in ("ptq-per-channel", "pytorch-per-channel"):
        difference = store.predictions(f"{key}/{method}").scores - reference
        assert 0 < np.abs(difference).max() < 0.5 * np.abs(reference).max()


def test_another_data_set_has_the_same_classes(
    store: Store, tiny: Settings, tmp_path: Path
) -> None:
    data = elsewhere(tmp_path / "cats", ("cat", "dog"))
    unit = shifted_units(replace(tiny, shifted=data))["pytorch"]
    with pytest.raises(DatasetError, match="has classes cat, dog, the networks know basophil, "):
        unit.run(store, **unit.arguments)
