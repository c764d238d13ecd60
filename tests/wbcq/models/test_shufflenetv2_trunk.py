"""Weights in the layout of ShuffleNetV2's authors compute the same in ours."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from wbcq import models
from wbcq.models.shufflenetv2 import ShuffleNetV2
from wbcq.models.shufflenetv2_trunk import load_authors_trunk

TRUNK = Path(__file__).resolve().parents[4] / (
    "shared/data/pretrained/shufflenetv2_x0_5_trunk/shufflenetv2.pth"
)


def pointwise(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def depthwise(channels: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
    return [conv, nn.BatchNorm2d(channels)]


class Block(nn.Module):
    """Even channels pass by, odd ones enter, concatenation: the shuffle comes first."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        entering = inputs if stride > 1 else half
        self.branch_main = nn.Sequential(
            *pointwise(entering, half), *depthwise(half, stride), *pointwise(half, half)
        )
        if stride > 1:
            self.branch_proj = nn.Sequential(*depthwise(inputs, stride), *pointwise(inputs, half))

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "branch_proj"):
            return torch.cat((self.branch_proj(x), self.branch_main(x)), 1)
        return torch.cat((x[:, 0::2], self.branch_main(x[:, 1::2])), 1)


class Trunk(nn.Module):
    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        stem = nn.Conv2d(3, widths[0], 3, 2, 1, bias=False)
        self.first_conv = nn.Sequential(stem, nn.BatchNorm2d(widths[0]), nn.ReLU())
        for k, depth in ((1, 4), (2, 8), (3, 4)):
            blocks = [Block(widths[k - 1], widths[k], 2)]
            blocks += [Block(widths[k], widths[k], 1) for _ in range(depth - 1)]
            setattr(self, f"stage{k + 1}", nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.first_conv(x), 3, 2, 1)
        y: Tensor = self.stage4(self.stage3(self.stage2(x)))
        return y


def features(model: ShuffleNetV2, x: Tensor) -> Tensor:
    y: Tensor = model.stage4(model.stage3(model.stage2(model.maxpool(model.conv1(x)))))
    return y


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "shufflenet_v2_x1_0"])
def test_both_layouts_compute_the_same(name: str) -> None:
    torch.manual_seed(0)
    ours = models.create(name, num_classes=5).eval()
    assert isinstance(ours, ShuffleNetV2)
    widths = (24, *(getattr(ours, f"stage{k}")[0].branch2[5].out_channels * 2 for k in (2, 3, 4)))
    theirs = Trunk(widths).train()
    x = torch.rand(2, 3, 64, 64)
    theirs(x)
    theirs.eval()
    order = load_authors_trunk(ours, theirs.state_dict())
    assert sorted(order.tolist()) == list(range(widths[-1]))
    with torch.no_grad():
        torch.testing.assert_close(features(ours, x), theirs(x)[:, order])
        load_authors_trunk(ours, theirs.state_dict(), bgr=True)
        torch.testing.assert_close(features(ours, x), theirs(x.flip(1))[:, order])


def test_a_trunk_that_does_not_fit_is_refused() -> None:
    model = models.create("shufflenet_v2_x0_5", num_classes=5)
    before = copy.deepcopy(model.state_dict())
    assert isinstance(model, ShuffleNetV2)
    state = Trunk((24, 48, 96, 192)).state_dict()
    with pytest.raises(ValueError, match=r"no layer 'first_conv.0'"):
        load_authors_trunk(model, {})
    wrong = {**state, "stage3.0.branch_main.3.weight": torch.zeros(40, 1, 3, 3)}
    with pytest.raises(ValueError, match=r"stage3.0.branch2.3.weight is \[40, 1, 3, 3\]"):
        load_authors_trunk(model, wrong)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.skipif(not TRUNK.exists(), reason="needs shared/data/pretrained")
def test_the_published_trunk_fits() -> None:
    model = models.create("shufflenet_v2_x0_5", num_classes=5)
    assert isinstance(model, ShuffleNetV2)
    state = torch.load(TRUNK, map_location="cpu", weights_only=True)
    load_authors_trunk(model, state, bgr=True)
    expected = state["first_conv.0.weight"].flip(1)
    assert torch.equal(model.conv1[0].weight, expected)
