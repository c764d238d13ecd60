"""One convolution as a callable in wbcq's engine and in PyTorch's quantized kernels."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from resnet18_shapes import ConvShape, conv_program

from wbcq import _core
from wbcq.engine.program_file import program_bytes

__all__ = ["ours", "pytorch"]


def ours(shape: ConvShape, *, isa: str, threads: int, batch: int = 1) -> Callable[[], None]:
    """The convolution operator alone, run in place in a session's memory."""
    rng = np.random.default_rng(0)
    model = _core.Model.from_bytes(program_bytes(conv_program(shape, rng)), isa)
    session = _core.Session(model, threads)
    x = rng.uniform(-0.1, 5.0, (batch, shape.in_channels, shape.size, shape.size))
    session.run([x.astype(np.float32)])
    return lambda: session.run_op(1, batch)


def pytorch(shape: ConvShape, *, engine: str = "x86", batch: int = 1) -> Callable[[], object]:
    """``torch.ops.quantized.conv2d_relu``, channels last; threads are torch's own setting."""
    torch.backends.quantized.engine = engine
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(
        shape.out_channels, shape.in_channels, shape.kernel, shape.kernel, generator=generator
    )
    x = torch.rand(batch, shape.in_channels, shape.size, shape.size, generator=generator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantized_weight = torch.quantize_per_channel(
            weight,
            torch.full((shape.out_channels,), 0.03, dtype=torch.float64),
            torch.zeros(shape.out_channels, dtype=torch.int64),
            0,
            torch.qint8,
        )
        packed = torch.ops.quantized.conv2d_prepack(
            quantized_weight,
            torch.zeros(shape.out_channels),
            [shape.stride] * 2,
            [shape.pad] * 2,
            [1, 1],
            1,
        )
        quantized_x = torch.quantize_per_tensor(
            x.contiguous(memory_format=torch.channels_last), 1 / 255, 7, torch.quint8
        )
    return lambda: torch.ops.quantized.conv2d_relu(quantized_x, packed, 0.05, 3)
