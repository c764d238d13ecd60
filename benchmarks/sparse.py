#!/usr/bin/env python3
"""What zeros in the weights are worth: the engine's sparse kernels against its dense ones.

Layers: sparse against the dense *direct* kernel. Whole networks: with the engine's own choice for
each layer against the best dense kernels, Winograd included. Zeros are drawn at random (layers) or
the least of random weights (networks), in blocks of 1x4 or 4x4 (outputs x consecutive input
channels), or 1x1: single weights, which pay with --float, where everything is float32. What is
compared takes turns in one run. Writes ``NAME.json`` and ``NAME.md``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from interleave import Timing, interleave
from machine import cpu_name
from resnet18_shapes import ConvShape, conv_program, float_conv_program

from wbcq import _core
from wbcq.engine.program_file import program_bytes

PATTERNS = {"1x4": (1, 4), "2x4": (2, 4), "4x4": (4, 4), "1x1": (1, 1)}
MAPS = ((128, 56), (128, 28), (256, 28), (256, 14), (512, 14), (512, 7))
NETWORKS = ("resnet18", "mobilenet_v2", "shufflenet_v2_x1_0")


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Sets environment variables that the engine reads when it loads a model."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


REPEATS = 16
"""Of an operator in a call, which from Python takes a tenth of what the shortest do."""

DENSE_DIRECT = {"WBCQ_SPARSE": "never", "WBCQ_WINOGRAD": "never"}
DENSE = {"WBCQ_SPARSE": "never"}


def draw_mask(
    shape: tuple[int, ...], pattern: str, sparsity: float, rng: np.random.Generator
) -> np.ndarray:
    """False at whole blocks of a weight tensor (outputs, kernel, kernel, inputs).

    Exactly the asked share of the blocks, rounded, so that layers are comparable.
    """
    rows, columns = PATTERNS[pattern]
    outputs, height, width, inputs = shape
    grid = (-(-outputs // rows), height, width, -(-inputs // columns))
    blocks = np.ones(int(np.prod(grid)), bool)
    blocks[: round(sparsity * blocks.size)] = False
    rng.shuffle(blocks)
    keep = blocks.reshape(grid).repeat(rows, 0).repeat(columns, 3)
    return keep[:outputs, ..., :inputs]


@dataclass(frozen=True)
class Layer:
    """The convolution operator alone, run in place in a session's memory."""

    session: _core.Session
    pictures: int
    """As many of the batch as go through a network together."""

    @classmethod
    def of(cls, data: bytes, x: np.ndarray, isa: str, threads: int, **choice: str) -> Layer:
        with environment(**choice):
            session = _core.Session(_core.Model.from_bytes(data, isa), threads)
        session.run([x])
        return cls(session, min(len(x), session.max_chunk))

    def __call__(self) -> None:
        self.session.run_op(1, self.pictures, REPEATS)


