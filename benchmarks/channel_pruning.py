#!/usr/bin/env python3
"""Does the time of a network follow its multiplications? Channels removed, INT8, interleaved.

Prints Markdown: multiply-accumulates and milliseconds of a call with all channels and with some
removed, at several settings of `prune_channels`. `--build FOLDER` only makes the model files
(slow), `--measure FOLDER` only times those that lie there (fast). Weights are random: no kernel's
speed depends on them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from interleave import interleave
from machine import cpu_name
from zoo import settled

import wbcq
from wbcq import QuantConfig, models
from wbcq.pruning.channels import plan_channels

NETWORKS = ("resnet18", "regnet_x_400mf", "mobilenet_v3_small", "shufflenet_v2_x1_0")


def build(folder: Path, names: list[str], multiples: list[int], macs: float, size: int) -> None:
    """Quantizes every network, whole and pruned, into files."""
    config = QuantConfig(activation_observer="minmax", bias_correction=False)
    for name in names:
        torch.manual_seed(0)
        pictures = torch.randn(2, 3, size, size)
        model = settled(models.create(name), [pictures])
        counts = {}
        for multiple in (0, *multiples):
            network = model
            if multiple:
                plan = plan_channels(model, None, pictures, macs=macs, round_to=multiple)
                network = settled(plan.apply(), [pictures])
                counts["0"], counts[str(multiple)] = plan.macs
            quantized = wbcq.quantize(network, [pictures], config=config, progress=False)
            quantized.save(folder / f"{name}-{multiple}.wbcq")
        (folder / f"{name}.json").write_text(json.dumps(counts))


def measure(folder: Path, names: list[str], batch: int, rounds: int, seconds: float) -> None:
    """Times the files of a folder, those of one network in turn."""
    print(f"{cpu_name()}, INT8, batch {batch}, one thread; median of {rounds} rounds\n")
    print("| network | channels | MMAC | share | ms | share | KB |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for name in names:
        counts = json.loads((folder / f"{name}.json").read_text())
        loaded = {key: wbcq.load(folder / f"{name}-{key}.wbcq") for key in counts}
        calls = {}
        for key, model in loaded.items():
            model.threads = 1
            _, *sizes = model.input_shapes[0]
            x = torch.randn(batch, *sizes).numpy()
            calls[key] = lambda model=model, x=x: model(x)
        timings = interleave(calls, rounds=rounds, seconds_per_round=seconds)
        for key, timing in timings.items():
            what = "all" if key == "0" else f"multiples of {key}"
            kilobytes = (folder / f"{name}-{key}.wbcq").stat().st_size / 1e3
            print(
                f"| {name} | {what} | {counts[key] / 1e6:.1f} | {counts[key] / counts['0']:.3f} "
                f"| {timing.median * 1e3:.2f} | {1 / timing.ratio_to(timings['0']):.3f} "
                f"| {kilobytes:.0f} |",
                flush=True,
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=models.names())
    parser.add_argument("--multiples", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--macs", type=float, default=0.5, help="share of multiplications to keep")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.05, help="of a candidate in a round")
    parser.add_argument("--build", type=Path, help="make the files in this folder, measure nothing")
    parser.add_argument("--measure", type=Path, help="measure the files of this folder")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.build or args.measure or Path(temporary)
        if not args.measure:
            folder.mkdir(parents=True, exist_ok=True)
            build(folder, args.networks, args.multiples, args.macs, args.size)
        if not args.build:
            measure(folder, args.networks, args.batch, args.rounds, args.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
