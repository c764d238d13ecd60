"""One network of the survey: made, settled, quantized, run and compared."""

from __future__ import annotations

import sys
import time
import traceback
import zlib
from typing import Any

import numpy as np
import torch
from survey_models import picture_size
from torch import Tensor, nn

import wbcq

__all__ = ["BOUND", "control", "load_timm", "measure", "pictures", "settle", "sqnr"]

BOUND = 15.0
"""Decibels that every network should reach."""
_BATCH = 4
_QUIET = 0.05
"""Gains below this silence a branch: what training starts from, not what it ends in."""
_AUDIBLE = 0.3
"""What such gains become."""
_SHIFT = 0.5
"""Mean shift of norms. Around 0, every ReLU of a random network multiplies small differences by 1.2
and 50 layers make noise of any picture; with most of the inputs positive they do so far less."""
_CONTROL_DB = 40.0


def load_timm() -> Any:
    """Imports timm; its torchvision wants operators that a CPU build of torch does not declare."""
    import torch.library

    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    import timm

    timm.torchvision_operators = library  # lives as long as timm
    return timm


def pictures(count: int, size: int, seed: int) -> Tensor:
    """Smooth noise of unit variance with fine noise on top, [count, 3, size, size]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 6, 6, generator=generator)
    fine = torch.randn(count, 3, size, size, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    return smooth + 0.3 * fine


@torch.no_grad()
def settle(model: nn.Module, size: int, seed: int) -> None:
    """Brings a network of random weights into the state of a trained one.

    Norms get scales and shifts of their own, gains that silence a branch at the start of training
    become audible, and running statistics are those of pictures.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)):
            if weight is not None:
                usual = _AUDIBLE if weight.abs().max() < _QUIET else 1.0
                weight.copy_(usual * (0.5 + torch.rand(weight.shape, generator=generator)))
            if bias is not None:
                bias.copy_(_SHIFT + 0.2 * torch.randn(bias.shape, generator=generator))
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # a plain mean over the passes
    for name, parameter in model.named_parameters():
        if "bias" not in name and parameter.dim() <= 1 and parameter.abs().max() < _QUIET:
            parameter.fill_(_AUDIBLE)
    model.train()
    for index in range(3):
        model(pictures(8, size, seed + 100 + index))
    model.eval()


def sqnr(result: Any, reference: Any) -> float:
    """Signal over noise of all outputs together, in decibels."""
    results, references = _arrays(result), _arrays(reference)
    signal = sum(float(np.square(y, dtype=np.float64).sum()) for y in references)
    noise = sum(
        float(np.square(np.subtract(x, y, dtype=np.float64)).sum())
        for x, y in zip(results, references, strict=True)
    )
    return float(10.0 * np.log10(signal / noise)) if noise > 0 else float("inf")


@torch.no_grad()
def control(model: nn.Module, x: Tensor, reference: Any) -> float:
    """The SQNR in float32 if what enters and leaves each layer carries noise, 40 dB below it.

    That is what 8 bits do to activations and weights: networks of random weights can be chaotic,
    and this tells how much of small errors they make whoever quantizes them.
    """
    generator = torch.Generator().manual_seed(0)

    def noisy(value: Tensor) -> Tensor:
        noise = torch.randn(value.shape, generator=generator) * value.square().mean().sqrt()
        return value + noise * 10.0 ** (-_CONTROL_DB / 20.0)

    handles = []
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            handles.append(module.register_forward_pre_hook(lambda _, xs: (noisy(xs[0]), *xs[1:])))
            handles.append(module.register_forward_hook(lambda _, xs, y: noisy(y)))
    try:
        return sqnr(model(x), reference)
    finally:
        for handle in handles:
            handle.remove()


def measure(timm: Any, name: str) -> dict[str, Any]:
    """The survey's record of one network.

    Returns:
        ``status`` is ``"ok"``, ``"refused"`` (a wbcq error, in ``reason``), ``"crashed"`` (another
        exception: a defect of wbcq) or ``"model"`` (timm's own network does not run); numbers where
        they exist.
    """
    record: dict[str, Any] = {"model": name}
    seed, size = zlib.crc32(name.encode()), picture_size(name)
    torch.manual_seed(seed)
    try:
        model = timm.create_model(name, pretrained=False, num_classes=100)
        record["parameters"] = sum(parameter.numel() for parameter in model.parameters())
        settle(model, size, seed)
        x = pictures(_BATCH, size, seed + 1)
        with torch.no_grad():
            reference = model(x)
    except Exception as error:
        return {**record, "status": "model", "reason": _one_line(error)}
    start = time.perf_counter()
    try:
        calibration = [pictures(8, size, seed + 10 + index) for index in range(2)]
        quantized = wbcq.quantize(model, calibration, progress=False)
        record["quantize_s"] = round(time.perf_counter() - start, 2)
        start = time.perf_counter()
        result = quantized(x)
        record["run_s"] = round(time.perf_counter() - start, 4)
        islands = quantized.metadata.get("float_operators", [])
        record["operators"] = len(quantized.program.ops)
        record["islands"] = len(islands)
        record["island_kinds"] = sorted({str(island["operator"]) for island in islands})
        record["sqnr"] = round(sqnr(result, reference), 2)
        start = time.perf_counter()
        record["same_bits"] = _same_bits(quantized(x[:1]), quantized.simulate(x[:1]))
        record["simulate_s"] = round(time.perf_counter() - start, 2)
    except wbcq.WbcqError as error:
        return {**record, "status": "refused", "reason": _reason(error)}
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return {**record, "status": "crashed", "reason": _reason(error)}
    if record["sqnr"] < BOUND:
        record["noisy_layers"] = round(control(model, x, reference), 2)
    return {**record, "status": "ok"}


def _same_bits(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(_arrays(a), _arrays(b), strict=True))


def _arrays(outputs: Any) -> list[Any]:
    items = outputs if isinstance(outputs, (tuple, list)) else [outputs]
    return [np.asarray(item) for item in items]


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {_one_line(error)}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
