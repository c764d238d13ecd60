#!/usr/bin/env python3
"""Every network of the zoo: our INT8, our FP32 and PyTorch's FP32 (eager), in one interleaved run.

Prints Markdown: milliseconds of a call (median and range over the rounds) and how many times faster
INT8 is. PyTorch runs contiguous and channels_last; the faster of the two is shown. Weights are
random: no kernel's speed depends on them.
"""

from __future__ import annotations

import argparse
import copy
import platform
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from interleave import Timing, interleave
from machine import cpu_name
from torch import Tensor, nn

import wbcq
from wbcq import QuantConfig, models

NETWORKS = (
    "resnet18", "resnet34", "resnet50", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0",
    "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "regnet_x_400mf", "mm_mimo3",
    "yolov3_tiny", "yolov3",
)  # fmt: skip
DETECTORS = ("yolov3", "yolov3_tiny")
CLASSIFIER_SIZE, DETECTOR_SIZE = 224, 416


@dataclass(frozen=True)
class Contest:
    """One network in all the forms that are compared.

    Attributes:
        module: PyTorch's.
        channels_last: The same with weights in that layout.
        int8, fp32: Ours.
        batches: Batch sizes to measure.
        inputs: As many pictures as the largest batch, for each input of the network.
    """

    module: nn.Module
    channels_last: nn.Module
    int8: wbcq.QuantizedModel
    fp32: wbcq.QuantizedModel
    batches: tuple[int, ...]
    inputs: list[Tensor]

    def measure(self, batch: int, threads: int, rounds: int, seconds: float) -> dict[str, Timing]:
        """Times of one call with `batch` pictures on `threads` threads."""
        torch.set_num_threads(threads)
        self.int8.threads = self.fp32.threads = threads
        tensors = [x[:batch].contiguous() for x in self.inputs]
        arrays = [x.numpy() for x in tensors]
        strided = [x.contiguous(memory_format=torch.channels_last) for x in tensors]
        candidates: dict[str, Callable[[], object]] = {
            "int8": lambda: self.int8(*arrays),
            "fp32": lambda: self.fp32(*arrays),
            "contiguous": lambda: self.module(*tensors),
            "channels_last": lambda: self.channels_last(*strided),
        }
        with torch.inference_mode():
            return interleave(candidates, rounds=rounds, seconds_per_round=seconds)


def settled(model: nn.Module, inputs: list[Tensor]) -> nn.Module:
    """The model in evaluation mode, its norms' statistics those of the inputs."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    with torch.no_grad():
        model.train()(*inputs)
    return model.eval()


def contest(name: str, size: int | None, batches: tuple[int, ...]) -> Contest:
    """Builds, quantizes and compiles a network."""
    torch.manual_seed(0)
    is_detector = name in DETECTORS
    side = size or (DETECTOR_SIZE if is_detector else CLASSIFIER_SIZE)
    batches = (1,) if is_detector else batches
    count = 4 if name == "mm_mimo3" else 1
    inputs = [torch.randn(max(2, *batches), 3, side, side) for _ in range(count)]
    few = [x[:2] for x in inputs]
    module = settled(models.create(name), few)
    config = QuantConfig(activation_observer="minmax", bias_correction=False)
    batch = few[0] if count == 1 else tuple(few)
    int8 = wbcq.quantize(module, [batch], config=config, progress=False)
    fp32 = wbcq.compile_float(module, few)
    last = copy.deepcopy(module).to(memory_format=torch.channels_last)
    return Contest(module, last, int8, fp32, batches, inputs)


def milliseconds(timing: Timing) -> str:
    return f"{timing.median * 1e3:.2f} ({timing.minimum * 1e3:.2f}..{timing.maximum * 1e3:.2f})"


def row(name: str, batch: int, threads: int, timings: dict[str, Timing]) -> str:
    """A line of the table."""
    layout = min(("contiguous", "channels_last"), key=lambda key: timings[key].median)
    int8, fp32, eager = timings["int8"], timings["fp32"], timings[layout]
    return (
        f"| {name} | {batch} | {threads} | {milliseconds(int8)} | {milliseconds(fp32)} "
        f"| {milliseconds(eager)} {layout} | {int8.ratio_to(fp32):.2f}x "
        f"| {int8.ratio_to(eager):.2f}x | {fp32.ratio_to(eager):.2f}x |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=models.names())
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="detectors: 1")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--size", type=int, help="of the pictures [224; detectors 416]")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=0.1, help="of a candidate in a round")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    warnings.simplefilter("always", wbcq.FloatFallbackWarning)
    print(f"{cpu_name()}, Python {platform.python_version()}, torch {torch.__version__}\n")
    print("ms of a call: median (min..max)\n")
    print(
        "| network | batch | threads | wbcq INT8 | wbcq FP32 | PyTorch FP32 "
        "| INT8 to our FP32 | INT8 to PyTorch | our FP32 to PyTorch |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    for name in args.networks:
        forms = contest(name, args.size, tuple(args.batches))
        for batch in forms.batches:
            for threads in args.threads:
                timings = forms.measure(batch, threads, args.rounds, args.seconds)
                print(row(name, batch, threads, timings), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
