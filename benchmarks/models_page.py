#!/usr/bin/env python3
"""Writes ``docs/models.md``: every network of the zoo, quantized, checked and measured in size.

Weights are random and BatchNorm statistics settled on synthetic cells; nothing here is trained.
SQNR is that of the engine's outputs against PyTorch's FP32, the least of a network's outputs. The
noise gain tells how to read it: by how many dB the FP32 network itself raises a faint noise in its
input. "Same bits" means engine == exact executor on every ISA of the machine.
"""

from __future__ import annotations

import argparse
import platform
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from machine import cpu_name
from rich.progress import track
from torch import Tensor, nn
from zoo import settled

import wbcq
from wbcq import _core
from wbcq.data.synthetic import SyntheticWbc
from wbcq.report.tables import Column, Table

Arrays = tuple[npt.NDArray[np.float32], ...]
STUDY_MB = {
    "resnet18": 11.3,
    "shufflenet_v2_x1_0": 1.55,
    "shufflenet_v2_x0_5": 0.54,
    "mobilenet_v2": 2.65,
    "mobilenet_v3_small": 1.82,
    "regnet_x_400mf": 5.25,
    "mm_mimo3": 21.4,
    "yolov3": 61.7,
}
HEAD = """# Networks

`wbcq.models.create(name, num_classes=...)` builds each of these; parameters have torchvision's
names, so that its checkpoints load. The table is written by `python benchmarks/models_page.py`.

"""


def pictures(count: int, size: int) -> Tensor:
    cells = SyntheticWbc(n_per_class=-(-count // 5), size=size, seed=0)
    return torch.stack([torch.from_numpy(np.asarray(cells[i][0])).float() for i in range(count)])


def as_tuple(outputs: Any) -> tuple[Any, ...]:
    return tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)


def least_sqnr(model: nn.Module, quantized: wbcq.QuantizedModel, inputs: list[Tensor]) -> float:
    """In dB."""
    with torch.no_grad():
        references = as_tuple(model(*inputs))
    ratios = []
    for reference, output in zip(references, as_tuple(quantized(*inputs)), strict=True):
        ratios.append(-_decibels(reference - output, reference))
    return min(ratios)


def noise_gain(model: nn.Module, inputs: list[Tensor]) -> float:
    """Relative noise of the outputs over that of the inputs, in dB, for noise of -80 dB."""
    generator = torch.Generator().manual_seed(1)
    noises = [torch.randn(x.shape, generator=generator) for x in inputs]
    noisy = [x + e * (1e-4 * x.norm() / e.norm()) for x, e in zip(inputs, noises, strict=True)]
    with torch.no_grad():
        pairs = zip(as_tuple(model(*inputs)), as_tuple(model(*noisy)), strict=True)
        return max(80 + _decibels(b - a, a) for a, b in pairs)


def _decibels(part: Tensor, whole: Tensor) -> float:
    return float(10 * torch.log10(part.square().sum() / whole.square().sum()))


def has_same_bits(quantized: wbcq.QuantizedModel, inputs: list[Tensor]) -> bool:
    """Engine against the exact executor on one picture, every ISA."""
    arrays = [np.ascontiguousarray(x[:1].numpy()) for x in inputs]
    expected = as_tuple(quantized.simulate(*arrays))
    for isa in _core.available_isas():
        session = _core.Session(_core.Model.from_bytes(quantized.to_bytes(), isa), 2)
        for output, reference in zip(session.run(arrays), expected, strict=True):
            if not np.array_equal(output, reference):
                return False
    return True


def row(name: str, size: int, batch: int) -> tuple[object, ...]:
    torch.manual_seed(0)
    model = wbcq.models.create(name, num_classes=5)
    streams = 4 if name == "mm_mimo3" else 1
    inputs = list(pictures(streams * batch, size).split(batch))
    settled(model, inputs)
    quantized = wbcq.quantize(model, [inputs], progress=False)
    operators = Counter(type(op).__name__ for op in quantized.program.ops)
    return (
        name,
        sum(p.numel() for p in model.parameters()),
        quantized.file_size / 1e6,
        STUDY_MB.get(name),
        least_sqnr(model, quantized, inputs),
        noise_gain(model, inputs),
        "yes" if has_same_bits(quantized, inputs) else "NO",
        ", ".join(f"{count} {kind}" for kind, count in operators.items()),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "docs/models.md")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    table = Table(
        [
            Column("network"),
            Column("parameters, 5 classes", ",d"),
            Column("INT8 file, MB", ".3f"),
            Column("the study's, MB", ".2f"),
            Column("SQNR, dB", ".1f"),
            Column("noise gain, dB", ".1f"),
            Column("same bits"),
            Column("operators that run"),
        ]
    )
    for name in track(wbcq.models.names()):
        table.add(*row(name, arguments.size, arguments.batch))
    notes = f"""
{arguments.size}x{arguments.size} pictures, {arguments.batch} for calibration and the same for SQNR;
random weights, BatchNorm statistics settled on the pictures. Such a network is chaotic: a noise
gain of 40 dB turns the rounding of the picture itself to 8 bits (-50 dB) into an error of -10 dB at
the output. Trained networks are not: see the README.
ISAs compared with the exact executor: {", ".join(_core.available_isas())} ({cpu_name()}); NEON, dot
product and i8mm run the same networks in `tests/run.py aarch64`.
torch {torch.__version__}, Python {platform.python_version()}.
"""
    partial = arguments.out.with_suffix(".partial")
    partial.write_text(HEAD + table.to_markdown() + notes)
    partial.replace(arguments.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
