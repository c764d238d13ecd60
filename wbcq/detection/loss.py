"""The loss of YOLOv3 with complete IoU for boxes.

As in Redmon and Farhadi, "YOLOv3", 2018: logistic objectness and classes, anchors that overlap a
cell well but not best are not told that there is nothing. Unlike there, boxes learn by complete IoU
(Zheng et al. 2020, "Distance-IoU loss") instead of squared differences, every anchor of similar
shape learns a cell, not the best alone, and sums are divided by the number of such pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from wbcq.detection.anchors import HeadAnchors

__all__ = ["LossConfig", "Parts", "complete_iou", "detection_loss"]

_WIDEST = 4.0
"""Of a size's logarithm, so that exp cannot overflow at the start of a training."""


@dataclass(frozen=True)
class LossConfig:
    """Weights and thresholds.

    Attributes:
        box, objectness, classes: Weights of the parts.
        similar: IoU of sizes from which an anchor learns a cell; the best one always does.
        ignore: IoU of a predicted box with a cell from which it need not say that it is none.
        smoothing: Of class labels: the truth is 1 - smoothing, the others smoothing / classes.
    """

    box: float = 4.0
    objectness: float = 1.0
    classes: float = 1.0
    similar: float = 0.45
    ignore: float = 0.6
    smoothing: float = 0.02


@dataclass(frozen=True)
class Parts:
    """The loss and what it is made of, scalars."""

    total: Tensor
    box: float
    objectness: float
    classes: float


def complete_iou(first: Tensor, second: Tensor) -> Tensor:
    """Complete IoU of pairs of boxes x1 y1 x2 y2, [N] of [N, 4] and [N, 4]; at most 1.

    Example:
        >>> box = torch.tensor([[0.0, 0.0, 4.0, 2.0]])
        >>> round(complete_iou(box, box).item(), 4), complete_iou(box, box + 8).item() < 0
        (1.0, True)
    """
    low, high = torch.maximum(first, second), torch.minimum(first, second)
    sides = (high[:, 2:] - low[:, :2]).clamp(min=0)
    common = sides[:, 0] * sides[:, 1]
    size1, size2 = first[:, 2:] - first[:, :2], second[:, 2:] - second[:, :2]
    union = size1.prod(1) + size2.prod(1) - common + 1e-7
    iou = common / union
    hull = low[:, 2:] - high[:, :2]
    diagonal = hull.square().sum(1) + 1e-7
    apart = (first[:, :2] + first[:, 2:] - second[:, :2] - second[:, 2:]).square().sum(1) / 4
    angle = torch.atan2(size1[:, 0], size1[:, 1]) - torch.atan2(size2[:, 0], size2[:, 1])
    shape = 4 / math.pi**2 * angle.square()
    with torch.no_grad():
        weight = shape / (1 - iou + shape + 1e-7)
    return iou - apart / diagonal - weight * shape


