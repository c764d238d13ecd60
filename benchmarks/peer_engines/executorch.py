"""ExecuTorch with XNNPACK: FP32, and INT8 by PT2E (torchao's; weights per channel)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peer_engines.engine import Call, Engine, Network, quiet, register


def _lower(module: Any, inputs: tuple[Any, ...], path: Path) -> None:
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    exported = torch.export.export(module, inputs)
    program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    path.write_bytes(program.to_executorch().buffer)


def _float_file(network: Network) -> Path:
    def build(path: Path) -> None:
        with quiet():
            _lower(network.module, network.tensors, path)

    return network.file("executorch-fp32.pte", build)


def _int8_file(network: Network) -> Path:
    def build(path: Path) -> None:
        import torch
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        with quiet():
            quantizer = XNNPACKQuantizer()
            quantizer.set_global(get_symmetric_quantization_config(is_per_channel=True))
            exported = torch.export.export(network.module, network.tensors).module()
            prepared = prepare_pt2e(exported, quantizer)
            prepared(*network.tensors)
            _lower(convert_pt2e(prepared), network.tensors, path)

    return network.file("executorch-int8.pte", build)


def _call(path: Path, network: Network, threads: int) -> Call:
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    portable_lib._unsafe_reset_threadpool(threads)
    method = Runtime.get().load_program(str(path)).load_method("forward")
    tensors = network.tensors
    return lambda: method.execute(tensors)


for _name, _dtype, _file in (
    ("ExecuTorch int8", "int8", _int8_file),
    ("ExecuTorch fp32", "fp32", _float_file),
):
    register(
        Engine(
            _name,
            _dtype,
            _file,
            lambda network, threads, file=_file: _call(file(network), network, threads),
            ("executorch.runtime", "torchao"),
            ("torch", "executorch.runtime"),
            ("executorch",),
        )
    )
