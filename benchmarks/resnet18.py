#!/usr/bin/env python3
"""ResNet-18 against PyTorch's INT8, layer by layer and whole, in one interleaved run.

Prints Markdown: for each convolution shape GMAC/s, the share of the int8 peak measured in the same
run and the ratio to ``torch.ops.quantized.conv2d_relu``; for the whole network milliseconds.
"""

from __future__ import annotations

import argparse
import platform
import sys
import warnings
from collections.abc import Callable

import numpy as np
import torch
from conv_engines import ours, pytorch
from interleave import Timing, interleave
from machine import cpu_name
from resnet18_shapes import RESNET18

from wbcq import _core


def spread(timing: Timing) -> str:
    return f"{timing.median * 1e3:.3f} ({timing.minimum * 1e3:.3f}..{timing.maximum * 1e3:.3f})"


def layers(threads: int, rounds: int) -> None:
    """Prints the table of convolutions."""
    isas = [isa for isa in _core.available_isas() if isa != "scalar"]
    torch.set_num_threads(threads)
    peaks = {isa: _core.measure_peak(isa, threads) for isa in isas}
    print(f"\n### Convolutions, batch 1, {threads} thread(s)\n")
    print("Measured peak, GMAC/s: " + ", ".join(f"{i} {p:.0f}" for i, p in peaks.items()) + "\n")
    columns = "".join(f" {isa} GMAC/s | of peak |" for isa in isas)
    print(f"| layer |{columns} PyTorch GMAC/s | {isas[-1]} faster than PyTorch |")
    print("|---|" + "---|" * (2 * len(isas) + 2))
    for shape in RESNET18:
        candidates: dict[str, Callable[[], object]] = {
            isa: ours(shape, isa=isa, threads=threads) for isa in isas
        }
        candidates["pytorch"] = pytorch(shape)
        timings = interleave(candidates, rounds=rounds)
        cells = ""
        for isa in isas:
            gmacs = shape.macs / timings[isa].median / 1e9
            cells += f" {gmacs:.0f} | {gmacs / peaks[isa]:.0%} |"
        torch_gmacs = shape.macs / timings["pytorch"].median / 1e9
        ratio = timings[isas[-1]].ratio_to(timings["pytorch"])
        print(f"| {shape.name} |{cells} {torch_gmacs:.0f} | {ratio:.2f}x |", flush=True)


def pytorch_int8(model: torch.nn.Module, *example: torch.Tensor) -> torch.nn.Module:
    """PyTorch's own static INT8 model: FX graph mode, x86 engine."""
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    torch.backends.quantized.engine = "x86"
    prepared = prepare_fx(model, get_default_qconfig_mapping("x86"), example)
    prepared(*example)
    converted: torch.nn.Module = convert_fx(prepared)
    return converted


def whole(batches: tuple[int, ...], thread_counts: tuple[int, ...], rounds: int) -> None:
    """Prints the table of whole-network times."""
    import wbcq
    from wbcq.models import create

    torch.manual_seed(0)
    model = create("resnet18", num_classes=1000).eval()
    images = torch.rand(max(batches), 3, 224, 224)
    fx = pytorch_int8(model, images)
    data = wbcq.quantize(model, [images], progress=False).to_bytes()
    print("\n### Whole network, 224x224, ms: median (min..max)\n")
    print(
        "| batch | threads | wbcq INT8 | PyTorch INT8 (FX, x86) | PyTorch FP32 | faster than INT8 |"
    )
    print("|---|---|---|---|---|---|")
    for batch in batches:
        for threads in thread_counts:
            torch.set_num_threads(threads)
            x = images[:batch].contiguous()
            arrays = [np.ascontiguousarray(x.numpy())]
            session = _core.Session(_core.Model.from_bytes(data), threads)
            with torch.inference_mode():
                timings = interleave(
                    {
                        "wbcq": lambda s=session, a=arrays: s.run(a),
                        "fx": lambda x=x: fx(x),
                        "fp32": lambda x=x: model(x),
                    },
                    rounds=rounds,
                    seconds_per_round=0.1,
                )
            ratio = timings["wbcq"].ratio_to(timings["fx"])
            print(
                f"| {batch} | {threads} | {spread(timings['wbcq'])} | {spread(timings['fx'])} "
                f"| {spread(timings['fp32'])} | {ratio:.2f}x |",
                flush=True,
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", choices=["layers", "network"])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{cpu_name()}, Python {platform.python_version()}, torch {torch.__version__}")
    if args.only != "network":
        for threads in args.threads:
            layers(threads, args.rounds)
    if args.only != "layers":
        whole((1, 8), tuple(args.threads), args.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
