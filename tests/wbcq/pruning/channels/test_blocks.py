"""Blocks of popular networks: what must stay together, and what their forward has built in."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.wbcq.graph.helpers import Wraps, assert_close, settle_norms
from tests.wbcq.networks import blocks
from tests.wbcq.pruning.channels.helpers import outputs, pictures, without_readers
from wbcq.pruning.channels import ChannelNetwork, plan_channels, prune_channels


class OldShuffle(nn.Module):
    """ShuffleNet as it was written before torch had a shuffle: views, and slices up to numbers."""

    def __init__(self, channels: int = 16, groups: int = 2) -> None:
        super().__init__()
        self.groups = groups
        self.enter = blocks.ConvNormAct(3, channels, 3, act=nn.ReLU())
        self.branch = blocks.ConvNormAct(channels // 2, channels // 2, 3, act=nn.ReLU())
        self.again = blocks.ConvNormAct(channels // 2, channels // 2, 3, act=nn.ReLU())
        self.leave = nn.Linear(channels, 5)

    def shuffled(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        x = x.view(batch, self.groups, channels // self.groups, height, width)
        return x.transpose(1, 2).contiguous().view(batch, -1, height, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for branch in (self.branch, self.again):
            half = x.shape[1] // 2
            x = self.shuffled(torch.cat((x[:, :half], branch(x[:, half:])), 1))
        return self.leave(x.mean((2, 3)))


class Attention(nn.Module):
    """One gate for all channels of a pixel, and one for each channel."""

    def __init__(self, channels: int = 12) -> None:
        super().__init__()
        self.enter = blocks.ConvNormAct(3, channels, 3)
        self.gate = nn.Conv2d(channels, 1, 3, padding=1)
        self.excite = blocks.SqueezeExcite(channels)
        self.leave = nn.Conv2d(channels, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return self.leave(self.excite(x * torch.sigmoid(self.gate(x))))


class Shared(nn.Module):
    """One head for two scales, and a dictionary for a result."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 12, 3, 2, 1)
        self.head = nn.Sequential(nn.Conv2d(12, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        fine = torch.relu(self.fine(x))
        return {"fine": self.head(fine), "coarse": self.head(torch.relu(self.coarse(fine)))}


class Numbers(nn.Module):
    """A forward with numbers of channels in it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 12, 3), nn.Conv2d(8, 6, 1)
        self.drop = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        parts = self.a(x).split((4, 8), 1)
        return {
            "out": self.b(self.drop(torch.relu(parts[1]))),
            "sum": F.linear(parts[0].mean((2, 3)), M),
        }


M = torch.eye(4)
"""A constant of forward: what it multiplies stays."""


def flattened() -> nn.Module:
    return nn.Sequential(
        blocks.ConvNormAct(3, 8, 3), nn.AdaptiveAvgPool2d(3), nn.Flatten(),
        nn.Linear(72, 20), nn.ReLU(), nn.Linear(20, 5),
    )  # fmt: skip


def grouped() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, bias=False), nn.GroupNorm(6, 24), nn.SiLU(),
        nn.Conv2d(24, 48, 3, groups=6), nn.InstanceNorm2d(48, affine=True), nn.ReLU(),
        nn.Conv2d(48, 5, 1),
    )  # fmt: skip


SAME_CLASS: dict[str, Callable[[], nn.Module]] = {
    "attention": Attention,
    "cross_stage": lambda: blocks.Classifier(blocks.C3(16, 16), 16),
    "dense": lambda: blocks.Classifier(blocks.DenseBlock(8, 6, 3), 8, outputs=26),
    "excited": lambda: blocks.Classifier(blocks.InvertedResidual(8, 4, nn.Hardswish()), 8),
    "flattened": flattened,
    "fusion": blocks.TwoResolutions,
    "grouped": grouped,
    "pyramid_pools": lambda: blocks.Classifier(blocks.SPPF(16, 16), 16),
    "shared": Shared,
}
GRAPHS: dict[str, Callable[[], nn.Module]] = {
    "old_shuffle": OldShuffle,
    "old_shuffle_of_four": lambda: OldShuffle(32, 4),
}
EITHER: dict[str, Callable[[], nn.Module]] = {
    "c2f": lambda: blocks.Classifier(blocks.C2f(16, 16, 2), 16),
    "detector": blocks.Detector,
    "ghost": lambda: blocks.Classifier(blocks.Ghost(8, 15), 8, outputs=15),
    "hierarchy": lambda: blocks.Classifier(blocks.Hierarchy(16), 16),
}


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("name", [*SAME_CLASS, *GRAPHS, *EITHER])
def test_half_of_the_multiplications(name: str, scope: str) -> None:
    torch.manual_seed(0)
    model = settle_norms({**SAME_CLASS, **GRAPHS, **EITHER}[name]())
    inputs = pictures((3, 32, 32))
    plan = plan_channels(model, None, inputs, macs=0.6, scope=scope)  # type: ignore[arg-type]
    smaller = plan.apply()
    if name in SAME_CLASS:
        assert type(smaller) is type(model)
    elif name in GRAPHS:
        assert type(smaller) is ChannelNetwork
    assert_close(outputs(smaller, inputs), outputs(without_readers(plan, model), inputs))


def test_numbers_in_forward_and_the_structure_of_results() -> None:
    model, inputs = Numbers(), pictures((3, 8, 8))
    with pytest.warns(UserWarning, match="has no dropout: drop is left out"):
        smaller = prune_channels(model, 0.5, inputs)
    assert type(smaller) is ChannelNetwork
    result = smaller.eval()(*inputs)
    assert list(result) == ["out", "sum"]
    assert result["sum"].shape == (2, 4)
    assert smaller.a.out_channels == 8
    torch.testing.assert_close(result["sum"], model.eval()(*inputs)["sum"])


def test_layers_tell_their_new_sizes() -> None:
    torch.manual_seed(0)
    conv, norm, _, split, instance, _, last = prune_channels(grouped(), 0.5, pictures((3, 16, 16)))
    assert (conv.out_channels, norm.num_channels, norm.num_groups) == (12, 12, 3)
    assert (split.in_channels, split.out_channels, split.groups) == (12, 24, 3)
    assert (instance.num_features, last.in_channels, last.out_channels) == (24, 24, 5)
    flat = prune_channels(flattened(), 0.5, pictures((3, 16, 16)))
    assert (flat[0][1].num_features, flat[3].in_features, flat[3].out_features) == (4, 36, 10)


def test_channels_that_are_weighed_against_each_other_stay() -> None:
    model = Wraps(
        lambda m, x: m.last(
            F.layer_norm(m.a(x).mean((2, 3)), (8,)) + m.b(x).mean((2, 3)).softmax(1)
        ),
        a=nn.Conv2d(3, 8, 3),
        b=nn.Conv2d(3, 8, 3),
        last=nn.Linear(8, 2),
    )
    with pytest.raises(ValueError, match="no channel of Wraps can be removed"):
        prune_channels(model, 0.5, pictures((3, 8, 8)))


def test_tied_weights_stay_tied() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Conv2d(6, 6, 3, padding=1) for _ in range(3)))
    model[1].weight = model[0].weight
    model = nn.Sequential(nn.Conv2d(3, 6, 1), model, nn.Conv2d(6, 2, 1))
    inputs = pictures((3, 8, 8))
    plan = plan_channels(model, 0.5, inputs)
    smaller = plan.apply()
    assert smaller[1][0].weight is smaller[1][1].weight
    assert smaller[1][0].weight.shape == (3, 3, 3, 3)
    assert_close(outputs(smaller, inputs), outputs(without_readers(plan, model), inputs))
