"""How much each weight matters.

``"l1"`` and ``"l2"`` look at the weights alone: |w| and w squared, the same order but for blocks.
``"taylor"`` is the squared change of the loss to first order when a weight becomes zero, the mean
over batches of (g w) squared (Molchanov et al. 2019, "Importance Estimation for Neural Network
Pruning", equation 8). ``"activation"`` is |w| times the root mean square of the input channel that
it reads (Sun et al. 2023, "A Simple and Effective Pruning Approach for Large Language Models").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wbcq.errors import PruningError
from wbcq.pruning.layers import weight_of
from wbcq.quant.calibration_data import CalibrationData

__all__ = ["SCORES", "Loss", "labelled", "weight_scores"]

Loss = Callable[[Any, Any], Tensor]
"""Maps what the model returned and what the batch says of it to a scalar."""

SCORES = ("l1", "l2", "taylor", "activation")


def weight_scores(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    score: str,
    data: Iterable[Any] | None = None,
    loss: Loss | None = None,
) -> dict[str, Tensor]:
    """Scores of the weights of layers, not negative, in each weight's shape.

    Args:
        model: Which the layers belong to; it is left as it was.
        layers: By name.
        score: One of :data:`SCORES`.
        data: Batches for the last two, as for :func:`wbcq.quantize`; for ``"taylor"`` what is to be
            learned comes last in each, or under ``"label"`` in a dict.
        loss: For ``"taylor"``; cross-entropy if None.

    Raises:
        PruningError: An unknown score, data that are missing, or a score that is not finite.
        CalibrationError: The data are unusable.
    """
    if score not in SCORES:
        raise PruningError(f"score is {score!r}; use one of {', '.join(SCORES)}")
    if score in ("l1", "l2"):
        power = 1 if score == "l1" else 2
        found = {name: weight_of(layer).abs() ** power for name, layer in layers.items()}
    elif data is None:
        raise PruningError(f"score {score!r} needs data. Remedy: pass data=loader, or score='l1'")
    else:
        with _evaluating(model):
            if score == "taylor":
                found = _taylor(model, layers, data, loss or F.cross_entropy)
            else:
                found = _activation(model, layers, data)
    for name, values in found.items():
        if not torch.isfinite(values).all():
            raise PruningError(
                f"score {score!r} of layer {name!r} is not finite. Remedy: look for NaN or "
                "infinity in its weights and in the data"
            )
    return found


def _taylor(
    model: nn.Module, layers: Mapping[str, nn.Module], data: Iterable[Any], loss: Loss
) -> dict[str, Tensor]:
    parameters = {}
    for name, layer in layers.items():
        parameter = layer._parameters["weight"]
        assert parameter is not None
        parameters[name] = parameter
    totals = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    count = 0
    for inputs, target in labelled(model, data):
        with torch.enable_grad():
            value = loss(model(*inputs), target)
            gradients = torch.autograd.grad(
                value, list(parameters.values()), allow_unused=True, materialize_grads=True
            )
        for name, gradient in zip(parameters, gradients, strict=True):
            totals[name] += (gradient * weight_of(layers[name])) ** 2
        count += 1
    return {name: total / count for name, total in totals.items()}


def labelled(model: nn.Module, data: Iterable[Any]) -> Iterator[tuple[tuple[Tensor, ...], Any]]:
    """Inputs of a model and what the batch says of them, on the model's device."""
    home = next((p.device for p in model.parameters()), torch.device("cpu"))
    batches: list[Any] = []

    def kept() -> Iterator[Any]:
        for batch in data:
            batches.append(batch)
            yield batch

    for inputs in CalibrationData(kept(), model):
        target = _target(batches.pop(0), len(inputs))
        yield (
            tuple(x.to(home) for x in inputs),
            torch.as_tensor(target).to(home) if not isinstance(target, (tuple, list)) else target,
        )


def _target(batch: Any, inputs: int) -> Any:
    if isinstance(batch, Mapping):
        for key in ("label", "labels", "target", "targets"):
            if key in batch:
                return batch[key]
    elif isinstance(batch, (tuple, list)) and len(batch) > (
        1 if isinstance(batch[0], (tuple, list, Mapping)) else inputs
    ):
        return batch[-1]
    raise PruningError(
        "score 'taylor' needs batches with labels. Remedy: give (pictures, labels), or dicts with "
        "'label'"
    )


def _activation(
    model: nn.Module, layers: Mapping[str, nn.Module], data: Iterable[Any]
) -> dict[str, Tensor]:
    squares: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    home = next((p.device for p in model.parameters()), torch.device("cpu"))

    def watch(name: str, layer: nn.Module) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].detach().double()
            axis = x.dim() - 1 if isinstance(layer, nn.Linear) else 1
            others = [i for i in range(x.dim()) if i != axis]
            squares[name] = squares.get(name, 0) + (x * x).sum(dim=others)
            counts[name] = counts.get(name, 0) + x.numel() // x.shape[axis]

        return layer.register_forward_pre_hook(hook)

    hooks = [watch(name, layer) for name, layer in layers.items()]
    try:
        with torch.no_grad():
            for inputs in CalibrationData(data, model):
                model(*(x.to(home) for x in inputs))
    finally:
        for hook in hooks:
            hook.remove()
    found = {}
    for name, layer in layers.items():
        weight = weight_of(layer)
        if name not in squares:
            raise PruningError(
                f"layer {name!r} did not run on the data. Remedy: skip it, or use score 'l1'"
            )
        rms = (squares[name] / counts[name]).sqrt().to(weight.dtype)
        # Row o of a grouped convolution reads the channels of group o // (O / groups).
        per_group = rms.reshape(int(getattr(layer, "groups", 1)), 1, -1)
        read = per_group.expand(-1, weight.shape[0] // len(per_group), -1).flatten(0, 1)
        found[name] = weight.abs() * read.reshape(*weight.shape[:2], *[1] * (weight.dim() - 2))
    return found


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
