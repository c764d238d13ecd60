"""Networks in other engines, ready to be called: each engine is used if it is installed.

An engine is a function from a :class:`Job` to a callable, registered under the name in the tables.
INT8 models are static: calibrated on the same pictures, weights per channel where the engine can.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

import wbcq

__all__ = ["ENGINES", "Engine", "Job", "available"]

Call: TypeAlias = Callable[[], object]
Builder: TypeAlias = Callable[["Job"], Call]


@dataclass(frozen=True)
class Job:
    """One network at one batch size and number of threads.

    Attributes:
        name: Of the network.
        model: In evaluation mode.
        inputs: Pictures [batch, 3, H, W] for each input of the network.
        threads: How many the engine may use.
        cache: Quantized models and exported files, kept between jobs of the same network.
    """

    name: str
    model: nn.Module
    inputs: tuple[Tensor, ...]
    threads: int
    cache: dict[str, Any] = field(default_factory=dict)

    @property
    def arrays(self) -> list[npt.NDArray[np.float32]]:
        """The pictures for engines that take numpy arrays."""
        return [np.ascontiguousarray(x.numpy()) for x in self.inputs]

    @property
    def batch(self) -> int:
        """Number of pictures."""
        return len(self.inputs[0])

    def once(self, key: str, build: Callable[[], Any]) -> Any:
        """What ``build`` gave the first time."""
        if key not in self.cache:
            self.cache[key] = build()
        return self.cache[key]


@dataclass(frozen=True)
class Engine:
    """How a name is measured.

    Attributes:
        build: From a job to a callable.
        dtype: ``"int8"`` or ``"fp32"``, whatever the engine makes of it inside.
        modules: What must be installed.
    """

    build: Builder
    dtype: str
    modules: tuple[str, ...]


ENGINES: dict[str, Engine] = {}


def engine(name: str, dtype: str, *modules: str) -> Callable[[Builder], Builder]:
    """Registers an engine."""

    def register(build: Builder) -> Builder:
        ENGINES[name] = Engine(build, dtype, modules)
        return build

    return register


def available() -> dict[str, Engine]:
    """The engines whose modules are installed."""
    return {
        name: entry
        for name, entry in ENGINES.items()
        if all(importlib.util.find_spec(module) for module in entry.modules)
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters print and log at length."""
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


# Ours.


def _ours(job: Job, isa: str | None) -> Call:
    quantized = job.once(
        "wbcq", lambda: wbcq.quantize(job.model, [list(job.inputs)], progress=False).to_bytes()
    )
    model = wbcq.QuantizedModel(quantized, threads=job.threads, isa=isa)
    arrays = job.arrays
    return lambda: model(*arrays)


@engine("wbcq int8", "int8")
def _ours_best(job: Job) -> Call:
    return _ours(job, None)


@engine("wbcq int8 avx2", "int8")
def _ours_avx2(job: Job) -> Call:
    return _ours(job, "avx2")


@engine("wbcq fp32", "fp32")
def _ours_float(job: Job) -> Call:
    data = job.once("wbcq fp32", lambda: wbcq.compile_float(job.model, job.inputs).to_bytes())
    model = wbcq.QuantizedModel(data, threads=job.threads)
    arrays = job.arrays
    return lambda: model(*arrays)


# PyTorch.


@engine("PyTorch fp32", "fp32")
def _torch_float(job: Job) -> Call:
    model = copy.deepcopy(job.model).to(memory_format=torch.channels_last)
    inputs = [x.contiguous(memory_format=torch.channels_last) for x in job.inputs]
    return _torch_call(model, inputs, job.threads)


@engine("PyTorch int8", "int8")
def _torch_int8(job: Job) -> Call:
    from resnet18 import pytorch_int8

    with _quiet():
        model = job.once("fx", lambda: pytorch_int8(copy.deepcopy(job.model), job.inputs[0]))
    return _torch_call(model, list(job.inputs), job.threads)


def _torch_call(model: nn.Module, inputs: list[Tensor], threads: int) -> Call:
    def call() -> object:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            return model(*inputs)

    return call


# ONNX Runtime.


def _onnx(job: Job) -> Path:
    """The network as an ONNX file for the job's batch size."""

    def export() -> Path:
        path = Path(tempfile.mkdtemp()) / f"{job.name}.onnx"
        torch.onnx.export(
            job.model,
            tuple(job.inputs),
            str(path),
            input_names=[f"x{i}" for i in range(len(job.inputs))],
            opset_version=18,
            dynamo=True,
            external_data=False,
        )
        return path

    with _quiet():
        path: Path = job.once(f"onnx {job.batch}", export)
    return path


def _ort_session(job: Job, path: Path) -> Call:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = job.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {f"x{i}": array for i, array in enumerate(job.arrays)}
    return lambda: session.run(None, feed)


@engine("ONNX Runtime fp32", "fp32", "onnx", "onnxruntime")
def _ort_float(job: Job) -> Call:
    return _ort_session(job, _onnx(job))


@engine("ONNX Runtime int8", "int8", "onnx", "onnxruntime")
def _ort_int8(job: Job) -> Call:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quant_pre_process,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._feeds = iter([{f"x{i}": array for i, array in enumerate(job.arrays)}])

        def get_next(self) -> Any:
            return next(self._feeds, None)

    def quantize() -> Path:
        source = _onnx(job)
        prepared, target = source.with_suffix(".pre.onnx"), source.with_suffix(".int8.onnx")
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(target),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return target

    with _quiet():
        path = job.once(f"ort int8 {job.batch}", quantize)
    return _ort_session(job, path)


# OpenVINO.


def _openvino_call(job: Job, model: Any, precision: str) -> Call:
    import openvino as ov

    compiled = ov.Core().compile_model(
        model,
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": job.threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": precision,
        },
    )
    request = compiled.create_infer_request()
    arrays = job.arrays
    return lambda: request.infer(arrays, share_inputs=True)


def _openvino_model(job: Job) -> Any:
    import openvino as ov

    model = ov.convert_model(str(_onnx(job)))
    model.reshape({f"x{i}": list(x.shape) for i, x in enumerate(job.inputs)})
    return model


def _openvino_int8_model(job: Job) -> Any:
    import nncf

    feeds = [{f"x{i}": array for i, array in enumerate(job.arrays)}]
    return nncf.quantize(_openvino_model(job), nncf.Dataset(feeds), subset_size=1)


@engine("OpenVINO fp32", "fp32", "openvino")
def _openvino_float(job: Job) -> Call:
    return _openvino_call(job, _openvino_model(job), "f32")


@engine("OpenVINO bf16", "fp32", "openvino")
def _openvino_bf16(job: Job) -> Call:
    return _openvino_call(job, _openvino_model(job), "bf16")


@engine("OpenVINO int8", "int8", "openvino", "nncf")
def _openvino_int8(job: Job) -> Call:
    with _quiet():
        model = job.once(f"openvino int8 {job.batch}", lambda: _openvino_int8_model(job))
    return _openvino_call(job, model, "f32")
