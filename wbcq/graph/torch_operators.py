"""What each operator of a graph computes, in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from wbcq.graph import ir

__all__ = ["RUNNERS", "apply_functions", "finished", "runs", "weighted_sum"]

Params: TypeAlias = Mapping[str, Tensor]
Runner: TypeAlias = Callable[[ir.Op, Sequence[Tensor], Params], Tensor]
OpT = TypeVar("OpT", bound=ir.Op)

RUNNERS: dict[type[ir.Op], Runner] = {}
"""Operator type to the function that computes it up to ``op.functions``."""

_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "abs": torch.abs,
    "affine": lambda x, scale, shift: x * scale + shift,
    "clamp": torch.clamp,
    "elu": F.elu,
    "exp": torch.exp,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "leaky_relu": F.leaky_relu,
    "log": torch.log,
    "mish": F.mish,
    "reciprocal": torch.reciprocal,
    "rsqrt": torch.rsqrt,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softplus": F.softplus,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tanh": torch.tanh,
}


def runs(
    op_type: type[OpT],
) -> Callable[
    [Callable[[OpT, Sequence[Tensor], Params], Tensor]],
    Callable[[OpT, Sequence[Tensor], Params], Tensor],
]:
    """Registers the function that computes an operator from its inputs and its params by role."""

    def register(
        runner: Callable[[OpT, Sequence[Tensor], Params], Tensor],
    ) -> Callable[[OpT, Sequence[Tensor], Params], Tensor]:
        RUNNERS[op_type] = runner  # type: ignore[assignment]
        return runner

    return register


def apply_functions(x: Tensor, functions: Sequence[ir.Function]) -> Tensor:
    """Elementwise functions, the first one first."""
    for function in functions:
        x = _FUNCTIONS[function.name](x, *function.parameters)
    return x


def _activate(x: Tensor, activation: ir.Activation) -> Tensor:
    if activation.is_identity:
        return x
    if activation == ir.RELU:
        return F.relu(x)
    return torch.clamp(x, activation.low, activation.high)


def _is_symmetric(pads: ir.Pads) -> bool:
    return pads[0] == pads[2] and pads[1] == pads[3]


def _is_native(pads: ir.Pads, kernel: ir.Pair) -> bool:
    """True if torch's pools pad by themselves: both sides alike, and by half a window at most."""
    return _is_symmetric(pads) and 2 * pads[0] <= kernel[0] and 2 * pads[1] <= kernel[1]


def _padded(x: Tensor, pads: ir.Pads, value: float) -> Tensor:
    top, left, bottom, right = pads
    return F.pad(x, (left, right, top, bottom), value=value)


def _operand(op: ir.Conv2d | ir.Linear, inputs: Sequence[Tensor]) -> Tensor:
    if not op.slices:
        return inputs[0]
    return torch.cat([inputs[s.index][:, s.start : s.stop] for s in op.slices], dim=1)


