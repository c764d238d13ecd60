"""The authors' ShuffleNetV2, written down here, and ours with its converted weights agree."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn

from wbcq import models
from wbcq.models.shufflenet_layouts import from_authors_layout, is_authors_layout

TRUNK = (
    Path(__file__).resolve().parents[4]
    / "shared/data/pretrained/shufflenetv2_x0_5_trunk/shufflenetv2.pth"
)


def layers(*shapes: tuple[int, int, int, int, bool]) -> nn.Sequential:
    """Convolutions (inputs, outputs, kernel, stride, whether ReLU follows) with normalization."""
    found: list[nn.Module] = []
    for inputs, outputs, kernel, stride, relu in shapes:
        groups = inputs if kernel == 3 and inputs == outputs else 1
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        found += [conv, nn.BatchNorm2d(outputs), *([nn.ReLU()] if relu else [])]
    return nn.Sequential(*found)


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, width = stride, outputs // 2
        read = inputs if stride == 2 else width
        self.branch_main = layers(
            (read, width, 1, 1, True), (width, width, 3, stride, False), (width, width, 1, 1, True)
        )
        if stride == 2:
            self.branch_proj = layers((inputs, inputs, 3, 2, False), (inputs, width, 1, 1, True))

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 2:
            return torch.cat((self.branch_proj(x), self.branch_main(x)), dim=1)
        return torch.cat((x[:, ::2], self.branch_main(x[:, 1::2])), dim=1)


class Authors(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first_conv = layers((3, 24, 3, 2, True))
        self.pool = nn.MaxPool2d(3, 2, 1)
        inputs = 24
        for stage, (outputs, depth) in zip((2, 3, 4), ((48, 4), (96, 8), (192, 4)), strict=True):
            blocks = [
                Block(inputs if k == 0 else outputs, outputs, 2 - (k > 0)) for k in range(depth)
            ]
            self.add_module(f"stage{stage}", nn.Sequential(*blocks))
            inputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.first_conv(x))
        for name in ("stage2", "stage3", "stage4"):
            x = self.get_submodule(name)(x)
        return x


def features(state: dict[str, Tensor], pictures: Tensor) -> Tensor:
    model = models.create("shufflenet_v2_x0_5").eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.startswith(("conv5", "fc")) for name in missing)
    with torch.no_grad():
        x = model.maxpool(model.conv1(pictures))
        return model.stage4(model.stage3(model.stage2(x)))


def check(authors: Authors) -> None:
    state = authors.state_dict()
    assert is_authors_layout(state)
    pictures = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = authors(pictures.flip(1))
    found = features(from_authors_layout(state), pictures)
    # The same channels in another order: the order of their means tells which is which.
    found, expected = (x[:, x.mean(dim=(0, 2, 3)).argsort()] for x in (found, expected))
    assert float(expected.std(dim=(0, 2, 3)).median()) > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_random_weights() -> None:
    torch.manual_seed(0)
    authors = Authors()
    for norm in authors.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None  # the mean over all batches, from the first on
    for _ in range(4):
        authors(torch.rand(8, 3, 64, 64))
    check(authors.eval())


@pytest.mark.skipif(not TRUNK.is_file(), reason="needs the data folder beside the checkout")
def test_a_published_trunk() -> None:
    authors = Authors()
    authors.load_state_dict(torch.load(TRUNK, map_location="cpu", weights_only=True))
    check(authors.eval())


def test_other_layouts_are_told_apart() -> None:
    assert not is_authors_layout(models.create("shufflenet_v2_x0_5").state_dict())
