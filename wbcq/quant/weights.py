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

__all__ = ["input_ratios", "operands", "weight_qparams", "weighted_nodes", "weighted_op"]

_INT32_MAX = 2**31 - 1


def weighted_nodes(graph: Graph) -> tuple[Node, ...]:
    """The convolutions and linear layers, in execution order."""
    return tuple(node for node in graph if isinstance(node.op, (Conv2d, Linear)))


def weighted_op(node: Node) -> Conv2d | Linear:
    """The operator of a convolution or linear layer."""
    if not isinstance(node.op, (Conv2d, Linear)):
        raise TypeError(f"{node.name!r} is a {type(node.op).__name__}, which has no weights")
    return node.op


def operands(node: Node) -> tuple[str, ...]:
    """The values that a convolution or linear layer multiplies with its weights."""
    return node.inputs[: weighted_op(node).operands]


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
    heads = float_heads(graph, float_nodes)
    result: dict[str, QParams] = {}
    for node in weighted_nodes(graph):
        if node.name in float_nodes:
            continue
        name = node.params["weight"]
        ratio = input_ratios(node, activations)
        weight = graph.params[name] * ratio
        params = result.get(name) or _observed(name, weight, config)
        bias = graph.param(node, "bias")
        if bias is not None and node.output not in heads and node.inputs[0] in activations:
            scale = _bias_input_scales(node, activations)
            params = _with_room_for_bias(params, weight, bias, scale)
        result[name] = params
    return result


def input_ratios(node: Node, activations: Mapping[str, QParams]) -> npt.NDArray[np.float32]:
    """What a layer's weights [O, I / groups, ...] are multiplied by before they are quantized.

    A dense layer that reads channel slices of several values quantizes the weights of value i
    times s_i / s_0, with s_0 the scale of the first slice, so that one accumulator serves all of
    them. It is 1 for any other layer.
    """
    op = weighted_op(node)
    shape = (1, -1, 1, 1) if isinstance(op, Conv2d) else (1, -1)
    ratios = np.ones(1, np.float32)
    if op.slices and not _is_grouped(op):
        ratios = _slice_scales(node, activations)
        ratios = ratios / ratios[0]
    return ratios.reshape(shape)


def _bias_input_scales(node: Node, activations: Mapping[str, QParams]) -> npt.NDArray[np.float64]:
    """s_x of the bias's steps s_x s_w: [1], or [O] for a depthwise layer that reads slices."""
    op = weighted_op(node)
    if op.slices and _is_grouped(op):
        return _slice_scales(node, activations).astype(np.float64)
    first = op.slices[0].index if op.slices else 0
    return np.array([activations[node.inputs[first]].scale], np.float64)


def _slice_scales(node: Node, activations: Mapping[str, QParams]) -> npt.NDArray[np.float32]:
    """The scale of each channel of a layer's concatenated input."""
    pieces = weighted_op(node).slices
    scales = [np.float32(activations[node.inputs[piece.index]].scale) for piece in pieces]
    return np.repeat(np.array(scales, np.float32), [piece.size for piece in pieces])


def _is_grouped(op: Conv2d | Linear) -> bool:
    return isinstance(op, Conv2d) and op.groups > 1


def _observed(name: str, weight: npt.NDArray[np.float32], config: QuantConfig) -> QParams:
    observer = OBSERVERS[config.weight_observer](
        bits=config.weight_bits,
        symmetric=True,
        axis=0 if config.weights == "per_channel" else None,
        name=name,
    )
    observer(torch.from_numpy(weight))
    return observer.qparams()


def _with_room_for_bias(
    params: QParams,
    weight: npt.NDArray[np.float32],
    bias: npt.NDArray[np.float32],
    input_scale: npt.NDArray[np.float64],
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
