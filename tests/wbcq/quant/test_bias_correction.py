"""Corrected biases against the mean errors that torch measures."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wbcq
from wbcq.graph.capture import capture
from wbcq.graph.ir import ChannelRange, Conv2d, Graph, Node, Value
from wbcq.graph.passes.pipeline import prepare_for_quantization
from wbcq.graph.torch_executor import TorchExecutor
from wbcq.quant.bias_correction import correct_biases
from wbcq.quant.calibrate import ChannelMean
from wbcq.quant.config import QuantConfig
from wbcq.quant.qparams import QParams
from wbcq.quant.weights import weight_qparams, weighted_nodes


class Rounded(nn.Module):
    """The weights as the integers represent them."""

    def __init__(self, params: QParams):
        super().__init__()
        self.params = params

    def forward(self, weight):
        scale = torch.from_numpy(np.array(self.params.scale)).reshape(-1, *[1] * (weight.dim() - 1))
        q = (weight * scale.reciprocal()).round().clamp(self.params.qmin, self.params.qmax)
        return q * scale


def mean_errors(graph, corrected, weights, x):
    """Per channel: mean of the output with rounded weights minus that with float weights."""
    rounded = {name: Rounded(params) for name, params in weights.items()}
    with torch.no_grad():
        exact = TorchExecutor(graph)(x)
        approximate = TorchExecutor(corrected, weight_transforms=rounded)(x)
    error = (approximate - exact).double()
    return error.mean(dim=[d for d in range(error.dim()) if d != 1])


LAYERS = {
    "conv": nn.Conv2d(4, 6, 3),
    "no bias": nn.Conv2d(4, 6, 3, bias=False),
    "padded": nn.Conv2d(4, 6, 5, padding=2),
    "strided": nn.Conv2d(4, 6, 3, stride=2, padding=1),
    "dilated": nn.Conv2d(4, 6, 3, dilation=2, padding=(2, 1)),
    "grouped": nn.Conv2d(4, 6, 3, groups=2, padding=1),
    "depthwise": nn.Conv2d(4, 8, 3, groups=4, padding=1),
    "linear": nn.Sequential(nn.Flatten(), nn.Linear(4 * 8 * 8, 6)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_mean_of_outputs_is_kept(name, granularity):
    generator = torch.Generator().manual_seed(0)
    # Constant pictures have the same mean everywhere, so that the correction is exact.
    levels = torch.rand(64, 4, 1, 1, generator=generator) + torch.tensor([0, 1, 2, 3]).view(4, 1, 1)
    x = levels.expand(64, 4, 8, 8).contiguous()
    graph = prepare_for_quantization(capture(LAYERS[name].eval(), x))
    config = QuantConfig(weights=granularity, weight_bits=4)
    activations = {graph.inputs[0]: QParams(np.float32(0.02), np.int32(0), 0, 255)}
    weights = weight_qparams(graph, activations, config)
    (node,) = weighted_nodes(graph)
    mean = ChannelMean()
    mean(x if isinstance(LAYERS[name], nn.Conv2d) else x.flatten(1))
    corrected = correct_biases(graph, activations, weights, {node.inputs[0]: mean.mean()})

    before = mean_errors(graph, graph, weights, x).abs().max()
    after = mean_errors(graph, corrected, weights, x).abs().max()
    assert before > 0.02
    assert after < 1e-5
    assert set(graph.params) <= set(corrected.params)
    weight = node.params["weight"]
    np.testing.assert_array_equal(graph.params[weight], corrected.params[weight])


def sliced_graph(groups):
    """A convolution over channels 2..5 of one value and 0..3 of another, and a plain twin."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(8, 8 // groups, 3, 3)).astype(np.float32)
    slices = (ChannelRange(0, 2, 6), ChannelRange(1, 0, 4))
    node = Node(
        "conv",
        Conv2d(pads=(1, 1, 1, 1), groups=groups, slices=slices),
        ("a", "b"),
        "y",
        {"weight": "conv.weight"},
    )
    shapes = {"a": (None, 6, 5, 5), "b": (None, 4, 5, 5), "y": (None, 8, 5, 5)}
    values = {name: Value(name, shape) for name, shape in shapes.items()}
    return Graph(values, (node,), ("a", "b"), ("y",), {"conv.weight": weight})


