"""Train in FP32, quantize per tensor and per channel, compare: the steps of the demonstration."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import wbcq
from wbcq import models
from wbcq.data.pictures import ArrayPictures
from wbcq.data.sources.base import Sets
from wbcq.demo.pictures import load_pictures, synthetic_pictures
from wbcq.demo.timing import fastest_threads, quietest_ms
from wbcq.engine.program_file import program_bytes
from wbcq.quant.config import WeightGranularity
from wbcq.report.files import replacing
from wbcq.report.reporter import Reporter
from wbcq.train import (
    Epoch,
    Metrics,
    TrainConfig,
    TrainResult,
    batches,
    decisions,
    evaluate,
    flipped,
    predict,
    train_classifier,
)
from wbcq.train.hardware import native_precision
from wbcq.train.sampling import balanced_sample

__all__ = ["DemoConfig", "DemoResult", "Variant", "run_demo"]

METHODS: dict[str, WeightGranularity] = {
    "per tensor": "per_tensor",
    "per channel": "per_channel",
}


@dataclass(frozen=True)
class DemoConfig:
    """What to train and where.

    Attributes:
        data: Folder of a data set (see :func:`wbcq.data.load_splits`), or None for synthetic
            cells.
        out: Folder for models and reports.
        arch: Name for :func:`wbcq.models.create`.
        epochs: Passes over the training pictures.
        size: Pixels along each side.
        crop: Share of a picture's shorter side; None for a default that fits the layout.
        seed: Of the cells, the split, the initial weights and the training.
        threads: Of training and of every engine that is timed. None for the physical cores, with
            one thread for training where that is faster because other programs use the cores.
        difficulty: Of synthetic cells, 0 to 1.
        counts: Synthetic cells of each class for training, validation and test.
        calibration: Training pictures that set the ranges of activations.
        timing_seconds: Least time of each of the five turns of a timing.
    """

    data: Path | None = None
    out: Path = Path("wbcq-demo")
    arch: str = "resnet18"
    epochs: int = 8
    size: int = 96
    crop: float | None = None
    seed: int = 0
    threads: int | None = None
    difficulty: float = 0.7
    counts: tuple[int, int, int] = (200, 40, 200)
    calibration: int = 256
    timing_seconds: float = 0.3


@dataclass(frozen=True, eq=False)
class Variant:
    """One row of the comparison.

    Attributes:
        dtype: ``"FP32"`` or ``"INT8"``.
        method: ``""``, ``"per tensor"`` or ``"per channel"``.
        metrics: On the test pictures.
        decisions: int64 [N], class chosen for each test picture.
        flips: Decisions that differ from FP32's; 0 for FP32.
        ms: Milliseconds by batch size, see :func:`wbcq.demo.timing.quietest_ms`.
        parameters: Number of weights and biases.
        bytes: Size of the saved file.
        file: Its name in the output folder.
    """

    dtype: str
    method: str
    metrics: Metrics
    decisions: npt.NDArray[np.int64]
    flips: int
    ms: dict[int, float]
    parameters: int
    bytes: int
    file: str

    @property
    def name(self) -> str:
        """For example ``"INT8 per channel"``."""
        return f"{self.dtype} {self.method}".strip()


@dataclass(frozen=True, eq=False)
class DemoResult:
    """Everything that the reports show.

    Attributes:
        config: As asked for.
        pictures: The data.
        training: Its history and best epoch.
        variants: FP32 first.
        threads: Of timing.
        isa: Instruction set of the integer kernels.
        load: Programs that wanted a core when timing began, per core; above about 1.5, times are
            too long, those of the slower variants most.
    """

    config: DemoConfig
    pictures: Sets
    training: TrainResult
    variants: tuple[Variant, ...]
    threads: int
    isa: str
    load: float


def run_demo(config: DemoConfig, reporter: Reporter) -> DemoResult:
    """Runs the demonstration and saves its models; :mod:`wbcq.demo.outputs` writes the reports.

    Training writes a checkpoint into the output folder. If it is interrupted, the same call goes
    on from there.

    Args:
        config: What to do.
        reporter: Told about progress.

    Raises:
        DatasetError: The data set cannot be used.
        ValueError: Unknown architecture, or a number out of range.
        OSError: The output folder cannot be written.
    """
    from wbcq import _core

    if config.arch not in models.names():  # before minutes of rendering
        raise ValueError(f"arch is {config.arch!r}; choose one of {', '.join(models.names())}")
    threads = config.threads or _core.default_threads()
    with _torch_threads(threads):
        torch.manual_seed(config.seed)
        if config.data is None:
            pictures = synthetic_pictures(
                config.counts, config.size, config.seed, config.difficulty, reporter
            )
        else:
            pictures = load_pictures(config.data, config.size, config.crop, config.seed, reporter)
        model = models.create(config.arch, num_classes=len(pictures.train.classes))
        config.out.mkdir(parents=True, exist_ok=True)
        train_config = TrainConfig(
            epochs=config.epochs, seed=config.seed, precision=native_precision()
        )
        # Named after all that shapes the training, so that only the same one goes on from it.
        checkpoint = config.out / f"training-{_fingerprint(pictures, config, train_config)}.ckpt"
        training = _train(model, pictures, config, train_config, checkpoint, threads, reporter)
        quantized = _quantize(model, pictures, config, threads, reporter)
        load = _load()
        variants = _compare(model, quantized, pictures.test, config, threads, reporter)
    checkpoint.unlink()
    isa = next(iter(quantized.values())).isa
    return DemoResult(config, pictures, training, variants, threads, isa, load)


def _train(
    model: nn.Module,
    pictures: Sets,
    config: DemoConfig,
    train_config: TrainConfig,
    checkpoint: Path,
    threads: int,
    reporter: Reporter,
) -> TrainResult:
    if checkpoint.exists():
        reporter.note(f"going on from {checkpoint}")
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config.threads is None and threads > 1 and _training_threads(model, config, threads) == 1:
        reporter.note(f"the cores are busy: training with 1 thread instead of {threads}")
    with reporter.stage(f"Training {config.arch}") as stage:
        total = 0
        note = ""

        def on_step(done: int, steps: int) -> None:
            nonlocal total
            total = steps
            stage(done, steps, note)

        def on_epoch(index: int, epoch: Epoch) -> None:
            nonlocal note
            note = f"epoch {index + 1}: validation {100 * epoch.val_accuracy:.1f} %"
            stage(total * (index + 1) // config.epochs, total, note)

        result = train_classifier(
            model,
            pictures.train,
            pictures.val,
            train_config,
            checkpoint=checkpoint,
            on_step=on_step,
            on_epoch=on_epoch,
        )
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    with replacing(config.out / f"{config.arch}-fp32.pt") as temporary:
        torch.save(model.state_dict(), temporary)
    return result


def _training_threads(model: nn.Module, config: DemoConfig, most: int) -> int:
    """Sets torch to ``most`` threads or to one, whichever trains faster now."""
    copied = copy.deepcopy(model).train()
    batch = torch.zeros(16, 3, config.size, config.size).to(memory_format=torch.channels_last)

    def step() -> None:
        copied(batch).sum().backward()

    with torch.random.fork_rng(devices=[]):  # dropout
        return fastest_threads(step, torch.set_num_threads, [most, 1])


def _quantize(
    model: nn.Module, pictures: Sets, config: DemoConfig, threads: int, reporter: Reporter
) -> dict[str, wbcq.QuantizedModel]:
    calibration = _calibration(pictures.train, config)
    quantized: dict[str, wbcq.QuantizedModel] = {}
    with reporter.stage("Quantizing") as stage:
        for done, (method, weights) in enumerate(METHODS.items()):
            stage(done, len(METHODS), method)
            settings = wbcq.QuantConfig(weights=weights, class_names=pictures.train.classes)
            raw = wbcq.quantize(model, calibration, config=settings, progress=False)
            quantized[method] = _with_metadata(raw, pictures, config, threads)
            quantized[method].save(config.out / _int8_file(config, method))
        stage(len(METHODS), len(METHODS))
    return quantized


def _with_metadata(
    model: wbcq.QuantizedModel, pictures: Sets, config: DemoConfig, threads: int
) -> wbcq.QuantizedModel:
    """Adds what a user of the file needs to know about its pictures."""
    extra: dict[str, Any] = {"model": config.arch, "trained_on": pictures.description}
    if pictures.preprocess is not None:
        extra["preprocess"] = pictures.preprocess.to_metadata()
    metadata = {**model.metadata, **extra}
    program = dataclasses.replace(model.program, metadata=metadata)
    return wbcq.QuantizedModel(program_bytes(program), threads=threads)


def _compare(
    model: nn.Module,
    quantized: dict[str, wbcq.QuantizedModel],
    test: ArrayPictures,
    config: DemoConfig,
    threads: int,
    reporter: Reporter,
) -> tuple[Variant, ...]:
    runners: dict[str, Any] = {"": model, **quantized}
    chosen: dict[str, npt.NDArray[np.int64]] = {}
    with reporter.stage("Testing") as stage:
        for position, (method, run) in enumerate(runners.items()):
            before, total = position * len(test), len(runners) * len(test)

            def progress(done: int, _: int, before: int = before, total: int = total) -> None:
                stage(before + done, total)

            chosen[method] = decisions(predict(run, test, progress=progress))
    torch.set_num_threads(threads)
    ms = {batch: _time(model, quantized, test, batch, config, reporter) for batch in (1, 8)}
    variants = []
    for method in runners:
        file = _int8_file(config, method) if method else f"{config.arch}-fp32.pt"
        parameters = (
            quantized[method].num_parameters
            if method
            else sum(p.numel() for p in model.parameters())
        )
        variants.append(
            Variant(
                dtype="INT8" if method else "FP32",
                method=method,
                metrics=evaluate(test.labels, chosen[method], test.classes),
                decisions=chosen[method],
                flips=len(flipped(chosen[""], chosen[method])),
                ms={batch: times[method] for batch, times in ms.items()},
                parameters=parameters,
                bytes=(config.out / file).stat().st_size,
                file=file,
            )
        )
    return tuple(variants)


def _time(
    model: nn.Module,
    quantized: dict[str, wbcq.QuantizedModel],
    test: ArrayPictures,
    batch: int,
    config: DemoConfig,
    reporter: Reporter,
) -> dict[str, float]:
    repeated = test.subset(np.arange(batch) % len(test))
    (pixels, _), *_ = batches(repeated, batch)
    channels_last = pixels.contiguous(memory_format=torch.channels_last)
    calls: dict[str, Callable[[], Any]] = {
        "": partial(model, pixels),
        "channels last": partial(model, channels_last),
        **{method: partial(run, pixels) for method, run in quantized.items()},
    }
    with torch.inference_mode(), reporter.stage(f"Timing, batch of {batch}") as stage:
        ms = quietest_ms(calls, seconds=config.timing_seconds, on_round=stage)
    # PyTorch gets the layout that it is faster with.
    ms[""] = min(ms[""], ms.pop("channels last"))
    return ms


def _calibration(train: ArrayPictures, config: DemoConfig) -> Sequence[torch.Tensor]:
    chosen = balanced_sample(train, config.calibration, config.seed)
    return [pixels for pixels, _ in batches(chosen, 32)]


def _int8_file(config: DemoConfig, method: str) -> str:
    return f"{config.arch}-int8-{method.replace(' ', '-')}.wbcq"


def _load() -> float:
    """The last minute's load average per core; 0 where the system does not tell."""
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):
        return 0.0


def _fingerprint(pictures: Sets, config: DemoConfig, train_config: TrainConfig) -> str:
    record = [config.arch, pictures.description, config.size, dataclasses.asdict(train_config)]
    digest = hashlib.sha256(json.dumps(record).encode())
    for part in (pictures.train, pictures.val):
        digest.update(part.pixels.tobytes())
    return digest.hexdigest()[:12]


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
