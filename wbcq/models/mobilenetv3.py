"""MobileNet V3 small and large (Howard et al., "Searching for MobileNetV3", ICCV 2019).

Parameter names, shapes and order are torchvision's: its checkpoints load with ``load_state_dict``.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from wbcq.models.blocks import ConvNormActivation, SqueezeExcitation, divisible, initialize

__all__ = ["InvertedResidual", "MobileNetV3", "mobilenet_v3_large", "mobilenet_v3_small"]

_EPS, _MOMENTUM = 1e-3, 0.01


@dataclass(frozen=True)
class _Block:
    inputs: int
    kernel: int
    width: int
    outputs: int
    excited: bool
    swish: bool
    stride: int


_SMALL = (
    _Block(16, 3, 16, 16, True, False, 2),
    _Block(16, 3, 72, 24, False, False, 2),
    _Block(24, 3, 88, 24, False, False, 1),
    _Block(24, 5, 96, 40, True, True, 2),
    _Block(40, 5, 240, 40, True, True, 1),
    _Block(40, 5, 240, 40, True, True, 1),
    _Block(40, 5, 120, 48, True, True, 1),
    _Block(48, 5, 144, 48, True, True, 1),
    _Block(48, 5, 288, 96, True, True, 2),
    _Block(96, 5, 576, 96, True, True, 1),
    _Block(96, 5, 576, 96, True, True, 1),
)
_LARGE = (
    _Block(16, 3, 16, 16, False, False, 1),
    _Block(16, 3, 64, 24, False, False, 2),
    _Block(24, 3, 72, 24, False, False, 1),
    _Block(24, 5, 72, 40, True, False, 2),
    _Block(40, 5, 120, 40, True, False, 1),
    _Block(40, 5, 120, 40, True, False, 1),
    _Block(40, 3, 240, 80, False, True, 2),
    _Block(80, 3, 200, 80, False, True, 1),
    _Block(80, 3, 184, 80, False, True, 1),
    _Block(80, 3, 184, 80, False, True, 1),
    _Block(80, 3, 480, 112, True, True, 1),
    _Block(112, 3, 672, 112, True, True, 1),
    _Block(112, 5, 672, 160, True, True, 2),
    _Block(160, 5, 960, 160, True, True, 1),
    _Block(160, 5, 960, 160, True, True, 1),
)


def _layer(
    inputs: int,
    outputs: int,
    kernel: int,
    activation: type[nn.Module] | None,
    *,
    stride: int = 1,
    groups: int = 1,
) -> ConvNormActivation:
    return ConvNormActivation(
        inputs,
        outputs,
        kernel,
        stride=stride,
        groups=groups,
        activation=activation,
        eps=_EPS,
        momentum=_MOMENTUM,
    )


class InvertedResidual(nn.Module):
    """Pointwise expansion, depthwise, squeeze-and-excitation, pointwise projection, shortcut."""

    def __init__(self, block: _Block) -> None:
        super().__init__()
        activation: type[nn.Module] = nn.Hardswish if block.swish else nn.ReLU
        layers: list[nn.Module] = []
        if block.width != block.inputs:
            layers.append(_layer(block.inputs, block.width, 1, activation))
        layers.append(
            _layer(
                block.width,
                block.width,
                block.kernel,
                activation,
                stride=block.stride,
                groups=block.width,
            )
        )
        if block.excited:
            layers.append(SqueezeExcitation(block.width, divisible(block.width // 4)))
        layers.append(_layer(block.width, block.outputs, 1, None))
        self.block = nn.Sequential(*layers)
        self.has_shortcut = block.stride == 1 and block.inputs == block.outputs

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        y: Tensor = self.block(x)
        return y + x if self.has_shortcut else y


class MobileNetV3(nn.Module):
    """A stem, inverted residuals, a pointwise layer, global pooling and a two-layer classifier.

    Args:
        blocks: The inverted residuals.
        hidden: Width of the classifier.
        num_classes: Size of the output.
        in_channels: Channels of the picture.
        dropout: Probability, before the last layer.
    """

    def __init__(
        self,
        blocks: tuple[_Block, ...],
        hidden: int,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        outputs = blocks[-1].outputs
        last = 6 * outputs
        self.features = nn.Sequential(
            _layer(in_channels, blocks[0].inputs, 3, nn.Hardswish, stride=2),
            *(InvertedResidual(block) for block in blocks),
            _layer(outputs, last, 1, nn.Hardswish),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(last, hidden),
            nn.Hardswish(inplace=True),
            nn.Dropout(dropout, inplace=True),
            nn.Linear(hidden, num_classes),
        )
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to logits [N, num_classes]; H and W at least 32."""
        x = self.avgpool(self.features(x))
        logits: Tensor = self.classifier(x.flatten(1))
        return logits


def mobilenet_v3_small(*, num_classes: int = 1000, in_channels: int = 3) -> MobileNetV3:
    """MobileNet V3 small: 2,542,856 parameters at 1000 classes."""
    return MobileNetV3(_SMALL, 1024, num_classes=num_classes, in_channels=in_channels)


def mobilenet_v3_large(*, num_classes: int = 1000, in_channels: int = 3) -> MobileNetV3:
    """MobileNet V3 large: 5,483,032 parameters at 1000 classes."""
    return MobileNetV3(_LARGE, 1280, num_classes=num_classes, in_channels=in_channels)
