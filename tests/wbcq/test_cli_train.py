"""``wbcq train``: what it writes, that it goes on, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("typer")
pytest.importorskip("sklearn")
pytest.importorskip("scipy")
pytest.importorskip("matplotlib")

import torch
from torch import nn

from wbcq import models
from wbcq.cli.app import run
from wbcq.train import run as training


class Tiny(nn.Module):
    """A network that is trained in a second."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(self.norm(self.conv(x)).relu().mean((2, 3)))
        return logits


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    real = models.create

    def create(name: str, *, num_classes: int = 1000) -> nn.Module:
        return Tiny(num_classes) if name == "tiny" else real(name, num_classes=num_classes)

    monkeypatch.setattr(models, "create", create)


def arguments(out: Path, *more: str) -> list[str]:
    common = ["--arch", "tiny", "--size", "24", "--scale", "0.1", "--recipe", "wbcq"]
    return ["train", *common, "--threads", "1", "--epochs", "2", "--out", str(out), *more]


def test_what_it_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments(tmp_path, "--preset", "study", "--scale", "0.01", "--fold", "3")) == 0
    shown = capsys.readouterr()
    assert "basophil" in shown.out
    assert {path.name for path in tmp_path.iterdir()} == {
        "weights.pt",
        "history.json",
        "metrics.json",
        "metrics.md",
        "learning-curve.png",
        "confusion.png",
    }
    history = json.loads((tmp_path / "history.json").read_text())
    assert (history["arch"], history["fold"], history["modality"]) == ("tiny", 3, "stain")
    assert len(history["history"]) == 2
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["test"]["pictures"] == history["pictures"]["test"]
    assert metrics["test"]["classes"]["basophil"]["pictures"] == 2
    model = Tiny(5)
    model.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    text = (tmp_path / "metrics.md").read_text()
    assert f"{100 * metrics['test']['accuracy']:.2f}" in text
    assert "preset study" in text


def test_interrupted_it_goes_on_and_finished_it_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run(arguments(whole)) == 0
    real = training.Run.train_epoch

    def interrupted(self: training.Run, epoch: int, on_step: object) -> float:
        if epoch == 1:
            raise KeyboardInterrupt
        return real(self, epoch, on_step)  # type: ignore[arg-type]

    monkeypatch.setattr(training.Run, "train_epoch", interrupted)
    assert run(arguments(broken)) == 130
    monkeypatch.setattr(training.Run, "train_epoch", real)
    assert [path.suffix for path in broken.iterdir()] == [".ckpt"]
    capsys.readouterr()
    assert run(arguments(broken)) == 0
    assert "going on from" in capsys.readouterr().err
    states = [torch.load(out / "weights.pt", weights_only=True) for out in (whole, broken)]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert (whole / "metrics.json").read_text() == (broken / "metrics.json").read_text()

    monkeypatch.setattr(training.Run, "train_epoch", lambda *_: pytest.fail("trained again"))
    (broken / "metrics.md").unlink()
    assert run(arguments(broken)) == 0
    assert "trained already with these settings" in capsys.readouterr().err
    assert (whole / "metrics.md").read_text() == (broken / "metrics.md").read_text()


def test_other_settings_train_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments(tmp_path)) == 0
    first = (tmp_path / "weights.pt").read_bytes()
    assert run(arguments(tmp_path, "--seed", "5")) == 0
    assert "trained already" not in capsys.readouterr().err
    assert (tmp_path / "weights.pt").read_bytes() != first


def test_start_and_teacher(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert run(arguments(first)) == 0
    weights = str(first / "weights.pt")
    assert run(arguments(second, "--init", weights, "--teacher", weights)) == 0
    notes = " ".join(capsys.readouterr().err.split())
    assert "8 of the model's 8 tensors come from the file" in notes
    history = json.loads((second / "history.json").read_text())
    assert (history["init"], history["teacher"]) == (weights, weights)


def test_a_teacher_of_another_architecture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(Tiny(4).state_dict(), tmp_path / "other.pt")
    assert run(arguments(tmp_path / "out", "--teacher", str(tmp_path / "other.pt"))) == 1
    assert "other.pt: not the weights of a tiny of 5 classes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--recipe", "mine"], 2, "--recipe is mine; use one of study, wbcq"),
        (["--on-corrupt", "maybe"], 2, "--on-corrupt is maybe"),
        (["--fold", "7"], 1, "no fold 7; folds are 0, 1, 2, 3, 4"),
        (["--modality", "blue"], 1, "no modality 'blue'; choose all or one of fluor"),
        (["--preset", "odd"], 1, "preset is 'odd'"),
        (["--data", "nowhere"], 1, "nowhere: no such file or folder"),
        (["--arch", "resnet19"], 1, "resnet18"),
        (["--init", "nowhere.pt"], 1, "nowhere.pt: no such"),
        (["--modality", "all"], 1, "tiny takes one picture of a cell, modality is all"),
        (
            ["--arch", "mm_mimo3", "--modality", "red"],
            1,
            "takes 4 aligned pictures of a cell, modality is red; use modality all",
        ),
    ],
)
def test_what_it_refuses(
    options: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(arguments(tmp_path / "out", *options)) == code
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out" / "weights.pt").exists()


def test_no_space_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "weights.pt")

    monkeypatch.setattr(torch, "save", full)
    assert run(arguments(tmp_path)) == 1
    assert "no space left on device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore::wbcq.DenseLayersWarning")
def test_pruning_and_what_starts_from_the_pruned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    pruning = ("--prune", "0.5", "--pattern", "unstructured", "--scope", "local")
    assert run(arguments(first, *pruning)) == 0
    state = torch.load(first / "weights.pt", weights_only=True)
    assert int((state["conv.weight"] == 0).sum()) == 108
    assert json.loads((first / "history.json").read_text())["sparsity"] == 0.5
    # Done already: found, not trained again.
    capsys.readouterr()
    assert run(arguments(first, *pruning)) == 0
    assert "trained already" in capsys.readouterr().err
    # Zeros stay in what starts from them.
    assert run(arguments(second, "--init", str(first / "weights.pt"))) == 0
    trained = torch.load(second / "weights.pt", weights_only=True)
    assert torch.equal(trained["conv.weight"] == 0, state["conv.weight"] == 0)
    assert run(arguments(tmp_path / "third", "--prune", "1.5")) == 1
    assert "sparsity is 1.5" in capsys.readouterr().err
