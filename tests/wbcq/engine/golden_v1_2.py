"""The program of ``tests/data/golden_v1_2.wbcq`` and an input for it: what version 1.2 added.

Run as a module (``python -m tests.wbcq.engine.golden_v1_2``), it wrote the golden file; it is never
changed.
"""

import numpy as np

from tests.wbcq.engine.golden import DATA, METADATA, integers
from tests.wbcq.engine.golden_wide import floats, table
from wbcq.engine.exact import ExactExecutor
from wbcq.engine.program import (
    ADAPTIVE,
    BATCH,
    AvgPool2d,
    Dequantize,
    Io,
    MaxPool2d,
    Normalize,
    Program,
    Quantize,
    Rearrange,
    Tensor,
)
from wbcq.engine.program_file import write_program

EXACT_OUTPUTS = ("averages", "blocks")
"""Computed on u8 alone; the third output is close to what a float network gives."""


def _tensors():
    return [
        Tensor("picture", "f32", 7, 6, 8),
        Tensor("q", "u8", 7, 6, 8, 0.02, 120),
        Tensor("largest", "u8", 3, 4, 8, 0.02, 120),
        Tensor("means", "u8", 2, 5, 8, 0.015, 100),
        Tensor("averages", "f32", 2, 5, 8),
        Tensor("space", "u8", 6, 8, 2, 0.02, 120),
        Tensor("blocks", "f32", 6, 8, 2),
        Tensor("island", "f32", 3, 4, 8),
        Tensor("layer", "f32", 3, 4, 8),
        Tensor("group", "f32", 3, 4, 8),
        Tensor("turned", "f32", 4, 3, 8),
        Tensor("peaks", "f32", 5, 2, 8),
        Tensor("normal", "f32", 3, 3, 8),
    ]


def _ops():
    return (
        Quantize("quantize", "picture", "q"),
        MaxPool2d("largest", "q", "largest", ADAPTIVE, ADAPTIVE),
        AvgPool2d(
            "means",
            "q",
            "means",
            ADAPTIVE,
            ADAPTIVE,
            lo=100,
            table=table(1),
            pre_scale=0.0175,
            pre_zero_point=90,
        ),
        Dequantize("dequantize.averages", "means", "averages"),
        # Depth to space: four blocks of two channels, the last column of blocks first.
        Rearrange("space", "largest", "space", (3, 2, 4, 4), (32, 4, -8, 1), 24),
        Dequantize("dequantize.blocks", "space", "blocks"),
        Dequantize("dequantize.island", "largest", "island"),
        Normalize("layer", "island", "layer", floats((8,), 2), floats((8,), 3), eps=0.25),
        Normalize("group", "layer", "group", floats((8,), 4), floats((8,), 5), 2, 0.125),
        Rearrange("turned", "group", "turned", (4, 3, 8), (8, 32, 1)),
        MaxPool2d("peaks", "turned", "peaks", ADAPTIVE, ADAPTIVE),
        AvgPool2d("normal", "peaks", "normal", ADAPTIVE, ADAPTIVE, act_lo=-1.0),
    )


def golden_program():
    """Adaptive pools, rearrangements and normalizations of both kinds."""
    return Program(
        tensors={tensor.name: tensor for tensor in _tensors()},
        ops=_ops(),
        inputs=(Io("picture", (BATCH, 8, 7, 6)),),
        outputs=(
            Io("averages", (BATCH, 8, 2, 5)),
            Io("blocks", (BATCH, 2, 6, 8)),
            Io("normal", (BATCH, 8, 9)),
        ),
        metadata=METADATA,
    )


def golden_inputs():
    """A batch of two, with values beyond the quantized range."""
    return [(integers((2, 8, 7, 6), -300, 300, 20) / np.float32(100)).astype(np.float32)]


if __name__ == "__main__":
    write_program(golden_program(), DATA / "golden_v1_2.wbcq")
    outputs = ExactExecutor(golden_program()).run(*golden_inputs())
    arrays = {f"input{i}": array for i, array in enumerate(golden_inputs())}
    arrays |= {f"output{i}": array for i, array in enumerate(outputs)}
    np.savez(DATA / "golden_v1_2.npz", **arrays)
