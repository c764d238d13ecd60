#!/usr/bin/env python3
"""Whole networks in wbcq and in every other engine that is installed, in interleaved runs.

Writes a JSON file, row by row, and a Markdown page made of it. Rows that are in the file already
are skipped, so that an interrupted run goes on where it was and one for more networks adds them.
Files that engines load are kept in a cache; after an upgrade of an engine delete its files there.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from interleave import interleave
from peer_engines import Engine, Network, available
from peer_engines.ours import int8_file
from peers_memory import measured_in_child
from peers_page import page
from peers_results import OURS, MemoryRow, Results, Row
from rich.console import Console

from wbcq import _core

NETWORKS = (
    "resnet18", "resnet50", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "mobilenet_v2",
    "mobilenet_v3_small", "regnet_x_400mf", "mm_mimo3", "yolov3",
)  # fmt: skip
BATCHES = {"yolov3": (1, 2)}

console = Console(stderr=True, soft_wrap=True)


@dataclass(frozen=True)
class Effort:
    """Rounds, and seconds of a candidate: in a round, and in a row."""

    rounds: int
    seconds_per_round: float
    seconds_in_all: float


def effort_of(network: str, scale: float) -> Effort:
    """Large networks take fewer rounds: their calls are long and vary little."""
    if network in ("resnet50", "mm_mimo3", "yolov3"):
        return Effort(max(2, round(5 * scale)), 0.05, 2.0 * scale)
    return Effort(max(2, round(9 * scale)), 0.05, 1.0 * scale)


def useful_macs(network: Network) -> int:
    """Multiplications of one picture, products with padding not counted."""
    model = _core.Model(int8_file(network))
    rng = np.random.default_rng(0)
    pictures = [rng.random((1, *shape[1:]), np.float32) for shape in network.shapes]
    return sum(op["macs"] for op in _core.Session(model, 1).profile(pictures, 1))


def measure(network: Network, threads: int, engines: dict[str, Engine], effort: Effort) -> Row:
    """Loads what can be loaded, and times it in turn."""
    calls, failures = {}, {}
    for name, engine in engines.items():
        try:
            engine.prepare(network)
            calls[name] = engine.load(network, threads)
            calls[name]()
        except Exception as error:  # A peer may lack an operator; the row says so.
            if engine.is_ours:
                raise
            calls.pop(name, None)
            failures[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    peak = _core.measure_peak(_core.available_isas()[-1], threads) * 1e9
    timings = interleave(
        calls,
        rounds=effort.rounds,
        seconds_per_round=effort.seconds_per_round,
        seconds_in_all=effort.seconds_in_all,
    )
    ours = timings[OURS]
    return Row(
        network.name,
        network.batch,
        threads,
        network.batch * useful_macs(network) / peak * 1e3,
        {name: timing.median * 1e3 for name, timing in timings.items()},
        {name: timing.minimum * 1e3 for name, timing in timings.items()},
        {name: ours.ratio_to(timing) for name, timing in timings.items()},
        failures,
    )


def networks(arguments: argparse.Namespace) -> Iterator[Network]:
    for name in arguments.networks:
        for batch in arguments.batches or BATCHES.get(name, (1, 8)):
            yield Network(name, batch, arguments.cache)


def prepare_all(arguments: argparse.Namespace, engines: dict[str, Engine]) -> None:
    """Writes all files; what fails is told again, and noted, when it is measured."""
    for network in networks(arguments):
        for name, engine in engines.items():
            start = time.perf_counter()
            try:
                engine.prepare(network)
            except Exception as error:
                if engine.is_ours:
                    raise
                console.print(f"{network.name} {network.batch}, {name}: {error}", markup=False)
            took = time.perf_counter() - start
            if took > 0.5:
                console.print(f"{network.name}, batch {network.batch}: {name} took {took:.1f} s")


def measure_times(
    arguments: argparse.Namespace, engines: dict[str, Engine], results: Results
) -> bool:
    """Measures what is missing; False if the time was up before all was done."""
    end = time.monotonic() + 60 * arguments.minutes
    for network in networks(arguments):
        for threads in arguments.threads:
            done = results.find(network.name, network.batch, threads)
            if done is not None and not arguments.again and set(engines) <= done.engines:
                continue
            if time.monotonic() > end:
                return False
            start = time.perf_counter()
            effort = effort_of(network.name, arguments.effort)
            row = measure(network, threads, engines, effort)
            results.put(row)
            best = row.best_int8_peer
            compared = f", {best} {row.ratio[best]:.2f}x" if best else ""
            console.print(
                f"{network.name}, batch {network.batch}, {threads} threads: "
                f"{row.median[OURS]:.2f} ms, {row.median[OURS] / row.floor:.2f} of the floor"
                f"{compared} ({time.perf_counter() - start:.0f} s)"
            )
            gc.collect()
    return True


def measure_memory(
    arguments: argparse.Namespace, engines: dict[str, Engine], results: Results
) -> bool:
    """As measure_times()."""
    end = time.monotonic() + 60 * arguments.minutes
    for network in networks(arguments):
        for name, engine in engines.items():
            if results.find_memory(network.name, network.batch, name) and not arguments.again:
                continue
            if time.monotonic() > end:
                return False
            try:
                engine.prepare(network)
            except Exception as error:
                failure = " ".join(str(error).split())[:120]
                results.put_memory(MemoryRow(network.name, network.batch, name, failure=failure))
                continue
            results.put_memory(measured_in_child(engine, network))
    return True


def main() -> int:
    engines = available()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--batches", type=int, nargs="+", help="default: 1 8; yolov3: 1 2")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--engines", nargs="+", default=list(engines), choices=list(engines))
    parser.add_argument("--effort", type=float, default=1.0, help="times the usual rounds")
    parser.add_argument("--again", action="store_true", help="measure rows that exist, too")
    parser.add_argument("--prepare", action="store_true", help="only write the engines' files")
    parser.add_argument("--memory", action="store_true", help="measure memory rather than time")
    parser.add_argument("--page", action="store_true", help="only write the page of the JSON")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no row after that long")
    parser.add_argument("--cache", type=Path, default=Path("build/peers"), help="engines' files")
    parser.add_argument("--out", type=Path, default=Path("docs/results/peers.json"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    chosen = {n: e for n, e in engines.items() if n in arguments.engines or n == OURS}
    results = Results.read(arguments.out)
    done = True
    if arguments.prepare:
        prepare_all(arguments, chosen)
    elif not arguments.page:
        for engine in chosen.values():
            results.versions |= engine.versions()
        measured = measure_memory if arguments.memory else measure_times
        done = measured(arguments, chosen, results)
    if results.rows:
        arguments.out.with_suffix(".md").write_text(page(results))
    if not done:
        console.print("time is up; run again to go on")
    return 0 if done else 3


if __name__ == "__main__":
    sys.exit(main())
