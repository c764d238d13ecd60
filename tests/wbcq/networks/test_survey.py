"""The survey of strangers' networks: what it records of a network and what its page says."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace
from typing import Any

import pytest
import survey
import survey_measure
import survey_models
import survey_page
import torch
from survey_measure import measure, pictures, settle, sqnr
from torch import Tensor, nn

HAS_TIMM = all(importlib.util.find_spec(name) for name in ("timm", "torchvision"))


class Block(nn.Module):
    """A branch that is silent at the start of training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.gamma = nn.Parameter(1e-6 * torch.ones(channels))
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.conv(x).relu()) * self.gamma[:, None, None]


class Cube(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x**3


def network(name: str, pretrained: bool, num_classes: int) -> nn.Module:
    assert not pretrained
    if name == "broken":
        return nn.Sequential(nn.Conv2d(5, num_classes, 3))
    middle = {"good": Block(8), "float": nn.Softmax(1), "refused": Cube()}[name]
    return nn.Sequential(nn.Conv2d(3, 8, 3, 4), middle, nn.Conv2d(8, num_classes, 3, 4))


FAKE = SimpleNamespace(create_model=network, __version__="0.0")


def test_settled_branches_are_audible() -> None:
    torch.manual_seed(0)
    block = Block(3)
    settle(block, 16, 0)
    x = pictures(2, 16, 1)
    with torch.no_grad():
        branch = block(x) - x
    assert float(branch.std()) > 0.02
    assert not block.training
    assert float(block.norm.running_mean.abs().max()) > 0


def test_sqnr_in_decibels() -> None:
    x = torch.ones(4, 5)
    assert sqnr(x * 1.1, x) == pytest.approx(20.0, abs=1e-4)
    assert sqnr((x, x * 1.1), (x, x)) == pytest.approx(23.0103, abs=1e-3)
    assert sqnr(x, x) == float("inf")


def test_record_of_a_network_that_runs() -> None:
    record = measure(FAKE, "good")
    assert record["status"] == "ok"
    assert record["sqnr"] > 25
    assert record["same_bits"]
    assert record["islands"] == 0
    assert record["parameters"] == sum(p.numel() for p in network("good", False, 100).parameters())
    assert "noisy_layers" not in record


def test_record_of_a_network_with_an_island() -> None:
    record = measure(FAKE, "float")
    assert (record["status"], record["island_kinds"]) == ("ok", ["Softmax"])


def test_records_of_networks_that_do_not_run(capfd: pytest.CaptureFixture[str]) -> None:
    refused = measure(FAKE, "refused")
    assert refused["status"] == "refused"
    assert refused["reason"].startswith("UnsupportedOperatorError: aten.pow")
    assert measure(FAKE, "broken")["status"] == "model"
    assert capfd.readouterr().err == ""


def test_other_errors_are_defects(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise IndexError("out of range")

    monkeypatch.setattr(survey_measure.wbcq, "quantize", fails)
    record = measure(FAKE, "good")
    assert (record["status"], record["reason"]) == ("crashed", "IndexError: out of range")


def test_noise_at_every_layer_is_about_that_of_quantization() -> None:
    torch.manual_seed(0)
    model = network("good", False, 10)
    settle(model, 96, 0)
    x = pictures(4, 96, 1)
    with torch.no_grad():
        reference = model(x)
        assert 25 < survey_measure.control(model, x, reference) < 40
        torch.testing.assert_close(model(x), reference)


def test_a_crash_ends_one_record(monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(timm: Any, name: str) -> dict[str, Any]:
        raise SystemExit(3)

    monkeypatch.setattr(survey, "measure", dies)
    record = survey.in_child(FAKE, "good", 60.0)
    assert (record["status"], record["reason"]) == ("crashed", "the process ended with 3")


def test_page(monkeypatch: pytest.MonkeyPatch) -> None:
    families = {"A": ("a1", "a2"), "B": ("b1",), "C": ("c1",)}
    monkeypatch.setattr(survey_page, "FAMILIES", families)
    ran = {"status": "ok", "parameters": 2_500_000, "operators": 9, "same_bits": True}
    integer = {**ran, "islands": 0, "island_kinds": []}
    records: dict[str, dict[str, Any]] = {
        "a1": {"model": "a1", **integer, "sqnr": 30.0},
        "a2": {"model": "a2", **integer, "sqnr": 9.0, "noisy_layers": 8.5},
        "b1": {"model": "b1", **ran, "islands": 2, "island_kinds": ["Softmax"], "sqnr": 21.0},
        "c1": {
            "model": "c1",
            "status": "refused",
            "reason": "UnsupportedOperatorError: aten.x.default in a.b (/p/site-packages/q.py:3): "
            "no. Remedy: none",
        },
    }
    text = survey_page.page(records, "1.0")
    assert "- 3 of 4 networks run, of 2 families of 3." in text
    assert "- 2 of them reach 15 dB." in text
    assert "- 2 run in integers alone; 2 of these give the bits" in text
    assert "- 1 are refused with an error that names the layer, 0 fail in another way." in text
    assert "| A | a1 | 2.5 | 96x96 | 30.0 | 9 | 0 | runs |" in text
    assert "noise of 40 dB at each layer in float32 gives 8.5" in text
    assert "| runs; in float: Softmax |" in text
    assert "| UnsupportedOperatorError: aten.x.default: no | 1 |" in text
    assert "/p/" not in text


def test_list_is_long_enough() -> None:
    names = [name for names in survey_models.FAMILIES.values() for name in names]
    assert len(names) == len(set(names)) >= 130
    assert len(survey_models.FAMILIES) >= 32


@pytest.mark.skipif(not HAS_TIMM, reason="needs timm and torchvision, see benchmarks/survey.py")
def test_timm_has_every_network() -> None:
    known = set(survey_measure.load_timm().list_models())
    assert {n for names in survey_models.FAMILIES.values() for n in names} <= known
