"""Weights of other trainings as a start."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from wbcq import models
from wbcq.train import CheckpointError
from wbcq.train.weights import load_matching, read_weights

TRUNK = (
    Path(__file__).resolve().parents[4]
    / "shared/data/pretrained/shufflenetv2_x0_5_trunk/shufflenetv2.pth"
)


def network(classes: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, classes))


def test_another_number_of_classes() -> None:
    model, other = network(5, 0), network(1000, 1)
    before = model[2].weight.clone()
    loaded = load_matching(model, {**other.state_dict(), "extra": torch.zeros(2)})
    assert torch.equal(model[0].weight, other[0].weight)
    assert torch.equal(model[2].weight, before)
    assert len(loaded.matched) == 7
    assert loaded.other_shape == ("2.weight [1000, 6] for [5, 6]", "2.bias [1000] for [5]")
    assert loaded.unused == ("extra",)
    assert loaded.lines()[0] == "7 of the model's 9 tensors come from the file"


def test_nothing_fits() -> None:
    with pytest.raises(CheckpointError, match=r"none of the file's 1 tensors fits Sequential"):
        load_matching(network(2, 0), {"other": torch.zeros(2)})


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s}, lambda s: {"model": s}])
def test_reading(wrap, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    state = network(2, 0).state_dict()
    torch.save(wrap(state), tmp_path / "weights.pt")
    found = read_weights(tmp_path / "weights.pt")
    assert list(found) == list(state)


def test_not_a_state_dict(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"weights\.pt: holds no state dict"):
        read_weights(tmp_path / "weights.pt")


@pytest.mark.skipif(not TRUNK.is_file(), reason="needs the data folder beside the checkout")
def test_a_published_trunk() -> None:
    loaded = load_matching(models.create("shufflenet_v2_x0_5"), read_weights(TRUNK))
    assert len(loaded.matched) == 330
    assert not loaded.unused
    assert not loaded.other_shape
    assert {name.split(".")[0] for name in loaded.missing} == {"conv5", "fc"}
