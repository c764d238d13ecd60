#!/usr/bin/env python3
"""How much memory an engine takes to load and run a network: a process of its own for each.

Called by `peers.py --memory`; as a program it measures one engine and prints JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from peer_engines import ENGINES, Engine, Network
from peers_results import MemoryRow

RUNS = 3
TIMEOUT_SECONDS = 60


def measured_in_child(engine: Engine, network: Network) -> MemoryRow:
    """Runs this file for one engine whose files exist."""
    arguments = [engine.name, network.name, str(network.batch), str(network.root)]
    try:
        child = subprocess.run(
            [sys.executable, __file__, *arguments],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        failure = f"more than {TIMEOUT_SECONDS} s"
        return MemoryRow(network.name, network.batch, engine.name, failure=failure)
    if child.returncode != 0:
        lines = child.stderr.strip().splitlines() or [f"status {child.returncode}"]
        return MemoryRow(network.name, network.batch, engine.name, failure=lines[-1][:120])
    return MemoryRow(**json.loads(child.stdout.splitlines()[-1]))


def _resident(field: str) -> int:
    """VmRSS (now) or VmHWM (peak) of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {field} in /proc/self/status")


def _forget_peak() -> None:
    """From now on VmHWM is the peak since now."""
    Path("/proc/self/clear_refs").write_text("5")


def measure(engine: Engine, network: Network) -> MemoryRow:
    """Of this process, which should have loaded nothing yet."""
    # Pictures are there before: every engine reads the same.
    pictures = network.arrays
    before = _resident("VmRSS")
    for module in engine.runtime:
        import_module(module)
    _forget_peak()
    imported = _resident("VmRSS")
    call = engine.load(network, 1)
    loaded = _resident("VmHWM")
    for _ in range(RUNS):
        call()
    del pictures
    return MemoryRow(
        network.name,
        network.batch,
        engine.name,
        imported - before,
        loaded - imported,
        _resident("VmHWM") - imported,
        engine.plan(network) if engine.plan is not None else {},
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("engine", choices=list(ENGINES))
    parser.add_argument("network")
    parser.add_argument("batch", type=int)
    parser.add_argument("root", type=Path)
    arguments = parser.parse_args()
    network = Network(arguments.network, arguments.batch, arguments.root)
    row = measure(ENGINES[arguments.engine], network)
    print(json.dumps(asdict(row)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
