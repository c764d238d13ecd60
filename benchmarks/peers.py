#!/usr/bin/env python3
"""Whole networks in wbcq and in every other engine that is installed, in interleaved runs.

Writes JSON (a record for each network, batch and number of threads, once it is measured) and
a Markdown table: median milliseconds, the ratio of the best INT8 peer to ours, and ours over the
floor, which is useful multiplications / the int8 peak measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import warnings
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from interleave import interleave
from peer_engines import Job, available
from resnet18 import cpu_name
from rich.progress import track
from zoo import settled

import wbcq
from wbcq import _core
from wbcq.report.tables import Column, Table

NETWORKS = (
    "resnet18", "resnet50", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "mobilenet_v2",
    "mobilenet_v3_small", "regnet_x_400mf", "mm_mimo3", "yolov3",
)  # fmt: skip
OURS = "wbcq int8"


@dataclass(frozen=True)
class Row:
    """Milliseconds: medians and minima over the rounds."""

    network: str
    batch: int
    threads: int
    floor: float
    median: dict[str, float]
    minimum: dict[str, float]
    failures: dict[str, str]

    def best_peer(self) -> tuple[str, float] | None:
        """The fastest INT8 engine that is not ours."""
        peers = {
            name: ms
            for name, ms in self.median.items()
            if name.endswith("int8") and not name.startswith("wbcq")
        }
        return min(peers.items(), key=lambda item: item[1]) if peers else None


def useful_macs(network: wbcq.QuantizedModel, job: Job) -> int:
    """Multiplications of one picture, products with padding not counted."""
    session = _core.Session(_core.Model.from_bytes(network.to_bytes()), 1)
    profile = session.profile([array[:1] for array in job.arrays], 1)
    return sum(op["macs"] for op in profile)


def measure(job: Job, engines: list[str], rounds: int, seconds: float) -> Row:
    """Builds what can be built, and times it in turn."""
    calls, failures = {}, {}
    for name, engine in available().items():
        if name not in engines:
            continue
        try:
            calls[name] = engine.build(job)
            calls[name]()
        except Exception as error:  # A peer may lack an operator; the row says so.
            if name.startswith("wbcq"):
                raise
            calls.pop(name, None)
            failures[name] = f"{type(error).__name__}: {str(error)[:120]}"
    timings = interleave(calls, rounds=rounds, seconds_per_round=seconds)
    isa = _core.available_isas()[-1]
    peak = _core.measure_peak(isa, job.threads) * 1e9
    macs = job.batch * useful_macs(wbcq.QuantizedModel(job.cache["wbcq"], threads=1), job)
    return Row(
        job.name,
        job.batch,
        job.threads,
        macs / peak * 1e3,
        {name: timing.median * 1e3 for name, timing in timings.items()},
        {name: timing.minimum * 1e3 for name, timing in timings.items()},
        failures,
    )


def table(rows: list[Row]) -> str:
    """Markdown."""
    names = list(dict.fromkeys(name for row in rows for name in row.median))
    columns = [Column("network"), Column("batch"), Column("threads"), Column("floor", ".2f")]
    columns += [Column(name, ".2f") for name in names]
    columns += [
        Column("best peer"),
        Column("its time / ours", ".2f"),
        Column("ours / floor", ".2f"),
    ]
    result = Table(columns)
    for row in rows:
        best, ours = row.best_peer(), row.median[OURS]
        result.add(
            row.network,
            row.batch,
            row.threads,
            row.floor,
            *(row.median.get(name) for name in names),
            best[0] if best else None,
            best[1] / ours if best else None,
            ours / row.floor,
        )
    return result.to_markdown()


def versions() -> str:
    found = []
    for package in ("torch", "onnxruntime", "openvino", "nncf"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join([f"Python {platform.python_version()}", *found])


def page(rows: list[Row]) -> str:
    failures = sorted({(row.network, n, why) for row in rows for n, why in row.failures.items()})
    notes = "".join(f"- {network}, {name}: {why}\n" for network, name, why in failures)
    return (
        "# wbcq and its peers\n\n"
        f"`python benchmarks/peers.py`, {date.today()}, {cpu_name()}, {versions()}.\n"
        "Milliseconds, medians of interleaved rounds; compare within a row. Random weights. The\n"
        "floor is useful multiplications / the int8 peak measured in the same run.\n\n"
        + table(rows)
        + (f"\nNot measured:\n\n{notes}" if notes else "")
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--batches", type=int, nargs="+", help="default: 1 8; yolov3: 1 2")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--engines", nargs="+", default=list(available()), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.1, help="a candidate's turn")
    parser.add_argument("--out", type=Path, default=Path("peers"), help=".json and .md are added")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: list[Row] = []
    jobs = [
        (name, batch)
        for name in arguments.networks
        for batch in arguments.batches or ((1, 2) if name == "yolov3" else (1, 8))
    ]
    cache: dict[str, dict[str, object]] = {}
    for name, batch in track(jobs, disable=not sys.stderr.isatty()):
        torch.manual_seed(0)
        size = 512 if name == "yolov3" else 224
        streams = 4 if name == "mm_mimo3" else 1
        inputs = tuple(torch.rand(batch, 3, size, size) for _ in range(streams))
        model = settled(wbcq.models.create(name, num_classes=5), [x[:8] for x in inputs])
        for threads in arguments.threads:
            job = Job(name, model, inputs, threads, cache.setdefault(name, {}))
            rows.append(measure(job, arguments.engines, arguments.rounds, arguments.seconds))
            arguments.out.with_suffix(".json").write_text(json.dumps([asdict(r) for r in rows]))
            arguments.out.with_suffix(".md").write_text(page(rows))
    print(page(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