def measure_layers(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of the table of layers."""
    rows: list[dict[str, Any]] = []
    make_program = float_conv_program if args.float else conv_program
    cases = itertools.product(args.batches, args.threads, args.kernels, args.maps)
    for batch, threads, kernel, (channels, size) in cases:
        shape = ConvShape(
            f"{kernel}x{kernel} {channels} @{size}", channels, channels, size, kernel, 1, 1
        )
        weight_shape = (channels, kernel, kernel, channels)
        x = np.random.default_rng(1).uniform(-0.1, 5.0, (batch, channels, size, size))
        x = x.astype(np.float32)
        candidates: dict[str, Layer] = {}
        for pattern, sparsity in itertools.product(args.patterns, args.sparsities):
            keep = draw_mask(weight_shape, pattern, sparsity, np.random.default_rng(2))
            data = program_bytes(make_program(shape, np.random.default_rng(0), keep))
            if "dense" not in candidates:
                candidates["dense"] = Layer.of(data, x, args.isa, threads, **DENSE_DIRECT)
            name = f"{pattern} {sparsity:.0%}"
            candidates[name] = Layer.of(data, x, args.isa, threads, WBCQ_SPARSE="always")
        timings = interleave(candidates, rounds=args.rounds, seconds_per_round=args.seconds)
        dense = timings["dense"]
        layers = REPEATS * candidates["dense"].pictures / batch  # of a call
        for name, timing in timings.items():
            rows.append(
                {
                    "layer": shape.name, "batch": batch, "threads": threads, "weights": name,
                    "ms": timing.median / layers * 1e3, "min_ms": timing.minimum / layers * 1e3,
                    "gmacs": batch * shape.macs * layers / timing.median / 1e9,
                    "speedup": timing.ratio_to(dense),
                }
            )  # fmt: skip
        cells = " ".join(
            f"{n} {t.ratio_to(dense):.2f}x" for n, t in timings.items() if n != "dense"
        )
        gmacs = batch * shape.macs * layers / dense.median / 1e9
        print(
            f"{shape.name} batch {batch} threads {threads}: dense {gmacs:.0f} GMAC/s; {cells}",
            flush=True,
        )
    return rows


def pruned(module: Any, pattern: str, sparsity: float, x: Any) -> Any:
    """A copy with zeros in every convolution without groups but the first.

    They are the least weights, in blocks of the engine's order of channels.
    """
    import torch

    import wbcq

    layers = [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, torch.nn.Conv2d) and layer.groups == 1
    ]
    kind = "unstructured" if pattern == "1x1" else pattern
    zeros = wbcq.prune(module, sparsity, pattern=kind, layers=layers[1:], example=x)
    return wbcq.pruning.make_permanent(zeros)


def pruned_network(
    name: str, pattern: str, sparsity: float, size: int, is_float: bool
) -> tuple[bytes, np.ndarray]:
    """The file of a pruned network of random weights, and pictures for it."""
    import torch

    import wbcq
    from wbcq import QuantConfig, models

    torch.manual_seed(0)
    x = torch.randn(8, 3, size, size)
    module = models.create(name).train()
    with torch.no_grad():
        module(x[:2])
    module.eval()
    module = pruned(module, pattern, sparsity, x[:1])
    if is_float:
        return wbcq.compile_float(module, x[:2]).to_bytes(), x.numpy()
    config = QuantConfig(activation_observer="minmax", bias_correction=False)
    quantized = wbcq.quantize(module, [x[:2]], config=config, progress=False)
    return quantized.to_bytes(), x.numpy()


def network_session(data: bytes, isa: str, threads: int, **choice: str) -> Any:
    with environment(**choice):
        return _core.Session(_core.Model.from_bytes(data, isa), threads)


def measure_networks(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of the table of networks."""
    rows: list[dict[str, Any]] = []
    for name in args.networks:
        files = {
            f"{pattern} {sparsity:.0%}": pruned_network(
                name, pattern, sparsity, args.size, args.float
            )
            for pattern, sparsity in itertools.product(args.patterns, args.sparsities)
        }
        for batch, threads in itertools.product(args.batches, args.threads):
            sessions: dict[str, Any] = {}
            for key, (data, _) in files.items():
                sessions.setdefault("dense", network_session(data, args.isa, threads, **DENSE))
                sessions[key] = network_session(data, args.isa, threads)
            x = next(iter(files.values()))[1][:batch]
            candidates: dict[str, Callable[[], object]] = {
                key: partial(session.run, [x]) for key, session in sessions.items()
            }
            timings: dict[str, Timing] = interleave(
                candidates, rounds=args.rounds, seconds_per_round=args.seconds
            )
            dense = timings["dense"]
            for key, timing in timings.items():
                rows.append(
                    {
                        "network": name, "batch": batch, "threads": threads, "weights": key,
                        "ms": timing.median * 1e3, "min_ms": timing.minimum * 1e3,
                        "speedup": timing.ratio_to(dense),
                    }
                )  # fmt: skip
            cells = " ".join(f"{n} {t.ratio_to(dense):.2f}x" for n, t in timings.items())
            print(
                f"{name} batch {batch} threads {threads}: {dense.median * 1e3:.2f} ms; {cells}",
                flush=True,
            )
    return rows


def table(rows: list[dict[str, Any]], what: str) -> list[str]:
    """Markdown: a line for each layer or network, batch and number of threads."""
    kinds = list(dict.fromkeys(row["weights"] for row in rows))
    lines = [
        f"| {what} | batch | threads | dense ms |" + "".join(f" {k} |" for k in kinds[1:]),
        "|---|---:|---:|---:|" + "---:|" * (len(kinds) - 1),
    ]
    for key, group in itertools.groupby(rows, lambda r: (r[what], r["batch"], r["threads"])):
        cells = {row["weights"]: row for row in group}
        line = f"| {key[0]} | {key[1]} | {key[2]} | {cells['dense']['ms']:.3f} |"
        lines.append(line + "".join(f" {cells[k]['speedup']:.2f}x |" for k in kinds[1:]))
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("layers", "networks"))
    parser.add_argument("--output", type=Path, help="NAME.json and NAME.md [print only]")
    parser.add_argument(
        "--patterns", nargs="+", choices=PATTERNS, help="[1x4 4x4; 1x1 with --float]"
    )
    parser.add_argument("--float", action="store_true", help="float32 [INT8]")
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.75, 0.9])
    parser.add_argument("--kernels", nargs="+", type=int, default=[1, 3])
    parser.add_argument(
        "--maps", nargs="+", default=MAPS, help="CHANNELSxSIZE of layers",
        type=lambda text: tuple(int(n) for n in text.split("x")),
    )  # fmt: skip
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--size", type=int, default=224, help="of the networks' pictures")
    parser.add_argument("--batches", nargs="+", type=int, default=[1])
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--isa", default=_core.available_isas()[-1])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.01, help="of a candidate in a round")
    args = parser.parse_args()
    args.patterns = args.patterns or (["1x1"] if args.float else ["1x4", "4x4"])
    warnings.simplefilter("ignore")
    rows = measure_layers(args) if args.what == "layers" else measure_networks(args)
    lines = table(rows, args.what[:-1])
    print("\n".join(lines))
    if args.output:
        document = {"cpu": cpu_name(), "isa": args.isa, "rows": rows}
        title = f"{cpu_name()}, {args.isa}: how many times faster than dense\n\n"
        for suffix, text in (
            (".json", json.dumps(document, indent=1)),
            (".md", title + "\n".join(lines)),
        ):
            part = args.output.with_suffix(suffix + ".part")
            part.write_text(text + "\n")
            part.replace(args.output.with_suffix(suffix))
    return 0


if __name__ == "__main__":
    sys.exit(main())
