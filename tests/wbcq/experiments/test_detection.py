"""The detection experiments from a training to their tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("pycocotools")
pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")
pytest.importorskip("scipy")
pytest.importorskip("wbcq._core")

import numpy as np
import torch

import wbcq
from tests.wbcq.experiments.work import Listener
from wbcq.data.synthetic import CLASSES
from wbcq.detection.detector import Detector
from wbcq.detection.evaluate import average_precision, detect_fields
from wbcq.engine.program import Conv2d
from wbcq.experiments import detection, detection_pruning, detection_speed, detection_work
from wbcq.experiments.detection_work import TRAINING, Scale, form_key
from wbcq.experiments.runner import run_units
from wbcq.experiments.settings import Settings, fingerprint
from wbcq.experiments.store import Store
from wbcq.experiments.study import DETECTION, DETECTION_PRUNING

SMALL = Scale("yolov3_tiny", 0.125, 128, 128, 1, 16, (4, 2, 3), 192, 0.25)


@pytest.fixture(scope="module")
def patched():
    with pytest.MonkeyPatch.context() as patch:
        for module in (detection_work, detection):
            patch.setattr(module, "scale_of", lambda _: SMALL)
        yield


@pytest.fixture(scope="module")
def done(patched, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Store]:
    out = tmp_path_factory.mktemp("detection")
    settings = Settings.quick(out, calibration=8, timing_seconds=0.001)
    store = Store(out)
    units = [*detection.units(settings), *detection_pruning.units(settings)]
    outcome = run_units(units, store, Listener(), threads=1)
    assert outcome.failed == {}
    for module in (detection, detection_pruning):
        module.write(settings, store)
    return settings, store


def record(store: Store, name: str) -> dict:
    return json.loads((store.out / f"{name}.json").read_text())


def test_the_table_has_each_form(done: tuple[Settings, Store]) -> None:
    _, store = done
    found = record(store, "detection")
    assert found["missing"] == []
    forms = [(row["type"], row["method"], row["engine"]) for row in found["rows"]]
    assert forms[:6] == [
        ("FP32", "", "PyTorch"),
        ("FP32", "", "wbcq"),
        ("INT8", "PTQ per tensor", "wbcq"),
        ("INT8", "PTQ per channel", "wbcq"),
        ("INT8", "PTQ per tensor", "PyTorch"),
        ("INT8", "PTQ per channel", "PyTorch"),
    ]
    full, ours, tensor, channel = found["rows"][:4]
    assert full["loss at 0.5"] is None
    assert ours["mAP at 0.5"] == pytest.approx(full["mAP at 0.5"], abs=0.02)
    for row in found["rows"]:
        assert row["ms"] > 0
        assert 0 <= row["mAP 0.5-0.95"] <= row["mAP at 0.5"] <= 1
        assert row["parameters M"] < 0.3
    assert channel["MB"] < ours["MB"] / 3
    assert channel["memory MB"] > 0
    assert (full["study mAP"], tensor["study mAP"]) == (DETECTION["fp32"][0], DETECTION["int8"][0])
    text = (store.out / "detection.md").read_text()
    assert text.startswith(f"# {detection.TITLE}\n")
    assert "yolov3_tiny of width 0.125 (there is no GPU, or a small one was asked for)" in text
    assert (store.out / "detection.png").read_bytes().startswith(b"\x89PNG")


def test_the_kept_model_is_a_detector_with_float_heads(done: tuple[Settings, Store]) -> None:
    _, store = done
    result = store.result(form_key("ptq-per-channel"))
    path = store.path(form_key("ptq-per-channel"), ".wbcq")
    detector = Detector.load(path, threads=1)
    assert detector.classes == CLASSES
    sets = detection_work.load_sets(detection_work.fields_argument(done[0]))
    network, layout = detection_work.trained_detector(store)
    assert not network.training
    found = detect_fields(detector.model, layout, sets.test)
    assert average_precision(found, sets.test).map50 == pytest.approx(result["map50"], abs=1e-5)
    heads = detector.model(np.zeros((1, 3, 128, 128), np.float32))
    assert [head.dtype for head in heads] == [np.float32] * 2


def test_pruned_rows_are_beside_the_study(done: tuple[Settings, Store]) -> None:
    _, store = done
    found = record(store, "detection-pruning")
    assert found["missing"] == []
    ours = [row for row in found["rows"] if row["scope"] == "global"]
    assert [(row["sparsity %"], row["type"]) for row in ours] == [
        (percent, kind) for percent in (0, 10, 30, 50) for kind in ("FP32", "INT8")
    ]
    for row in ours:
        assert row["real sparsity %"] == pytest.approx(row["sparsity %"], abs=0.5)
    study = [row for row in found["rows"] if row["scope"] == "study"]
    assert [row["mAP at 0.5"] for row in study] == [told[1] for told in DETECTION_PRUNING.values()]
    assert study[1]["AP basophil"] == 0.5
    assert (store.out / "detection-pruning.png").stat().st_size > 1000


def test_what_is_pruned_is_zero_in_the_program(done: tuple[Settings, Store]) -> None:
    _, store = done
    result = store.result("detection-pruning/global-50")
    model = wbcq.load(store.path("detection-pruning/global-50", ".wbcq"), threads=1)
    weights = [op.weight for op in model.program.ops if isinstance(op, Conv2d)]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    total = sum(weight.size for weight in weights)
    assert zeros >= result["zeros"] > 0.45 * total


def test_done_units_are_kept(done: tuple[Settings, Store]) -> None:
    settings, store = done
    outcome = run_units(detection.units(settings), store, Listener(), threads=1)
    assert outcome.ran == []
    other = run_units(detection.units(replace(settings, seed=1))[:1], store, Listener(), threads=1)
    assert other.ran == [TRAINING]
    again = run_units(detection.units(settings)[:1], store, Listener(), threads=1)
    assert again.ran == [TRAINING]


def test_full_runs_also_time_yolov3(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    keys = [unit.key for unit in detection.units(settings)]
    assert detection_speed.KEY in keys
    assert detection_speed.KEY not in [u.key for u in detection.units(Settings.quick(tmp_path))]


def test_speed_rows_of_a_small_network(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    store = Store(tmp_path)
    result = detection_speed.measure(store, size=64, threads=1, seconds=0.001, arch="yolov3_tiny")
    rows = detection_speed.rows({detection_speed.KEY: result})
    assert [row["engine"] for row in rows] == ["PyTorch", *["wbcq"] * 4, "PyTorch"]
    assert all(row["ms"] > 0 for row in rows)
    dense, pruned = rows[2], rows[3]
    assert pruned["MB"] < dense["MB"]
    assert rows[0]["study ms"] == 2517
    assert not list(tmp_path.rglob("*.wbcq"))


def test_pictures_of_others_are_an_argument(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    settings = Settings.quick(tmp_path / "out", fields=tmp_path)
    argument = detection_work.fields_argument(settings)
    assert argument["data"] == str(tmp_path)
    before = argument["files"]
    (tmp_path / "images/a.txt").write_text("x")
    fingerprint.cache_clear()  # a process looks once
    assert detection_work.fields_argument(settings)["files"] != before


REAL_SCALE = detection_work.scale_of


def test_the_detector_is_one_that_is_known(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="detector is 'resnet18'"):
        Settings(tmp_path, detector="resnet18")
    assert REAL_SCALE(Settings(tmp_path, detector="yolov3")).arch == "yolov3"
