"""ONNX Runtime: FP32, and its static quantizer's INT8 (QDQ, weights per channel).

Its kernels (MLAS) follow the CPU; release builds have no option or variable that forces AVX2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peer_engines.engine import Array, Call, Engine, Network, quiet, register


def _int8_file(network: Network) -> Path:
    source = network.onnx()

    def quantize(path: Path) -> None:
        from onnxruntime.quantization import (
            CalibrationDataReader,
            QuantFormat,
            QuantType,
            quant_pre_process,
            quantize_static,
        )

        class Reader(CalibrationDataReader):
            def __init__(self) -> None:
                self._feeds = iter([_feed(network)])

            def get_next(self) -> dict[str, Array] | None:
                return next(self._feeds, None)

        prepared = path.with_name("prepared.onnx")
        with quiet():
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(path),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        prepared.unlink()

    return network.file("ort-int8.onnx", quantize)


def _feed(network: Network) -> dict[str, Array]:
    return dict(zip(network.input_names, network.arrays, strict=True))


def _call(path: Path, network: Network, threads: int) -> Call:
    import onnxruntime as ort

    options: Any = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = _feed(network)
    return lambda: session.run(None, feed)


for _name, _dtype, _file in (
    ("ONNX Runtime int8", "int8", _int8_file),
    ("ONNX Runtime fp32", "fp32", Network.onnx),
):
    register(
        Engine(
            _name,
            _dtype,
            _file,
            lambda network, threads, file=_file: _call(file(network), network, threads),
            ("onnx", "onnxscript", "onnxruntime"),
            ("onnxruntime",),
            ("onnxruntime",),
        )
    )
