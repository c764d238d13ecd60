"""Corrects biases for the mean error that rounding the weights makes.

Rounding changes a layer's output by dW * x. Inputs that are not centred (pictures without mean
subtraction, everything behind a ReLU) turn that into a constant shift of each output channel, which
no later layer averages out. Its expectation, sum of dW * E[x], is known after calibration and is
subtracted from the bias, where it costs nothing (Nagel et al. 2019, "Data-Free Quantization Through
Weight Equalization and Bias Correction", section 4.2, with measured means).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from wbcq.graph.ir import Conv2d, Graph, Node
from wbcq.quant.integer import quantize_weight
from wbcq.quant.qparams import QParams
from wbcq.quant.weights import input_ratios, weighted_op

__all__ = ["correct_biases"]

Float64Array = npt.NDArray[np.float64]


def correct_biases(
    graph: Graph,
    activations: Mapping[str, QParams],
    weights: Mapping[str, QParams],
    means: Mapping[str, Float64Array],
) -> Graph:
    """Gives every quantized layer the bias that keeps the mean of its outputs.

    Args:
        graph: Folded and fused.
        activations: Name of a value to its quantization parameters.
        weights: Name of a weight to its quantization parameters; others are not touched.
        means: Name of a value to the mean of each of its channels, [C].

    Returns:
        The same graph with other biases; layers without one get one.
    """
    params = dict(graph.params)
    uses = Counter(name for node in graph for name in node.params.values())
    nodes = []
    for node in graph:
        name = node.params.get("weight", "")
        if name in weights:
            error = _weight_error(graph, node, activations, weights[name])
            shift = _mean_error(graph, node, error, means)
            bias = graph.param(node, "bias")
            corrected = (0.0 if bias is None else bias) - shift
            target = node.params.get("bias")
            if target is None or uses[target] > 1:
                target = _unused(f"{node.name}.bias", params)
                node = replace(node, params={**node.params, "bias": target})
            params[target] = corrected.astype(np.float32)
        nodes.append(node)
    return graph.with_nodes(tuple(nodes), params=params)


def _weight_error(
    graph: Graph, node: Node, activations: Mapping[str, QParams], qparams: QParams
) -> Float64Array:
    """What rounding adds to each weight."""
    weight = graph.params[node.params["weight"]]
    ratios = input_ratios(node, activations)
    scale = qparams.scale.astype(np.float64).reshape(-1, *[1] * (weight.ndim - 1))
    error: Float64Array = quantize_weight(weight * ratios, qparams) * scale / ratios - weight
    return error


def _mean_error(
    graph: Graph, node: Node, error: Float64Array, means: Mapping[str, Float64Array]
) -> Float64Array:
    """Expectation of what rounding the weights adds to each output channel, [O]."""
    op = weighted_op(node)
    if op.slices:
        mean = np.concatenate([means[node.inputs[s.index]][s.start : s.stop] for s in op.slices])
    else:
        mean = means[node.inputs[0]]
    groups = 1
    if isinstance(op, Conv2d):
        error, groups = (error * _inside(graph, node, op)).sum(axis=(2, 3)), op.groups
    grouped = error.reshape(groups, -1, error.shape[1])
    shift: Float64Array = np.einsum("goi,gi->go", grouped, mean.reshape(groups, -1)).reshape(-1)
    return shift


def _inside(graph: Graph, node: Node, op: Conv2d) -> Float64Array:
    """For each tap of the kernel, how much of the output finds it inside the picture: [KH, KW]."""
    kernel = graph.params[node.params["weight"]].shape[2:]
    sizes = graph.values[node.inputs[0]].shape[2:]
    counts = graph.values[node.output].shape[2:]
    shares = []
    for axis in (0, 1):
        first = np.arange(counts[axis] or 1) * op.stride[axis] - op.pads[axis]
        position = first + np.arange(kernel[axis])[:, None] * op.dilation[axis]
        shares.append(((position >= 0) & (position < (sizes[axis] or 1))).mean(axis=1))
    inside: Float64Array = np.outer(shares[0], shares[1])
    return inside


def _unused(name: str, params: Mapping[str, object]) -> str:
    while name in params:
        name += "'"
    return name