@pytest.mark.parametrize("groups", [1, 8])
def test_layers_that_read_channel_slices(groups):
    """The weights of each input are quantized times its scale over the first one's."""
    graph = sliced_graph(groups)
    scales = {"a": 0.01, "b": 0.04}
    activations = {
        name: QParams(np.float32(scale), np.int32(0), 0, 255) for name, scale in scales.items()
    }
    weights = weight_qparams(graph, activations, QuantConfig(weight_bits=4))
    weight = graph.params["conv.weight"]
    ratios = np.repeat([1.0, 4.0 if groups == 1 else 1.0], 4).reshape(1, 8, 1, 1)[:, : 8 // groups]
    largest = np.abs(weight * ratios).reshape(8, -1).max(axis=1)
    np.testing.assert_allclose(weights["conv.weight"].scale, largest / 7, rtol=1e-6)

    levels = {"a": np.arange(1.0, 7.0), "b": np.arange(7.0, 11.0)}
    x = [
        torch.from_numpy(v.astype(np.float32)).view(1, -1, 1, 1).expand(2, -1, 5, 5)
        for v in levels.values()
    ]
    corrected = correct_biases(graph, activations, weights, levels)
    scale = weights["conv.weight"].scale.reshape(-1, 1, 1, 1)
    rounded = np.clip(np.rint(weight * ratios / scale), -7, 7) * scale / ratios
    with torch.no_grad():
        exact = TorchExecutor(graph)(*x)
        params = {**corrected.params, "conv.weight": rounded.astype(np.float32)}
        approximate = TorchExecutor(corrected.with_nodes(corrected.nodes, params=params))(*x)
    error = (approximate - exact).mean(dim=(0, 2, 3))
    assert corrected.params["conv.bias"].shape == (8,)
    assert np.abs(corrected.params["conv.bias"]).max() > 0.1
    assert error.abs().max() < 1e-4


class Twice(nn.Module):
    """One layer at two places that see different values."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return self.conv(F.relu(self.conv(x)))


def test_layers_that_share_a_bias_get_one_each():
    torch.manual_seed(0)
    x = torch.rand(8, 4, 6, 6) + 1
    graph = prepare_for_quantization(capture(Twice().eval(), x))
    first, second = weighted_nodes(graph)
    assert first.params["bias"] == second.params["bias"]
    weights = weight_qparams(graph, {}, QuantConfig(weight_bits=3))
    means = {first.inputs[0]: np.full(4, 1.5), second.inputs[0]: np.full(4, 0.1)}
    corrected = correct_biases(graph, {}, weights, means)
    biases = [corrected.param(node, "bias") for node in weighted_nodes(corrected)]
    shifts = [graph.param(first, "bias") - bias for bias in biases]
    np.testing.assert_allclose(shifts[0], 15 * shifts[1], rtol=1e-3)
    assert np.abs(shifts[0]).max() > 0.01


def test_float_layers_are_not_touched():
    x = torch.rand(2, 4, 8, 8)
    graph = prepare_for_quantization(capture(LAYERS["conv"], x))
    corrected = correct_biases(graph, {}, {}, {graph.inputs[0]: np.ones(4)})
    assert all(np.array_equal(corrected.params[k], v) for k, v in graph.params.items())


def test_quantize_is_closer_with_it():
    """Pictures are not centred: the first layer's rounding shifts its channels."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 7, 2, 3),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    ).eval()
    x = 0.8 + 0.2 * torch.rand(32, 3, 32, 32)
    with torch.no_grad():
        expected = model(x)
    errors = {
        corrected: float(
            (wbcq.quantize(model, [x], config=QuantConfig(bias_correction=corrected))(x) - expected)
            .square()
            .mean()
        )
        for corrected in (True, False)
    }
    assert errors[True] < 0.5 * errors[False]
