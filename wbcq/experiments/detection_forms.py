"""A trained detector in several forms (FP32, INT8 of ours and of others), and how good each is."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from wbcq.detection.data import FieldSet
from wbcq.detection.evaluate import (
    DetectionMetrics,
    HeadModel,
    Layout,
    average_precision,
    detect_fields,
)

__all__ = [
    "PEERS",
    "has_onnx_runtime",
    "judge_detector",
    "metrics_record",
    "onnx_session",
    "quantize_with_onnx_runtime",
]

PEERS = ("pytorch-per-tensor", "pytorch-per-channel", "onnxruntime-per-channel")
"""Static INT8 quantization by others."""


def judge_detector(
    run: HeadModel, layout: Layout, fields: FieldSet, progress: Any = None
) -> DetectionMetrics:
    """Average precision of a network on pictures."""
    return average_precision(detect_fields(run, layout, fields, progress=progress), fields)


def metrics_record(metrics: DetectionMetrics) -> dict[str, Any]:
    """As JSON values."""
    return {
        "map50": round(metrics.map50, 5),
        "map": round(metrics.map, 5),
        "ap50": {k: None if v is None else round(v, 5) for k, v in metrics.ap50.items()},
        "cells": metrics.cells,
        "found": round(metrics.found, 5),
        "class_accuracy": round(metrics.class_accuracy, 5),
    }


def has_onnx_runtime() -> bool:
    """Whether what :func:`quantize_with_onnx_runtime` needs is installed."""
    names = ("onnx", "onnxscript", "onnxruntime")
    return all(importlib.util.find_spec(name) is not None for name in names)


def quantize_with_onnx_runtime(model: nn.Module, batches: Sequence[Tensor], path: Path) -> None:
    """ONNX Runtime's static INT8: QDQ, uint8 activations, weights per channel, its defaults.

    Args:
        model: In evaluation mode; it is not changed.
        batches: Calibration data.
        path: Where the ``.onnx`` file is written.
    """
    from onnxruntime import quantization as ort

    class Reader(ort.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            single = (picture[None].numpy() for batch in batches for picture in batch)
            self._feeds = ({"pictures": pixels} for pixels in single)

        def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
            return next(self._feeds, None)

    source, prepared = path.with_suffix(".fp32.onnx"), path.with_suffix(".prepared.onnx")
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(),
            (batches[0][:1],),
            str(source),
            input_names=["pictures"],
            opset_version=18,
            dynamo=True,
            external_data=False,
        )
        ort.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        ort.quantize_static(
            str(prepared),
            str(path),
            Reader(),
            quant_format=ort.QuantFormat.QDQ,
            per_channel=True,
            activation_type=ort.QuantType.QUInt8,
            weight_type=ort.QuantType.QInt8,
        )
    for temporary in (source, prepared):
        temporary.unlink()


def onnx_session(path: Path, *, threads: int = 1) -> HeadModel:
    """An ``.onnx`` file on ONNX Runtime's own CPU kernels."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(pictures: npt.NDArray[np.float32]) -> Any:
        return tuple(session.run(None, {"pictures": pictures}))

    return run
