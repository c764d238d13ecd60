#!/usr/bin/env python3
"""Writes drawn programs with the exact executor's outputs, for ``wbcq_replay`` on any CPU.

Each record: name, program, batch, inputs, outputs; every length is a u64, all is little-endian.
Integer programs only: those have the same bits everywhere.
"""

from __future__ import annotations

import argparse
import struct
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.wbcq.engine.graphs import STEPS, graphs, steps
from tests.wbcq.engine.strategies import chains, inputs_for, single_op_programs
from wbcq.engine.exact import ExactExecutor
from wbcq.engine.program import Program
from wbcq.engine.program_file import program_bytes

MAGIC = b"wbcqcrps"
BATCH = 8
# Kind of program and its share of the drawn ones.
KINDS: dict[str, tuple[Callable[[], st.SearchStrategy[Program]], float]] = {
    **{
        kind: (lambda kind=kind: single_op_programs(kind), share)
        for kind, share in (
            ("conv2d", 0.22),
            ("winograd", 0.06),
            ("depthwise", 0.08),
            ("residual", 0.12),
            ("linear", 0.12),
            ("head", 0.06),
            ("max_pool2d", 0.06),
            ("avg_pool2d", 0.06),
            ("add", 0.04),
            ("convert", 0.02),
        )
    },
    **{f"step {kind}": (lambda kind=kind: steps(kind), 0.06 / len(STEPS)) for kind in STEPS},
    "chain": (chains, 0.05),
    "graph": (graphs, 0.05),
}


def write_case(
    file: BinaryIO, name: str, program: Program, inputs: Sequence[np.ndarray[Any, Any]]
) -> None:
    """Runs the exact executor and appends a record."""
    outputs = ExactExecutor(program).run(*inputs)
    data = program_bytes(program)
    for blob in (name.encode(), data):
        file.write(struct.pack("<Q", len(blob)) + blob)
    file.write(struct.pack("<Q", len(inputs[0])))
    for arrays in (inputs, outputs):
        file.write(struct.pack("<Q", len(arrays)))
        for array in arrays:
            file.write(struct.pack("<Q", array.size))
            file.write(np.ascontiguousarray(array, "<f4").tobytes())


def write_drawn(file: BinaryIO, kind: str, count: int) -> None:
    """Appends drawn programs, the same ones every time."""
    strategy = KINDS[kind][0]()

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def draw(data: st.DataObject) -> None:
        program = data.draw(strategy)
        write_case(file, kind, program, data.draw(inputs_for(program, BATCH)))

    draw()


# Name of a network and how many pictures it gets.
NETWORKS = {
    "resnet18": 8,
    "resnet34": 1,
    "resnet50": 1,
    "shufflenet_v2_x0_5": 3,
    "shufflenet_v2_x1_0": 3,
    "mobilenet_v2": 3,
    "mobilenet_v3_small": 3,
    "mobilenet_v3_large": 1,
    "regnet_x_400mf": 3,
    "mm_mimo3": 1,
    "yolov3_tiny": 1,
    "yolov3": 1,
}


def write_network(file: BinaryIO, name: str, pictures: int, size: int) -> None:
    """Appends a whole network with random weights and settled BatchNorm statistics."""
    import torch

    import wbcq
    from wbcq.models import create

    torch.manual_seed(0)
    model = create(name, num_classes=5).train()
    inputs = [torch.rand(8, 3, size, size) for _ in range(4 if name == "mm_mimo3" else 1)]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(2):
            model(*inputs)
        quantized = wbcq.quantize(model.eval(), [inputs], progress=False)
    write_case(file, name, quantized.program, [x[:pictures].numpy() for x in inputs])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("path", type=Path)
    parser.add_argument("--cases", type=int, default=2100, help="drawn programs")
    parser.add_argument("--size", type=int, default=64, help="pictures of whole networks")
    arguments = parser.parse_args()
    arguments.path.parent.mkdir(parents=True, exist_ok=True)
    partial = arguments.path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(MAGIC)
        for name, pictures in NETWORKS.items():
            write_network(file, name, pictures, arguments.size)
        for kind, (_, share) in KINDS.items():
            write_drawn(file, kind, max(1, round(arguments.cases * share)))
    partial.replace(arguments.path)
    print(f"{arguments.path}: {arguments.path.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
