"""MNN: FP32, and INT8 by its quantizer (weights per channel; its KL method crashes, EMA works).

The quantizer reads pictures from files, and takes networks with one input and a batch of one only:
an INT8 model runs a batch picture by picture. The native module
is called, in a process of its own: the package's command-line wrappers install other packages and
report to a server.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from peer_engines.engine import Array, Call, Engine, Network, quiet, register


def _float_file(network: Network) -> Path:
    source = network.onnx()

    def convert(path: Path) -> None:
        arguments = ["-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(path)]
        _run_tool("mnnconvert", [*arguments, "--bizCode", "wbcq"], path)

    return network.file("mnn-fp32.mnn", convert)


def _int8_file(network: Network) -> Path:
    one = Network(network.name, 1, network.root)
    if len(network.shapes) > 1:
        raise RuntimeError("the quantizer takes networks with one input")

    def quantize(path: Path) -> None:
        source = _float_file(one)
        from PIL import Image

        _, _, height, width = network.shapes[0]
        with tempfile.TemporaryDirectory() as folder:
            pixels = (one.arrays[0][0].transpose(1, 2, 0) * 255).astype(np.uint8)
            Image.fromarray(pixels).save(Path(folder) / "0.png")
            config = Path(folder).with_suffix(".json")
            config.write_text(
                json.dumps(
                    {
                        "format": "RGB",
                        "mean": [0.0, 0.0, 0.0],
                        "normal": [1 / 255, 1 / 255, 1 / 255],
                        "width": width,
                        "height": height,
                        "path": folder,
                        "used_image_num": 1,
                        "batch_size": 1,
                        "feature_quantize_method": "EMA",
                        "weight_quantize_method": "MAX_ABS",
                    }
                )
            )
            _run_tool("mnnquant", [str(source), str(path), str(config)], path)
            config.unlink()

    return one.file("mnn-int8.mnn", quantize)


def _run_tool(tool: str, arguments: list[str], result: Path) -> None:
    code = f"import sys, _tools; _tools.{tool}(sys.argv)"
    run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    if not result.exists():
        raise RuntimeError(f"{tool} wrote nothing: {(run.stdout + run.stderr).strip()[-200:]}")


def _call(path: Path, network: Network, threads: int, batch: int) -> Call:
    with quiet():
        import MNN

        interpreter = MNN.Interpreter(str(path))
        session = interpreter.createSession(
            {"backend": "CPU", "numThread": threads, "precision": "high"}
        )
    layout = MNN.Tensor_DimensionType_Caffe
    inputs = interpreter.getSessionInputAll(session)

    def tensor(array: Array) -> Any:
        return MNN.Tensor(array.shape, MNN.Halide_Type_Float, array, layout)

    parts = [
        [tensor(x[first : first + batch]) for x in network.arrays]
        for first in range(0, network.batch, batch)
    ]

    def call() -> object:
        results = []
        for part in parts:
            for name, source in zip(network.input_names, part, strict=True):
                inputs[name].copyFrom(source)
            interpreter.runSession(session)
            for output in interpreter.getSessionOutputAll(session).values():
                # The caller's layout, as every other engine gives it.
                result = MNN.Tensor(output.getShape(), MNN.Halide_Type_Float, layout)
                output.copyToHostTensor(result)
                results.append(result)
        return results

    return call


for _name, _dtype, _file, _batch in (
    ("MNN int8", "int8", _int8_file, lambda network: 1),
    ("MNN fp32", "fp32", _float_file, lambda network: network.batch),
):
    register(
        Engine(
            _name,
            _dtype,
            _file,
            lambda network, threads, file=_file, batch=_batch: _call(
                file(network), network, threads, batch(network)
            ),
            ("onnx", "onnxscript", "MNN", "_tools"),
            ("MNN",),
            ("MNN",),
        )
    )
