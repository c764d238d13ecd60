"""Whether pruned weights are zero in what runs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from wbcq.engine import program as prog
from wbcq.engine.model import QuantizedModel
from wbcq.errors import PruningError
from wbcq.graph.capture import capture
from wbcq.graph.ir import Graph, Node
from wbcq.graph.passes.pipeline import prepare_for_quantization
from wbcq.pruning.masks import masks
from wbcq.quant.weights import weighted_nodes

__all__ = ["check_zeros"]


def check_zeros(model: nn.Module, compiled: QuantizedModel) -> int:
    """Checks that every pruned weight of a model is zero in the program that was made of it.

    Masks are compared with the captured network, and that, after the passes that fold and reorder
    weights, with the program, weight by weight.

    Args:
        model: Pruned, as it was given to :func:`wbcq.quantize`, :func:`wbcq.compile_float` or
            :func:`wbcq.prepare_qat`.
        compiled: What came of it, for example loaded from a file.

    Returns:
        How many weights of the program are zero because they were pruned.

    Raises:
        PruningError: A pruned weight is not zero, or a layer is missing; names it.

    Example:
        >>> import torch, wbcq
        >>> model = wbcq.prune(torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3)), 0.75, pattern="1x4")
        >>> check_zeros(model, wbcq.compile_float(model, torch.zeros(1, 8, 8, 8)))
        432
    """
    program = compiled.program
    examples = [torch.zeros(2, *io.shape[1:]) for io in program.inputs]
    captured = capture(model, examples)
    _check_captured(model, captured)
    operators = {op.name: op for op in program.ops if isinstance(op, prog.Conv2d)}
    prepared = prepare_for_quantization(captured)
    return sum(_check_layer(prepared, node, operators) for node in weighted_nodes(prepared))


def _check_captured(model: nn.Module, graph: Graph) -> None:
    by_module: dict[str, list[Node]] = {}
    for node in weighted_nodes(graph):
        by_module.setdefault(node.source.module, []).append(node)
    for name, mask in masks(model).items():
        pruned = ~mask.cpu().numpy()
        for node in by_module.get(name, ()):
            weight = graph.params[node.params["weight"]]
            if weight.size != pruned.size or np.any(weight.reshape(pruned.shape)[pruned]):
                raise PruningError(
                    f"layer {name!r} has pruned weights that are not zero in the captured network. "
                    "Remedy: leave its weight to wbcq.prune; do not replace the layer's attributes"
                )


def _check_layer(graph: Graph, node: Node, operators: dict[str, prog.Conv2d]) -> int:
    zero = graph.params[node.params["weight"]] == 0
    count = int(zero.sum())
    if not count:
        return 0
    op = operators.get(node.name)
    if op is None:
        raise PruningError(
            f"layer {node.name!r} is not in the program. Remedy: compare with the program that was "
            "made of this model"
        )
    expected = _as_program(zero, op.weight)
    if expected is None:
        raise PruningError(
            f"layer {node.name!r} has a weight of shape {list(op.weight.shape)} in the program, "
            f"{list(zero.shape)} in the model. Remedy: compare with the program of this model"
        )
    wrong = int(np.count_nonzero(op.weight[expected]))
    if wrong:
        raise PruningError(
            f"layer {node.name!r}: {wrong} of {count} pruned weights are not zero in the program. "
            "Remedy: quantize the pruned model itself, and train it with its masks"
        )
    return count


def _as_program(
    zero: npt.NDArray[np.bool_], weight: npt.NDArray[np.generic]
) -> npt.NDArray[np.bool_] | None:
    """From [O, I, kh, kw], or [O, I * kh * kw] of a linear layer, to [O, kh, kw, I]."""
    outputs, height, width, inputs = weight.shape
    if zero.size != weight.size or len(zero) != outputs:
        return None
    arranged: npt.NDArray[np.bool_] = zero.reshape(outputs, inputs, height, width)
    return np.transpose(arranged, (0, 2, 3, 1))
