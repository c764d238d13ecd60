"""Weights that a model file stores sparse: ``csrc/format/sparse_blob.h`` in numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from wbcq.engine import _layout as layout
from wbcq.engine._container import fail

__all__ = ["BLOCKS", "check_sparse", "choose_block", "decode_sparse", "encode_sparse"]

Array = npt.NDArray[Any]

BLOCKS: Final = (1, 4)
"""Elements of a block."""

_MASK_ALIGNMENT: Final = 8


def choose_block(weight: Array) -> tuple[int, int]:
    """How a file holds weights in the fewest bytes.

    Args:
        weight: int8 or float32 [..., I].

    Returns:
        Elements of a block, 0 for dense, and the bytes. Sparse only where the file, whose blobs
        begin at multiples of 64 bytes, becomes smaller.

    Example:
        >>> choose_block(np.ones((8, 3, 3, 64), np.int8))
        (0, 4608)
        >>> choose_block(np.eye(64, dtype=np.int8)[:, None, None])
        (4, 384)
    """
    sizes = {0: weight.nbytes}
    for block in BLOCKS:
        stored = int(np.count_nonzero(_stored_elements(weight, _mask(weight, block), block)))
        sizes[block] = _mask_bytes(weight.shape, block) + stored * weight.itemsize
    best = min(sizes, key=lambda block: (layout.align_up(sizes[block]), block and sizes[block]))
    return best, sizes[best]


def encode_sparse(weight: Array, block: int) -> bytes:
    """The mask and the values, little-endian."""
    mask = _mask(weight, block)
    bits = np.packbits(mask.ravel(), bitorder="little").tobytes()
    rows = weight.reshape(-1, weight.shape[-1])
    values = rows[_stored_elements(weight, mask, block)]
    values = values.astype(weight.dtype.newbyteorder("<"), copy=False)
    return bits.ljust(_mask_bytes(weight.shape, block), b"\0") + values.tobytes()


def check_sparse(label: str, dims: Sequence[int], itemsize: int, block: int, size: int) -> None:
    """What can be said of a sparse blob before its mask is read; ModelFileError if it is wrong."""
    if block not in BLOCKS:
        fail(f"{label}: block is {block}, must be 0, 1 or 4")
    dense = math.prod(dims) * itemsize
    if size >= dense:
        fail(f"{label}: bytes is {size}, must be below the {dense} of its shape: it is sparse")
    if size < _mask_bytes(dims, block):
        fail(f"{label}: bytes is {size}, its mask alone has {_mask_bytes(dims, block)}")


def decode_sparse(
    label: str, data: memoryview, dims: Sequence[int], dtype: np.dtype[Any], block: int
) -> Array:
    """All elements of a sparse blob that :func:`check_sparse` accepted; read-only.

    Raises:
        ModelFileError: The mask promises other values than there are.
    """
    blocks = _blocks(dims, block)
    mask_bytes = _mask_bytes(dims, block)
    bits = np.unpackbits(np.frombuffer(data[:mask_bytes], np.uint8), bitorder="little")
    mask = bits[:blocks].astype(np.bool_).reshape(-1, -(-dims[-1] // block))
    weight = np.zeros(dims, dtype)
    stored = _stored_elements(weight, mask, block)
    size = mask_bytes + int(np.count_nonzero(stored)) * dtype.itemsize
    if size != len(data):
        fail(f"{label}: bytes is {len(data)}, its mask says {size}")
    if bits[blocks:].any():
        bit = blocks + int(bits[blocks:].argmax())
        fail(f"{label}: bit {bit} of its mask is set, it has {blocks} blocks")
    weight.reshape(stored.shape)[stored] = np.frombuffer(data[mask_bytes:], dtype)
    weight.flags.writeable = False
    return weight


def _blocks(dims: Sequence[int], block: int) -> int:
    return math.prod(dims[:-1]) * -(-dims[-1] // block)


def _mask_bytes(dims: Sequence[int], block: int) -> int:
    return -(-_blocks(dims, block) // (8 * _MASK_ALIGNMENT)) * _MASK_ALIGNMENT


def _mask(weight: Array, block: int) -> npt.NDArray[np.bool_]:
    """[rows, blocks of a row]: which blocks have an element that is not +0, bit for bit."""
    rows = np.ascontiguousarray(weight).reshape(-1, weight.shape[-1])
    is_set: npt.NDArray[np.bool_] = rows.view(f"u{weight.itemsize}").astype(np.bool_)
    padding = -weight.shape[-1] % block
    padded = np.pad(is_set, ((0, 0), (0, padding))) if padding else is_set
    blocks = padded.reshape(len(rows), -1, block)
    mask: npt.NDArray[np.bool_] = np.logical_or.reduce(blocks, axis=2)
    return mask


def _stored_elements(
    weight: Array, mask: npt.NDArray[np.bool_], block: int
) -> npt.NDArray[np.bool_]:
    """[rows, elements of a row]: those whose block is stored."""
    return np.repeat(mask, block, axis=1)[:, : weight.shape[-1]]
