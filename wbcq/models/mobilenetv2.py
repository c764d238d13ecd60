"""MobileNet V2 (Sandler et al., "Inverted Residuals and Linear Bottlenecks", CVPR 2018).

Parameter names, shapes and order are torchvision's: its checkpoints load with ``load_state_dict``.
"""

from __future__ import annotations

from torch import Tensor, nn

from wbcq.models.blocks import ConvNormActivation, initialize

__all__ = ["InvertedResidual", "MobileNetV2", "mobilenet_v2"]

_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, number of blocks, stride of the first."""


class InvertedResidual(nn.Module):
    """Pointwise expansion, depthwise 3x3, pointwise projection without activation, shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(ConvNormActivation(inputs, width, 1, activation=nn.ReLU6))
        layers += [
            ConvNormActivation(width, width, stride=stride, groups=width, activation=nn.ReLU6),
            nn.Conv2d(width, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        y: Tensor = self.conv(x)
        return x + y if self.has_shortcut else y


class MobileNetV2(nn.Module):
    """A stem, seventeen inverted residuals, a pointwise layer, global pooling and a classifier.

    Args:
        num_classes: Size of the output.
        in_channels: Channels of the picture.
        dropout: Probability, before the classifier.
    """

    def __init__(
        self, *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.2
    ) -> None:
        super().__init__()
        channels, last = 32, 1280
        layers: list[nn.Module] = [
            ConvNormActivation(in_channels, channels, stride=2, activation=nn.ReLU6)
        ]
        for expansion, outputs, depth, stride in _STAGES:
            for index in range(depth):
                first = index == 0
                layers.append(
                    InvertedResidual(channels, outputs, stride if first else 1, expansion)
                )
                channels = outputs
        layers.append(ConvNormActivation(channels, last, 1, activation=nn.ReLU6))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to logits [N, num_classes]; H and W at least 32."""
        x = nn.functional.adaptive_avg_pool2d(self.features(x), 1)
        logits: Tensor = self.classifier(x.flatten(1))
        return logits


def mobilenet_v2(*, num_classes: int = 1000, in_channels: int = 3) -> MobileNetV2:
    """MobileNet V2: 3,504,872 parameters at 1000 classes."""
    return MobileNetV2(num_classes=num_classes, in_channels=in_channels)
