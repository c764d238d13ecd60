"""What a model consists of, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from wbcq.engine._sparse_blob import choose_block
from wbcq.engine.islands import islands_from_metadata
from wbcq.engine.program import Conv2d, Op, Program, Tensor, op_inputs, op_kind
from wbcq.report.tables import Column, Table

__all__ = ["LayerSummary", "op_dtype", "summarize", "summary_table", "why_float"]

_DTYPES = {"u8": "int8", "f32": "float32"}


@dataclass(frozen=True)
class LayerSummary:
    """One operator of a program.

    Attributes:
        name: Module path.
        kind: ``"conv2d"``, ``"max_pool2d"``, ...
        input_shape: C, H, W of its first input; a convolution's C is that of all its inputs.
        output_shape: C, H, W of its output.
        parameters: Number of weights and biases.
        macs: Multiplications of one picture, those with padding included.
        bytes: Size of weights, biases, scales and tables in a file that is written now.
        weights: Number of weights of a convolution, 0 for other kinds.
        zeros: How many of them are zero.
        dtype: What it computes in, see :func:`op_dtype`.
        why_float: Why it computes in float32 although the network is INT8, or empty.
    """

    name: str
    kind: str
    input_shape: tuple[int, int, int]
    output_shape: tuple[int, int, int]
    parameters: int = 0
    macs: int = 0
    bytes: int = 0
    weights: int = 0
    zeros: int = 0
    dtype: str = ""
    why_float: str = ""


def op_dtype(op: Op, tensors: dict[str, Tensor]) -> str:
    """``"int8"`` or ``"float32"``; ``"int8>float32"`` and ``"float32>int8"`` for what converts.

    Beside Quantize and Dequantize that is a head: a convolution whose accumulators become float.
    """
    x, y = (_DTYPES[tensors[name].dtype] for name in (op_inputs(op)[0], op.y))
    return x if x == y else f"{x}>{y}"


def why_float(program: Program) -> dict[str, str]:
    """Name of an operator to the reason why it computes in float32 in a network that is INT8."""
    islands = islands_from_metadata(program.metadata)
    return {name: island.reason for island in islands for name in island.ops}


def summarize(program: Program) -> tuple[LayerSummary, ...]:
    """Describes every operator of a program, in execution order."""
    reasons = why_float(program)
    return tuple(
        replace(
            _summary(op, program.tensors),
            dtype=op_dtype(op, program.tensors),
            why_float=reasons.get(op.name, ""),
        )
        for op in program.ops
    )


def _summary(op: Op, tensors: dict[str, Tensor]) -> LayerSummary:
    x = tensors[op_inputs(op)[0]]
    y = tensors[op.y]
    channels = (
        sum(tensors[name].channels for name in op.xs) if isinstance(op, Conv2d) else x.channels
    )
    shapes = (channels, x.height, x.width), (y.channels, y.height, y.width)
    if not isinstance(op, Conv2d):
        constants = [getattr(op, role, None) for role in ("weight", "bias", "table")]
        return LayerSummary(
            op.name,
            op_kind(op),
            *shapes,
            parameters=sum(array.size for array in constants[:2] if array is not None),
            bytes=sum(array.nbytes for array in constants if array is not None),
        )
    others = (op.bias, op.weight_scale, op.table)
    return LayerSummary(
        op.name,
        op_kind(op),
        *shapes,
        parameters=op.weight.size + op.bias.size,
        macs=op.weight.size * y.height * y.width,
        bytes=choose_block(op.weight)[1]
        + sum(array.nbytes for array in others if array is not None),
        weights=op.weight.size,
        zeros=op.weight.size - int(np.count_nonzero(op.weight)),
    )


def summary_table(program: Program) -> str:
    """An aligned table of :func:`summarize` with a line of totals.

    It has a column that says why operators are float if any is although the network is INT8.
    """
    layers = summarize(program)
    explains = any(layer.why_float for layer in layers)
    table = Table(
        [
            Column("layer"),
            Column("kind"),
            Column("dtype"),
            Column("input"),
            Column("output"),
            Column("params", ",d"),
            Column("MACs", ",d"),
            Column("zeros", ".1%"),
            Column("bytes", ",d"),
            *([Column("why float32")] if explains else []),
        ]
    )
    for layer in layers:
        table.add(
            layer.name,
            layer.kind,
            layer.dtype,
            _shape(layer.input_shape),
            _shape(layer.output_shape),
            layer.parameters,
            layer.macs,
            layer.zeros / layer.weights if layer.weights else None,
            layer.bytes,
            *([layer.why_float] if explains else []),
        )
    weights = sum(layer.weights for layer in layers)
    table.add(
        "total",
        None,
        None,
        None,
        None,
        sum(layer.parameters for layer in layers),
        sum(layer.macs for layer in layers),
        sum(layer.zeros for layer in layers) / weights if weights else None,
        sum(layer.bytes for layer in layers),
        *([None] if explains else []),
    )
    return table.to_markdown()


def _shape(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))
