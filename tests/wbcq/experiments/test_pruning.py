"""Pruned networks from a training to the figures."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
pytest.importorskip("wbcq._core")

import numpy as np
import torch

import wbcq
from tests.wbcq.experiments.work import Listener
from wbcq.engine.program import Conv2d
from wbcq.experiments import pruned, pruning
from wbcq.experiments.pruned import Spec, pruned_key, pruned_unit
from wbcq.experiments.runner import run_units
from wbcq.experiments.settings import Settings, load_cells
from wbcq.experiments.store import Store
from wbcq.experiments.training import trained, training_key, training_unit
from wbcq.train import predict

ARCH = "shufflenet_v2_x0_5"
CURVE = Spec("unstructured", "global", 90, False)
TUNED = Spec("1x4", "global", 75, True)


@pytest.fixture(scope="module")
def store(tiny: Settings) -> Store:
    units = [training_unit(tiny, ARCH, 0)]
    units += [pruned_unit(tiny, ARCH, 0, spec) for spec in (CURVE, TUNED)]
    store = Store(tiny.out)
    outcome = run_units(units, store, Listener(), threads=1)
    assert outcome.failed == {}
    return store


@pytest.mark.parametrize("spec", [CURVE, TUNED])
def test_a_pruned_model_is_kept_with_its_zeros(store: Store, tiny: Settings, spec: Spec) -> None:
    key = pruned_key(ARCH, 0, spec)
    record = store.result(key)
    model = wbcq.load(store.path(key, ".wbcq"), threads=1)
    weights = [op.weight for op in model.program.ops if isinstance(op, Conv2d)]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    assert zeros >= record["zeros"] > 0
    assert record["sparsity"] == pytest.approx(spec.percent / 100, abs=0.06)
    test = load_cells(tiny.cells(0, "stain")).test
    assert np.array_equal(predict(model, test), store.predictions(key).scores)
    assert set(record["classes"]) == set(test.classes)
    assert 0 <= record["fp32"]["accuracy"] <= 1
    assert not list(store.out.rglob("*.ckpt"))


def test_a_global_share_is_of_all_weights(store: Store) -> None:
    dense = trained(store, training_key(ARCH, "stain", 0))
    magnitudes = torch.cat(
        [
            layer.weight.detach().abs().ravel()
            for layer in dense.modules()
            if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear))
        ]
    )
    share = store.result(pruned_key(ARCH, 0, CURVE))["sparsity"]
    assert share == pytest.approx(math.floor(0.9 * len(magnitudes)) / len(magnitudes))


def test_the_specs(tiny: Settings) -> None:
    full = replace(tiny, brief=False)
    first = pruned.specs(full, ARCH, 0)
    assert {(s.pattern, s.tuned) for s in first} >= {
        ("unstructured", False), ("unstructured", True), ("1x4", True), ("2x4", True), ("4x4", True)
    }  # fmt: skip
    assert {s.scope for s in first if not s.tuned} == {"local", "global"}
    assert not any(s.tuned for s in pruned.specs(full, ARCH, 1))
    assert len(pruned.specs(tiny, ARCH, 0)) < 8
    keys = [unit.key for unit in pruning.units(full)]
    assert any("mm_mimo3" in key for key in keys)
    assert all("resnet18" in unit.key for unit in pruning.units(tiny))


def test_the_table_shows_what_was_done(
    store: Store, tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "ARCHITECTURES", (ARCH,))
    monkeypatch.setattr(pruning, "specs", lambda settings, arch, fold: [CURVE, TUNED])
    settings = replace(tiny, brief=False, folds=1)
    pruning.write(settings, store)
    record = json.loads((tiny.out / "pruning.json").read_text())
    by_pattern = {row["pattern"]: row for row in record["rows"]}
    assert set(by_pattern) == {"unstructured", "1x4"}
    row = by_pattern["1x4"]
    found = store.result(pruned_key(ARCH, 0, TUNED))
    assert (row["sparsity %"], row["fine-tuned"]) == (75, "yes")
    assert row["accuracy %"] == pytest.approx(100 * found["accuracy"])
    assert row["FP32 accuracy %"] == pytest.approx(100 * found["fp32"]["accuracy"])
    assert row["MB"] == pytest.approx(found["bytes"] / 1e6)
    for name, values in found["classes"].items():
        expected = values["recall"]
        assert row[f"recall {name}"] == (
            None if expected is None else pytest.approx(100 * expected)
        )
    for name in ("pruning", "pruning-sparsity", "pruning-recall", "pruning-cost"):
        assert (tiny.out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"({name}.png)" in (tiny.out / "pruning.md").read_text()