def weighted_sum(
    op: ir.Conv2d | ir.Linear, inputs: Sequence[Tensor], weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """What a convolution or linear layer computes before residual and activation."""
    x = _operand(op, inputs)
    if isinstance(op, ir.Linear):
        return F.linear(x, weight, bias)
    padding = op.pads[:2]
    if not _is_symmetric(op.pads):
        x, padding = _padded(x, op.pads, 0.0), (0, 0)
    return F.conv2d(x, weight, bias, op.stride, padding, op.dilation, op.groups)


def finished(op: ir.Conv2d | ir.Linear, y: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    """A weighted sum with the residual added and the activation applied, if there are any."""
    return _activate(y + inputs[-1] if len(inputs) > op.operands else y, op.activation)


@runs(ir.Conv2d)
def _conv2d(op: ir.Conv2d, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return finished(op, weighted_sum(op, inputs, params["weight"], params.get("bias")), inputs)


@runs(ir.Linear)
def _linear(op: ir.Linear, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return finished(op, weighted_sum(op, inputs, params["weight"], params.get("bias")), inputs)


@runs(ir.BatchNorm)
def _batch_norm(op: ir.BatchNorm, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return F.batch_norm(
        inputs[0],
        params["running_mean"],
        params["running_var"],
        params.get("weight"),
        params.get("bias"),
        eps=op.eps,
    )


@runs(ir.ChannelAffine)
def _channel_affine(op: ir.ChannelAffine, inputs: Sequence[Tensor], params: Params) -> Tensor:
    x = inputs[0]
    shape = (-1, *[1] * (x.dim() - 2))
    return x * params["weight"].view(shape) + params["bias"].view(shape)


@runs(ir.Clamp)
def _clamp(op: ir.Clamp, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return _activate(inputs[0], op.activation)


@runs(ir.Unary)
def _unary(op: ir.Unary, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return inputs[0]


@runs(ir.Add)
def _add(op: ir.Add, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return _activate(inputs[0] + inputs[1], op.activation)


@runs(ir.Sub)
def _sub(op: ir.Sub, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return _activate(inputs[0] - inputs[1], op.activation)


@runs(ir.Mul)
def _mul(op: ir.Mul, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return _activate(inputs[0] * inputs[1], op.activation)


@runs(ir.Div)
def _div(op: ir.Div, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return _activate(inputs[0] / inputs[1], op.activation)


@runs(ir.Softmax)
def _softmax(op: ir.Softmax, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return torch.softmax(inputs[0], dim=1)


@runs(ir.Normalize)
def _normalize(op: ir.Normalize, inputs: Sequence[Tensor], params: Params) -> Tensor:
    x, weight, bias = inputs[0], params.get("weight"), params.get("bias")
    if op.groups:
        return _activate(F.group_norm(x, op.groups, weight, bias, op.eps), op.activation)
    y = F.layer_norm(x.movedim(1, -1), (x.shape[1],), weight, bias, op.eps)
    return _activate(y.movedim(-1, 1), op.activation)


@runs(ir.MaxPool2d)
def _max_pool2d(op: ir.MaxPool2d, inputs: Sequence[Tensor], params: Params) -> Tensor:
    x, padding = inputs[0], op.pads[:2]
    if not _is_native(op.pads, op.kernel):
        x, padding = _padded(x, op.pads, float("-inf")), (0, 0)
    return F.max_pool2d(x, op.kernel, op.stride, padding, op.dilation, op.ceil_mode)


@runs(ir.AvgPool2d)
def _avg_pool2d(op: ir.AvgPool2d, inputs: Sequence[Tensor], params: Params) -> Tensor:
    x = inputs[0]
    if _is_native(op.pads, op.kernel):
        y = F.avg_pool2d(
            x,
            op.kernel,
            op.stride,
            op.pads[:2],
            op.ceil_mode,
            op.count_include_pad,
            op.divisor or None,
        )
        return _activate(y, op.activation)
    if op.ceil_mode:
        raise ValueError(f"an average pool with pads {op.pads} and ceil_mode is not supported")
    counted = _padded(torch.ones_like(x[:1, :1]), op.pads, 1.0 if op.count_include_pad else 0.0)
    total = F.avg_pool2d(_padded(x, op.pads, 0.0), op.kernel, op.stride, divisor_override=1)
    divisor = F.avg_pool2d(counted, op.kernel, op.stride, divisor_override=1)
    return _activate(total / (op.divisor or divisor), op.activation)


@runs(ir.AdaptiveAvgPool2d)
def _adaptive_avg_pool2d(
    op: ir.AdaptiveAvgPool2d, inputs: Sequence[Tensor], params: Params
) -> Tensor:
    return _activate(F.adaptive_avg_pool2d(inputs[0], op.output_size), op.activation)


@runs(ir.AdaptiveMaxPool2d)
def _adaptive_max_pool2d(
    op: ir.AdaptiveMaxPool2d, inputs: Sequence[Tensor], params: Params
) -> Tensor:
    return F.adaptive_max_pool2d(inputs[0], op.output_size)


@runs(ir.Resize)
def _resize(op: ir.Resize, inputs: Sequence[Tensor], params: Params) -> Tensor:
    scales = (None, None) if op.steps is None else (1.0 / op.steps[0], 1.0 / op.steps[1])
    if op.mode == "nearest":
        y: Tensor = torch.ops.aten.upsample_nearest2d(inputs[0], op.output_size, *scales)
    else:
        corners = op.align_corners
        y = torch.ops.aten.upsample_bilinear2d(inputs[0], op.output_size, corners, *scales)
    return y


@runs(ir.Pad)
def _pad(op: ir.Pad, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return _padded(inputs[0], op.pads, op.value)


@runs(ir.Flatten)
def _flatten(op: ir.Flatten, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return inputs[0].flatten(1)


@runs(ir.Reshape)
def _reshape(op: ir.Reshape, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return inputs[0].reshape(-1, *op.sizes)


@runs(ir.Rearrange)
def _rearrange(op: ir.Rearrange, inputs: Sequence[Tensor], params: Params) -> Tensor:
    numbers = torch.from_numpy(op.numbers()).to(inputs[0].device)
    return inputs[0].flatten(1)[:, numbers].reshape(-1, *op.sizes)


@runs(ir.Concat)
def _concat(op: ir.Concat, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return torch.cat(list(inputs), dim=1)


@runs(ir.Slice)
def _slice(op: ir.Slice, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return inputs[0][:, op.start : op.stop]


@runs(ir.ChannelShuffle)
def _channel_shuffle(op: ir.ChannelShuffle, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return F.channel_shuffle(inputs[0], op.groups)


@runs(ir.Gather)
def _gather(op: ir.Gather, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return inputs[0][:, list(op.channels)]
