"""Quantization-aware training: it starts from PTQ, trains, and evaluates what will run."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import wbcq
from wbcq.quant.qat.layers import FoldedNorm
from wbcq.quant.qat.ranges import ActivationRange, WeightRange
from wbcq.quant.qparams import QParams


class Blocks(nn.Module):
    """Residual, slices that dissolve, depthwise, a head without batch normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.deep = nn.Sequential(
            nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.BatchNorm2d(8), nn.Hardswish()
        )
        self.mix = nn.Sequential(nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16))
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        left, right = x.chunk(2, 1)
        x = F.relu(x + self.mix(F.channel_shuffle(torch.cat([left, self.deep(right)], 1), 2)))
        y: Tensor = self.head(x.mean((2, 3)))
        return y


LABELS = torch.arange(32) % 5


def pictures() -> Tensor:
    colours = torch.randn(5, 3, 1, 1, generator=torch.manual_seed(4))
    return torch.randn(32, 3, 16, 16, generator=torch.manual_seed(3)) + colours[LABELS]


def network() -> Blocks:
    torch.manual_seed(0)
    model = Blocks().train()
    with torch.no_grad():
        for _ in range(20):
            model(pictures())
    return model.eval()


def prepared(**options: Any) -> wbcq.QatModule:
    return wbcq.prepare_qat(network(), pictures(), progress=False, **options)


def train(qat: wbcq.QatModule, steps: int, rate: float = 1e-3) -> list[float]:
    x = pictures()
    optimizer = torch.optim.Adam(qat.parameters(), rate)
    losses = []
    qat.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(qat(x), LABELS)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def operators(model: wbcq.QuantizedModel) -> list[dict[str, Any]]:
    return [vars(op) for op in model.program.ops]


@pytest.mark.parametrize("weights", ["per_channel", "per_tensor"])
@pytest.mark.parametrize("bits", [8, 4])
def test_it_starts_from_ptq(weights: Any, bits: int) -> None:
    config = wbcq.QuantConfig(
        weights=weights, weight_bits=bits, activation_bits=bits, weight_observer="histogram"
    )
    ptq = wbcq.quantize(network(), [pictures()], config=config, progress=False)
    qat = prepared(config=config)
    np.testing.assert_equal(operators(wbcq.convert(qat)), operators(ptq))
    assert torch.equal(qat.eval()(pictures()), ptq(pictures()))


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "mobilenet_v3_small", "regnet_x_400mf"])
def test_the_zoo_starts_from_ptq(name: str) -> None:
    torch.manual_seed(0)
    model, x = wbcq.models.create(name, num_classes=5).eval(), torch.rand(2, 3, 64, 64)
    ptq = wbcq.quantize(model, [x], progress=False)
    qat = wbcq.prepare_qat(model, x, progress=False)
    assert torch.equal(wbcq.convert(qat)(x), ptq(x))


def test_training_mode_is_near_the_engine() -> None:
    qat, x = prepared(), pictures()
    expected = network()(x)
    with torch.no_grad():
        simulated = qat.train()(x)
    noise = (qat.eval()(x) - expected).square().mean()
    assert (simulated - expected).square().mean() < 4 * noise < 1e-2


def test_it_trains_and_evaluates_what_it_converts_to() -> None:
    qat, x = prepared(), pictures()
    losses = train(qat, 60, 1e-2)
    assert losses[-1] < losses[0] / 2
    assert all(
        parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        for parameter in qat.parameters()
    )
    evaluated = qat.eval()(x)
    assert torch.equal(evaluated, wbcq.convert(qat)(x))
    assert F.cross_entropy(evaluated, LABELS) < losses[0] / 2
    model = wbcq.convert(qat)
    assert torch.equal(model(x), model.simulate(x))


def test_frozen_norms_are_what_will_run() -> None:
    """With batch statistics training and evaluation differ; frozen they agree up to rounding."""
    qat, x = prepared(), pictures() * 3
    train(qat, 5)

    def difference() -> float:
        with torch.no_grad():
            return float((qat.train()(x) - qat.eval()(x)).abs().max())

    moving = difference()
    assert difference() > 0.05
    qat.freeze_norm()
    qat.freeze_ranges()
    assert difference() < 0.3 * moving


