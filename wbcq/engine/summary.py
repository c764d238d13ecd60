"""What a model consists of, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

from wbcq.engine.program import Conv2d, Op, Program, Tensor, op_inputs, op_kind
from wbcq.report.tables import Column, Table

__all__ = ["LayerSummary", "summarize", "summary_table"]


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
        bytes: Size of weights, biases, scales and tables in the file.
    """

    name: str
    kind: str
    input_shape: tuple[int, int, int]
    output_shape: tuple[int, int, int]
    parameters: int = 0
    macs: int = 0
    bytes: int = 0


def summarize(program: Program) -> tuple[LayerSummary, ...]:
    """Describes every operator of a program, in execution order."""
    return tuple(_summary(op, program.tensors) for op in program.ops)


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
    arrays = (op.weight, op.bias, op.weight_scale, op.table)
    return LayerSummary(
        op.name,
        op_kind(op),
        *shapes,
        parameters=op.weight.size + op.bias.size,
        macs=op.weight.size * y.height * y.width,
        bytes=sum(array.nbytes for array in arrays if array is not None),
    )


def summary_table(program: Program) -> str:
    """An aligned table of :func:`summarize` with a line of totals."""
    layers = summarize(program)
    table = Table(
        [
            Column("layer"),
            Column("kind"),
            Column("input"),
            Column("output"),
            Column("params", ",d"),
            Column("MACs", ",d"),
            Column("bytes", ",d"),
        ]
    )
    for layer in layers:
        table.add(
            layer.name,
            layer.kind,
            _shape(layer.input_shape),
            _shape(layer.output_shape),
            layer.parameters,
            layer.macs,
            layer.bytes,
        )
    table.add(
        "total",
        None,
        None,
        None,
        sum(layer.parameters for layer in layers),
        sum(layer.macs for layer in layers),
        sum(layer.bytes for layer in layers),
    )
    return table.to_markdown()


def _shape(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))
