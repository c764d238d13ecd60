"""PyTorch, traced and frozen: FP32 in channels_last, and INT8 by FX (x86 engine)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from peer_engines.engine import Call, Engine, Network, quiet, register


def _trace(module: Any, inputs: tuple[Any, ...], path: Path) -> None:
    import torch

    with quiet(), torch.inference_mode():
        traced = torch.jit.freeze(torch.jit.trace(module.eval(), inputs))
    torch.jit.save(traced, str(path))


def _float_file(network: Network) -> Path:
    def build(path: Path) -> None:
        import torch

        module = copy.deepcopy(network.module).to(memory_format=torch.channels_last)
        _trace(module, _channels_last(network), path)

    return network.file("torch-fp32.pt", build)


def _int8_file(network: Network) -> Path:
    def build(path: Path) -> None:
        from resnet18 import pytorch_int8

        with quiet():
            module = pytorch_int8(copy.deepcopy(network.module), *network.tensors)
        _trace(module, network.tensors, path)

    return network.file("torch-int8.pt", build)


def _channels_last(network: Network) -> tuple[Any, ...]:
    import torch

    return tuple(x.contiguous(memory_format=torch.channels_last) for x in network.tensors)


def _call(path: Path, inputs: tuple[Any, ...], threads: int) -> Call:
    import torch

    torch.backends.quantized.engine = "x86"
    torch.jit.set_fusion_strategy([])  # it would compile during the first calls
    torch.set_num_threads(threads)
    module = torch.jit.load(str(path))

    def call() -> object:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            return module(*inputs)

    return call


register(
    Engine(
        "PyTorch int8",
        "int8",
        _int8_file,
        lambda network, threads: _call(_int8_file(network), network.tensors, threads),
        ("torch",),
        ("torch",),
        ("torch",),
    )
)
register(
    Engine(
        "PyTorch fp32",
        "fp32",
        _float_file,
        lambda network, threads: _call(_float_file(network), _channels_last(network), threads),
        ("torch",),
        ("torch",),
        ("torch",),
    )
)
