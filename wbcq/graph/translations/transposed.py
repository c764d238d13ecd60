"""Transposed convolutions, and pixels that become channels or channels that become pixels."""

from __future__ import annotations

import math

import numpy as np

from wbcq.graph import ir
from wbcq.graph.translations.call import Array, AtenCall, Emit, Result, Tensor, translates


@translates("aten.conv_transpose2d.input")
def _conv_transpose2d(call: AtenCall) -> Result:
    x = call.tensor("input", ranks=(4,))
    weight = call.read(call.parameter("weight"))
    bias = call.optional_parameter("bias")
    return transposed_convolution(
        call,
        x,
        np.asarray(weight, np.float32),
        None if bias is None else call.read(bias),
        stride=call.pair("stride"),
        padding=call.pair("padding"),
        dilation=call.pair("dilation"),
        out=(call.output_shape[2] or 1, call.output_shape[3] or 1),
    )


def transposed_convolution(
    call: AtenCall,
    x: Tensor,
    weight: Array,
    bias: Array | None,
    *,
    stride: ir.Pair,
    padding: ir.Pair,
    dilation: ir.Pair,
    out: ir.Pair,
) -> Emit:
    """A convolution at stride 1 to all outputs of a block, whose channels then become pixels.

    Outputs s m to s m + s - 1 along an axis, for a stride s, are block m. Output s m + phase meets
    input m + d with tap k if s d = phase + padding - k dilation: a convolution, with zeros where no
    tap meets an input.

    Args:
        call: For its groups.
        x: N, I, H, W.
        weight: [I, O / groups, KH, KW].
        bias: [O] or None.
        stride: Of the transposed convolution.
        padding: Of the transposed convolution.
        dilation: Of the transposed convolution.
        out: Height and width.
    """
    groups = int(call.arguments["groups"])
    inputs, outputs = weight.shape[0] // groups, weight.shape[1]
    sizes, kernel = (x.shape[2] or 1, x.shape[3] or 1), weight.shape[2:]
    axes = [
        _Axis(sizes[i], kernel[i], stride[i], padding[i], dilation[i], out[i]) for i in range(2)
    ]
    rows, columns = axes
    window = (rows.kernel, columns.kernel)
    # Output channels are in the order of groups, phases of rows and columns, outputs of a group.
    dense = np.zeros((groups, *stride, outputs, inputs, *window), np.float32)
    taps = weight.reshape(groups, inputs, outputs, *kernel).transpose(0, 2, 1, 3, 4)
    for row_phase, ky, dy in rows.taps:
        for column_phase, kx, dx in columns.taps:
            dense[:, row_phase, column_phase, :, :, dy, dx] = taps[..., ky, kx]
    params: dict[str, Array] = {"weight": dense.reshape(-1, inputs, *window)}
    if bias is not None:
        per_group = np.asarray(bias, np.float32).reshape(groups, 1, outputs)
        params["bias"] = np.repeat(per_group, math.prod(stride), 1).reshape(-1)
    op = ir.Conv2d(pads=(rows.before, columns.before, rows.after, columns.after), groups=groups)
    blocks = (rows.blocks, columns.blocks)
    channels = groups * outputs
    shape = (None, channels * math.prod(stride), *blocks)
    y = Emit(op, (x,), params, shape)
    if stride == (1, 1):
        return y
    full = (channels, blocks[0] * stride[0], blocks[1] * stride[1])
    pixels = math.prod(blocks)
    digits = (groups, outputs, blocks[0], stride[0], blocks[1], stride[1])
    phase = outputs * pixels
    strides = (
        math.prod(stride) * phase,
        pixels,
        blocks[1],
        stride[1] * phase,
        1,
        phase,
    )
    y = Emit(ir.Rearrange(full, digits, strides), (y,), shape=(None, *full))
    if full[1:] == out:
        return y
    cropped = (channels, *out)
    crop = ir.Rearrange(cropped, cropped, (full[1] * full[2], full[2], 1))
    return Emit(crop, (y,), shape=(None, *cropped))


class _Axis:
    """One axis of the convolution.

    Attributes:
        blocks: The number of its outputs.
        taps: (phase, tap of the transposed convolution, tap of the convolution) that are the same.
        kernel, before, after: Its window and padding.
    """

    def __init__(
        self, size: int, kernel: int, stride: int, padding: int, dilation: int, out: int
    ) -> None:
        self.blocks = -(-out // stride)
        found = [
            (phase, tap, (phase + padding - tap * dilation) // stride)
            for phase in range(stride)
            for tap in range(kernel)
            if (phase + padding - tap * dilation) % stride == 0
        ]
        first = min(0, *(distance for *_, distance in found))
        last = max(0, *(distance for *_, distance in found))
        self.taps = [(phase, tap, distance - first) for phase, tap, distance in found]
        self.before = -first
        after = self.blocks - size + last
        # Where less is wanted than there is, the window grows beyond the end by taps of zero.
        self.kernel = last - first + 1 + max(0, -after)
        self.after = max(0, after)


@translates("aten.pixel_shuffle.default")
def _pixel_shuffle(call: AtenCall) -> Result:
    x, factor = call.tensor("self", ranks=(4,)), int(call.arguments["upscale_factor"])
    channels, height, width = _sizes(x)
    outputs, pixels = channels // factor**2, height * width
    sizes = (outputs, height * factor, width * factor)
    digits = (outputs, height, factor, width, factor)
    strides = (factor**2 * pixels, width, factor * pixels, 1, pixels)
    return Emit(ir.Rearrange(sizes, digits, strides), (x,))


@translates("aten.pixel_unshuffle.default")
def _pixel_unshuffle(call: AtenCall) -> Result:
    x, factor = call.tensor("self", ranks=(4,)), int(call.arguments["downscale_factor"])
    channels, height, width = _sizes(x)
    rows, columns = height // factor, width // factor
    sizes = (channels * factor**2, rows, columns)
    digits = (channels, factor, factor, rows, columns)
    return Emit(
        ir.Rearrange(sizes, digits, (height * width, width, 1, factor * width, factor)), (x,)
    )


def _sizes(x: Tensor) -> tuple[int, int, int]:
    return (x.shape[1] or 1, x.shape[2] or 1, x.shape[3] or 1)
