"""Heat maps of a trained network, as a unit and as a table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from tests.wbcq.experiments.work import Listener
from wbcq.experiments import experiment, explain
from wbcq.experiments.runner import run_units
from wbcq.experiments.settings import Settings, load_cells
from wbcq.experiments.store import Store

KEY = "explain/shufflenet_v2_x0_5/fold0"
NEEDS = (
    "training/shufflenet_v2_x0_5/stain/fold0",
    "quantization/shufflenet_v2_x0_5/fold0/ptq-per-channel",
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    out = tmp_path_factory.mktemp("explain")
    settings = Settings.quick(out, size=64, epochs=1, scale=0.05, calibration=16, threads=1)
    units = [unit for unit in explain.units(settings) if unit.key in (KEY, *NEEDS)]
    outcome = run_units(units, Store(out), Listener())
    assert outcome.complete, outcome.failed
    return settings


def test_every_network_has_a_unit_that_needs_its_models(tmp_path: Path) -> None:
    settings = Settings.quick(tmp_path)
    units = {unit.key: unit for unit in experiment("explain").units(settings)}
    for arch in settings.architectures:
        unit = units[f"explain/{arch}/fold0"]
        assert len(unit.needs) == 2
        assert all(key in units for key in unit.needs)


def test_its_figures_are_those_of_the_saved_model(settings: Settings) -> None:
    store = Store(settings.out)
    result = store.result(KEY)
    assert result["same_integers"]
    assert result["layer"] == "stage2"  # 8x8; conv5 has 2x2
    assert -1 <= result["least_correlation"] <= result["correlation"] <= 1
    assert 0 <= result["iou"] <= 1
    assert result["worst_sqnr"] == min(layer["sqnr"] for layer in result["layers"])
    cells = explain.units(settings)[0].arguments["cells"]
    test = load_cells(cells).test
    rows = {name: row for row, name in enumerate(test.names)}
    with np.load(store.path(KEY, ".maps.npz")) as file:
        assert file["full"].max() == file["integer"].max() == 255
        for number, sample in enumerate(result["samples"]):
            row = rows[sample["name"]]
            np.testing.assert_array_equal(file["pictures"][number], test.pixels[row])
            assert sample["label"] == test.classes[test.labels[row]]
            for kind, key in zip(("full", "integer"), NEEDS, strict=True):
                found = store.predictions(key)
                assert sample[kind] == found.classes[found.decisions[row]]
                assert 0.2 <= sample[f"{kind}_share"] <= 1
    labels = [sample["label"] for sample in result["samples"]]
    assert labels[:5] == list(test.classes)
    for sample in result["samples"][5:]:
        assert sample["label"] != sample["full"] or sample["label"] != sample["integer"]


def test_table_and_figure(settings: Settings) -> None:
    store = Store(settings.out)
    explain.write(settings, store)
    record = json.loads((settings.out / "explain.json").read_text())
    (row,) = record["rows"]
    result = store.result(KEY)
    assert row["architecture"] == "shufflenet_v2_x0_5"
    assert row["correlation"] == result["correlation"]
    assert row["worst layer"] in {layer["layer"] for layer in result["layers"]}
    assert f"| {result['correlation']:.3f}" in (settings.out / "explain.md").read_text()
    assert (settings.out / "explain.png").read_bytes().startswith(b"\x89PNG")
