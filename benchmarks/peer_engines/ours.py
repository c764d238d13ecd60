"""wbcq: the best instruction set, little memory, AVX2 alone, and FP32."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from peer_engines.engine import Call, Engine, Network, register

if TYPE_CHECKING:
    from wbcq import QuantizedModel

__all__ = ["int8_file"]

_VARIANTS: Mapping[str, Mapping[str, str]] = {
    "wbcq int8": {},
    "wbcq int8 small": {"memory": "small"},
    "wbcq int8 avx2": {"isa": "avx2"},
    "wbcq fp32": {},
}


def _is_stale(path: Path) -> bool:
    """Whether the package has changed since."""
    spec = find_spec("wbcq")
    if not path.exists() or spec is None or spec.origin is None:
        return False
    sources = Path(spec.origin).parent.rglob("*.py")
    return path.stat().st_mtime < max(source.stat().st_mtime for source in sources)


def _file(network: Network, name: str) -> Path:
    if _is_stale(network.root / network.name / name):
        (network.root / network.name / name).unlink()

    def build(path: Path) -> None:
        import wbcq

        eight = Network(network.name, 8, network.root)
        if name == "int8.wbcq":
            model = wbcq.quantize(eight.module, [eight.tensors], progress=False)
        else:
            model = wbcq.compile_float(eight.module, eight.tensors)
        model.save(path)

    return network.file_of_any_batch(name, build)


def int8_file(network: Network) -> Path:
    """The network as our INT8 model."""
    return _file(network, "int8.wbcq")


def _variant(name: str, options: Mapping[str, str]) -> Engine:
    file = "fp32.wbcq" if name.endswith("fp32") else "int8.wbcq"

    def model(network: Network, threads: int) -> QuantizedModel:
        import wbcq

        return wbcq.load(_file(network, file), threads=threads, **options)

    def load(network: Network, threads: int) -> Call:
        loaded, arrays = model(network, threads), network.arrays
        return lambda: loaded(*arrays)

    return Engine(
        name,
        "fp32" if name.endswith("fp32") else "int8",
        lambda network: _file(network, file),
        load,
        ("wbcq",),
        ("wbcq.engine.model",),
        ("wbcq",),
        lambda network: model(network, 1).memory_use(network.batch),
    )


for _name, _options in _VARIANTS.items():
    register(_variant(_name, _options))