def detection_loss(
    heads: Sequence[Tensor],
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    anchors: HeadAnchors,
    strides: Sequence[int],
    config: LossConfig | None = None,
) -> Parts:
    """The loss of a batch, divided by the number of anchors that learn a cell.

    Args:
        heads: For each stride float32 [N, A * (5 + C), H, W], raw.
        boxes: For each of N pictures float32 [M, 4], x1 y1 x2 y2 in pixels.
        labels: For each picture int64 [M].
        anchors: For each head A widths and heights in pixels.
        strides: For each head pixels of a cell of its grid.
        config: Weights; the defaults if None.
    """
    config = config or LossConfig()
    heads = [head.float() for head in heads]
    zero = heads[0].sum() * 0
    box_sum, class_sum, objectness_sum = zero, zero, zero
    matches = 0
    cells = _Cells.of(boxes, labels, heads[0].device)
    best = _shapes(cells, anchors)
    for index, (head, sizes, stride) in enumerate(zip(heads, anchors, strides, strict=True)):
        count, channels, height, width = head.shape
        values = head.view(count, len(sizes), channels // len(sizes), height, width)
        values = values.permute(0, 1, 3, 4, 2)
        scaled = torch.tensor(sizes, device=head.device)
        decoded = _decoded(values, scaled, stride)
        target = torch.zeros(values.shape[:4], device=head.device)
        ignored = _ignored(decoded.detach(), cells, config.ignore)
        cell, anchor = torch.nonzero(best.learns(index, config.similar), as_tuple=True)
        if len(cell):
            middle = (cells.boxes[cell, :2] + cells.boxes[cell, 2:]) / (2 * stride)
            column = middle[:, 0].long().clamp(0, width - 1)
            row = middle[:, 1].long().clamp(0, height - 1)
            place = cells.picture[cell], anchor, row, column
            overlap = complete_iou(decoded[place], cells.boxes[cell])
            box_sum = box_sum + (1 - overlap).sum()
            truth = F.one_hot(cells.labels[cell], channels // len(sizes) - 5).float()
            truth = truth * (1 - config.smoothing) + config.smoothing / truth.shape[1]
            class_sum = class_sum + F.binary_cross_entropy_with_logits(
                values[place][:, 5:], truth, reduction="sum"
            )
            target[place] = 1.0
            ignored[place] = False
            matches += len(cell)
        each = F.binary_cross_entropy_with_logits(values[..., 4], target, reduction="none")
        objectness_sum = objectness_sum + each.masked_fill(ignored, 0).sum()
    share = 1 / max(matches, len(boxes))
    total = (
        config.box * box_sum + config.objectness * objectness_sum + config.classes * class_sum
    ) * share
    told = (float(part.detach()) * share for part in (box_sum, objectness_sum, class_sum))
    return Parts(total, *told)


@dataclass(frozen=True)
class _Cells:
    """All cells of a batch: boxes [M, 4], labels [M], and the picture of each [M]."""

    boxes: Tensor
    labels: Tensor
    picture: Tensor

    @staticmethod
    def of(boxes: Sequence[Tensor], labels: Sequence[Tensor], device: torch.device) -> _Cells:
        picture = [torch.full((len(found),), k) for k, found in enumerate(boxes)]
        joined = (torch.cat(list(parts)).to(device) for parts in (boxes, labels, picture))
        return _Cells(*joined)


@dataclass(frozen=True)
class _Shapes:
    """How alike cells and anchors are: IoU of sizes [M, A] for each head."""

    heads: list[Tensor]
    best: Tensor

    def learns(self, head: int, similar: float) -> Tensor:
        """Bool [M, A]: which anchors of a head learn which cells."""
        alike = self.heads[head]
        return (alike >= similar) | (alike >= self.best[:, None])


def _shapes(cells: _Cells, anchors: HeadAnchors) -> _Shapes:
    size = cells.boxes[:, 2:] - cells.boxes[:, :2]
    heads = []
    for sizes in anchors:
        anchor = torch.tensor(sizes, device=size.device)
        common = torch.minimum(size[:, None], anchor[None]).prod(2)
        heads.append(common / (size.prod(1)[:, None] + anchor.prod(1)[None] - common))
    return _Shapes(heads, torch.cat(heads, dim=1).amax(1))


def _decoded(values: Tensor, sizes: Tensor, stride: int) -> Tensor:
    """Boxes [N, A, H, W, 4] in pixels, as :func:`wbcq.detection.decode.decode` makes them."""
    height, width = values.shape[2:4]
    rows = torch.arange(height, device=values.device)[:, None].expand(height, width)
    columns = torch.arange(width, device=values.device)[None].expand(height, width)
    middle = (values[..., :2].sigmoid() + torch.stack((columns, rows), dim=-1)) * stride
    half = sizes[None, :, None, None] * values[..., 2:4].clamp(max=_WIDEST).exp() / 2
    return torch.cat((middle - half, middle + half), dim=-1)


def _ignored(decoded: Tensor, cells: _Cells, threshold: float) -> Tensor:
    """Bool [N, A, H, W]: predictions that lie upon a cell."""
    mask = torch.zeros(decoded.shape[:4], dtype=torch.bool, device=decoded.device)
    area = (decoded[..., 2] - decoded[..., 0]) * (decoded[..., 3] - decoded[..., 1])
    for box, picture in zip(cells.boxes, cells.picture.tolist(), strict=True):
        found = decoded[picture]
        low, high = torch.maximum(found, box), torch.minimum(found, box)
        common = (high[..., 2] - low[..., 0]).clamp(min=0) * (high[..., 3] - low[..., 1]).clamp(
            min=0
        )
        own = (box[2] - box[0]) * (box[3] - box[1])
        mask[picture] |= common > threshold * (area[picture] + own - common)
    return mask
