"""What is affine for each channel becomes part of the layer before it, or a layer of its own."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from wbcq.graph.ir import (
    BatchNorm,
    ChannelAffine,
    Conv2d,
    Functions,
    Graph,
    Linear,
    Node,
    Rearrange,
    Unary,
)
from wbcq.graph.passes.param_store import ParamStore
from wbcq.graph.passes.readers import sole_producer

__all__ = ["fold_batch_norm"]

Array = npt.NDArray[np.float64]


def fold_batch_norm(graph: Graph) -> Graph:
    """Removes every BatchNorm and ChannelAffine, and affine functions that follow a layer.

    Batch normalization is y = x f + (b - mean f), with f = weight / sqrt(var + eps). Where x comes
    from a Conv2d or Linear that nothing else reads, factor and offset go into that layer's weights
    and bias. Elsewhere (x is also used by others, or comes from something else) the node becomes a
    layer itself: a 1x1 depthwise Conv2d for N, C, H, W and a Linear with a diagonal weight for
    N, C. Computed in float64 and rounded once to float32 (Jacob et al., "Quantization and Training
    of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018, section 3.2).

    Args:
        graph: As captured, before activations are fused.

    Returns:
        An equivalent graph without BatchNorm and ChannelAffine.
    """
    store = ParamStore(graph)
    nodes: dict[str, Node] = {}
    for node in graph:
        affine = _affine(graph, node, store)
        if affine is None:
            nodes[node.output] = node
            continue
        factor, offset = affine
        rest = node.op.functions[1:] if isinstance(node.op, Unary) else ()
        layer = nodes.get(node.inputs[0])
        if layer is not None and isinstance(layer.op, Rearrange):
            if _fold_through(graph, nodes, node, layer, affine, rest, store):
                continue
            layer = None
        if layer is not None and _can_absorb(graph, layer):
            del nodes[layer.output]
            output = layer.output if rest else node.output
            nodes[output] = _absorb(layer, output, factor, offset, store)
            if rest:
                nodes[node.output] = replace(node, op=Unary(rest))
        elif isinstance(node.op, Unary):
            nodes[node.output] = node
        else:
            rank = len(graph.values[node.output].shape)
            nodes[node.output] = _standalone(node, rank, factor, offset, store)
    return graph.with_nodes(tuple(nodes.values()), params=store.params)


def _fold_through(
    graph: Graph,
    nodes: dict[str, Node],
    node: Node,
    move: Node,
    affine: tuple[Array, Array],
    rest: Functions,
    store: ParamStore,
) -> bool:
    """Folds into the layer before a Rearrange that keeps the elements of a channel together."""
    layer = nodes.get(move.inputs[0])
    if layer is None or not _can_absorb(graph, layer) or sole_producer(graph, move.output) is None:
        return False
    before, after = graph.values[move.inputs[0]].shape, graph.values[move.output].shape
    assert isinstance(move.op, Rearrange)
    source = move.op.numbers().reshape(after[1] or 1, -1) // math.prod(s or 1 for s in before[2:])
    # Which channel of the result each channel of the layer becomes; one that is cropped, any.
    target = np.zeros(before[1] or 1, np.int64)
    target[source] = np.arange(len(source))[:, None]
    if (target[source] != np.arange(len(source))[:, None]).any():
        return False
    factor, offset = (array[target] for array in affine)
    nodes[layer.output] = _absorb(layer, layer.output, factor, offset, store)
    if rest:
        nodes[node.output] = replace(node, op=Unary(rest))
    else:
        del nodes[move.output]
        nodes[node.output] = replace(move, output=node.output)
    return True


def _affine(graph: Graph, node: Node, store: ParamStore) -> tuple[Array, Array] | None:
    """Factor and offset of each channel, [C] each; None for anything else."""
    if isinstance(node.op, BatchNorm):
        return _batch_norm(node, node.op, store)
    if isinstance(node.op, ChannelAffine):
        weight, bias = store.get(node, "weight"), store.get(node, "bias")
        assert weight is not None
        assert bias is not None
        return weight, bias
    if isinstance(node.op, Unary) and node.op.functions[0].name == "affine":
        scale, shift = node.op.functions[0].parameters
        channels = graph.values[node.output].shape[1] or 1
        return np.full(channels, scale), np.full(channels, shift)
    return None


def _batch_norm(node: Node, op: BatchNorm, store: ParamStore) -> tuple[Array, Array]:
    mean, variance = store.get(node, "running_mean"), store.get(node, "running_var")
    weight, bias = store.get(node, "weight"), store.get(node, "bias")
    if mean is None or variance is None:
        raise ValueError(f"batch normalization '{node.name}' has no running statistics")
    factor = 1.0 / np.sqrt(variance + op.eps)
    if weight is not None:
        factor = weight * factor
    offset = -mean * factor
    return factor, offset if bias is None else bias + offset


def _can_absorb(graph: Graph, layer: Node) -> bool:
    return (
        isinstance(layer.op, (Conv2d, Linear))
        and layer.op.activation.is_identity
        and len(layer.inputs) == 1
        and len(graph.consumers(layer.output)) == 1
        and layer.output not in graph.outputs
    )


def _absorb(layer: Node, output: str, factor: Array, offset: Array, store: ParamStore) -> Node:
    weight, bias = store.get(layer, "weight"), store.get(layer, "bias")
    assert weight is not None
    params = dict(layer.params)
    params["weight"] = store.put(
        layer, "weight", weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    )
    params["bias"] = store.put(layer, "bias", offset if bias is None else bias * factor + offset)
    return replace(layer, output=output, params=params)


def _standalone(node: Node, rank: int, factor: Array, offset: Array, store: ParamStore) -> Node:
    channels = factor.size
    if rank == 4:
        op: Conv2d | Linear = Conv2d(groups=channels)
        weight = factor.reshape(channels, 1, 1, 1)
    else:
        op, weight = Linear(), np.diag(factor)
    params = {
        "weight": store.put(node, "weight", weight),
        "bias": store.put(node, "bias", offset),
    }
    return replace(node, op=op, params=params)