def test_the_schedule_freezes() -> None:
    qat = prepared(schedule=wbcq.QatSchedule(freeze_norm=2, freeze_ranges=4))
    norm = next(module for module in qat.modules() if isinstance(module, FoldedNorm))
    observed = next(module for module in qat.modules() if isinstance(module, ActivationRange))
    seen = []
    for _ in range(6):
        train(qat, 1)
        seen.append((bool(norm.frozen), bool(observed.frozen)))
    assert seen == [(False, False)] * 2 + [(True, False)] * 2 + [(True, True)] * 2
    assert wbcq.QatSchedule.of(100) == wbcq.QatSchedule(50, 75)


def test_a_checkpoint_restores_a_training() -> None:
    qat = prepared()
    train(qat, 25)
    qat.freeze_norm()
    stored = io.BytesIO()
    torch.save(qat.state_dict(), stored)
    stored.seek(0)
    other = prepared()
    other.load_state_dict(torch.load(stored))
    assert torch.equal(other.eval()(pictures()), qat.eval()(pictures()))
    assert train(other, 3) == train(qat, 3)
    assert torch.equal(copy.deepcopy(qat).eval()(pictures()), qat.eval()(pictures()))


def test_evaluation_follows_every_change() -> None:
    qat, x = prepared().eval(), pictures()
    before = qat(x)
    with torch.no_grad():
        next(qat.parameters()).mul_(2)
    assert not torch.equal(qat(x), before)


def test_ranges_follow_the_data_until_frozen() -> None:
    start = QParams(np.float32(0.01), np.int32(100), 0, 255)
    observed = ActivationRange(start, wbcq.quant.observers.MinMaxObserver, interval=2)
    x = torch.linspace(-3, 9, 1000)
    for _ in range(200):
        observed(x)
    assert float(observed.scale) == pytest.approx(12 / 255, rel=0.02)
    assert int(observed.zero_point) == pytest.approx(64, abs=2)
    observed.frozen.fill_(True)
    kept = observed.qparams()
    for _ in range(10):
        observed(10 * x)
    assert observed.qparams().scale == kept.scale
    observed.frozen.fill_(False)
    observed.eval()(x)
    assert observed.qparams().scale == kept.scale


def test_weights_are_rounded_as_lowering_does() -> None:
    weight = torch.randn(4, 3, 3, 3, generator=torch.manual_seed(0))
    rounded = WeightRange("minmax", 8, per_channel=True)(weight)
    scale = weight.flatten(1).abs().amax(1) / 127
    steps = rounded / scale.view(-1, 1, 1, 1)
    torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)
    assert float((rounded - weight).abs().max()) <= 0.5001 * float(scale.max())


def test_norms_agree_with_torch() -> None:
    torch.manual_seed(0)
    norm, theirs = FoldedNorm(4), nn.BatchNorm2d(4)
    y = torch.randn(8, 4, 5, 5) * 3 + 1
    norm.set_from(y)
    with torch.no_grad():
        norm.gamma.mul_(torch.rand(4) + 0.5)
        theirs.weight.copy_(norm.gamma)
        theirs.bias.copy_(norm.offset + 0.25)
        factor = norm.factor()
        x = torch.randn(8, 4, 5, 5) * 2 - 1
        ours = norm.train()(x * factor.view(1, -1, 1, 1), factor, torch.full((4,), 0.25))
        torch.testing.assert_close(ours, theirs.train()(x), rtol=1e-4, atol=1e-4)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"convert takes what wbcq.prepare_qat returns, not a Lin"):
        wbcq.convert(nn.Linear(2, 2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"freeze_norm is -1"):
        wbcq.QatSchedule(freeze_norm=-1)
    with pytest.raises(ValueError, match="interval is 0"):
        ActivationRange(QParams(np.float32(1), np.int32(0), 0, 255), lambda: None, 0)  # type: ignore[arg-type,return-value]
    with pytest.raises(wbcq.CalibrationError):
        wbcq.prepare_qat(network(), [], progress=False)
