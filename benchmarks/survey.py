#!/usr/bin/env python3
"""Strangers' networks: timm's convolutional families through quantization and the engine.

Each network runs in a process of its own, so that a crash ends one record and not the survey. The
records (JSON lines) are kept: a second start goes on where the first one ended. Needs timm and
torchvision: ``pip install --no-deps timm torchvision`` beside a CPU build of torch.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from survey_measure import load_timm, measure
from survey_models import FAMILIES
from survey_page import page


def in_child(timm: Any, name: str, seconds: float) -> dict[str, Any]:
    """Measures a network in a forked process."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(sender, timm, name))
    child.start()
    sender.close()
    record = {"model": name, "status": "crashed"}
    try:
        if not receiver.poll(seconds):
            return {**record, "reason": f"no result after {seconds:g} s"}
        received: dict[str, Any] = receiver.recv()
        return received
    except EOFError:
        child.join()
        return {**record, "reason": f"the process ended with {child.exitcode}"}
    finally:
        child.kill()
        child.join()


def _child(sender: Connection, timm: Any, name: str) -> None:
    torch.set_num_threads(1)  # with more, threads wait for each other on a busy machine
    record = measure(timm, name)
    record["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    sender.send(record)


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The newest record of each network."""
    if not path.exists():
        return {}
    records = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return {record["model"]: record for record in records}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only these networks, measured anew")
    parser.add_argument("--records", type=Path, default=Path("survey.jsonl"))
    parser.add_argument("--page", type=Path, default=Path("docs/strangers.md"))
    parser.add_argument("--again", default="", help="measure anew what has this status")
    parser.add_argument("--seconds", type=float, default=600.0, help="limit for one network")
    arguments = parser.parse_args()
    timm = load_timm()
    records = read(arguments.records)
    for name in (name for names in FAMILIES.values() for name in names):
        again = name in records and records[name]["status"] == arguments.again
        if not (name in arguments.names if arguments.names else again or name not in records):
            continue
        record = records[name] = in_child(timm, name, arguments.seconds)
        with arguments.records.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(*(f"{key}={value}" for key, value in record.items()), flush=True)
    arguments.page.write_text(page(records, timm.__version__))


if __name__ == "__main__":
    main()
