"""The program of ``tests/data/golden_v1_0.wbcq`` and an input for it.

It has everything that version 1.0 of the format has; ``golden_wide.py`` has what 1.1 added.
"""

from pathlib import Path

import numpy as np

from wbcq.engine.program import (
    BATCH,
    Add,
    AvgPool2d,
    Conv2d,
    Dequantize,
    Io,
    MaxPool2d,
    Program,
    Quantize,
    Tensor,
)

DATA = Path(__file__).resolve().parents[2] / "data"
METADATA = {"classes": ["Basophil", "Lymphozyt ä"], "mean": [0.5, 0.25], "nested": {"a": None}}


def integers(shape, low, high, seed):
    """Scattered integers in low..high that need no random generator."""
    count = int(np.prod(shape))
    values = (np.arange(count, dtype=np.uint64) * 2654435761 + seed * 40503) >> np.uint64(7)
    return (values % np.uint64(high - low + 1)).astype(np.int64).reshape(shape) + low


def weights(shape, seed):
    return integers(shape, -127, 127, seed).astype(np.int8)


def biases(count, seed):
    return integers((count,), -20000, 20000, seed).astype(np.int32)


def golden_program():
    """Every kind of operator, and every attribute with a value that is not its default."""
    tensors = [
        Tensor("picture", "f32", 11, 9, 3),
        Tensor("fluorescence", "f32", 11, 9, 1),
        Tensor("q0", "u8", 11, 9, 3, 0.02, 120),
        Tensor("q1", "u8", 11, 9, 1, 0.01, 0),
        Tensor("stem", "u8", 6, 4, 8, 0.0125, 0),
        Tensor("side", "u8", 6, 4, 8, 0.011, 131),
        Tensor("depthwise", "u8", 6, 4, 8, 0.0131, 7),
        Tensor("block", "u8", 6, 4, 8, 0.0215, 17),
        Tensor("sum", "u8", 6, 4, 8, 0.0272, 9),
        Tensor("max", "u8", 3, 3, 8, 0.0272, 9),
        Tensor("mean", "u8", 2, 2, 8, 0.0183, 3),
        Tensor("pooled", "u8", 1, 1, 8, 0.0217, 4),
        Tensor("logits", "f32", 1, 1, 5),
        Tensor("features", "f32", 3, 3, 8),
        Tensor("map", "f32", 2, 2, 8),
    ]
    per_channel = (0.002 + 0.0005 * np.arange(8)).astype(np.float32)
    ops = (
        Quantize("quantize.picture", "picture", "q0"),
        Quantize("quantize.fluorescence", "fluorescence", "q1"),
        Conv2d(
            "stem.conv",
            "q0",
            "stem",
            weights((8, 3, 2, 3), 1),
            biases(8, 2),
            per_channel,
            stride=(2, 2),
            pads=(1, 0, 2, 1),
            dilation=(1, 2),
            lo=0,
            hi=250,
        ),
        Conv2d(
            "side.conv",
            "q1",
            "side",
            weights((8, 3, 3, 1), 3),
            biases(8, 4),
            np.array([0.004], np.float32),
            stride=(2, 3),
            pads=(1, 1, 1, 2),
        ),
        Conv2d(
            "depthwise",
            "stem",
            "depthwise",
            weights((8, 3, 3, 1), 5),
            biases(8, 6),
            per_channel,
            pads=(1, 1, 1, 1),
            groups=8,
            lo=7,
        ),
        Conv2d(
            "block.conv",
            "depthwise",
            "block",
            weights((8, 1, 1, 4), 7),
            biases(8, 8),
            per_channel,
            groups=2,
            lo=17,
            residual="side",
        ),
        Add("add", "block", "stem", "sum", lo=9, hi=255),
        MaxPool2d("max_pool", "sum", "max", (2, 2), (2, 1), (0, 1, 0, 0), (1, 2)),
        AvgPool2d("avg_pool", "max", "mean", (2, 2), (2, 2), (0, 1, 0, 0), count_include_pad=True),
        AvgPool2d("global_pool", "mean", "pooled", (2, 2), (1, 1), divisor=3, lo=1, hi=254),
        Conv2d(
            "head",
            "pooled",
            "logits",
            weights((5, 1, 1, 8), 9),
            np.array([0.5, -1.25, 0.0, 3.0, 1e-3], np.float32),
            np.full(5, 0.003, np.float32),
        ),
        Dequantize("dequantize.features", "max", "features"),
        Dequantize("dequantize.map", "mean", "map"),
    )
    return Program(
        tensors={tensor.name: tensor for tensor in tensors},
        ops=ops,
        inputs=(Io("picture", (BATCH, 3, 11, 9)), Io("fluorescence", (BATCH, 1, 11, 9))),
        outputs=(
            Io("logits", (BATCH, 5)),
            Io("features", (BATCH, 8, 3, 3)),
            Io("map", (BATCH, 8, 4)),
        ),
        metadata=METADATA,
    )


def golden_inputs():
    """A batch of two, with values beyond the quantized range."""
    return [
        (integers((2, 3, 11, 9), -300, 300, 10) / np.float32(100)).astype(np.float32),
        (integers((2, 1, 11, 9), 0, 280, 11) / np.float32(100)).astype(np.float32),
    ]
