"""Time and memory of YOLOv3 at 512x512, dense and pruned in blocks; weights are random."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

import wbcq
from wbcq import models
from wbcq.experiments.detection_work import BATCH, FP32, in_turns, pytorch_call
from wbcq.experiments.pytorch_int8 import quantize_with_pytorch
from wbcq.experiments.results import Row
from wbcq.experiments.settings import Settings
from wbcq.experiments.store import Store
from wbcq.experiments.study import DETECTION
from wbcq.experiments.units import Unit

__all__ = ["KEY", "measure", "rows", "units"]

KEY = "timing/yolov3"

_SIZE = 512
_SPARSITY = 0.75

_ROWS = {
    FP32: ("FP32", "", "PyTorch"),
    "float": ("FP32", "", "wbcq"),
    "int8": ("INT8", "PTQ per channel", "wbcq"),
    "int8-1x4": ("INT8", "75 % pruned, 1x4", "wbcq"),
    "int8-4x4": ("INT8", "75 % pruned, 4x4", "wbcq"),
    "pytorch-int8": ("INT8", "PTQ per channel", "PyTorch"),
}


def units(settings: Settings) -> list[Unit]:
    """The timing."""
    arguments = {"size": _SIZE, "threads": settings.threads, "seconds": settings.timing_seconds}
    return [Unit(KEY, measure, arguments, alone=True)]


def measure(
    store: Store, *, size: int, threads: int, seconds: float, arch: str = "yolov3"
) -> dict[str, Any]:
    """Milliseconds and bytes of each form for :data:`BATCH` pictures of random pixels."""
    torch.manual_seed(0)
    network = models.create(arch, num_classes=5, activation="relu")
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(BATCH, 3, size, size, generator=generator)
    with torch.no_grad():  # batch normalization learns the ranges of what it sees
        for _ in range(2):
            network(pictures)
    network.eval()
    ours = {
        "float": wbcq.compile_float(network, (pictures[:1],)),
        "int8": wbcq.quantize(network, [pictures], progress=False),
    }
    for pattern in ("1x4", "4x4"):
        with warnings.catch_warnings():  # of the first layer, which stays dense
            warnings.simplefilter("ignore", wbcq.DenseLayersWarning)
            pruned = wbcq.prune(network, _SPARSITY, pattern=pattern)
        ours[f"int8-{pattern}"] = wbcq.quantize(pruned, [pictures], progress=False)
    calls: dict[str, Callable[[], object]] = {FP32: pytorch_call(network, pictures)}
    sizes = {FP32: sum(p.numel() for p in network.parameters()) * 4}
    memory = {}
    for name, model in ours.items():
        path = store.path(f"{KEY}-{name}", ".wbcq")
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save(path)
        sizes[name] = path.stat().st_size
        loaded = wbcq.load(path, threads=threads)
        memory[name] = sum(loaded.memory_use(BATCH).values())
        calls[name] = partial(loaded, pictures)
    script = quantize_with_pytorch(network, [(pictures,)], per_channel=True)
    calls["pytorch-int8"] = partial(script, pictures)
    ms = in_turns(calls, threads, seconds, store)
    for name in ours:
        store.path(f"{KEY}-{name}", ".wbcq").unlink()
    parameters = sum(p.numel() for p in network.parameters())
    return {"ms": ms, "memory": memory, "bytes": sizes, "parameters": parameters, "arch": arch}


def rows(results: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Rows without average precision."""
    if KEY not in results:
        return []
    found = results[KEY]
    listed: list[Row] = []
    for name, (kind, method, engine) in _ROWS.items():
        memory, size = found["memory"].get(name), found["bytes"].get(name)
        study = DETECTION["fp32"] if name == FP32 else None
        study = DETECTION["int8"] if name == "pytorch-int8" else study
        listed.append(
            {
                "architecture": f"{found['arch']}, random weights",
                "type": kind,
                "method": method,
                "engine": engine,
                "ms": found["ms"][name],
                "memory MB": None if memory is None else memory / 1e6,
                "parameters M": found["parameters"] / 1e6,
                "MB": None if size is None else size / 1e6,
                "study ms": study[1] if study else None,
            }
        )
    return listed
