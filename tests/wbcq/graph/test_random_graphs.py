"""Networks that Hypothesis draws: module == captured graph == graph after all passes."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.wbcq.graph.helpers import check, settle_norms

SIZE = 6
ACTIVATIONS: list[Callable[[Tensor], Tensor]] = [
    F.relu,
    F.relu6,
    F.hardswish,
    F.silu,
    lambda x: F.leaky_relu(x, 0.1),
    lambda x: x * torch.sigmoid(x),
    lambda x: 1.5 * x - 0.25,
]


class Drawn(nn.Module):
    """Steps over a growing list of values; each appends one and names those that it reads."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        self.steps: list[Callable[[list[Tensor]], Tensor]] = []
        self.channels = [inputs]
        self.outputs: list[int] = []

    def add(self, step: Callable[[list[Tensor]], Tensor], channels: int) -> None:
        """One more value."""
        self.steps.append(step)
        self.channels.append(channels)

    def layer(self, module: nn.Module) -> nn.Module:
        """Registers a layer."""
        self.layers.append(module)
        return module

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Runs the steps."""
        values = [x]
        for step in self.steps:
            values.append(step(values))
        return tuple(values[index] for index in self.outputs)


class Excitation(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.fc(x.mean((2, 3))))
        return x * gate[:, :, None, None]


KINDS = (
    "conv",
    "conv",
    "depthwise",
    "grouped",
    "norm",
    "activation",
    "add",
    "mul",
    "cat",
    "cat",
    "chunk",
    "slice",
    "shuffle",
    "gather",
    "pool",
    "excite",
    "pad",
)


def add_step(draw: st.DrawFn, net: Drawn) -> None:
    index = draw(st.integers(max(0, len(net.channels) - 4), len(net.channels) - 1))
    channels = net.channels[index]
    kind = draw(st.sampled_from(KINDS))
    if kind in ("conv", "depthwise", "grouped"):
        groups = {"conv": 1, "depthwise": channels, "grouped": 2 - channels % 2}[kind]
        outputs = channels if kind != "conv" else draw(st.sampled_from([4, 6, 8]))
        kernel = draw(st.sampled_from([1, 3]))
        conv = net.layer(nn.Conv2d(channels, outputs, kernel, padding=kernel // 2, groups=groups))
        net.add(lambda v: conv(v[index]), outputs)
    elif kind == "norm":
        norm = net.layer(nn.BatchNorm2d(channels))
        net.add(lambda v: norm(v[index]), channels)
    elif kind == "activation":
        function = draw(st.sampled_from(ACTIVATIONS))
        net.add(lambda v: function(v[index]), channels)
    elif kind in ("add", "mul"):
        same = [i for i, width in enumerate(net.channels) if width == channels]
        other = draw(st.sampled_from(same))
        if kind == "add":
            net.add(lambda v: v[index] + v[other], channels)
        else:
            net.add(lambda v: v[index] * torch.tanh(v[other]), channels)
    elif kind == "cat":
        others = draw(st.lists(st.integers(0, len(net.channels) - 1), min_size=1, max_size=2))
        chosen = [index, *others]
        width = sum(net.channels[i] for i in chosen)
        if width <= 32:
            net.add(lambda v: torch.cat([v[i] for i in chosen], 1), width)
    elif kind == "chunk" and channels % 2 == 0:
        half = draw(st.integers(0, 1))
        net.add(lambda v: v[index].chunk(2, 1)[half], channels // 2)
    elif kind == "slice" and channels > 1:
        start = draw(st.integers(0, channels - 1))
        net.add(lambda v: v[index][:, start:], channels - start)
    elif kind == "shuffle" and channels % 2 == 0:
        net.add(lambda v: torch.channel_shuffle(v[index], 2), channels)
    elif kind == "gather":
        net.add(lambda v: v[index].flip(1), channels)
    elif kind == "pool":
        net.add(lambda v: F.max_pool2d(v[index], 3, 1, 1), channels)
    elif kind == "excite":
        excite = net.layer(Excitation(channels))
        net.add(lambda v: excite(v[index]), channels)
    elif kind == "pad":
        net.add(lambda v: F.avg_pool2d(F.pad(v[index], (1, 1, 1, 1)), 3, 1), channels)


@st.composite
def networks(draw: st.DrawFn) -> Drawn:
    """A network of up to sixteen steps, with one or two outputs."""
    torch.manual_seed(draw(st.integers(0, 2**16)))
    net = Drawn(draw(st.sampled_from([2, 4, 6])))
    for _ in range(draw(st.integers(1, 16))):
        add_step(draw, net)
    last = len(net.channels) - 1
    net.outputs = [last, *draw(st.lists(st.integers(1, last), max_size=1))] if last else [0]
    settle_norms(net)
    return net


@given(networks(), st.integers(0, 2**16))
@settings(max_examples=max(1, settings().max_examples // 2))
def test_random_graphs(net: Drawn, seed: int) -> None:
    check(net, (net.channels[0], SIZE, SIZE), seed=seed)
