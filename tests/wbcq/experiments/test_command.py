"""``wbcq reproduce``, as far as an experiment without training shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("wbcq._core")

from wbcq.cli.app import run
from wbcq.experiments import dataset


def reproduce(out: Path, *options: str) -> int:
    return run(["reproduce", "dataset", "--out", str(out), *options])


def record(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "dataset.json").read_text())
    return found


def test_it_writes_tables_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(tmp_path) == 0
    assert "dataset.md" in capsys.readouterr().out
    assert len(record(tmp_path)["rows"]) == 15
    assert sum(row["all"] for row in record(tmp_path)["rows"] if row["fold"] == 0) == 14912
    assert reproduce(tmp_path) == 0
    assert "5 of 5 units are done already" in capsys.readouterr().err


def test_options_reach_the_settings(tmp_path: Path) -> None:
    options = ["--quick", "--folds", "2", "--size", "40", "--epochs", "3", "--qat-epochs", "2"]
    options += ["--threads", "1", "--seed", "7", "--scale", "0.5", "--recipe", "study"]
    assert reproduce(tmp_path, *options) == 0
    settings = record(tmp_path)["settings"]
    found = {name: settings[name] for name in ("folds", "size", "epochs", "qat_epochs", "threads")}
    assert found == {"folds": 2, "size": 40, "epochs": 3, "qat_epochs": 2, "threads": 1}
    assert (settings["seed"], settings["scale"], settings["recipe"]) == (7, 0.5, "study")


def test_a_failed_unit_is_named_and_the_status_is_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(cells: Any) -> None:
        raise OSError(5, "Input/output error", "cells.csv")

    monkeypatch.setattr(dataset, "source_of", broken)
    assert reproduce(tmp_path, "--folds", "1") == 1
    message = capsys.readouterr().err
    assert "1 unit failed; the tables lack them" in message
    assert "Failed: dataset/fold0" in message
    assert record(tmp_path)["missing"] == ["dataset/fold0"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reproduce", "color"], ["no experiment 'color'", "quantization"]),
        (["reproduce", "dataset", "--data", "nowhere"], ["nowhere: no such file or folder"]),
        (["reproduce", "dataset", "--folds", "6"], ["5 folds, 6 are asked for"]),
        (["reproduce", "dataset", "--recipe", "mine"], ["recipe is 'mine'"]),
        (["reproduce", "dataset", "--preset", "odd"], ["preset is 'odd'"]),
        (["reproduce", "dataset", "--dask", "tcp://x"], ["tcp://x: no Dask scheduler answers"]),
    ],
)
def test_errors_are_one_line(
    arguments: list[str],
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "--dask" in arguments:
        pytest.importorskip("distributed")
        monkeypatch.setattr("wbcq.experiments.cluster._CONNECT_SECONDS", 0.5)
    assert run([*arguments, "--out", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert all(word in message for word in words)
    assert "Traceback" not in message
