"""ATen operators: what each becomes, and that it computes the same before and after the passes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.wbcq.engine.strategies import cases
from tests.wbcq.graph.helpers import Wraps, check, op_names
from wbcq.graph import ir

GAINS = torch.tensor([0.5, -1.5, 2.0, 3.0])


def shuffled(x: Tensor) -> Tensor:
    n, c, h, w = x.size()
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)


def excited(x: Tensor) -> Tensor:
    gate = torch.sigmoid(x.mean((2, 3)))
    return x * gate[:, :, None, None]


# Name: function of a convolution's output [N, 4, 6, 6], operators of the captured graph after it.
CASES: dict[str, tuple[Callable[[Tensor], Any], list[str]]] = {
    "shuffle by views": (shuffled, ["ChannelShuffle"]),
    "channel_shuffle": (lambda x: torch.channel_shuffle(x, 2), ["ChannelShuffle"]),
    "chunk": (lambda x: x.chunk(2, 1)[1], ["Slice"]),
    "uneven chunks": (lambda x: x.chunk(3, 1)[1], ["Slice"]),
    "split": (lambda x: torch.split(x, 3, 1)[1], ["Slice"]),
    "split with sizes": (lambda x: torch.split(x, [1, 3], 1)[1], ["Slice"]),
    "tensor_split": (lambda x: x.tensor_split(2, 1)[0], ["Slice"]),
    "unbind": (lambda x: x.unbind(1)[2].unsqueeze(1), ["Slice"]),
    "select": (lambda x: x[:, 2:3], ["Slice"]),
    "narrow": (lambda x: x.narrow(1, 1, 2), ["Slice"]),
    "every other channel": (lambda x: x[:, ::2], ["Gather"]),
    "flip": (lambda x: x.flip(1), ["Gather"]),
    "roll": (lambda x: x.roll(1, 1), ["Gather"]),
    "index_select": (lambda x: x.index_select(1, torch.tensor([3, 1])), ["Gather"]),
    "repeat": (lambda x: x.repeat(1, 2, 1, 1), ["Gather"]),
    "expand": (lambda x: x[:, :1].expand(-1, 3, -1, -1), ["Gather"]),
    "cat": (lambda x: torch.cat([x, x.chunk(2, 1)[0]], 1), ["Slice", "Concat"]),
    "cat of one": (lambda x: torch.cat([x], 1), ["Concat"]),
    "stack": (lambda x: torch.stack(x.chunk(2, 1), 1).flatten(1, 2), ["Slice", "Slice", "Concat"]),
    "glu": (lambda x: F.glu(x, 1), ["Slice", "Slice", "Unary", "Mul"]),
    "channels by constants": (lambda x: x * GAINS.view(1, -1, 1, 1), ["ChannelAffine"]),
    "channels plus constants": (lambda x: x + GAINS[:, None, None], ["ChannelAffine"]),
    "constants minus channels": (lambda x: GAINS[:, None, None] - x, ["ChannelAffine"]),
    "channels over constants": (lambda x: x / GAINS[:, None, None], ["ChannelAffine"]),
    "scalars": (lambda x: 2 - (x * 3 - 1) / 2, ["Unary"] * 4),
    "one times": (lambda x: torch.ones(1) * x + torch.zeros(1), []),
    "times one": (lambda x: x * torch.ones(1), []),
    "scalar over tensor": (lambda x: 3 / (x.abs() + 1), ["Unary"] * 4),
    "scaled sum": (lambda x: torch.add(x, x.relu(), alpha=2), ["Clamp", "Unary", "Add"]),
    "difference": (lambda x: torch.sub(x.relu(), x, alpha=3), ["Clamp", "Unary", "Sub"]),
    "product": (lambda x: x * x.relu(), ["Clamp", "Mul"]),
    "quotient": (lambda x: x / (x.abs() + 1), ["Unary", "Unary", "Div"]),
    "maximum": (lambda x: torch.maximum(x, -x), ["Unary", "Sub", "Clamp", "Add"]),
    "minimum": (lambda x: torch.minimum(x, -x), ["Unary", "Sub", "Clamp", "Sub"]),
    "square": (lambda x: x**2, ["Unary"]),
    "softmax": (lambda x: F.softmax(x, 1), ["Softmax"]),
    "log_softmax": (lambda x: F.log_softmax(x, -3), ["Softmax", "Unary"]),
    "excitation": (excited, ["AdaptiveAvgPool2d", "Flatten", "Unary", "Reshape", "Mul"]),
    "expanded gate": (
        lambda x: x.mean((2, 3), keepdim=True).expand_as(x) * x,
        ["AdaptiveAvgPool2d", "Mul"],
    ),
    "pixel minus picture": (
        lambda x: x.mean((2, 3), keepdim=True) - x,
        ["AdaptiveAvgPool2d", "Sub", "Unary"],
    ),
    "pixel over picture": (
        lambda x: x.mean((2, 3), keepdim=True) / (x.abs() + 1),
        ["AdaptiveAvgPool2d", "Unary", "Unary", "Unary", "Mul"],
    ),
    "picture over pixel": (
        lambda x: x / (x.abs().mean((2, 3), keepdim=True) + 1),
        ["Unary", "AdaptiveAvgPool2d", "Unary", "Div"],
    ),
    "one channel for all": (
        lambda x: x * torch.sigmoid(x.mean(1, keepdim=True)),
        ["Conv2d", "Unary", "Gather", "Mul"],
    ),
    "sums": (
        lambda x: x.sum((2, 3), keepdim=True) + x.mean(2, keepdim=True).mean(3, keepdim=True),
        ["AdaptiveAvgPool2d", "Unary", "AvgPool2d", "AvgPool2d", "Add"],
    ),
    "mean of flat pictures": (lambda x: x.flatten(2).mean(2), ["AdaptiveAvgPool2d", "Flatten"]),
    "amax": (lambda x: x.amax((2, 3)), ["MaxPool2d", "Flatten"]),
    "max of rows": (lambda x: x.max(3, keepdim=True)[0], ["MaxPool2d"]),
    "adaptive_max_pool2d": (lambda x: F.adaptive_max_pool2d(x, (2, 3)), ["MaxPool2d"]),
    "adaptive pools of unequal windows": (
        lambda x: F.adaptive_max_pool2d(x, 4) - F.adaptive_avg_pool2d(x, (4, 4)),
        ["AdaptiveMaxPool2d", "AdaptiveAvgPool2d", "Sub"],
    ),
    "group norm": (lambda x: F.group_norm(x, 2), ["Normalize"]),
    "instance norm": (lambda x: F.instance_norm(x), ["Normalize"]),
    "layer norm of rows": (
        lambda x: F.layer_norm(x.mean((2, 3)), [4]),
        ["AdaptiveAvgPool2d", "Flatten", "Normalize"],
    ),
    "layer norm of pictures": (
        lambda x: F.layer_norm(x, [4, 6, 6], 2 * torch.ones(4, 6, 6)),
        ["Normalize"],
    ),
    "layer norm of pixels": (
        lambda x: F.layer_norm(x.permute(0, 2, 3, 1), [4]).permute(0, 3, 1, 2),
        ["Normalize"],
    ),
    "layer norm of tokens": (
        lambda x: F.layer_norm(x.flatten(2).transpose(1, 2), [4]).relu().mean(1),
        ["Normalize", "Clamp", "AdaptiveAvgPool2d", "Flatten"],
    ),
    "layer norm of columns": (
        lambda x: F.layer_norm(x, [6]),
        ["Rearrange", "Normalize", "Rearrange"],
    ),
    "channels last": (
        lambda x: (
            lambda y: (torch.sigmoid(y * torch.arange(4) + 1) * y.relu_()).permute(0, 3, 1, 2)
        )(x.permute(0, 2, 3, 1)),
        ["ChannelAffine", "Unary", "Unary", "Clamp", "Mul"],
    ),
    "gate with channels last": (
        lambda x: (lambda y: (y * y.mean((1, 2), keepdim=True).sigmoid()).permute(0, 3, 1, 2))(
            x.permute(0, 2, 3, 1)
        ),
        ["AdaptiveAvgPool2d", "Unary", "Mul"],
    ),
    "transposed": (lambda x: x.transpose(2, 3) + x, ["Rearrange", "Add"]),
    "rotated": (lambda x: x.transpose(2, 3).flip(3), ["Rearrange", "Rearrange"]),
    "mixed orders": (
        lambda x: x.permute(0, 2, 3, 1) + x.permute(0, 3, 2, 1),
        ["Rearrange", "Rearrange", "Add"],
    ),
    "pixel shuffle": (lambda x: F.pixel_shuffle(x, 2), ["Rearrange"]),
    "pixel unshuffle": (lambda x: F.pixel_unshuffle(x, 3), ["Rearrange"]),
    "pixel shuffle by hand": (
        lambda x: (
            x.view(x.size(0), 1, 2, 2, 6, 6).permute(0, 1, 4, 2, 5, 3).reshape(x.size(0), 1, 12, 12)
        ),
        ["Rearrange"],
    ),
    "every other pixel": (lambda x: x[..., ::2, ::2], ["MaxPool2d"]),
    "crop": (lambda x: x[:, :, 1:-1, 2:], ["Conv2d"]),
    "focus": (
        lambda x: torch.cat([x[..., i::2, j::2] for j in (0, 1) for i in (0, 1)], 1),
        ["MaxPool2d", "Conv2d", "Conv2d", "Conv2d", "Concat"],
    ),
    "pad": (lambda x: F.pad(x, (1, 2, 3, 0)), ["Pad"]),
    "pad with a constant": (lambda x: F.pad(x, (1, 2, 3, 0), value=1.5), ["Pad"]),
    "pad before a maximum": (
        lambda x: F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-math.inf), 3, 2),
        ["Pad", "MaxPool2d"],
    ),
    "pad and crop": (lambda x: F.pad(x, (-1, 1, 2, -1)), ["Conv2d"]),
    "sum of groups": (
        lambda x: x.view(x.size(0), 2, 2, 6, 6).sum(1),
        ["Slice", "Slice", "Add"],
    ),
    "mean of groups": (
        lambda x: x.view(x.size(0), 2, 2, 6, 6).mean(1),
        ["Slice", "Slice", "Add", "Unary"],
    ),
    "softmax over two groups": (
        lambda x: F.softmax(x.view(x.size(0), 1, 2, 72).transpose(1, 2), 1).flatten(1),
        ["Slice", "Slice", "Sub", "Unary", "Sub", "Unary", "Concat", "Flatten"],
    ),
    "groups of channels by one pixel": (
        lambda x: x.view(x.size(0), 2, 2, 6, 6) * x.mean((2, 3)).view(x.size(0), 2, 2, 1, 1),
        ["AdaptiveAvgPool2d", "Mul", "Reshape"],
    ),
    "groups of channels by a row of channels": (
        lambda x: (
            x.view(x.size(0), 2, 2, 6, 6) * x.mean((2, 3)).sigmoid().view(x.size(0), 2, 2, 1, 1)
        ),
        ["AdaptiveAvgPool2d", "Flatten", "Unary", "Reshape", "Mul", "Reshape"],
    ),
    "groups of channels plus pixels": (
        lambda x: x.view(x.size(0), 2, 2, 6, 6) + x.relu().view(x.size(0), 2, 2, 6, 6),
        ["Clamp", "Add", "Reshape"],
    ),
    "attention over pixels": (
        lambda x: (
            x.flatten(2).unsqueeze(1)
            @ F.softmax(x.mean(1, keepdim=True).flatten(2), dim=-1).unsqueeze(3)
        ).view(x.size(0), 4, 1, 1),
        [
            *("Conv2d", "Unary", "AdaptiveAvgPool2d", "Unary", "Mul"),
            *("Gather", "Mul", "AdaptiveAvgPool2d", "Unary"),
        ],
    ),
    "pad channels": (lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)), ["Conv2d"]),
    "nearest by factor": (lambda x: F.interpolate(x, scale_factor=2), ["Resize"]),
    "nearest by odd factor": (lambda x: F.interpolate(x, scale_factor=1.3), ["Resize"]),
    "nearest to size": (lambda x: F.interpolate(x, size=(5, 9)), ["Resize"]),
    "bilinear by factor": (
        lambda x: F.interpolate(x, scale_factor=2.5, mode="bilinear"),
        ["Resize"],
    ),
    "bilinear with corners": (
        lambda x: F.interpolate(x, size=(9, 11), mode="bilinear", align_corners=True),
        ["Resize"],
    ),
    "relu of a reshaped tensor": (
        lambda x: F.relu(x.view(x.size(0), 4, 36)),
        ["Clamp", "Reshape"],
    ),
    "channels as a row": (
        lambda x: x.mean((2, 3)).view(x.size(0), 1, -1, 1),
        ["AdaptiveAvgPool2d", "Reshape"],
    ),
    "output of five dimensions": (lambda x: x.view(x.size(0), 2, 2, 6, 6), ["Reshape"]),
}


@pytest.mark.parametrize("name", CASES)
def test_operators(name: str) -> None:
    function, expected = CASES[name]
    torch.manual_seed(0)
    model = Wraps(lambda net, x: function(net.conv(x)), conv=nn.Conv2d(3, 4, 1))
    captured, prepared = check(model, (3, 6, 6))
    assert op_names(captured) == ["Conv2d", *expected]
    assert not any(isinstance(node.op, (ir.ChannelShuffle, ir.Gather)) for node in prepared)


ACTIVATIONS = [
    nn.Hardswish(inplace=True),
    nn.Hardsigmoid(),
    nn.SiLU(inplace=True),
    nn.Sigmoid(),
    nn.LeakyReLU(0.1, inplace=True),
    nn.GELU(),
    nn.GELU(approximate="tanh"),
    nn.Tanh(),
    nn.ELU(0.5, inplace=True),
    nn.SELU(),
    nn.CELU(2.0),
    nn.Softplus(),
    nn.Softplus(2.0),
    nn.LogSigmoid(),
    nn.Mish(),
    nn.RReLU(0.1, 0.3),
    nn.Threshold(0.2, 0.2),
    nn.PReLU(init=0.2),
]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_activations_are_fused_into_the_layer(activation: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), activation, nn.MaxPool2d(2)
    )
    _, prepared = check(model, (3, 8, 8))
    assert op_names(prepared) == ["Conv2d", "MaxPool2d"]
    layer = prepared.nodes[0]
    assert (layer.pre_activation is None) == isinstance(activation, nn.Threshold)
    if layer.pre_activation is not None:
        assert layer.pre_activation in prepared.values


def test_prelu_with_a_slope_for_each_channel() -> None:
    prelu = nn.PReLU(4)
    nn.init.uniform_(prelu.weight, -0.5, 0.5)
    _, prepared = check(nn.Sequential(nn.Conv2d(3, 4, 3), prelu, nn.Conv2d(4, 2, 1)), (3, 8, 8))
    assert op_names(prepared) == ["Conv2d", "Clamp", "Clamp", "Conv2d", "Conv2d"]


class _ConvNext(nn.Module):
    """Depthwise, then layer norm, an inverted bottleneck and layer scale with channels last."""

    def __init__(self, *, scales_last: bool) -> None:
        super().__init__()
        self.scales_last = scales_last
        self.depthwise = nn.Conv2d(4, 4, 7, padding=3, groups=4)
        self.norm = nn.LayerNorm(4)
        self.up, self.down = nn.Linear(4, 16), nn.Linear(16, 4)
        self.gamma = nn.Parameter(torch.rand(4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.down(F.gelu(self.up(y)))
        if self.scales_last:
            y = (self.gamma * y).permute(0, 3, 1, 2)
        else:
            y = y.permute(0, 3, 1, 2).mul(self.gamma.reshape(1, -1, 1, 1))
        return x + y


@pytest.mark.parametrize("scales_last", [True, False])
def test_convnext_needs_no_rearranging(scales_last: bool) -> None:
    torch.manual_seed(0)
    _, prepared = check(_ConvNext(scales_last=scales_last), (4, 9, 8))
    assert op_names(prepared) == ["Conv2d", "Normalize", "Conv2d", "Conv2d"]
    up, down = prepared.nodes[2:]
    assert isinstance(up.op, ir.Conv2d)
    assert [function.name for function in up.op.functions] == ["gelu"]
    assert ir.residual(down) is not None


SEQUENCES: dict[str, tuple[nn.Module, str]] = {
    "conv1d": (nn.Conv1d(4, 6, 3, 2, 1, 2, groups=2), "Conv2d"),
    "conv1d, same": (nn.Conv1d(4, 6, 4, padding="same", bias=False), "Conv2d"),
    "conv_transpose1d": (nn.ConvTranspose1d(4, 6, 3, 2, 1, 1), "Conv2d Rearrange"),
    "batch_norm": (nn.BatchNorm1d(4), "BatchNorm"),
    "group_norm": (nn.GroupNorm(2, 4), "Normalize"),
    "instance_norm": (nn.InstanceNorm1d(4, affine=True), "Normalize"),
    "max_pool1d": (nn.MaxPool1d(3, 2, 1, ceil_mode=True), "MaxPool2d"),
    "avg_pool1d": (nn.AvgPool1d(3, 2, 1, count_include_pad=False), "AvgPool2d"),
    "adaptive_avg_pool1d": (nn.AdaptiveAvgPool1d(4), "AdaptiveAvgPool2d"),
    "adaptive_max_pool1d": (nn.AdaptiveMaxPool1d(4), "AdaptiveMaxPool2d"),
    "relu": (nn.ReLU(), "Clamp"),
    "gate": (Wraps(lambda net, x: x * x.mean(2, keepdim=True)), "AdaptiveAvgPool2d Mul"),
    "shift": (Wraps(lambda net, x: x + torch.arange(4).view(4, 1)), "ChannelAffine"),
}


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_are_pictures_of_height_one(name: str) -> None:
    torch.manual_seed(0)
    layer, expected = SEQUENCES[name]
    captured, _ = check(layer, (4, 11))
    assert captured.values[captured.inputs[0]].shape == (None, 4, 11)
    names = [kind for kind in op_names(captured) if kind != "Reshape"]
    assert names == expected.split()


@cases(1)
@given(st.data())
def test_transposed_convolutions(data: st.DataObject) -> None:
    def pair(low: int, high: int) -> tuple[int, int]:
        return data.draw(st.integers(low, high)), data.draw(st.integers(low, high))

    kernel, stride, dilation, size = pair(1, 5), pair(1, 3), pair(1, 2), pair(1, 6)
    extra = [
        data.draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
    ]
    # The output has at least one pixel.
    most = [
        ((n - 1) * s + d * (k - 1) + e) // 2
        for n, s, d, k, e in zip(size, stride, dilation, kernel, extra, strict=True)
    ]
    padding = (
        data.draw(st.integers(0, min(most[0], 4))),
        data.draw(st.integers(0, min(most[1], 4))),
    )
    groups, bias = data.draw(st.sampled_from([1, 2, 4])), data.draw(st.booleans())
    torch.manual_seed(0)
    model = nn.ConvTranspose2d(
        4, 8, kernel, stride, padding, (extra[0], extra[1]), groups, bias, dilation
    )
    captured, _ = check(model, (4, *size))
    assert op_names(captured)[0] == "Conv2d"


def test_a_transposed_convolution_absorbs_what_follows() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.ConvTranspose2d(4, 6, 4, 2, 1, bias=False),
        nn.BatchNorm2d(6),
        nn.SiLU(),
        nn.Conv2d(6, 3, 1),
    )
    nn.init.uniform_(model.get_parameter("1.weight"))
    model.get_buffer("1.running_mean").normal_()
    _, prepared = check(model, (4, 5, 6))
    assert op_names(prepared) == ["Conv2d", "Rearrange", "Conv2d"]
    assert prepared.nodes[0].pre_activation is not None


class _Standardized(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.flatten(1).std(1).view(-1, 1, 1, 1) + 1e-5)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


def test_what_is_computed_from_parameters_alone_is_a_parameter() -> None:
    torch.manual_seed(0)
    captured, _ = check(nn.Sequential(_Standardized(3, 4, 3), nn.ReLU()), (3, 8, 8))
    assert op_names(captured) == ["Conv2d", "Clamp"]
    weight = captured.param(captured.nodes[0], "weight")
    assert weight is not None
    assert abs(float(weight.mean())) < 1e-6


def test_layer_scale_is_folded_into_the_layer() -> None:
    torch.manual_seed(0)
    model = Wraps(
        lambda net, x: x + net.gamma.weight.view(1, -1, 1, 1) * net.conv(x),
        conv=nn.Conv2d(4, 4, 3, padding=1),
        gamma=nn.PReLU(4),
    )
    nn.init.uniform_(model.get_parameter("gamma.weight"))
    _, prepared = check(model, (4, 6, 6))
    assert op_names(prepared) == ["Conv2d"]


def test_several_inputs_and_outputs() -> None:
    torch.manual_seed(0)
    model = Wraps(
        lambda net, a, b: (net.conv(torch.cat([a, b], 1)), a.mean((2, 3)), torch.cat([b, a], 1)),
        conv=nn.Conv2d(5, 4, 3),
    )
    _, prepared = check(model, (3, 6, 6), (2, 6, 6))
    first = prepared.nodes[0]
    assert isinstance(first.op, ir.Conv2d)
    assert first.inputs == prepared.inputs
    assert first.op.slices == (ir.ChannelRange(0, 0, 3), ir.ChannelRange(1, 0, 2))
