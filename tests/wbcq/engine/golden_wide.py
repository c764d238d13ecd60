"""The program of ``tests/data/golden_v1_1.wbcq`` and an input for it.

Run as a module (``python -m tests.wbcq.engine.golden_wide``), it wrote the golden file; it is never
changed.
"""

import numpy as np

from tests.wbcq.engine.golden import DATA, METADATA, biases, integers, weights
from wbcq.engine.exact import ExactExecutor
from wbcq.engine.program import (
    BATCH,
    Add,
    AvgPool2d,
    Binary,
    Conv2d,
    Dequantize,
    Io,
    Lookup,
    MaxPool2d,
    Mul,
    Pad,
    Program,
    Quantize,
    Resize,
    Softmax,
    Tensor,
    Unary,
)
from wbcq.engine.program_file import write_program

EXACT_OUTPUTS = ("map", "sliced")
"""Computed on u8 alone; the third output is close to what a float network gives."""


def table(seed):
    """A table that is no monotonic function."""
    return integers((256,), 0, 255, seed).astype(np.uint8)


def floats(shape, seed):
    return (integers(shape, -100, 100, seed) / 64).astype(np.float32)


def _tensors():
    stem = Tensor("q", "u8", 8, 6, 8, 0.02, 120)
    concat = Tensor("concat", "u8", 8, 6, 10, 0.05, 3)
    sums = Tensor("sums", "u8", 8, 6, 18, 0.03, 12)
    features = Tensor("features", "f32", 5, 6, 6)
    return [
        Tensor("picture", "f32", 8, 6, 8),
        stem,
        stem.view("left", 0, 3),
        stem.view("right", 3, 5),
        concat,
        concat.view("first", 0, 4),
        concat.view("second", 4, 6),
        Tensor("depthwise", "u8", 8, 6, 18, 0.05, 110),
        Tensor("squeezed", "u8", 1, 1, 18, 0.004, 0),
        Tensor("excited", "u8", 8, 6, 18, 0.03, 18),
        sums,
        sums.view("some", 2, 7),
        Tensor("looked_up", "u8", 8, 6, 7, 0.01, 77),
        Tensor("near", "u8", 12, 9, 7, 0.01, 77),
        Tensor("smooth", "u8", 5, 7, 7, 0.01, 77),
        Tensor("padded", "u8", 6, 10, 7, 0.01, 77),
        Tensor("dark", "u8", 7, 10, 7, 0.01, 77),
        Tensor("map", "f32", 7, 10, 7),
        Tensor("sliced", "f32", 8, 6, 7),
        Tensor("island", "f32", 8, 6, 7),
        features,
        features.view("even", 0, 2),
        features.view("odd", 2, 4),
        Tensor("activated", "f32", 5, 6, 6),
        Tensor("scaled", "f32", 5, 6, 6),
        Tensor("ratio", "f32", 5, 6, 6),
        Tensor("peaks", "f32", 3, 3, 6),
        Tensor("mean", "f32", 1, 1, 6),
        Tensor("shifted", "f32", 3, 3, 6),
        Tensor("gated", "f32", 3, 3, 6),
        Tensor("grown", "f32", 5, 7, 6),
        Tensor("framed", "f32", 7, 8, 6),
        Tensor("again", "u8", 7, 8, 6, 0.03, 99),
        Tensor("back", "f32", 7, 8, 6),
        Tensor("blended", "f32", 7, 8, 6),
        Tensor("probabilities", "f32", 7, 8, 6),
    ]


