"""Micro-benchmarks of every convolution shape of ResNet-18: ``pytest benchmarks/test_conv.py``.

Each row's ``extra_info`` holds GMAC/s and the share of the peak that was measured in the same run.
For a comparison that survives a drifting machine run ``python benchmarks/resnet18.py``.
"""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from conv_engines import ours, pytorch
from resnet18_shapes import RESNET18, ConvShape

from wbcq import _core

THREADS = (1, 2)
ISAS = [isa for isa in _core.available_isas() if isa != "scalar"]


@functools.cache
def peak(isa: str, threads: int) -> float:
    return _core.measure_peak(isa, threads)


def record(benchmark: Any, shape: ConvShape, isa: str, threads: int) -> None:
    gmacs = shape.macs / benchmark.stats.stats.median / 1e9
    benchmark.extra_info["gmac_per_s"] = round(gmacs, 1)
    benchmark.extra_info["share_of_peak"] = round(gmacs / peak(isa, threads), 3)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", RESNET18, ids=lambda s: s.name)
def test_ours(benchmark: Any, shape: ConvShape, isa: str, threads: int) -> None:
    benchmark.group = f"{shape.name}, {threads} threads"
    benchmark(ours(shape, isa=isa, threads=threads))
    record(benchmark, shape, isa, threads)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("shape", RESNET18, ids=lambda s: s.name)
def test_pytorch(benchmark: Any, shape: ConvShape, threads: int) -> None:
    benchmark.group = f"{shape.name}, {threads} threads"
    torch.set_num_threads(threads)
    benchmark(pytorch(shape))
    record(benchmark, shape, _core.available_isas()[-1], threads)
