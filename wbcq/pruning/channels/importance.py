"""How much a set of channels matters."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wbcq.errors import PruningError
from wbcq.graph import ir
from wbcq.graph.torch_executor import TorchExecutor
from wbcq.pruning.channels.dependencies import Dependencies
from wbcq.pruning.channels.groups import layers_of
from wbcq.pruning.scores import SCORES, Loss, labelled
from wbcq.quant.calibration_data import CalibrationData

__all__ = ["SCORES", "Array", "Loss", "label_scores"]

Array: TypeAlias = npt.NDArray[np.float64]


def label_scores(
    deps: Dependencies,
    model: nn.Module,
    score: str,
    *,
    count: int,
    data: Iterable[Any] | None = None,
    loss: Loss | None = None,
) -> Array:
    """The importance of each label.

    The channels of a layer are compared with their mean, so that layers can be compared with each
    other; a label that stands for channels of several layers has the mean of theirs.

    - ``"l1"``, ``"l2"``: the norm of the weights that compute a channel (Li et al., "Pruning
      Filters for Efficient ConvNets", ICLR 2017), times the scale of the batch normalization that
      follows.
    - ``"taylor"``: the squared sum of weight times gradient (Molchanov et al., "Importance
      Estimation for Neural Network Pruning", CVPR 2019).
    - ``"activation"``: a channel's mean magnitude times the norm of the weights that read it, as
      Wanda does for single weights (Sun et al., ICLR 2024).

    Args:
        deps: Of the network.
        model: The module, for its gradients.
        score: One of :data:`SCORES`.
        count: Number of labels.
        data: Batches, for ``"taylor"`` and ``"activation"``.
        loss: For ``"taylor"``; from the model's outputs and the labels; cross-entropy if None.

    Returns:
        float64 [count].
    """
    if score == "activation":
        relative = list(_read_magnitudes(deps, model, _needed(data, score)))
    else:
        rows = (
            _gradient_rows(deps, model, _needed(data, score), loss)
            if score == "taylor"
            else _weight_rows(deps, 1 if score == "l1" else 2)
        )
        relative = [
            (deps.axes[param, 0], values) for param, values in rows if (param, 0) in deps.axes
        ]
    total, weight = np.zeros(count), np.zeros(count)
    for labels, values in relative:
        mean = values.mean()
        total += np.bincount(labels, values / mean if mean > 0 else 0 * values, count)
        weight += np.bincount(labels, minlength=count)
    return total / np.maximum(weight, 1)


def _needed(data: Iterable[Any] | None, score: str) -> Iterable[Any]:
    if data is None:
        raise PruningError(f"score={score!r} needs data; pass data=batches, or use score='l1'")
    return data


def _weight_rows(deps: Dependencies, order: int) -> Iterator[tuple[str, Array]]:
    for param, node in layers_of(deps.graph).items():
        weight = deps.graph.params[param].astype(np.float64)
        rows = np.linalg.norm(weight.reshape(len(weight), -1), order, axis=1)
        yield param, rows * _norm_scale(deps.graph, node, len(rows))


def _norm_scale(graph: ir.Graph, layer: ir.Node, count: int) -> Array:
    readers = graph.consumers(layer.output)
    if len(readers) != 1 or not isinstance(readers[0].op, ir.BatchNorm):
        return np.ones(count)
    norm, op = readers[0], readers[0].op
    variance, gamma = graph.param(norm, "running_var"), graph.param(norm, "weight")
    assert variance is not None
    scale = np.ones(count) if gamma is None else np.abs(gamma.astype(np.float64))
    return scale / np.sqrt(variance.astype(np.float64) + op.eps)


def _gradient_rows(
    deps: Dependencies, model: nn.Module, data: Iterable[Any], loss: Loss | None
) -> Iterator[tuple[str, Array]]:
    model = copy.deepcopy(model).eval()
    parameters = dict(model.named_parameters(remove_duplicate=False))
    weights = {p: parameters[p].requires_grad_() for p in layers_of(deps.graph) if p in parameters}
    totals = {param: np.zeros(len(weight)) for param, weight in weights.items()}
    for pictures, labels in labelled(model, data):
        model.zero_grad()
        value = (loss or _cross_entropy)(model(*pictures), labels)
        value.backward()  # type: ignore[no-untyped-call]
        for param, weight in weights.items():
            if weight.grad is not None:
                product = (weight.detach() * weight.grad).flatten(1).sum(1)
                totals[param] += product.square().double().cpu().numpy()
    yield from totals.items()


def _cross_entropy(outputs: Any, labels: Any) -> Tensor:
    if isinstance(outputs, (list, tuple)):
        return torch.stack([_cross_entropy(logits, labels) for logits in outputs]).sum()
    return F.cross_entropy(outputs, labels)


def _read_magnitudes(
    deps: Dependencies, model: nn.Module, data: Iterable[Any]
) -> Iterator[tuple[npt.NDArray[np.int64], Array]]:
    layers = [n for n in deps.graph if isinstance(n.op, (ir.Conv2d, ir.Linear))]
    read = {node.inputs[0] for node in layers}
    totals: dict[str, Array] = {}

    def note(name: str, x: Tensor) -> Tensor:
        if name in read:
            sums = x.abs().flatten(2).mean(2).sum(0) if x.dim() > 2 else x.abs().sum(0)
            totals[name] = totals.get(name, 0.0) + sums.double().cpu().numpy()
        return x

    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    executor = TorchExecutor(deps.graph).to(device)
    with torch.no_grad():
        for pictures in CalibrationData(data, model):
            executor.run([x.to(device) for x in pictures], on_value=note)
    for node in layers:
        weight = np.abs(deps.graph.params[node.params["weight"]].astype(np.float64))
        groups = node.op.groups if isinstance(node.op, ir.Conv2d) else 1
        # Of each group: outputs, inputs, taps.
        by_group = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)
        columns = by_group.sum((1, 3)).ravel()
        yield deps.values[node.inputs[0]], columns * totals[node.inputs[0]]
