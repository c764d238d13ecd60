"""Parts that several networks share."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["ConvNormActivation", "SqueezeExcitation", "divisible", "initialize"]


class ConvNormActivation(nn.Sequential):
    """A convolution without bias, batch normalization and an activation, named 0, 1 and 2.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        kernel: Odd; the picture is padded so that stride 1 keeps its size.
        stride: Of the convolution.
        groups: Of the convolution.
        activation: A class that takes ``inplace``, or None.
        eps: Of the normalization.
        momentum: Of the normalization's statistics.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] | None = nn.ReLU,
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        conv = nn.Conv2d(
            inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False
        )
        layers: list[nn.Module] = [conv, nn.BatchNorm2d(outputs, eps=eps, momentum=momentum)]
        if activation is not None:
            layers.append(activation(inplace=True))
        super().__init__(*layers)


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate that two 1x1 convolutions compute from the channels' means.

    Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = nn.ReLU()
        self.scale_activation = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] to the same shape."""
        gate = self.fc2(self.activation(self.fc1(self.avgpool(x))))
        scaled: Tensor = self.scale_activation(gate) * x
        return scaled


def divisible(value: float, divisor: int = 8) -> int:
    """The nearest multiple of ``divisor``, but not below 90 % of ``value``.

    Example:
        >>> divisible(10), divisible(12), divisible(30)
        (16, 16, 32)
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * value else rounded + divisor


def initialize(model: nn.Module, *, linear_std: float = 0.01) -> None:
    """Random weights: He et al. 2015 by fan-out for convolutions, narrow for linear layers."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, linear_std)
            nn.init.zeros_(module.bias)
