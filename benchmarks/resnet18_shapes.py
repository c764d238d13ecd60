"""The convolutions of ResNet-18 at 224x224, and how to run one of them in each engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wbcq.engine.program import BATCH, Conv2d, Dequantize, Io, Program, Quantize, Tensor

__all__ = ["RESNET18", "ConvShape", "conv_program", "float_conv_program"]


@dataclass(frozen=True)
class ConvShape:
    """One convolution layer; square kernels and pictures."""

    name: str
    in_channels: int
    out_channels: int
    size: int
    kernel: int
    stride: int
    count: int

    @property
    def pad(self) -> int:
        return self.kernel // 2

    @property
    def out_size(self) -> int:
        return (self.size + 2 * self.pad - self.kernel) // self.stride + 1

    @property
    def macs(self) -> int:
        """Multiplications for one picture, those with padding counted."""
        return self.out_size**2 * self.kernel**2 * self.in_channels * self.out_channels


RESNET18 = (
    ConvShape("conv1 7x7/2 3-64 @224", 3, 64, 224, 7, 2, 1),
    ConvShape("layer1 3x3 64-64 @56", 64, 64, 56, 3, 1, 4),
    ConvShape("layer2.0 3x3/2 64-128 @56", 64, 128, 56, 3, 2, 1),
    ConvShape("layer2.0 1x1/2 64-128 @56", 64, 128, 56, 1, 2, 1),
    ConvShape("layer2 3x3 128-128 @28", 128, 128, 28, 3, 1, 3),
    ConvShape("layer3.0 3x3/2 128-256 @28", 128, 256, 28, 3, 2, 1),
    ConvShape("layer3.0 1x1/2 128-256 @28", 128, 256, 28, 1, 2, 1),
    ConvShape("layer3 3x3 256-256 @14", 256, 256, 14, 3, 1, 3),
    ConvShape("layer4.0 3x3/2 256-512 @14", 256, 512, 14, 3, 2, 1),
    ConvShape("layer4.0 1x1/2 256-512 @14", 256, 512, 14, 1, 2, 1),
    ConvShape("layer4 3x3 512-512 @7", 512, 512, 7, 3, 1, 3),
)


def conv_program(
    shape: ConvShape, rng: np.random.Generator, keep: np.ndarray | None = None
) -> Program:
    """Quantize, the convolution with ReLU, dequantize; the convolution is operator 1.

    ``keep``, of the weights' shape (outputs, kernel, kernel, inputs), is False where they are zero.
    """
    x_scale, y_scale = 0.02, 0.05
    weight = rng.integers(
        -127, 128, (shape.out_channels, shape.kernel, shape.kernel, shape.in_channels), np.int8
    )
    if keep is not None:
        weight *= keep
    tensors = (
        Tensor("input", "f32", shape.size, shape.size, shape.in_channels),
        Tensor("x", "u8", shape.size, shape.size, shape.in_channels, x_scale, 7),
        Tensor("y", "u8", shape.out_size, shape.out_size, shape.out_channels, y_scale, 3),
        Tensor("output", "f32", shape.out_size, shape.out_size, shape.out_channels),
    )
    return Program(
        tensors={t.name: t for t in tensors},
        ops=(
            Quantize("quantize", "input", "x"),
            Conv2d(
                "conv",
                "x",
                "y",
                weight=weight,
                bias=rng.integers(-1000, 1000, shape.out_channels, np.int32),
                weight_scale=rng.uniform(1e-4, 2e-3, shape.out_channels).astype(np.float32),
                stride=(shape.stride, shape.stride),
                pads=(shape.pad,) * 4,
                lo=3,
            ),
            Dequantize("dequantize", "y", "output"),
        ),
        inputs=(Io("input", (BATCH, shape.in_channels, shape.size, shape.size)),),
        outputs=(Io("output", (BATCH, shape.out_channels, shape.out_size, shape.out_size)),),
    )


def float_conv_program(
    shape: ConvShape, rng: np.random.Generator, keep: np.ndarray | None = None
) -> Program:
    """The same in float32: operator 1 of the engine's, behind the reordering of the input."""
    weight_shape = (shape.out_channels, shape.kernel, shape.kernel, shape.in_channels)
    weight = rng.uniform(-1, 1, weight_shape).astype(np.float32)
    if keep is not None:
        weight *= keep
    bias = rng.uniform(-1, 1, shape.out_channels).astype(np.float32)
    tensors = (
        Tensor("x", "f32", shape.size, shape.size, shape.in_channels),
        Tensor("y", "f32", shape.out_size, shape.out_size, shape.out_channels),
    )
    conv = Conv2d(
        "conv", "x", "y", weight, bias, None,
        stride=(shape.stride, shape.stride), pads=(shape.pad,) * 4, act_lo=0.0,
    )  # fmt: skip
    return Program(
        tensors={t.name: t for t in tensors},
        ops=(conv,),
        inputs=(Io("x", (BATCH, shape.in_channels, shape.size, shape.size)),),
        outputs=(Io("y", (BATCH, shape.out_channels, shape.out_size, shape.out_size)),),
    )
