import numpy as np
import pytest
import torch
from torch import nn

from wbcq.graph.capture import capture
from wbcq.graph.passes.pipeline import prepare_for_quantization
from wbcq.quant.config import QuantConfig
from wbcq.quant.qparams import QParams
from wbcq.quant.weights import weight_qparams, weighted_nodes


@pytest.fixture
def graph():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.Flatten(), nn.Linear(4, 5)
    )
    return prepare_for_quantization(capture(model, torch.zeros(1, 3, 3, 3)))


def activations(graph, scale=0.02):
    params = QParams(np.float32(scale), np.int32(0), 0, 255)
    return {name: params for name in graph.values if name not in graph.outputs}


@pytest.mark.parametrize("bits", [8, 4])
def test_per_channel_covers_every_weight(graph, bits):
    result = weight_qparams(graph, activations(graph), QuantConfig(weight_bits=bits))
    assert set(result) == {node.params["weight"] for node in weighted_nodes(graph)}
    limit = 2 ** (bits - 1) - 1
    for name, params in result.items():
        weight = graph.params[name]
        largest = np.abs(weight.reshape(len(weight), -1)).max(axis=1)
        assert params.axis == 0
        assert (params.qmin, params.qmax) == (-limit, limit)
        assert not params.zero_point.any()
        np.testing.assert_allclose(params.scale, largest / limit, rtol=1e-6)


def test_per_tensor_has_one_scale(graph):
    result = weight_qparams(graph, activations(graph), QuantConfig(weights="per_tensor"))
    for name, params in result.items():
        assert params.axis is None
        np.testing.assert_allclose(params.scale, np.abs(graph.params[name]).max() / 127, rtol=1e-6)


def test_histogram_clips_outliers_at_few_bits(graph):
    name = weighted_nodes(graph)[0].params["weight"]
    weight = graph.params[name].copy()
    weight[0, 0, 0, 0] = 2 * np.abs(weight).max()
    graph = graph.with_nodes(graph.nodes, params={**graph.params, name: weight})
    scales = {
        observer: weight_qparams(
            graph,
            activations(graph),
            QuantConfig(weights="per_tensor", weight_bits=4, weight_observer=observer),
        )[name].scale
        for observer in ("minmax", "histogram")
    }
    assert scales["histogram"] < scales["minmax"]


def test_float_layers_get_no_qparams(graph):
    nodes = weighted_nodes(graph)
    result = weight_qparams(graph, activations(graph), QuantConfig(), frozenset({nodes[1].name}))
    assert nodes[1].params["weight"] not in result
    assert len(result) == len(nodes) - 1


@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_bias_of_dead_channels_fits_into_int32(graph, granularity):
    node, *_, head = weighted_nodes(graph)
    weights, biases = node.params["weight"], node.params["bias"]
    params = dict(graph.params)
    params[weights] = params[weights] * 1e-12
    params[biases] = np.array([5.0, -5.0, 0.0, 1e-3, 5e4, 1.0], np.float32)
    params[head.params["weight"]] = params[head.params["weight"]] * 1e-12
    graph = graph.with_nodes(graph.nodes, params=params)
    input_scale = 0.02
    result = weight_qparams(
        graph, activations(graph, input_scale), QuantConfig(weights=granularity)
    )
    scale = np.broadcast_to(result[weights].scale, 6).astype(np.float64)
    steps = np.abs(params[biases]) / (input_scale * scale)
    products = 255 * 127 * params[weights][0].size
    assert np.all(steps + products <= 2**31 - 1)
    # And no coarser than that needs: the largest bias uses nearly all of the range.
    assert steps.max() > 0.99 * (2**31 - 1 - products)
    # A head's bias is float; its weights keep their scale.
    assert result[head.params["weight"]].scale.max() < 1e-10