def _u8_ops():
    scales = (0.002 + 0.0001 * np.arange(18)).astype(np.float32)
    return (
        Quantize("quantize", "picture", "q"),
        Conv2d(
            "branch.first",
            "left",
            "first",
            weights((4, 1, 1, 3), 1),
            biases(4, 2),
            np.array([0.01], np.float32),
            lo=5,
            hi=250,
            table=table(3),
            pre_scale=0.0625,
            pre_zero_point=100,
        ),
        Conv2d(
            "branch.second",
            ("right", "left"),
            "second",
            weights((6, 3, 3, 8), 4),
            biases(6, 5),
            scales[:6],
            pads=(1, 1, 1, 1),
        ),
        Conv2d(
            "depthwise",
            ("concat", "q"),
            "depthwise",
            weights((18, 3, 3, 1), 6),
            biases(18, 7),
            scales,
            pads=(1, 1, 1, 1),
            groups=18,
        ),
        AvgPool2d(
            "squeeze",
            "depthwise",
            "squeezed",
            (8, 6),
            (1, 1),
            table=table(8),
            pre_scale=0.0625,
            pre_zero_point=128,
        ),
        Mul("excite", "depthwise", "squeezed", "excited", lo=7),
        Add(
            "subtract",
            "excited",
            "squeezed",
            "sums",
            subtract=True,
            table=table(9),
            pre_scale=0.046875,
            pre_zero_point=31,
        ),
        Lookup("look_up", "some", "looked_up", table(10)),
        Resize("near", "looked_up", "near"),
        Resize("smooth", "near", "smooth", "bilinear"),
        Pad("pad", "smooth", "padded", (1, 2, 0, 1)),
        Pad("dark", "padded", "dark", (0, 0, 1, 0), value=0),
        Dequantize("dequantize.map", "dark", "map"),
        Dequantize("dequantize.sliced", "some", "sliced"),
    )


def _f32_ops():
    return (
        Dequantize("dequantize.island", "looked_up", "island"),
        Conv2d(
            "island.even",
            "island",
            "even",
            floats((2, 4, 1, 7), 11),
            floats((2,), 12),
            None,
        ),
        Conv2d(
            "island.odd",
            ("island", "sliced"),
            "odd",
            floats((4, 4, 3, 14), 13),
            floats((4,), 14),
            None,
            pads=(0, 1, 0, 1),
            act_lo=-2.0,
            act_hi=2.5,
        ),
        Unary("activation", "features", "activated", "hardswish"),
        Unary("scale", "activated", "scaled", "affine", (0.5, 3.0)),
        Binary("ratio", "features", "scaled", "ratio", "maximum"),
        MaxPool2d("peaks", "ratio", "peaks", (3, 2), (1, 2)),
        AvgPool2d("mean", "peaks", "mean", (3, 3), (1, 1), act_lo=0.0),
        Add("shift", "peaks", "mean", "shifted", subtract=True, act_hi=4.0),
        Mul("gate", "shifted", "mean", "gated", act_lo=-1.0),
        Resize("grow", "gated", "grown", "bilinear", align_corners=True),
        Pad("frame", "grown", "framed", (1, 0, 1, 1), value=-1.5),
        Quantize("again", "framed", "again"),
        Dequantize("back", "again", "back"),
        Conv2d(
            "blend",
            "back",
            "blended",
            floats((6, 1, 1, 3), 15),
            floats((6,), 16),
            None,
            groups=2,
            residual="framed",
            act_lo=-3.0,
        ),
        Softmax("softmax", "blended", "probabilities"),
    )


def golden_program():
    """Every kind of operator on u8 and f32, views that are read and written, tables."""
    return Program(
        tensors={tensor.name: tensor for tensor in _tensors()},
        ops=(*_u8_ops(), *_f32_ops()),
        inputs=(Io("picture", (BATCH, 8, 8, 6)),),
        outputs=(
            Io("map", (BATCH, 7, 7, 10)),
            Io("sliced", (BATCH, 7, 48)),
            Io("probabilities", (BATCH, 6, 7, 8)),
        ),
        metadata=METADATA,
    )


def golden_inputs():
    """A batch of two, with values beyond the quantized range."""
    return [(integers((2, 8, 8, 6), -300, 300, 20) / np.float32(100)).astype(np.float32)]


if __name__ == "__main__":
    write_program(golden_program(), DATA / "golden_v1_1.wbcq")
    outputs = ExactExecutor(golden_program()).run(*golden_inputs())
    arrays = {f"input{i}": array for i, array in enumerate(golden_inputs())}
    arrays |= {f"output{i}": array for i, array in enumerate(outputs)}
    np.savez(DATA / "golden_v1_1.npz", **arrays)
