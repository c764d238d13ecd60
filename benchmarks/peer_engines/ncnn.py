"""ncnn: FP32, converted by pnnx. Its quantizer is not in the Python package.

It has no batches: a batch is run picture by picture.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np

from peer_engines.engine import Call, Engine, Network, register


def _file(network: Network) -> Path:
    def convert(path: Path) -> None:
        import pnnx

        one = Network(network.name, 1, network.root)
        converter = Path(pnnx.__file__).parent / "pnnx"
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "model.onnx"
            source.write_bytes(one.onnx().read_bytes())
            subprocess.run(
                [converter, source, "fp16=0"], cwd=folder, check=True, capture_output=True
            )
            weights = path.with_name("ncnn.bin")
            weights.write_bytes((Path(folder) / "model.ncnn.bin").read_bytes())
            path.write_bytes((Path(folder) / "model.ncnn.param").read_bytes())

    return network.file_of_any_batch("ncnn.param", convert)


def _load(network: Network, threads: int) -> Call:
    import ncnn

    path = _file(network)
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.load_param(str(path))
    net.load_model(str(path.with_name("ncnn.bin")))
    pictures = [
        [ncnn.Mat(np.ascontiguousarray(x[index])) for x in network.arrays]
        for index in range(network.batch)
    ]
    inputs, outputs = net.input_names(), net.output_names()

    def call() -> object:
        results = []
        for picture in pictures:
            with net.create_extractor() as extractor:
                for name, mat in zip(inputs, picture, strict=True):
                    extractor.input(name, mat)
                results.append([np.array(extractor.extract(name)[1]) for name in outputs])
        return results

    return call


register(
    Engine(
        "ncnn fp32",
        "fp32",
        _file,
        _load,
        ("onnx", "onnxscript", "ncnn", "pnnx"),
        ("ncnn",),
        ("ncnn", "pnnx"),
    )
)
