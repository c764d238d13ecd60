"""Records of operators to the classes of :mod:`wbcq.engine.operators`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, cast

import numpy.typing as npt

from wbcq.engine import _layout as layout
from wbcq.engine._container import fail
from wbcq.engine.operators import (
    BINARY_FUNCTIONS,
    MAX_DIGITS,
    RESIZE_MODES,
    UNARY_FUNCTIONS,
    BinaryFunction,
    ResizeMode,
    UnaryFunction,
)
from wbcq.engine.program import (
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
    Tensor,
    Unary,
)

__all__ = ["OpHead", "decode_op"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class OpHead:
    """What all operators have; tensors and blobs exist."""

    label: str
    name: str
    kind: str
    inputs: list[str]
    y: str
    blobs: list[int]
    attrs: dict[str, int]

    def expect(self, **values: int) -> None:
        """Fails unless attributes have these values."""
        for field, value in values.items():
            if self.attrs[field] != value:
                fail(f"{self.label}: {field} is {self.attrs[field]}, must be {value}")

    def choice(self, field: str, low: int, high: int) -> int:
        """An attribute in ``low..high``."""
        value = self.attrs[field]
        if not low <= value <= high:
            fail(f"{self.label}: {field} is {value}, must be {low}..{high}")
        return value

    def take_blobs(self, blobs: Sequence[Array], least: int, most: int) -> list[Array]:
        """The operator's constants; the last one is absent if it has fewer than ``most``."""
        if not least <= len(self.blobs) <= most:
            fail(f"{self.label}: {len(self.blobs)} blobs, must be {least}..{most}")
        return [blobs[blob] for blob in self.blobs]


def decode_op(head: OpHead, tensors: dict[str, Tensor], blobs: Sequence[Array]) -> Op:
    """The operator of a record; what its class can express is not checked."""
    x = tensors[head.inputs[0]]
    match head.kind:
        case "conv2d":
            return _conv2d(head, x, blobs)
        case "avg_pool2d":
            return _avg_pool2d(head, x, blobs)
        case "add":
            a, b = head.inputs
            subtract = bool(head.choice("subtract", 0, 1))
            requantize = _requantize(head, x, head.take_blobs(blobs, 0, _most_tables(x)))
            return Add(head.name, a, b, head.y, subtract=subtract, **requantize)
        case "mul":
            a, b = head.inputs
            requantize = _requantize(head, x, head.take_blobs(blobs, 0, _most_tables(x)))
            return Mul(head.name, a, b, head.y, **requantize)
        case "lookup":
            (table,) = head.take_blobs(blobs, 1, 1)
            return Lookup(head.name, x.name, head.y, table)
        case "normalize":
            weight, bias = head.take_blobs(blobs, 2, 2)
            eps = layout.bits_float(head.attrs["eps"])
            return Normalize(head.name, x.name, head.y, weight, bias, head.attrs["groups"], eps)
    head.take_blobs(blobs, 0, 0)
    return _without_constants(head, x)


def _without_constants(head: OpHead, x: Tensor) -> Op:
    a = head.attrs
    match head.kind:
        case "quantize":
            return Quantize(head.name, x.name, head.y)
        case "dequantize":
            return Dequantize(head.name, x.name, head.y)
        case "max_pool2d":
            head.expect(count_include_pad=0, divisor=0, lo=0, hi=255, pre_scale=0, pre_zero_point=0)
            kernel, stride, pads, dilation = _window(head)
            return MaxPool2d(head.name, x.name, head.y, kernel, stride, pads, dilation)
        case "resize":
            mode = cast(ResizeMode, RESIZE_MODES[head.choice("mode", 0, len(RESIZE_MODES) - 1)])
            align_corners = bool(head.choice("align_corners", 0, 1))
            return Resize(head.name, x.name, head.y, mode, align_corners)
        case "pad":
            return Pad(head.name, x.name, head.y, _pads(a), _pad_value(a["value"], x))
        case "unary":
            names = list(UNARY_FUNCTIONS)
            function = names[head.choice("function", 1, len(names)) - 1]
            count = len(UNARY_FUNCTIONS[function])
            head.expect(**dict.fromkeys(("p0", "p1")[count:], 0))
            parameters = tuple(layout.bits_float(a[field]) for field in ("p0", "p1")[:count])
            return Unary(head.name, x.name, head.y, cast(UnaryFunction, function), parameters)
        case "binary":
            code = head.choice("function", 1, len(BINARY_FUNCTIONS))
            binary = cast(BinaryFunction, BINARY_FUNCTIONS[code - 1])
            left, right = head.inputs
            return Binary(head.name, left, right, head.y, binary)
        case "rearrange":
            return _rearrange(head, x)
        case _:
            return Softmax(head.name, x.name, head.y)


