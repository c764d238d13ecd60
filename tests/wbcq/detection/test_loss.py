"""The loss: complete IoU, which anchors learn what, and that it leads to the boxes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from wbcq.detection.boxes import iou, nms
from wbcq.detection.decode import decode
from wbcq.detection.loss import LossConfig, complete_iou, detection_loss

ANCHORS = (((60.0, 60.0), (90.0, 50.0)), ((20.0, 20.0), (12.0, 30.0)))
STRIDES = (32, 16)


def heads(classes: int = 3, size: int = 128) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(
            2, 2 * (5 + classes), size // s, size // s, generator=generator
        ).requires_grad_()
        for s in STRIDES
    ]


numbers = st.floats(-50, 50, width=32)
sides = st.floats(1, 60, width=32)


@given(x=numbers, y=numbers, w=sides, h=sides, other=st.tuples(numbers, numbers, sides, sides))
def test_complete_iou_is_its_definition(
    x: float, y: float, w: float, h: float, other: tuple[float, float, float, float]
) -> None:
    u, v, p, q = other
    first, second = (x, y, x + w, y + h), (u, v, u + p, v + q)
    ours = complete_iou(torch.tensor([first]), torch.tensor([second])).item()
    overlap = iou(np.array([first], np.float32), np.array([second], np.float32)).item()
    middle = ((first[0] + first[2] - second[0] - second[2]) / 2) ** 2
    middle += ((first[1] + first[3] - second[1] - second[3]) / 2) ** 2
    hull = (max(first[2], second[2]) - min(first[0], second[0])) ** 2
    hull += (max(first[3], second[3]) - min(first[1], second[1])) ** 2
    shape = 4 / math.pi**2 * (math.atan(w / h) - math.atan(p / q)) ** 2
    weight = shape / (1 - overlap + shape + 1e-7)
    assert ours == pytest.approx(overlap - middle / hull - weight * shape, abs=1e-4)


def test_nothing_to_find_leaves_objectness_alone() -> None:
    given_heads = heads()
    boxes, labels = [torch.empty(0, 4)] * 2, [torch.empty(0, dtype=torch.int64)] * 2
    parts = detection_loss(given_heads, boxes, labels, ANCHORS, STRIDES)
    assert parts.box == parts.classes == 0
    parts.total.backward()
    for head in given_heads:
        grid = head.grad.view(2, 2, 8, *head.shape[2:])
        assert (grid[:, :, 4] > 0).all()  # every objectness falls
        assert not grid[:, :, :4].any()
        assert not grid[:, :, 5:].any()


def test_the_anchor_of_the_shape_learns_in_the_cell_of_the_middle() -> None:
    given_heads = heads()
    boxes = [torch.tensor([[40.0, 50.0, 60.0, 70.0]]), torch.empty(0, 4)]
    labels = [torch.tensor([2]), torch.empty(0, dtype=torch.int64)]
    config = LossConfig(similar=0.9, ignore=1.0)
    detection_loss(given_heads, boxes, labels, ANCHORS, STRIDES, config).total.backward()
    coarse, fine = (head.grad.view(2, 2, 8, *head.shape[2:]) for head in given_heads)
    assert not coarse[:, :, :4].any()  # 60x60 is no anchor for 20x20
    touched = torch.nonzero(fine[:, :, :4].abs().sum(2))
    assert touched.tolist() == [
        [0, 0, 3, 3]
    ]  # picture 0, anchor 20x20, row 60 // 16, column 50 // 16
    assert fine[0, 0, 4, 3, 3] < 0  # objectness rises
    assert fine[0, 0, 7, 3, 3] < 0  # and class 2
    assert fine[0, 0, 5, 3, 3] > 0


def test_a_prediction_on_a_cell_is_not_punished() -> None:
    boxes, labels = [torch.tensor([[44.0, 44.0, 68.0, 68.0]])], [torch.tensor([0])]
    fine = torch.zeros(1, 16, 8, 8)
    # The other anchor predicts the cell's box.
    grid = fine.view(1, 2, 8, 8, 8)
    grid[0, 1, :4, 3, 3] = torch.tensor([0.0, 0.0, math.log(24 / 12), math.log(24 / 30)])
    for ignore, punished in ((1.0, True), (0.5, False)):
        given_heads = [torch.zeros(1, 16, 4, 4), fine.clone().requires_grad_()]
        config = LossConfig(ignore=ignore, similar=0.9)
        detection_loss(given_heads, boxes, labels, ANCHORS, STRIDES, config).total.backward()
        gradient = given_heads[1].grad.view(1, 2, 8, 8, 8)[0, 1, 4, 3, 3]
        assert bool(gradient > 0) is punished


def test_descending_it_ends_at_the_boxes_that_decoding_gives() -> None:
    given_heads = heads()
    boxes = [
        torch.tensor([[10.0, 12.0, 70.0, 68.0], [90.0, 90.0, 112.0, 109.0]]),
        torch.tensor([[30.0, 40.0, 44.0, 72.0]]),
    ]
    labels = [torch.tensor([1, 0]), torch.tensor([2])]
    optimizer = torch.optim.Adam(given_heads, lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        detection_loss(given_heads, boxes, labels, ANCHORS, STRIDES).total.backward()
        optimizer.step()
    found = decode([head.detach().numpy() for head in given_heads], ANCHORS, STRIDES, 0.5)
    for guess, box, label in zip(found, boxes, labels, strict=True):
        kept = nms(guess)
        assert len(kept) == len(box)
        overlaps = iou(box.numpy(), kept.boxes)
        assert (overlaps.max(axis=1) > 0.95).all()
        np.testing.assert_array_equal(kept.classes[overlaps.argmax(axis=1)], label.numpy())
