"""Quantization parameters of weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from wbcq.graph.analysis import float_heads
from wbcq.graph.ir import Conv2d, Graph, Linear, Node
from wbcq.quant.config import QuantConfig
from wbcq.quant.observers import OBSERVERS
from wbcq.quant.qparams import QParams

__all__ = ["weight_qparams", "weighted_nodes"]

_INT32_MAX = 2**31 - 1


def weighted_nodes(graph: Graph) -> tuple[Node, ...]:
    """The convolutions and linear layers, in execution order."""
    return tuple(node for node in graph if isinstance(node.op, (Conv2d, Linear)))


def weight_qparams(
    graph: Graph,
    activations: Mapping[str, QParams],
    config: QuantConfig,
    float_nodes: frozenset[str] = frozenset(),
) -> dict[str, QParams]:
    """Chooses the scales of all weights.

    Where a channel's weights are tiny beside its bias (a dead channel after folding), the bias
    would not fit into int32 in steps of s_x s_w; its scale is raised until it does, so that the
    bias, all that the channel has, stays exact.

    Args:
        graph: Folded and fused.
        activations: Name of a value to its quantization parameters.
        config: One scale per channel or per tensor, how many bits, which observer.
        float_nodes: Names of nodes whose weights stay float.

    Returns:
        Name of a parameter to its quantization parameters.
    """
    heads = float_heads(graph)
    result: dict[str, QParams] = {}
    for node in weighted_nodes(graph):
        if node.name in float_nodes:
            continue
        name = node.params["weight"]
        params = result.get(name) or _observed(name, graph.params[name], config)
        bias = graph.param(node, "bias")
        x = activations.get(node.inputs[0])
        if bias is not None and x is not None and node.output not in heads:
            params = _with_room_for_bias(params, graph.params[name], bias, float(x.scale))
        result[name] = params
    return result


def _observed(name: str, weight: npt.NDArray[np.float32], config: QuantConfig) -> QParams:
    observer = OBSERVERS[config.weight_observer](
        bits=config.weight_bits,
        symmetric=True,
        axis=0 if config.weights == "per_channel" else None,
        name=name,
    )
    observer(torch.from_numpy(np.array(weight)))
    return observer.qparams()


def _with_room_for_bias(
    params: QParams,
    weight: npt.NDArray[np.float32],
    bias: npt.NDArray[np.float32],
    input_scale: float,
) -> QParams:
    """The same parameters with scales so large that bias and accumulator fit into int32."""
    # The largest sum of products; beyond 60,000 weights an output lowering decides by their values.
    products = 255 * 127 * (weight.size // len(weight))
    room = max(_INT32_MAX - products, 2**24)
    # A part in a million covers the roundings of s_x s_w and of the scale to float32.
    least = np.abs(bias.astype(np.float64)) / (input_scale * room) * (1 + 1e-6)
    if params.axis is None:
        least = least.max()
    scale = np.maximum(params.scale, least.astype(np.float32))
    return QParams(scale, params.zero_point, params.qmin, params.qmax, params.axis)
