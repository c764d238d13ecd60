"""The script behind the example model, on a small data set in the layout of pbc_wbc5."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("PIL")

from PIL import Image

import wbcq
from wbcq.experiments.example_model import ExampleConfig, main, make
from wbcq.models.pretrained import EXAMPLE

CLASSES = ("basophil", "neutrophil")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dark and light pictures, in three published parts."""
    root = tmp_path_factory.mktemp("pbc")
    rng = np.random.default_rng(0)
    (root / "wbcatt").mkdir()
    for part, count in (("train", 24), ("val", 6), ("test", 10)):
        lines = ["label,path"]
        for k in range(count):
            name = CLASSES[k % 2]
            pixels = np.clip(rng.normal((80, 180)[k % 2], 20, (40, 40, 3)), 0, 255)
            path = f"cells/{part}{k}.png"
            (root / "cells").mkdir(exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(root / path)
            lines.append(f"{name.capitalize()},{path}")
        (root / f"wbcatt/pbc_attr_v1_{part}.csv").write_text("\n".join(lines) + "\n")
    return root


def test_the_file_tells_what_it_is(data: Path, tmp_path: Path) -> None:
    config = ExampleConfig(data, tmp_path, size=32, crop=1.0, epochs=1)
    figures = make(config)
    model = wbcq.load(tmp_path / EXAMPLE)
    assert model.input_shapes == ((-1, 3, 32, 32),)
    assert model.metadata["classes"] == list(CLASSES)
    assert model.metadata["results"] == figures
    assert model.metadata["credits"]["notice"] == "Not for clinical use."
    test = figures["tests"]["pbc_wbc5 test"]
    assert test["pictures"] == 10
    assert figures["pictures"] == {"train": 24, "val": 6}
    readme = (tmp_path / "README.md").read_text()
    assert f"{100 * test['int8']['accuracy']:.2f}" in readme
    assert "not for clinical use" in readme
    assert "CC BY 4.0" in readme
    again = (tmp_path / EXAMPLE).read_bytes()
    make(config)  # goes on from the finished training
    assert (tmp_path / EXAMPLE).read_bytes() == again


def test_bad_input(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--out", str(tmp_path / "out"), "--size", "32", "--epochs", "1"]
    with pytest.raises(SystemExit) as caught:
        main(["--data", str(tmp_path / "none"), *arguments])
    assert caught.value.code == 1
    assert "none: no such folder" in capsys.readouterr().err
    (tmp_path / "trunk.pth").write_bytes(b"nothing")
    with pytest.raises(SystemExit):
        main(["--data", str(data), "--trunk", str(tmp_path / "trunk.pth"), *arguments])
    assert "trunk.pth: damaged, or not a checkpoint" in capsys.readouterr().err
