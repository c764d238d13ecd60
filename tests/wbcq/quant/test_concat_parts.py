"""Parts of a Concat take its scale or keep their own, whichever measures the smaller error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import wbcq
from wbcq.graph.capture import capture
from wbcq.graph.passes.pipeline import prepare_for_quantization
from wbcq.quant.calibrate import calibrate
from wbcq.quant.calibration_data import CalibrationData
from wbcq.quant.concat_parts import ConcatParts, Sample
from wbcq.quant.config import QuantConfig

CONFIG = QuantConfig(activation_observer="minmax", bias_correction=False)


class TwoReaders(nn.Module):
    """One part leaves the network too, so it is read beside the concatenation."""

    def __init__(self, ratio: float) -> None:
        super().__init__()
        self.part = nn.Conv2d(3, 4, 1)
        self.wide = nn.Conv2d(3, 4, 1)
        self.ratio = ratio

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        part = self.part(x)
        return torch.cat([part, self.wide(x) * self.ratio], 1), part


def pictures() -> Tensor:
    return torch.randn(8, 3, 16, 16, generator=torch.manual_seed(1))


def network(ratio: float) -> TwoReaders:
    torch.manual_seed(0)
    return TwoReaders(ratio).eval()


def squared_error(ratio: float) -> float:
    """Of what both readers see, in the engine."""
    model, x = network(ratio), pictures()
    quantized = wbcq.quantize(model, [x], config=CONFIG, progress=False)
    with torch.no_grad():
        expected = model(x)
    errors = [
        np.square(ours.astype(np.float64) - reference.numpy()).sum()
        for ours, reference in zip(quantized(x.numpy()), expected, strict=True)
    ]
    wide = errors[0] - np.square((quantized(x.numpy())[0] - expected[0].numpy())[:, :4]).sum()
    return float(sum(errors) - wide)


@pytest.mark.parametrize("ratio", [1.0, 1.5, 2.0, 4.0, 50.0])
def test_the_smaller_error_is_taken(ratio: float, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = squared_error(ratio)
    errors = []
    for always in (True, False):
        monkeypatch.setattr(ConcatParts, "_gains", lambda *_, always=always: always)
        errors.append(squared_error(ratio))
    assert errors[0] != errors[1]
    assert chosen == min(errors)


def scales(ratio: float) -> tuple[float, float]:
    model, x = network(ratio), pictures()
    graph = prepare_for_quantization(capture(model, (x,)))
    result = calibrate(graph, CalibrationData([x], model), CONFIG)
    return tuple(float(result.activations[name].scale) for name in graph.outputs)  # type: ignore[return-value]


def test_both_choices_occur() -> None:
    concat, part = scales(1.0)
    assert concat == part
    concat, part = scales(50.0)
    assert concat > 10 * part


def test_what_is_moved_from_a_private_value_is_unified() -> None:
    class Moved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([nn.functional.max_pool2d(self.a(x), 2), 30 * self.b(x)], 1)

    torch.manual_seed(0)
    model, x = Moved().eval(), pictures()
    graph = prepare_for_quantization(capture(model, (x,)))
    result = calibrate(graph, CalibrationData([x], model), CONFIG)
    assert len({float(result.activations[node.output].scale) for node in graph}) == 1


def test_a_part_of_two_concatenations() -> None:
    """What is unified with one of them is then a choice of the other, the first one included."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part, self.a, self.b = (nn.Conv2d(3, 4, 1) for _ in range(3))

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            part = self.part(x)
            return torch.cat([part, self.a(x)], 1), torch.cat([part, 2 * self.b(x)], 1), part

    torch.manual_seed(0)
    model, x = Twice().eval(), pictures()
    quantized = wbcq.quantize(model, [x], config=CONFIG, progress=False)
    for ours, exact in zip(quantized(x), quantized.simulate(x), strict=True):
        assert torch.equal(ours, exact)
    for ours, reference in zip(quantized(x), model(x), strict=True):
        assert (ours - reference).abs().max() < 0.02 * reference.abs().max()


def test_a_network_without_such_parts_is_not_sampled() -> None:
    model = wbcq.models.create("resnet18")
    graph = prepare_for_quantization(capture(model, torch.zeros(1, 3, 64, 64)))
    assert not ConcatParts(graph).samples


def test_samples_are_bounded_and_even() -> None:
    sample = Sample(limit=1000)
    for batch in range(50):
        x = torch.full((4, 500), float(batch))
        assert sample(x) is x
    values = sample.values()
    assert 50 <= len(values) <= 1000
    assert set(values.tolist()) == set(range(50))
