"""YOLOv3 and YOLOv3-tiny (Redmon and Farhadi, "YOLOv3: An Incremental Improvement", 2018).

The networks return raw heads; decoding boxes and suppressing overlaps is not part of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ANCHORS", "TINY_ANCHORS", "YoloV3", "YoloV3Tiny", "yolov3", "yolov3_tiny"]

ANCHORS = (
    ((116, 90), (156, 198), (373, 326)),
    ((30, 61), (62, 45), (59, 119)),
    ((10, 13), (16, 30), (33, 23)),
)
"""Width and height in pixels of the anchors of the heads at stride 32, 16 and 8."""

TINY_ANCHORS = (((81, 82), (135, 169), (344, 319)), ((10, 14), (23, 27), (37, 58)))
"""The same for the heads of YOLOv3-tiny at stride 32 and 16."""


class _Layers:
    """Makes layers with one choice of activation."""

    def __init__(self, activation: str) -> None:
        if activation not in ("leaky_relu", "relu"):
            raise ValueError(f"activation is {activation!r}, must be 'leaky_relu' or 'relu'")
        self._activation = activation

    def conv(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
        activation = nn.LeakyReLU(0.1, inplace=True)
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            activation if self._activation == "leaky_relu" else nn.ReLU(inplace=True),
        )

    def neck(self, inputs: int, width: int) -> nn.Sequential:
        """Five alternating 1x1 and 3x3 convolutions that end with ``width`` channels."""
        return nn.Sequential(
            self.conv(inputs, width, 1),
            self.conv(width, 2 * width, 3),
            self.conv(2 * width, width, 1),
            self.conv(width, 2 * width, 3),
            self.conv(2 * width, width, 1),
        )

    def head(self, inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(self.conv(inputs, 2 * inputs, 3), nn.Conv2d(2 * inputs, outputs, 1))


class _Residual(nn.Module):
    def __init__(self, channels: int, layers: _Layers) -> None:
        super().__init__()
        self.conv1 = layers.conv(channels, channels // 2, 1)
        self.conv2 = layers.conv(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.conv1(x))
        return x + y


class Darknet53(nn.Module):
    """The backbone: [N, in_channels, H, W] to features at stride 8, 16 and 32."""

    def __init__(self, in_channels: int, layers: _Layers) -> None:
        super().__init__()
        self.stem = layers.conv(in_channels, 32, 3)
        self.stages = nn.ModuleList()
        channels = 32
        for depth in (1, 2, 8, 8, 4):
            down = layers.conv(channels, 2 * channels, 3, 2)
            channels *= 2
            blocks = (_Residual(channels, layers) for _ in range(depth))
            self.stages.append(nn.Sequential(down, *blocks))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features of 256, 512 and 1024 channels."""
        x = self.stem(x)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features[2], features[3], features[4]


class YoloV3(nn.Module):
    """Darknet-53 and a feature pyramid of three scales.

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the picture.
        activation: ``"leaky_relu"`` (slope 0.1) or ``"relu"``.
    """

    anchors = ANCHORS
    strides = (32, 16, 8)

    def __init__(
        self, *, num_classes: int = 80, in_channels: int = 3, activation: str = "leaky_relu"
    ) -> None:
        super().__init__()
        layers = _Layers(activation)
        outputs = len(ANCHORS[0]) * (5 + num_classes)
        self.backbone = Darknet53(in_channels, layers)
        self.neck1 = layers.neck(1024, 512)
        self.lateral1 = layers.conv(512, 256, 1)
        self.neck2 = layers.neck(256 + 512, 256)
        self.lateral2 = layers.conv(256, 128, 1)
        self.neck3 = layers.neck(128 + 256, 128)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.head1 = layers.head(512, outputs)
        self.head2 = layers.head(256, outputs)
        self.head3 = layers.head(128, outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[N, in_channels, H, W] to raw heads; H and W multiples of 32.

        Returns:
            For stride 32, 16 and 8, [N, 3 * (5 + num_classes), H / stride, W / stride]; for each
            anchor x, y, width, height, objectness and classes, before any sigmoid.
        """
        small, middle, large = self.backbone(x)
        large = self.neck1(large)
        middle = self.neck2(torch.cat((self.upsample(self.lateral1(large)), middle), dim=1))
        small = self.neck3(torch.cat((self.upsample(self.lateral2(middle)), small), dim=1))
        return self.head1(large), self.head2(middle), self.head3(small)


class YoloV3Tiny(nn.Module):
    """A plain backbone of max pools and two scales.

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the picture.
        activation: ``"leaky_relu"`` (slope 0.1) or ``"relu"``.
        width: Factor of the number of channels of every layer but the heads' last; rounded to
            multiples of 8.
    """

    anchors = TINY_ANCHORS
    strides = (32, 16)

    def __init__(
        self,
        *,
        num_classes: int = 80,
        in_channels: int = 3,
        activation: str = "leaky_relu",
        width: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 < width <= 4:
            raise ValueError(f"width is {width}, must be more than 0 and at most 4")
        layers = _Layers(activation)
        outputs = len(TINY_ANCHORS[0]) * (5 + num_classes)
        sizes = (16, 32, 64, 128, 256, 512, 1024)
        w16, w32, w64, w128, w256, w512, w1024 = (max(8, 8 * round(n * width / 8)) for n in sizes)
        blocks: list[nn.Module] = []
        channels = in_channels
        for wide in (w16, w32, w64, w128):
            blocks += [layers.conv(channels, wide, 3), nn.MaxPool2d(2)]
            channels = wide
        self.shallow = nn.Sequential(*blocks, layers.conv(w128, w256, 3))
        self.deep = nn.Sequential(
            nn.MaxPool2d(2),
            layers.conv(w256, w512, 3),
            # A window of 2x2 at stride 1 that keeps the size: below and right there is nothing.
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.MaxPool2d(2, stride=1),
            layers.conv(w512, w1024, 3),
            layers.conv(w1024, w256, 1),
        )
        self.lateral = layers.conv(w256, w128, 1)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.head1 = nn.Sequential(layers.conv(w256, w512, 3), nn.Conv2d(w512, outputs, 1))
        self.head2 = nn.Sequential(layers.conv(w128 + w256, w256, 3), nn.Conv2d(w256, outputs, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N, in_channels, H, W] to raw heads at stride 32 and 16, as those of YOLOv3."""
        shallow = self.shallow(x)
        deep = self.deep(shallow)
        merged = torch.cat((self.upsample(self.lateral(deep)), shallow), dim=1)
        return self.head1(deep), self.head2(merged)


def yolov3(
    *, num_classes: int = 80, in_channels: int = 3, activation: str = "leaky_relu"
) -> YoloV3:
    """YOLOv3: 61,949,149 parameters at 80 classes, 61,545,274 at 5."""
    return YoloV3(num_classes=num_classes, in_channels=in_channels, activation=activation)


def yolov3_tiny(
    *,
    num_classes: int = 80,
    in_channels: int = 3,
    activation: str = "leaky_relu",
    width: float = 1.0,
) -> YoloV3Tiny:
    """YOLOv3-tiny: 8,852,366 parameters at 80 classes, 8,679,116 at 5, 548,500 at 5 and 0.25."""
    return YoloV3Tiny(
        num_classes=num_classes, in_channels=in_channels, activation=activation, width=width
    )
