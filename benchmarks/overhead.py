#!/usr/bin/env python3
"""What a call costs apart from multiplications: a net of three 1x1 convolutions on 8x8 pixels.

From Python it is timed here; from C++ by wbcq-bench, if --bench says where that is.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from machine import cpu_name
from torch import nn

import wbcq

CALLS = 20_000


def tiny_network() -> nn.Module:
    """Three 1x1 convolutions of 8 channels with ReLU."""
    torch.manual_seed(0)
    layers = [layer for _ in range(3) for layer in (nn.Conv2d(8, 8, 1), nn.ReLU())]
    return nn.Sequential(*layers).eval()


def python_microseconds(model: wbcq.QuantizedModel) -> tuple[float, float]:
    """Median and minimum of a call with a numpy array."""
    x = np.random.default_rng(0).random((1, 8, 8, 8), np.float32)
    times = np.empty(CALLS)
    for i in range(CALLS):
        start = time.perf_counter()
        model(x)
        times[i] = time.perf_counter() - start
    return 1e6 * float(np.median(times)), 1e6 * float(times.min())


def cpp_microseconds(tool: Path, file: Path) -> tuple[float, float]:
    """Median and minimum of Session::run; the tool prints milliseconds."""
    out = subprocess.run([tool, file, "--seconds", "1"], check=True, capture_output=True, text=True)
    found = re.search(r"median ([\d.]+) ms, min ([\d.]+)", out.stdout)
    if found is None:
        raise RuntimeError(f"{tool} printed no times: {out.stdout!r}")
    return 1e3 * float(found[1]), 1e3 * float(found[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=Path, help="wbcq-bench of a release build")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    model = wbcq.quantize(tiny_network(), [torch.rand(4, 8, 8, 8)], progress=False)
    print(f"{cpu_name()}, one thread, microseconds a call: median (minimum)")
    model.threads = 1
    print("Python  {:.2f} ({:.2f})".format(*python_microseconds(model)))
    if arguments.bench is not None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "tiny.wbcq"
            model.save(file)
            print("C++     {:.2f} ({:.2f})".format(*cpp_microseconds(arguments.bench, file)))


if __name__ == "__main__":
    main()
