"""OpenVINO: FP32, bf16, and INT8 by NNCF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peer_engines.engine import Call, Engine, Network, quiet, register


def _float_file(network: Network) -> Path:
    source = network.onnx()

    def convert(path: Path) -> None:
        import openvino as ov

        model = ov.convert_model(str(source))
        model.reshape(dict(zip(network.input_names, map(list, network.shapes), strict=True)))
        _save(model, path)

    return network.file("openvino-fp32.xml", convert)


def _int8_file(network: Network) -> Path:
    source = _float_file(network)

    def quantize(path: Path) -> None:
        import nncf
        import openvino as ov

        feeds = [dict(zip(network.input_names, network.arrays, strict=True))]
        with quiet():
            model = ov.Core().read_model(str(source))
            _save(nncf.quantize(model, nncf.Dataset(feeds), subset_size=1), path)

    return network.file("openvino-int8.xml", quantize)


def _save(model: Any, path: Path) -> None:
    import openvino as ov

    # The weights' file has no name of its own inside the .xml.
    ov.save_model(model, str(path), compress_to_fp16=False)
    weights = path.with_suffix(".bin")
    weights.rename(weights.with_name(weights.name.removeprefix("partial-")))


def _call(path: Path, network: Network, threads: int, precision: str) -> Call:
    import openvino as ov

    compiled = ov.Core().compile_model(
        str(path),
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": precision,
        },
    )
    request = compiled.create_infer_request()
    arrays = network.arrays
    return lambda: request.infer(arrays, share_inputs=True)


for _name, _dtype, _precision, _file in (
    ("OpenVINO int8", "int8", "f32", _int8_file),
    ("OpenVINO bf16", "fp32", "bf16", _float_file),
    ("OpenVINO fp32", "fp32", "f32", _float_file),
):
    register(
        Engine(
            _name,
            _dtype,
            _file,
            lambda network, threads, file=_file, precision=_precision: _call(
                file(network), network, threads, precision
            ),
            ("onnx", "onnxscript", "openvino", "nncf"),
            ("openvino",),
            ("openvino", "nncf"),
        )
    )
