"""Errors of layers: those of a network whose roundings are known, and where a bad range shows."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

import wbcq
from wbcq.engine.program_file import program_bytes
from wbcq.explain import layer_errors


def network() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8 * 144, 4)).eval(), torch.rand(8, 3, 16, 16)


def test_one_rounding_has_the_noise_of_its_step() -> None:
    """Without anything before it, a rounding's error is uniform: its variance is step^2 / 12."""
    model = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(3, 1, 1)).eval()
    x = torch.rand(4, 3, 32, 32, generator=torch.manual_seed(0))
    config = wbcq.QuantConfig(activation_observer="minmax")
    quantized = wbcq.quantize(model, [x], config=config, progress=False)
    first = layer_errors(quantized, model, [x])[0]
    expected = 10 * math.log10(float(model[0](x).square().mean()) / ((1 / 255) ** 2 / 12))
    assert first.kind == "MaxPool2d"
    assert first.sqnr == pytest.approx(expected, abs=0.2)
    assert abs(first.drift) < 0.01


def test_layers_in_order_and_batches_add_up() -> None:
    model, x = network()
    quantized = wbcq.quantize(model, [x], progress=False)
    errors = layer_errors(quantized, model, [x])
    assert [error.layer for error in errors if error.kind != "Flatten"] == ["0", "2", "5"]
    assert all(25 < error.sqnr < 60 for error in errors)
    parts = layer_errors(quantized, model, [x[:3], x[3:]])
    np.testing.assert_allclose([e.sqnr for e in parts], [e.sqnr for e in errors], rtol=1e-6)


def test_a_bad_range_is_found() -> None:
    model, x = network()
    program = wbcq.quantize(model, [x], progress=False).program
    name = next(op.y for op in program.ops if op.name == "2")
    coarse = dataclasses.replace(program.tensors[name], scale=program.tensors[name].scale / 3)
    tensors = {**program.tensors, name: coarse}
    broken = wbcq.QuantizedModel(program_bytes(dataclasses.replace(program, tensors=tensors)))
    errors = {error.layer: error for error in layer_errors(broken, model, [x])}
    assert errors["2"].sqnr < errors["0"].sqnr - 15
    assert errors["2"].drift < -0.1  # it saturates


def test_a_trained_network_is_compared_with_its_own_weights() -> None:
    model, x = network()
    qat = wbcq.prepare_qat(model, x, progress=False)
    with torch.no_grad():
        for parameter in qat.parameters():
            parameter.mul_(1.5)
    trained = wbcq.convert(qat)
    against_itself = layer_errors(trained, qat, [x])
    against_the_past = layer_errors(trained, model, [x])
    assert against_itself[0].sqnr > 25 > against_the_past[0].sqnr
    assert qat.training


def test_refused() -> None:
    model, x = network()
    quantized = wbcq.quantize(model, [x], progress=False)
    with pytest.raises(ValueError, match="no pictures"):
        layer_errors(quantized, model, [])
    other = nn.Sequential(nn.Conv2d(3, 9, 3), nn.ReLU()).eval()
    with pytest.raises(ValueError, match=r"not made of this Sequential: layer '0'"):
        layer_errors(quantized, other, [x])
