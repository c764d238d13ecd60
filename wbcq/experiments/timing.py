"""How long a network takes in each form: all of them in turns, and nothing else meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

import wbcq
from wbcq.demo.timing import quietest_ms
from wbcq.experiments.pytorch_int8 import engine_name, freeze
from wbcq.experiments.settings import Settings
from wbcq.experiments.store import Store
from wbcq.experiments.training import trained, training_key
from wbcq.experiments.units import Unit
from wbcq.experiments.variants import METHODS, variant_key
from wbcq.train import inputs_of

__all__ = ["BATCH", "FP32", "measure_times", "models_timing", "timing_key", "timing_unit"]

BATCH = 8
"""Pictures in a call, as in the study."""

FP32 = "pytorch"
"""What PyTorch's own FP32 is called among the times; the others have their method's name."""

_ROUNDS = 5


def timing_key(arch: str, name: str = "all") -> str:
    """The unit that times forms of a network."""
    return f"timing/{arch}/{name}"


def timing_unit(
    settings: Settings, arch: str, methods: tuple[str, ...] = METHODS, name: str = "all"
) -> Unit:
    """Times PyTorch's FP32 and the first fold's models of a network in turns.

    Args:
        settings: What it is run with.
        arch: The network.
        methods: Of :data:`~wbcq.experiments.variants.METHODS`.
        name: Of the unit, where ``methods`` are not all.
    """
    fold = settings.fold_numbers[0]
    models = {method: variant_key(arch, fold, method) for method in methods}
    return models_timing(settings, arch, models, name)


def models_timing(settings: Settings, arch: str, models: Mapping[str, str], name: str) -> Unit:
    """Times PyTorch's FP32 and any models made of the first fold's training in turns.

    Args:
        settings: What it is run with.
        arch: The network.
        models: Keys of the units that made them, by the names that their times get.
        name: Of the unit.
    """
    training = training_key(arch, settings.modality_of(arch), settings.fold_numbers[0])
    arguments = {
        "training": training,
        "models": dict(models),
        "size": settings.size,
        "threads": settings.threads,
        "seconds": settings.timing_seconds,
    }
    return Unit(
        timing_key(arch, name),
        measure_times,
        arguments,
        needs=(training, *models.values()),
        alone=True,
    )


def measure_times(
    store: Store,
    *,
    training: str,
    models: Mapping[str, str],
    size: int,
    threads: int,
    seconds: float,
) -> dict[str, Any]:
    """Milliseconds of each form for a batch of :data:`BATCH` pictures of random pixels."""
    torch.backends.quantized.engine = engine_name()
    torch.jit.set_fusion_strategy([])  # it would compile during the first calls
    network = trained(store, training)
    generator = torch.Generator().manual_seed(0)
    channels = 12 if hasattr(network, "MODALITIES") else 3
    inputs = inputs_of(network, torch.rand(BATCH, channels, size, size, generator=generator))
    last = tuple(x.contiguous(memory_format=torch.channels_last) for x in inputs)
    contiguous = tuple(x.contiguous() for x in inputs)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    calls: dict[str, Callable[[], object]] = {FP32: partial(freeze(network, last), *last)}
    for method, key in models.items():
        calls[method] = _call(store, method, key, contiguous, threads)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            ms = quietest_ms(calls, rounds=_ROUNDS, seconds=seconds, on_round=store.progress)
    finally:
        torch.set_num_threads(before)
    return {"ms": ms, "batch": BATCH, "size": size, "threads": threads, "load": _load()}


def _call(
    store: Store, method: str, key: str, inputs: tuple[Tensor, ...], threads: int
) -> Callable[[], object]:
    if method.startswith("pytorch"):
        return partial(torch.jit.load(str(store.path(key, ".ts"))), *inputs)  # type: ignore[no-untyped-call]
    return partial(wbcq.load(store.path(key, ".wbcq"), threads=threads), *inputs)


def _load() -> float | None:
    """The last minute's load average per core; above about 1.5 others used the cores too."""
    try:
        return round(os.getloadavg()[0] / (os.cpu_count() or 1), 2)
    except (AttributeError, OSError):
        return None
