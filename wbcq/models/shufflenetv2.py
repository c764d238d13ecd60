"""ShuffleNet V2 0.5x and 1.0x (Ma et al., ECCV 2018).

"ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design". Parameter names, shapes
and order are torchvision's: its checkpoints load with ``load_state_dict``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["InvertedResidual", "ShuffleNetV2", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0"]


def _pointwise(inputs: int, outputs: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, 1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def _depthwise(channels: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
    return [conv, nn.BatchNorm2d(channels)]


class InvertedResidual(nn.Module):
    """At stride 1, half of the channels pass by; at stride 2, both branches see all of them.

    [N, inputs, H, W] to [N, outputs, H / stride, W / stride], the channels of both halves mixed.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        width = outputs // 2
        self.branch1 = nn.Sequential()
        if stride > 1:
            self.branch1 = nn.Sequential(*_depthwise(inputs, stride), *_pointwise(inputs, width))
        self.branch2 = nn.Sequential(
            *_pointwise(inputs if stride > 1 else width, width),
            *_depthwise(width, stride),
            *_pointwise(width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Runs the block."""
        if self.stride == 1:
            passed, x = x.chunk(2, dim=1)
        else:
            passed = self.branch1(x)
        return F.channel_shuffle(torch.cat((passed, self.branch2(x)), dim=1), 2)


class ShuffleNetV2(nn.Module):
    """A stem, three stages of blocks, a pointwise layer, global pooling and a linear classifier.

    Args:
        channels: Of the stem, the three stages and the last convolution.
        num_classes: Size of the output.
        in_channels: Channels of the picture.
    """

    def __init__(
        self, channels: tuple[int, int, int, int, int], *, num_classes: int, in_channels: int
    ) -> None:
        super().__init__()
        stem, last = channels[0], channels[-1]
        self.conv1 = nn.Sequential(
            nn.Conv2d(in_channels, stem, 3, 2, padding=1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(inplace=True),
        )
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stage2 = _stage(stem, channels[1], 4)
        self.stage3 = _stage(channels[1], channels[2], 8)
        self.stage4 = _stage(channels[2], channels[3], 4)
        self.conv5 = nn.Sequential(*_pointwise(channels[3], last))
        self.fc = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to logits [N, num_classes]; H and W at least 32."""
        x = self.maxpool(self.conv1(x))
        x = self.conv5(self.stage4(self.stage3(self.stage2(x))))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def _stage(inputs: int, outputs: int, depth: int) -> nn.Sequential:
    blocks = [InvertedResidual(inputs, outputs, 2)]
    blocks += [InvertedResidual(outputs, outputs, 1) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


def shufflenet_v2_x0_5(*, num_classes: int = 1000, in_channels: int = 3) -> ShuffleNetV2:
    """ShuffleNet V2 0.5x: 1,366,792 parameters at 1000 classes."""
    channels = (24, 48, 96, 192, 1024)
    return ShuffleNetV2(channels, num_classes=num_classes, in_channels=in_channels)


def shufflenet_v2_x1_0(*, num_classes: int = 1000, in_channels: int = 3) -> ShuffleNetV2:
    """ShuffleNet V2 1.0x: 2,278,604 parameters at 1000 classes."""
    channels = (24, 116, 232, 464, 1024)
    return ShuffleNetV2(channels, num_classes=num_classes, in_channels=in_channels)
