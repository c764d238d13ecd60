"""RegNetX-400MF (Radosavovic et al., "Designing Network Design Spaces", CVPR 2020).

Parameter names, shapes and order are torchvision's: its checkpoints load with ``load_state_dict``.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from wbcq.models.blocks import ConvNormActivation, initialize

__all__ = ["BottleneckTransform", "RegNet", "ResBottleneckBlock", "regnet_x_400mf"]


class BottleneckTransform(nn.Sequential):
    """1x1, grouped 3x3 and 1x1 convolution without a bottleneck, named a, b and c."""

    def __init__(self, inputs: int, width: int, stride: int, group_width: int) -> None:
        super().__init__(
            OrderedDict(
                a=ConvNormActivation(inputs, width, 1),
                b=ConvNormActivation(width, width, stride=stride, groups=width // group_width),
                c=ConvNormActivation(width, width, 1, activation=None),
            )
        )


class ResBottleneckBlock(nn.Module):
    """The transform and a shortcut: [N, inputs, H, W] to [N, width, H / stride, W / stride]."""

    def __init__(self, inputs: int, width: int, stride: int, group_width: int) -> None:
        super().__init__()
        self.proj: nn.Module | None = None
        if inputs != width or stride != 1:
            self.proj = ConvNormActivation(inputs, width, 1, stride=stride, activation=None)
        self.f = BottleneckTransform(inputs, width, stride, group_width)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Runs the block."""
        shortcut = x if self.proj is None else self.proj(x)
        out: Tensor = self.activation(shortcut + self.f(x))
        return out


class RegNet(nn.Module):
    """A stem, four stages of blocks, global pooling and a linear classifier.

    Args:
        depths: Number of blocks of each stage.
        widths: Channels of each stage.
        group_width: Channels of each group of the 3x3 convolutions.
        num_classes: Size of the output.
        in_channels: Channels of the picture.
    """

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        widths: tuple[int, int, int, int],
        group_width: int,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        inputs = 32
        self.stem = ConvNormActivation(in_channels, inputs, stride=2)
        self.trunk_output = nn.Sequential()
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True), start=1):
            blocks = nn.Sequential()
            for index in range(depth):
                block = ResBottleneckBlock(inputs, width, 2 if index == 0 else 1, group_width)
                blocks.add_module(f"block{stage}-{index}", block)
                inputs = width
            self.trunk_output.add_module(f"block{stage}", blocks)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(inputs, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to logits [N, num_classes]; H and W at least 32."""
        x = self.avgpool(self.trunk_output(self.stem(x)))
        logits: Tensor = self.fc(x.flatten(1))
        return logits


def regnet_x_400mf(*, num_classes: int = 1000, in_channels: int = 3) -> RegNet:
    """RegNetX-400MF: 5,495,976 parameters at 1000 classes."""
    return RegNet(
        (1, 2, 7, 12),
        (32, 64, 160, 400),
        16,
        num_classes=num_classes,
        in_channels=in_channels,
    )
