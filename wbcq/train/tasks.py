"""What classifiers take and give: one picture and logits, or several pictures and as many heads.

A network of several pictures and heads (multi-input, multi-output; see
:mod:`wbcq.models.mm_mimo`) learns from independently shuffled streams, each head the labels of its
own. In use all pictures show one cell, and the heads' probabilities are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from wbcq.engine.model import QuantizedModel
from wbcq.quant.qat import QatModule

__all__ = ["class_scores", "inputs_of", "interface", "stream_orders", "streams_loss"]

Criterion: TypeAlias = Callable[[Tensor, Tensor, "Tensor | None"], Tensor]
"""Logits, labels and a teacher's logits (or None) to a loss."""


def interface(model: Any) -> tuple[int, int]:
    """How many pictures of a cell a model takes, and how many heads answer.

    Args:
        model: A module, what ``wbcq.prepare_qat`` or ``wbcq.quantize`` makes of one, or any
            callable, which is taken to map one picture to logits.

    Example:
        >>> from wbcq import models
        >>> interface(models.create("mm_mimo3")), interface(models.create("resnet18"))
        ((4, 4), (1, 1))
    """
    if isinstance(model, QuantizedModel):
        return len(model.input_shapes), len(model.output_shapes)
    if isinstance(model, QatModule):
        graph = model.executor.graph
        return len(graph.inputs), len(graph.outputs)
    if hasattr(model, "training_loss") and hasattr(model, "MODALITIES"):
        return len(model.MODALITIES), len(model.MODALITIES)
    return 1, 1


def inputs_of(model: Any, pixels: Tensor) -> tuple[Tensor, ...]:
    """The arguments with which a model is called on a batch.

    Args:
        model: See :func:`interface`.
        pixels: [N, C, H, W]; the channels of several pictures follow one another.

    Raises:
        ValueError: The channels are no whole number of pictures.

    Example:
        >>> from wbcq import models
        >>> views = inputs_of(models.create("mm_mimo3"), torch.rand(2, 12, 32, 32))
        >>> len(views), tuple(views[3].shape)
        (4, (2, 3, 32, 32))
    """
    pictures, _ = interface(model)
    channels = pixels.shape[1]
    if channels % pictures:
        raise ValueError(
            f"{channels} channels cannot be dealt to the model's {pictures} pictures; load "
            "modality all for a multi-modal network"
        )
    return tuple(torch.split(pixels, channels // pictures, dim=1))


def class_scores(outputs: Any) -> Tensor:
    """One row of scores per picture whose softmax is the answer's probabilities.

    Args:
        outputs: Logits [N, classes]; of several heads a sequence of them, whose probabilities are
            averaged.

    Example:
        >>> heads = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 100.0]])
        >>> class_scores(heads).softmax(dim=1)
        tensor([[0.2500, 0.7500]])
    """
    if not isinstance(outputs, (tuple, list)):
        return torch.as_tensor(outputs).float()
    heads = torch.stack([torch.as_tensor(logits).float() for logits in outputs])
    # The logarithm of the mean of softmaxes, which no probability of 0 makes infinite.
    return heads.log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(heads))


def stream_orders(
    model: Any, count: int, generator: torch.Generator, repetition: float = 0.0
) -> list[Tensor | None]:
    """For each picture that a model takes the order of its stream in a batch; None: as it is.

    Args:
        model: See :func:`interface`.
        count: Cells in the batch.
        generator: Draws the orders.
        repetition: Probability with which a cell is at the same place in all streams.
    """
    pictures, heads = interface(model)
    if heads == 1:
        return [None] * pictures
    mixed = torch.arange(count)
    if repetition > 0:
        mixed = mixed[torch.rand(count, generator=generator) >= repetition]
    orders: list[Tensor | None] = []
    for _ in range(pictures):
        order = torch.arange(count)
        order[mixed] = mixed[torch.randperm(len(mixed), generator=generator)]
        orders.append(order)
    return orders


def streams_loss(
    call: Callable[..., Any],
    inputs: Sequence[Tensor],
    labels: Tensor,
    orders: Sequence[Tensor | None],
    criterion: Criterion,
    taught: Tensor | None = None,
) -> Tensor:
    """The sum of the heads' losses on streams in the given orders.

    Args:
        call: Maps pictures to logits, or to one of these per head.
        inputs: One batch per picture that the model takes.
        labels: int64 [N], of the cells as they are in ``inputs``.
        orders: See :func:`stream_orders`.
        criterion: Of one head.
        taught: A teacher's logits of the cells, or None.
    """
    moved = [None if order is None else order.to(labels.device) for order in orders]
    outputs = call(*(_ordered(x, order) for x, order in zip(inputs, moved, strict=True)))
    heads = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
    losses = [
        criterion(
            logits.float(),
            _ordered(labels, order),
            None if taught is None else _ordered(taught, order),
        )
        for logits, order in zip(heads, moved[: len(heads)], strict=True)
    ]
    return losses[0] if len(losses) == 1 else torch.stack(losses).sum()


def _ordered(rows: Tensor, order: Tensor | None) -> Tensor:
    return rows if order is None else rows[order]
