"""The program: what a model file holds, the C++ engine runs and the oracle defines.

A :class:`Program` is the result of lowering a calibrated graph. It has no torch in it. Its records
mirror ``csrc/format/format.h`` one to one; numerics are defined in ``docs/design/numerics.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from wbcq.engine.operators import (
    ADAPTIVE,
    MAX_DIGITS,
    Add,
    AvgPool2d,
    Binary,
    Conv2d,
    Dequantize,
    Lookup,
    MaxPool2d,
    Mul,
    Normalize,
    Op,
    Pad,
    Quantize,
    Rearrange,
    Resize,
    Softmax,
    Unary,
    op_inputs,
    op_kind,
)

__all__ = [
    "ADAPTIVE",
    "BATCH",
    "MAX_DIGITS",
    "Add",
    "AvgPool2d",
    "Binary",
    "Conv2d",
    "Dequantize",
    "Io",
    "Lookup",
    "MaxPool2d",
    "Mul",
    "Normalize",
    "Op",
    "Pad",
    "Program",
    "Quantize",
    "Rearrange",
    "Resize",
    "Softmax",
    "Tensor",
    "Unary",
    "op_inputs",
    "op_is_float",
    "op_kind",
]

BATCH = -1
"""The first dimension of every tensor: the number of pictures, known when a program runs."""


@dataclass(frozen=True)
class Tensor:
    """An activation, logical layout N, H, W, C (a matrix N, K is N, 1, 1, K).

    A view has no memory of its own: it is the channels ``channel_offset ..`` of its parent, which
    is no view itself. Every operator can read and write one. Slicing channels is a view that is
    read; a concatenation is a parent that no operator writes, whose views are written. Each channel
    of a parent is written once, through whichever of them, before it is read through any.

    Attributes:
        name: Unique in its program.
        dtype: ``"u8"`` or ``"f32"``.
        height, width, channels: Each at least 1.
        scale: float32 value of one step; u8 only.
        zero_point: The quantized value of real 0, in 0..255; u8 only.
        parent: Name of the tensor that this is a view of, or None. A view has its parent's dtype,
            height, width, scale and zero point.
        channel_offset: The view's first channel in its parent.

    Example:
        >>> parent = Tensor("concat", "u8", 7, 7, 64, scale=0.5, zero_point=3)
        >>> parent.view("left", 0, 24)
        Tensor(name='left', dtype='u8', height=7, width=7, channels=24, scale=0.5, zero_point=3, \
parent='concat', channel_offset=0)
    """

    name: str
    dtype: Literal["u8", "f32"]
    height: int
    width: int
    channels: int
    scale: float = 0.0
    zero_point: int = 0
    parent: str | None = None
    channel_offset: int = 0

    def view(self, name: str, channel_offset: int, channels: int) -> Tensor:
        """A view of ``channels`` channels; of a view, a view of its parent."""
        return replace(
            self,
            name=name,
            channels=channels,
            parent=self.root,
            channel_offset=self.channel_offset + channel_offset,
        )

    @property
    def root(self) -> str:
        """Name of the tensor whose memory this one is in: its parent, or itself."""
        return self.name if self.parent is None else self.parent


def op_is_float(op: Op, tensors: dict[str, Tensor]) -> bool:
    """True if an operator computes in float32: its first input is f32."""
    return tensors[op_inputs(op)[0]].dtype == "f32"


@dataclass(frozen=True)
class Io:
    """A tensor that the caller sees, its elements in PyTorch's order N, C, H, W.

    Attributes:
        tensor: Name of an f32 tensor; an input is no view, an output is written by operators.
        shape: With :data:`BATCH` first. Four dimensions are N, C, H, W; two or three are another
            shape of as many elements (N, C of a 1x1 picture, for example).
    """

    tensor: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Program:
    """Operators in execution order over named tensors.

    Attributes:
        tensors: By name.
        ops: In execution order; every channel is written once, before it is read.
        inputs, outputs: What the caller sees.
        metadata: JSON-serialisable; free-form (classes, preprocessing, calibration record).
    """

    tensors: dict[str, Tensor]
    ops: tuple[Op, ...]
    inputs: tuple[Io, ...]
    outputs: tuple[Io, ...]
    metadata: dict[str, Any] = field(default_factory=dict)