class _Requantize(TypedDict, total=False):
    lo: int
    hi: int
    table: Array | None
    pre_scale: float
    pre_zero_point: int
    act_lo: float
    act_hi: float


def _requantize(head: OpHead, x: Tensor, tables: list[Array]) -> _Requantize:
    """The clamp and, on u8, the table."""
    a = head.attrs
    if x.dtype == "f32":
        head.expect(pre_scale=0, pre_zero_point=0)
        return {"act_lo": layout.bits_float(a["lo"]), "act_hi": layout.bits_float(a["hi"])}
    if not tables:
        head.expect(pre_scale=0)
    return {
        "lo": a["lo"],
        "hi": a["hi"],
        "table": tables[0] if tables else None,
        "pre_scale": layout.bits_float(a["pre_scale"]),
        "pre_zero_point": a["pre_zero_point"],
    }


def _most_tables(x: Tensor) -> int:
    return 0 if x.dtype == "f32" else 1


Pair = tuple[int, int]
Pads = tuple[int, int, int, int]


def _window(head: OpHead) -> tuple[Pair, Pair, Pads, Pair]:
    a = head.attrs
    kernel = (a["kernel_h"], a["kernel_w"])
    stride = (a["stride_h"], a["stride_w"])
    return kernel, stride, _pads(a), (a["dilation_h"], a["dilation_w"])


def _pads(a: dict[str, int]) -> Pads:
    return (a["pad_top"], a["pad_left"], a["pad_bottom"], a["pad_right"])


def _pad_value(value: int, x: Tensor) -> float | None:
    if x.dtype == "f32":
        return layout.bits_float(value) if value else None
    return value if value != x.zero_point else None


def _avg_pool2d(head: OpHead, x: Tensor, blobs: Sequence[Array]) -> AvgPool2d:
    head.expect(dilation_h=1, dilation_w=1)
    kernel, stride, pads, _ = _window(head)
    counts = bool(head.choice("count_include_pad", 0, 1))
    return AvgPool2d(
        head.name,
        x.name,
        head.y,
        kernel,
        stride,
        pads,
        counts,
        head.attrs["divisor"],
        **_requantize(head, x, head.take_blobs(blobs, 0, _most_tables(x))),
    )


def _rearrange(head: OpHead, x: Tensor) -> Rearrange:
    sizes = [head.attrs[f"size_{digit}"] for digit in range(MAX_DIGITS)]
    strides = [head.attrs[f"stride_{digit}"] for digit in range(MAX_DIGITS)]
    while sizes and (sizes[0], strides[0]) == (1, 0):
        del sizes[0], strides[0]
    offset = head.attrs["offset"]
    return Rearrange(head.name, x.name, head.y, tuple(sizes), tuple(strides), offset)


def _conv2d(head: OpHead, x: Tensor, blobs: Sequence[Array]) -> Conv2d:
    kernel, stride, pads, dilation = _window(head)
    has_residual = bool(head.choice("has_residual", 0, 1))
    inputs = head.inputs[: len(head.inputs) - has_residual]
    if not inputs:
        fail(f"{head.label}: its only input is the residual")
    weight_scale: Array | None = None
    if x.dtype == "f32":
        weight, bias = head.take_blobs(blobs, 2, 2)
        tables = []
    else:
        weight, bias, weight_scale, *tables = head.take_blobs(blobs, 3, 4)
    if weight.ndim != 4 or kernel != weight.shape[1:3]:
        fail(
            f"{head.label}: weight has shape {list(weight.shape)}, must be "
            f"[O, {kernel[0]}, {kernel[1]}, I / groups]"
        )
    return Conv2d(
        name=head.name,
        x=inputs[0] if len(inputs) == 1 else tuple(inputs),
        y=head.y,
        weight=weight,
        bias=bias,
        weight_scale=weight_scale,
        stride=stride,
        pads=pads,
        dilation=dilation,
        groups=head.attrs["groups"],
        residual=head.inputs[-1] if has_residual else None,
        **_requantize(head, x, tables),
    )
