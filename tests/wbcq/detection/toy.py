"""A detector that needs no training: it finds discs of pure colours on a white ground."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import wbcq
from wbcq.engine.program_file import program_bytes

SIDE = 32
"""Of a cell of its grid; a disc is found where it lies in one cell's middle."""

COLOURS = {
    "basophil": (200, 0, 0),
    "lymphocyte": (0, 0, 200),
    "neutrophil": (0, 200, 0),
}


def spot_model(size: int = 128, record: dict[str, Any] | None = None) -> wbcq.QuantizedModel:
    """One head of stride 32; a disc's class is its colour."""
    conv = torch.nn.Conv2d(3, 5 + len(COLOURS), SIDE, stride=SIDE)
    with torch.no_grad():
        conv.weight.zero_()
        conv.bias.zero_()
        share = 1 / SIDE**2
        conv.weight[4] = -60 * share  # darker than white: mean over three channels of 1
        conv.bias[4] = 3 * 60 - 20
        for index, colour in enumerate(COLOURS.values()):
            for channel in range(3):
                conv.weight[5 + index, channel] = (20 if colour[channel] else -20) * share
            conv.bias[5 + index] = 23
    pictures = [torch.from_numpy(field(size, size, seed=seed)[0]) for seed in range(4)]
    batch = torch.stack(pictures).permute(0, 3, 1, 2).float() / 255
    model = wbcq.quantize(conv.eval(), [batch], progress=False)
    detector = {
        "classes": list(COLOURS),
        "anchors": [[[20, 20]]],
        "strides": [SIDE],
        "size": size,
        **(record or {}),
    }
    metadata = {**model.metadata, "detector": detector}
    return wbcq.QuantizedModel(program_bytes(dataclasses.replace(model.program, metadata=metadata)))


def field(
    height: int, width: int, *, seed: int = 0, share: float = 0.4
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """A picture uint8 [H, W, 3], its discs' boxes float32 [N, 4] and classes int64 [N]."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 255, np.uint8)
    y, x = np.mgrid[:height, :width] + 0.5
    boxes, classes = [], []
    for top in range(0, height - SIDE + 1, SIDE):
        for left in range(0, width - SIDE + 1, SIDE):
            if rng.random() >= share:
                continue
            label = int(rng.integers(len(COLOURS)))
            cy, cx = top + SIDE / 2, left + SIDE / 2
            picture[(x - cx) ** 2 + (y - cy) ** 2 < 100] = list(COLOURS.values())[label]
            boxes.append((cx - 10, cy - 10, cx + 10, cy + 10))
            classes.append(label)
    return picture, np.array(boxes, np.float32).reshape(-1, 4), np.array(classes, np.int64)
