"""Building blocks of popular networks, written anew: what strangers' modules look like."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNormAct(nn.Sequential):
    """Convolution, batch normalization, activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        groups: int = 1,
        dilation: int = 1,
        act: nn.Module | None = None,
    ) -> None:
        pad = dilation * (kernel - 1) // 2
        conv = nn.Conv2d(
            inputs, outputs, kernel, stride, pad, groups=groups, dilation=dilation, bias=False
        )
        super().__init__(conv, nn.BatchNorm2d(outputs), nn.SiLU() if act is None else act)


class Bottleneck(nn.Module):
    def __init__(self, channels: int, *, shortcut: bool = True) -> None:
        super().__init__()
        self.cv1 = ConvNormAct(channels, channels, 3)
        self.cv2 = ConvNormAct(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C2f(nn.Module):
    """Chunks, a chain of bottlenecks, and the concatenation of every intermediate result."""

    def __init__(self, inputs: int, outputs: int, depth: int = 1, *, shortcut: bool = True) -> None:
        super().__init__()
        self.hidden = outputs // 2
        self.cv1 = ConvNormAct(inputs, 2 * self.hidden)
        self.cv2 = ConvNormAct((2 + depth) * self.hidden, outputs)
        self.m = nn.ModuleList(Bottleneck(self.hidden, shortcut=shortcut) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.cv1(x).chunk(2, 1))
        y.extend(block(y[-1]) for block in self.m)
        return self.cv2(torch.cat(y, 1))


class C3(nn.Module):
    """A cross stage partial block: one half is computed further, the other joins at the end."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        hidden = outputs // 2
        self.cv1 = ConvNormAct(inputs, hidden)
        self.cv2 = ConvNormAct(inputs, hidden)
        self.cv3 = ConvNormAct(2 * hidden, outputs)
        self.m = Bottleneck(hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class SPPF(nn.Module):
    """Pools of growing windows, by pooling again, and all of them side by side."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 5) -> None:
        super().__init__()
        self.cv1 = ConvNormAct(inputs, inputs // 2)
        self.cv2 = ConvNormAct(inputs * 2, outputs)
        self.m = nn.MaxPool2d(kernel, 1, kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        y = [self.cv1(x)]
        y.extend(self.m(y[-1]) for _ in range(3))
        return self.cv2(torch.cat(y, 1))


class Detect(nn.Module):
    """A head of two branches for each scale; raw maps of boxes and classes."""

    def __init__(self, channels: tuple[int, ...], classes: int, bins: int = 4) -> None:
        super().__init__()
        self.boxes = nn.ModuleList(
            nn.Sequential(ConvNormAct(c, 16, 3), nn.Conv2d(16, 4 * bins, 1)) for c in channels
        )
        self.classes = nn.ModuleList(
            nn.Sequential(ConvNormAct(c, c, 3, groups=c), nn.Conv2d(c, classes, 1))
            for c in channels
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        heads = zip(features, self.boxes, self.classes, strict=True)
        return [torch.cat((box(x), classes(x)), 1) for x, box, classes in heads]


class Detector(nn.Module):
    """Backbone, top-down and bottom-up neck and head of a one-stage detector."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvNormAct(3, 8, 3, 2), ConvNormAct(8, 16, 3, 2))
        self.p3 = nn.Sequential(C2f(16, 16), ConvNormAct(16, 24, 3, 2), C2f(24, 24, 2))
        self.p4 = nn.Sequential(ConvNormAct(24, 32, 3, 2), C3(32, 32), SPPF(32, 32))
        self.top_down = C2f(24 + 32, 24, shortcut=False)
        self.down = ConvNormAct(24, 24, 3, 2)
        self.bottom_up = C2f(24 + 32, 32, shortcut=False)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.detect = Detect((24, 32), classes)

    def forward(self, x: Tensor) -> list[Tensor]:
        p3 = self.p3(self.stem(x))
        p4 = self.p4(p3)
        n3 = self.top_down(torch.cat((self.up(p4), p3), 1))
        n4 = self.bottom_up(torch.cat((self.down(n3), p4), 1))
        return self.detect([n3, n4])


class Focus(nn.Module):
    """Every second pixel becomes a channel."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv = ConvNormAct(12, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        parts = (x[..., i::2, j::2] for j in (0, 1) for i in (0, 1))
        return self.conv(torch.cat(tuple(parts), 1))


class DenseBlock(nn.Module):
    """Normalization before each convolution, each of which reads all that came before."""

    def __init__(self, channels: int, growth: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(channels + i * growth),
                nn.ReLU(),
                nn.Conv2d(channels + i * growth, growth, 3, padding=1, bias=False),
            )
            for i in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return torch.cat(features, 1)


class SqueezeExcite(nn.Module):
    """A gate for each channel from the picture's mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // 4, 1)
        self.expand = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class InvertedResidual(nn.Module):
    def __init__(self, channels: int, expansion: int, act: nn.Module) -> None:
        super().__init__()
        wide = channels * expansion
        self.body = nn.Sequential(
            ConvNormAct(channels, wide, act=act),
            ConvNormAct(wide, wide, 3, groups=wide, act=act),
            SqueezeExcite(wide),
            ConvNormAct(wide, channels, act=nn.Identity()),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Fusion(nn.Module):
    """Two resolutions, each of which takes in the other."""

    def __init__(self, fine: int, coarse: int) -> None:
        super().__init__()
        self.fine = ConvNormAct(fine, fine, 3, act=nn.ReLU())
        self.coarse = ConvNormAct(coarse, coarse, 3, act=nn.ReLU())
        self.up = nn.Sequential(
            nn.Conv2d(coarse, fine, 1, bias=False),
            nn.BatchNorm2d(fine),
            nn.Upsample(scale_factor=2),
        )
        self.down = ConvNormAct(fine, coarse, 3, 2, act=nn.Identity())

    def forward(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        fine, coarse = self.fine(fine), self.coarse(coarse)
        return F.relu(fine + self.up(coarse)), F.relu(coarse + self.down(fine))


class TwoResolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNormAct(3, 8, 3, 2, act=nn.ReLU())
        self.transition = ConvNormAct(8, 16, 3, 2, act=nn.ReLU())
        self.first, self.second = Fusion(8, 16), Fusion(8, 16)
        self.head = nn.Conv2d(24, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.stem(x)
        fine, coarse = self.second(*self.first(fine, self.transition(fine)))
        coarse = F.interpolate(coarse, size=fine.shape[2:], mode="bilinear", align_corners=False)
        return self.head(torch.cat((fine, coarse), 1))


class Hierarchy(nn.Module):
    """Splits of the channels, each convolved together with the result of the one before."""

    def __init__(self, channels: int, scales: int = 4) -> None:
        super().__init__()
        width = channels // scales
        self.enter = ConvNormAct(channels, channels, act=nn.ReLU())
        self.convs = nn.ModuleList(
            ConvNormAct(width, width, 3, act=nn.ReLU()) for _ in range(scales - 1)
        )
        self.leave = ConvNormAct(channels, channels, act=nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.chunk(self.enter(x), len(self.convs) + 1, 1)
        results = [parts[0]]
        for index, (conv, part) in enumerate(zip(self.convs, parts[1:], strict=True)):
            results.append(conv(part if index == 0 else results[-1] + part))
        return F.relu(self.leave(torch.cat(results, 1)) + x)


class Ghost(nn.Module):
    """Half of the channels are computed cheaply from the other half; a surplus is cut off."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.outputs, primary = outputs, -(-outputs // 2)
        self.primary = ConvNormAct(inputs, primary, act=nn.ReLU())
        self.cheap = ConvNormAct(primary, primary, 3, groups=primary, act=nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        y = self.primary(x)
        return torch.cat((y, self.cheap(y)), 1)[:, : self.outputs]


class Atrous(nn.Module):
    """Convolutions of several dilations, and the mean of the picture spread over it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            ConvNormAct(inputs, outputs, 3, dilation=rate, act=nn.ReLU()) for rate in (1, 2, 4)
        )
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(inputs, outputs, 1))
        self.project = nn.Conv2d(4 * outputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.interpolate(self.pooled(x), size=x.shape[2:], mode="bilinear")
        return self.project(torch.cat([*(branch(x) for branch in self.branches), pooled], 1))


class Classifier(nn.Module):
    """A stem, any block, and a linear layer behind the mean."""

    def __init__(self, block: nn.Module, channels: int, *, outputs: int | None = None) -> None:
        super().__init__()
        self.stem = ConvNormAct(3, channels, 3, 2, act=nn.ReLU())
        self.block = block
        self.fc = nn.Linear(channels if outputs is None else outputs, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.block(self.stem(x))
        return self.fc(F.adaptive_avg_pool2d(y, 1).flatten(1))
