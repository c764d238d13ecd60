"""The bytes of a model file: ``csrc/format/format.h`` in numpy."""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np

MAGIC: Final = b"WBCQ\r\n\x1a\n"
MAJOR: Final = 1
MINOR: Final = 3
ALIGNMENT: Final = 64
HEADER_BYTES: Final = 64
SPARSE_BLOBS: Final = 1
"""A required feature, since 1.3."""

HEADER: Final = struct.Struct("<8sHHIQQII20sI")
"""magic, major, minor, header_bytes, file_bytes, required_features, section_count, body_crc32,
reserved, header_crc32."""

SECTIONS: Final = (
    "strings",
    "tensors",
    "blobs",
    "operands",
    "ops",
    "io",
    "metadata",
    "data",
)
"""In the file's order; the kind of a section is its index + 1."""

SECTION: Final = np.dtype(
    [("kind", "<u4"), ("count", "<u4"), ("offset", "<u8"), ("bytes", "<u8"), ("reserved", "<u8")]
)
TENSOR: Final = np.dtype(
    [
        ("name", "<u4"),
        ("dtype", "u1"),
        ("reserved0", "u1", 3),
        ("dims", "<i4", 4),
        ("scale", "<f4"),
        ("zero_point", "<i4"),
        ("parent", "<u4"),
        ("channel_offset", "<i4"),
        ("reserved", "u1", 24),
    ]
)
BLOB: Final = np.dtype(
    [
        ("name", "<u4"),
        ("dtype", "u1"),
        ("rank", "u1"),
        ("block", "u1"),
        ("reserved0", "u1"),
        ("dims", "<u4", 4),
        ("offset", "<u8"),
        ("bytes", "<u8"),
        ("reserved", "u1", 24),
    ]
)
OPERAND: Final = np.dtype("<u4")
OP: Final = np.dtype(
    [
        ("kind", "<u4"),
        ("name", "<u4"),
        ("first_operand", "<u4"),
        ("inputs", "<u2"),
        ("outputs", "<u2"),
        ("blobs", "<u4"),
        ("reserved", "<u4", 3),
        ("attrs", "<i4", 16),
    ]
)
IO: Final = np.dtype(
    [
        ("tensor", "<u4"),
        ("is_output", "<u4"),
        ("rank", "<u4"),
        ("dims", "<i4", 4),
        ("reserved", "<u4"),
    ]
)
RECORDS: Final = {
    "tensors": TENSOR,
    "blobs": BLOB,
    "operands": OPERAND,
    "ops": OP,
    "io": IO,
}
"""Sections that are arrays; the others are bytes."""

FIRST_SECTION: Final = HEADER_BYTES + len(SECTIONS) * SECTION.itemsize

DTYPES: Final = {1: "f32", 2: "u8", 3: "i8", 4: "i32"}
NUMPY_DTYPES: Final[dict[int, np.dtype[Any]]] = {
    1: np.dtype("<f4"),
    2: np.dtype("u1"),
    3: np.dtype("i1"),
    4: np.dtype("<i4"),
}
OP_KINDS: Final = {
    1: "quantize",
    2: "dequantize",
    3: "conv2d",
    4: "max_pool2d",
    5: "avg_pool2d",
    6: "add",
    7: "lookup",
    8: "mul",
    9: "resize",
    10: "pad",
    11: "unary",
    12: "binary",
    13: "softmax",
    14: "normalize",
    15: "rearrange",
}

_WINDOW: Final = (
    "kernel_h",
    "kernel_w",
    "stride_h",
    "stride_w",
    "pad_top",
    "pad_left",
    "pad_bottom",
    "pad_right",
    "dilation_h",
    "dilation_w",
)
_REQUANTIZE: Final = ("lo", "hi", "pre_scale", "pre_zero_point")
_POOL: Final = (*_WINDOW, "count_include_pad", "divisor", *_REQUANTIZE)
ATTRS: Final[dict[str, tuple[str, ...]]] = {
    "quantize": (),
    "dequantize": (),
    "conv2d": (*_WINDOW, "groups", "lo", "hi", "has_residual", "pre_scale", "pre_zero_point"),
    "max_pool2d": _POOL,
    "avg_pool2d": _POOL,
    "add": (*_REQUANTIZE, "subtract"),
    "lookup": (),
    "mul": _REQUANTIZE,
    "resize": ("mode", "align_corners"),
    "pad": ("pad_top", "pad_left", "pad_bottom", "pad_right", "value"),
    "unary": ("function", "p0", "p1"),
    "binary": ("function",),
    "softmax": (),
    "normalize": ("groups", "eps"),
    "rearrange": (
        "offset",
        *(f"size_{digit}" for digit in range(6)),
        *(f"stride_{digit}" for digit in range(6)),
    ),
}
"""Names of an operator's attributes, in the order of ``OpRecord::attrs``."""


def float_bits(value: float) -> int:
    """The int32 with the bits of a float32.

    Example:
        >>> hex(float_bits(1.0))
        '0x3f800000'
    """
    with np.errstate(over="ignore"):
        return int(np.float32(value).view(np.int32))


def bits_float(bits: int) -> float:
    """The float32 with the bits of an int32."""
    return float(np.int32(bits).view(np.float32))


def align_up(offset: int) -> int:
    """The next multiple of :data:`ALIGNMENT`.

    Example:
        >>> align_up(65), align_up(128)
        (128, 128)
    """
    return -(-offset // ALIGNMENT) * ALIGNMENT
