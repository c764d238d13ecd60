#!/usr/bin/env python3
"""What zeros in the weights are worth to other engines: one network, dense and pruned, in turns.

Every engine quantizes the same weights with its own tools, as in ``peers.py``. Prints Markdown: for
each engine its times, and how many times faster than its own dense network the pruned ones are.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from functools import cached_property
from pathlib import Path

from interleave import interleave
from machine import cpu_name
from peer_engines import Call, Network, available
from sparse import PATTERNS, pruned
from torch import nn

OURS = "wbcq int8"
PEERS = ("OpenVINO int8", "ONNX Runtime int8")
DENSE = 0.0


class PrunedNetwork(Network):
    """A network of the table of peers with blocks of zeros, and a folder of its own for files."""

    def __init__(self, name: str, batch: int, root: Path, pattern: str, sparsity: float) -> None:
        super().__init__(name, batch, root / f"{pattern}-{sparsity:.0%}")
        object.__setattr__(self, "_zeros", (pattern, sparsity))

    @cached_property
    def module(self) -> nn.Module:
        """With zeros in every convolution without groups but the first."""
        pattern, sparsity = self.__dict__["_zeros"]
        module = Network(self.name, self.batch, self.root).module
        return pruned(module, pattern, sparsity, self.tensors) if sparsity > DENSE else module


def load_ours(network: Network, threads: int) -> Call:
    """As ``peer_engines.ours`` does, from the pruned module."""
    import wbcq

    def build(path: Path) -> None:
        wbcq.quantize(network.module, [network.tensors], progress=False).save(path)

    model = wbcq.load(network.file_of_any_batch("int8.wbcq", build), threads=threads)
    return lambda: model(*network.arrays)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--pattern", default="4x4", choices=PATTERNS)
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.75, 0.9])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path("build/sparse_peers"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.03, help="of a candidate in a round")
    parser.add_argument("--prepare", action="store_true", help="write the files, measure nothing")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    engines = {name: engine for name, engine in available().items() if name in PEERS}
    names = (OURS, *engines)
    sparsities = (DENSE, *args.sparsities)
    calls: dict[tuple[str, float], Call] = {}
    for sparsity in sparsities:
        network = PrunedNetwork(args.network, args.batch, args.cache, args.pattern, sparsity)
        calls[OURS, sparsity] = load_ours(network, args.threads)
        for name, engine in engines.items():
            engine.prepare(network)
            calls[name, sparsity] = engine.load(network, args.threads)
    if args.prepare:
        return 0
    keys = {f"{name} {sparsity:.0%}": call for (name, sparsity), call in calls.items()}
    timings = interleave(keys, rounds=args.rounds, seconds_per_round=args.seconds)
    print(f"{cpu_name()}, {args.network}, {args.pattern}, batch {args.batch}, ", end="")
    print(f"threads {args.threads}\n\n| engine | dense ms |", end="")
    print("".join(f" {s:.0%} ms | gain |" for s in args.sparsities))
    print("|---|---:|" + "---:|---:|" * len(args.sparsities))
    for name in names:
        dense = timings[f"{name} {DENSE:.0%}"]
        line = f"| {name} | {dense.median * 1e3:.2f} |"
        for sparsity in args.sparsities:
            timing = timings[f"{name} {sparsity:.0%}"]
            line += f" {timing.median * 1e3:.2f} | {timing.ratio_to(dense):.2f}x |"
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
