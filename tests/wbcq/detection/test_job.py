"""``wbcq detect-train``: from pictures with boxes to a detector that runs with numpy alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("pycocotools")
pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("scipy")
pytest.importorskip("wbcq._core")

import torch

from wbcq.cli.app import run
from wbcq.data.synthetic import CLASSES
from wbcq.data.synthetic.smear_writing import SmearSet, write_smears
from wbcq.detection.data import open_fields
from wbcq.detection.detector import Detector
from wbcq.detection.job import DetectJob
from wbcq.report.reporter import SILENT

QUICK = ["--width", "0.125", "--size", "128", "--tile", "128", "--epochs", "1", "--tiles", "8"]
QUICK += ["--batch", "4", "--device", "cpu", "--threads", "1"]


@pytest.fixture(scope="module")
def smears(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "smears"
    fields = SmearSet(12, 288, 224, seed=3, pixel_um=0.25, shares=(0.2,) * 5)
    write_smears(fields, out, processes=1, reporter=SILENT)
    return out


def command(smears: Path, out: Path, *more: str) -> list[str]:
    names = ",".join(CLASSES)
    given = ["detect-train", "--data", str(smears), "--out", str(out), "--classes", names]
    return [*given, *QUICK, *more]


def test_it_writes_a_detector_and_its_figures(
    smears: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "d"
    assert run(command(smears, out)) == 0
    assert "mAP at 0.5" in capsys.readouterr().out
    detector = Detector.load(out / "detector.wbcq", threads=1)
    assert detector.classes == CLASSES
    assert detector.size == 128
    field = open_fields(smears).test.fields[0]
    found = detector.detect(field.read(), threshold=0.01)
    assert (found.boxes[:, 2] <= field.width).all()
    record = json.loads((out / "metrics.json").read_text())
    for dtype in ("fp32", "int8"):
        assert 0 <= record[dtype]["map"] <= record[dtype]["map50"] <= 1
        assert set(record[dtype]["ap50"]) == set(CLASSES)
    text = (out / "metrics.md").read_text()
    assert "| FP32" in text
    assert "| INT8" in text
    history = json.loads((out / "history.json").read_text())
    assert history["detector"]["anchors"] == detector.model.metadata["detector"]["anchors"]
    assert not list(out.glob("*.ckpt"))

    # The same command finds it trained; another one does not.
    weights = (out / "weights.pt").read_bytes()
    assert run(command(smears, out)) == 0
    assert "trained already" in capsys.readouterr().err.replace("\n", " ")
    assert (out / "weights.pt").read_bytes() == weights
    assert run(command(smears, out, "--seed", "1")) == 0
    assert (out / "weights.pt").read_bytes() != weights


def test_it_starts_from_other_weights(
    smears: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command(smears, tmp_path / "a")) == 0
    init = str(tmp_path / "a/weights.pt")
    assert run(command(smears, tmp_path / "b", "--init", init)) == 0
    assert "tensors come from the file" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--arch", "resnet18"], "arch is 'resnet18'"),
        (["--arch", "yolov3"], "width is 0.125 with yolov3"),
        (["--size", "100"], "size is 100"),
        (["--classes", "horse"], "no class horse"),
        (["--data", "nowhere"], "no such folder"),
    ],
)
def test_what_cannot_be_is_told(
    more: list[str],
    said: str,
    smears: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(command(smears, tmp_path / "d", *more)) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_wrong_choices_are_usage_errors(smears: Path, tmp_path: Path) -> None:
    assert run(command(smears, tmp_path / "d", "--on-bad", "ask")) == 2
    assert run(command(smears, tmp_path / "d", "--precision", "int4")) == 2


def test_jobs_are_checked_when_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="use a multiple of 32"):
        DetectJob("yolov3", tmp_path, size=65)


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
