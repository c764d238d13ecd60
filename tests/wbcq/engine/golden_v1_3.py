"""The program of ``tests/data/golden_v1_3.wbcq`` and an input for it: what version 1.3 added.

Run as a module (``python -m tests.wbcq.engine.golden_v1_3``), it wrote the golden file; it is never
changed.
"""

import numpy as np

from tests.wbcq.engine.golden import DATA, METADATA, biases, integers, weights
from tests.wbcq.engine.golden_wide import floats
from wbcq.engine.exact import ExactExecutor
from wbcq.engine.program import BATCH, Conv2d, Dequantize, Io, Program, Quantize, Tensor
from wbcq.engine.program_file import write_program

EXACT_OUTPUTS = ("logits", "features")
"""Computed on u8 alone; the third output is close to what a float network gives."""

STORED = {"first": 1, "several": 4, "empty": 4, "island": 4, "last": 1, "dense": 0}
"""Elements of a block of each convolution's weights."""


def _pruned(array, block, period):
    """Keeps one of `period` blocks of the last dimension."""
    blocks = -(-array.shape[-1] // block)
    count = array.size // array.shape[-1] * blocks
    keep = (np.arange(count) % period == 0).reshape(*array.shape[:-1], blocks)
    keep = np.repeat(keep, block, axis=-1)[..., : array.shape[-1]]
    return np.where(keep, array, array.dtype.type(0))


def _tensors():
    return [
        Tensor("picture", "f32", 6, 5, 8),
        Tensor("q", "u8", 6, 5, 8, 0.02, 120),
        Tensor("a", "u8", 6, 5, 9, 0.03125, 3),
        Tensor("b", "u8", 6, 5, 12, 0.0078125, 0),
        Tensor("logits", "f32", 6, 5, 8),
        Tensor("e", "u8", 6, 5, 12, 0.0078125, 7),
        Tensor("features", "f32", 6, 5, 12),
        Tensor("island", "f32", 6, 5, 12),
        Tensor("c", "f32", 6, 5, 6),
        Tensor("d", "f32", 6, 5, 5),
    ]


def _scales(count):
    return (np.arange(1, count + 1) / np.float32(2048)).astype(np.float32)


def _ops():
    pads = (1, 1, 1, 1)
    return (
        Quantize("quantize", "picture", "q"),
        # Single zeros.
        Conv2d(
            "first",
            "q",
            "a",
            weight=_pruned(weights((9, 3, 3, 8), 1), 1, 3),
            bias=biases(9, 2),
            weight_scale=_scales(9),
            pads=pads,
        ),
        # Blocks of zeros in rows of 17, of several inputs.
        Conv2d(
            "several",
            ("a", "q"),
            "b",
            weight=_pruned(weights((12, 1, 1, 17), 3), 4, 4),
            bias=biases(12, 4),
            weight_scale=_scales(12),
        ),
        Conv2d(
            "empty",
            "b",
            "logits",
            weight=np.zeros((8, 1, 1, 12), np.int8),
            bias=floats((8,), 5),
            weight_scale=_scales(8),
        ),
        Conv2d(
            "dense",
            "b",
            "e",
            weight=weights((12, 1, 1, 12), 6),
            bias=biases(12, 7),
            weight_scale=_scales(12),
            residual="b",
        ),
        Dequantize("dequantize.features", "e", "features"),
        Dequantize("dequantize.island", "b", "island"),
        Conv2d(
            "island",
            "island",
            "c",
            weight=_pruned(floats((6, 1, 1, 12), 8), 4, 2),
            bias=floats((6,), 9),
            weight_scale=None,
        ),
        Conv2d(
            "last",
            "c",
            "d",
            weight=_pruned(floats((5, 3, 3, 6), 10), 1, 5),
            bias=floats((5,), 11),
            weight_scale=None,
            pads=pads,
        ),
    )


def golden_program():
    """Sparse weights of both dtypes and sizes of blocks."""
    return Program(
        tensors={tensor.name: tensor for tensor in _tensors()},
        ops=_ops(),
        inputs=(Io("picture", (BATCH, 8, 6, 5)),),
        outputs=(
            Io("logits", (BATCH, 8, 6, 5)),
            Io("features", (BATCH, 12, 6, 5)),
            Io("d", (BATCH, 5, 6, 5)),
        ),
        metadata=METADATA,
    )


def golden_inputs():
    """A batch of two, with values beyond the quantized range."""
    return [(integers((2, 8, 6, 5), -300, 300, 20) / np.float32(100)).astype(np.float32)]


if __name__ == "__main__":
    write_program(golden_program(), DATA / "golden_v1_3.wbcq")
    outputs = ExactExecutor(golden_program()).run(*golden_inputs())
    arrays = {f"input{i}": array for i, array in enumerate(golden_inputs())}
    arrays |= {f"output{i}": array for i, array in enumerate(outputs)}
    np.savez(DATA / "golden_v1_3.npz", **arrays)
