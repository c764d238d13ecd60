"""Concatenation, splitting and shuffling dissolve into what reads them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.wbcq.graph.helpers import Wraps, check, op_names, settle_norms
from wbcq import models
from wbcq.graph import ir
from wbcq.graph.channel_lists import as_slices, by_source, pieces

MOVES = (ir.Concat, ir.Slice, ir.ChannelShuffle, ir.Gather)


def conv(inputs: int, outputs: int, kernel: int = 1, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **options)


def depthwise(channels: int) -> nn.Conv2d:
    return conv(channels, channels, 3, groups=channels)


def moves(graph: ir.Graph) -> list[str]:
    return [type(node.op).__name__ for node in graph if isinstance(node.op, MOVES)]


def slices_of(graph: ir.Graph, name: str) -> list[tuple[str, int, int]]:
    node = next(node for node in graph if node.name == name)
    assert isinstance(node.op, (ir.Conv2d, ir.Linear))
    return [(node.inputs[s.index], s.start, s.stop) for s in node.op.slices]


class ConvSilu(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int = 1) -> None:
        super().__init__(
            conv(inputs, outputs, kernel, bias=False), nn.BatchNorm2d(outputs), nn.SiLU()
        )


class C2f(nn.Module):
    """Cross-stage partial block whose every inner result is concatenated."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.first = ConvSilu(channels, channels)
        self.inner = nn.ModuleList(
            nn.Sequential(
                ConvSilu(channels // 2, channels // 2, 3), ConvSilu(channels // 2, channels // 2, 3)
            )
            for _ in range(depth)
        )
        self.last = ConvSilu((2 + depth) * channels // 2, channels)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.first(x).chunk(2, 1))
        for block in self.inner:
            parts.append(parts[-1] + block(parts[-1]))
        out: Tensor = self.last(torch.cat(parts, 1))
        return out


class Sppf(nn.Module):
    """Three maxima of growing reach and their source, concatenated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.last = ConvSilu(channels, 4), ConvSilu(16, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        parts = [x]
        for _ in range(3):
            parts.append(F.max_pool2d(parts[-1], 5, 1, 2))
        out: Tensor = self.last(torch.cat(parts, 1))
        return out


class DenseBlock(nn.Module):
    def __init__(self, channels: int, growth: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(channels + i * growth),
                nn.ReLU(),
                conv(channels + i * growth, growth, 3),
            )
            for i in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        parts = [x]
        for layer in self.layers:
            parts.append(layer(torch.cat(parts, 1)))
        return torch.cat(parts, 1)


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "shufflenet_v2_x1_0"])
def test_shufflenet_moves_no_channel(name: str) -> None:
    torch.manual_seed(0)
    model = settle_norms(models.create(name, num_classes=5))
    captured, prepared = check(model, (3, 64, 64))
    assert len(moves(captured)) == 16 + 2 * 13 + 16
    assert moves(prepared) == []
    kinds = op_names(prepared)
    assert kinds.count("Conv2d") == 56
    assert len(kinds) == 60
    # The last unit of a stage reads what passed all the others: one range for each of them.
    most = max(len(n.op.slices) for n in prepared if isinstance(n.op, ir.Conv2d))
    assert most <= 9


def test_c2f() -> None:
    torch.manual_seed(0)
    model = settle_norms(nn.Sequential(C2f(8, 2), Sppf(8)))
    _, prepared = check(model, (8, 9, 9))
    # The halves of the first convolution: the second is added to, so it is a view in memory.
    assert moves(prepared) == ["Slice"]
    assert [size for _, *size in slices_of(prepared, "0.last.0")] == [[0, 8], [0, 4], [0, 4]]
    assert len(slices_of(prepared, "1.last.0")) == 4


def test_dense_block() -> None:
    torch.manual_seed(0)
    block = settle_norms(DenseBlock(4, 4, 3))
    model = nn.Sequential(block, conv(16, 2))
    _, prepared = check(model, (4, 6, 6))
    assert moves(prepared) == []
    assert len(slices_of(prepared, "1")) == 4


def test_a_shuffle_before_a_dense_layer_only_permutes_its_weights() -> None:
    model = nn.Sequential(conv(3, 8), nn.ChannelShuffle(4), conv(8, 2))
    captured, prepared = check(model, (3, 4, 4))
    assert op_names(prepared) == ["Conv2d", "Conv2d"]
    assert slices_of(prepared, "2") == []
    before, after = captured.params["2.weight"], prepared.params["2.weight"]
    order = torch.channel_shuffle(torch.arange(8.0).view(1, 8, 1, 1), 4).flatten().int().tolist()
    assert (after[:, order] == before).all()


def test_a_depthwise_layer_computes_in_the_order_of_its_sources() -> None:
    model = Wraps(
        lambda net, x: net.last(
            net.dw(torch.channel_shuffle(torch.cat([net.a(x), net.b(x)], 1), 2))
        ),
        a=conv(3, 4),
        b=conv(3, 4),
        dw=depthwise(8),
        last=conv(8, 2),
    )
    _, prepared = check(model, (3, 5, 5))
    assert op_names(prepared) == ["Conv2d"] * 4
    assert slices_of(prepared, "dw") == [("a", 0, 4), ("b", 0, 4)]
    assert slices_of(prepared, "last") == []


def test_a_permuted_result_that_leaves_the_network_is_put_in_order() -> None:
    model = Wraps(
        lambda net, x: net.dw(torch.channel_shuffle(net.a(x), 2)), a=conv(3, 32), dw=depthwise(32)
    )
    _, prepared = check(model, (3, 5, 5))
    assert op_names(prepared) == ["Conv2d"] * 3
    assert moves(prepared) == []


def test_a_channel_that_is_read_twice_has_the_sum_of_the_weights() -> None:
    model = Wraps(
        lambda net, x: net.last(torch.cat([(y := net.a(x)), y, y[:, :2]], 1)),
        a=conv(3, 4),
        last=conv(10, 2),
    )
    _, prepared = check(model, (3, 5, 5))
    assert op_names(prepared) == ["Conv2d", "Conv2d"]
    assert prepared.params["last.weight"].shape == (2, 4, 1, 1)


def test_a_depthwise_layer_reads_a_channel_twice() -> None:
    model = Wraps(
        lambda net, x: net.last(net.dw(torch.cat([(y := net.a(x)), y], 1))),
        a=conv(3, 4),
        dw=depthwise(8),
        last=conv(8, 2),
    )
    _, prepared = check(model, (3, 5, 5))
    assert moves(prepared) == []


def test_arithmetic_needs_memory() -> None:
    model = Wraps(
        lambda net, x: net.c(x) + torch.cat([net.a(x).relu(), net.b(x).relu()], 1),
        a=conv(3, 4),
        b=conv(3, 4),
        c=conv(3, 8),
    )
    _, prepared = check(model, (3, 5, 5))
    assert sorted(op_names(prepared)) == ["Concat", "Conv2d", "Conv2d", "Conv2d"]


def test_grouped_layers_need_memory() -> None:
    model = Wraps(
        lambda net, x: net.g(torch.cat([net.a(x), net.b(x)[:, 1:3]], 1)),
        a=conv(3, 4),
        b=conv(3, 4),
        g=conv(6, 6, 3, groups=2),
    )
    _, prepared = check(model, (3, 5, 5))
    assert moves(prepared) == ["Slice", "Concat"]


def test_grouped_layers_with_shuffles() -> None:
    """ShuffleNet V1: the shuffle between grouped convolutions takes a convolution with ones."""
    model = nn.Sequential(
        conv(24, 24, groups=3), nn.ChannelShuffle(3), depthwise(24), conv(24, 24, groups=3)
    )
    _, prepared = check(model, (24, 5, 5))
    assert op_names(prepared) == ["Conv2d"] * 4


def test_pools_of_a_concatenation_pool_its_parts() -> None:
    model = Wraps(
        lambda net, x: net.last(F.max_pool2d(torch.cat([net.a(x), net.b(x)], 1), 2)),
        a=conv(3, 4),
        b=conv(3, 4),
        last=conv(8, 2),
    )
    _, prepared = check(model, (3, 6, 6))
    assert sorted(op_names(prepared)) == ["Conv2d"] * 3 + ["MaxPool2d"] * 2


def test_activations_of_a_concatenation_are_fused_into_its_parts() -> None:
    model = Wraps(
        lambda net, x: net.fc(
            F.silu(torch.cat([net.a(x), net.b(x)], 1)).mean((2, 3), keepdim=True).flatten(1)
        ),
        a=conv(3, 4),
        b=conv(3, 4),
        fc=nn.Linear(8, 2),
    )
    _, prepared = check(model, (3, 6, 6))
    assert moves(prepared) == []
    convs = [node for node in prepared if isinstance(node.op, ir.Conv2d)]
    assert all(node.op.functions == (ir.Function("silu"),) for node in convs)  # type: ignore[attr-defined]
    assert len(slices_of(prepared, "fc")) == 2


def test_pools_of_slices_and_shuffles() -> None:
    model = Wraps(
        lambda net, x: net.last(F.avg_pool2d(torch.channel_shuffle(net.a(x)[:, 2:], 3), 2)),
        a=conv(3, 8),
        last=conv(6, 2),
    )
    _, prepared = check(model, (3, 6, 6))
    assert moves(prepared) == ["Slice"]


def test_rows_of_channels() -> None:
    model = Wraps(
        lambda net, x: net.b(torch.cat([net.a(x), x[:, :3]], 1)) + net.a(x)[:, :2],
        a=nn.Linear(5, 4),
        b=nn.Linear(7, 2),
    )
    _, prepared = check(model, (5,))
    assert slices_of(prepared, "b") == [("a", 0, 4), (prepared.inputs[0], 0, 3)]


def test_names_are_unique_where_a_reordered_value_is_also_read_in_order() -> None:
    model = Wraps(lambda net, x: (y := F.max_pool2d(x.flip(1), 2), net.a(y) + y)[1], a=conv(4, 4))
    _, prepared = check(model, (4, 6, 6))
    assert "ChannelShuffle" not in {type(node.op).__name__ for node in prepared}


@pytest.mark.parametrize("shape", [(3, 4, 4), (12,)])
def test_outputs_are_in_memory(shape: tuple[int, ...]) -> None:
    model = Wraps(lambda net, x: (torch.cat([x, x], 1), *x.chunk(3, 1), x.flip(1)))
    _, prepared = check(model, shape)
    assert not any(isinstance(n.op, (ir.ChannelShuffle, ir.Gather)) for n in prepared)


def test_a_residual_after_slices() -> None:
    model = Wraps(
        lambda net, x: F.relu(net.last(torch.cat([(y := net.a(x)), net.b(x)], 1)) + y),
        a=conv(3, 4),
        b=conv(3, 2),
        last=conv(6, 4),
    )
    _, prepared = check(model, (3, 5, 5))
    node = prepared.nodes[-1]
    assert op_names(prepared) == ["Conv2d"] * 3
    assert ir.residual(node) == "a"
    assert node.inputs == ("a", "b", "a")


def test_lists() -> None:
    channels = [("a", 0), ("b", 4), ("a", 1), ("b", 5)]
    assert len(pieces(channels)) == 4
    ordered = [channels[i] for i in by_source(channels)]
    widths = {"a": 2, "b": 8}
    assert as_slices(ordered, widths) == (
        ("a", "b"),
        (ir.ChannelRange(0, 0, 2), ir.ChannelRange(1, 4, 6)),
    )
    assert as_slices(ordered[:2], widths) == (("a",), ())
