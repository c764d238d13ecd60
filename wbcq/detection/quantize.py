"""From a trained detector to an INT8 model file that :class:`wbcq.detection.Detector` reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import wbcq
from wbcq.detection.augment import Loaded, TileConfig, Tiles
from wbcq.detection.evaluate import Layout
from wbcq.engine.program_file import program_bytes

__all__ = ["calibration_tiles", "quantize_detector", "with_metadata"]

_BATCH = 8


def calibration_tiles(
    train: Sequence[Loaded], size: int, count: int, *, seed: int = 0
) -> list[Tensor]:
    """Windows of training pictures as a network sees them later, not augmented.

    Args:
        train: The pictures.
        size: Of the network's input.
        count: Windows; half of them around cells of each class equally often.
        seed: Of the choice.

    Returns:
        Batches of float32 [8, 3, size, size] in 0..1.
    """
    config = TileConfig(size=size, zoom=(1.0, 1.0), mosaic=0.0, light=0.0, near=0.5)
    tiles = Tiles(train, config)
    rng = np.random.default_rng(seed)
    pictures = [tiles.draw(rng).picture for _ in range(max(count, 1))]
    batches = []
    for start in range(0, len(pictures), _BATCH):
        pixels = torch.from_numpy(np.stack(pictures[start : start + _BATCH]))
        batches.append(pixels.permute(0, 3, 1, 2).float().div(255).contiguous())
    return batches


def quantize_detector(
    model: nn.Module,
    batches: Sequence[Tensor],
    layout: Layout,
    *,
    weights: str = "per_channel",
    metadata: Mapping[str, Any] | None = None,
) -> wbcq.QuantizedModel:
    """An INT8 detector with the record in its metadata that a ``Detector`` reads.

    Heads stay float: the layers that end the network return what they sum up.
    """
    config = wbcq.QuantConfig(weights=weights, class_names=layout.classes)  # type: ignore[arg-type]
    quantized = wbcq.quantize(model, batches, config=config, progress=False)
    return with_metadata(quantized, {"detector": layout.to_metadata(), **(metadata or {})})


def with_metadata(model: wbcq.QuantizedModel, added: Mapping[str, Any]) -> wbcq.QuantizedModel:
    """The same network with more metadata."""
    merged = {**model.metadata, **added}
    return wbcq.QuantizedModel(program_bytes(dataclasses.replace(model.program, metadata=merged)))
