"""What an engine is to the comparison, and the files that a network becomes."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["ENGINES", "Array", "Call", "Engine", "Network", "available", "quiet", "register"]

Array: TypeAlias = npt.NDArray[np.float32]
Call: TypeAlias = Callable[[], object]

SIZES = {"yolov3": 512}
STREAMS = {"mm_mimo3": 4}


@dataclass(frozen=True)
class Network:
    """A network at one batch size, and its files.

    The network itself (and with it torch) is made only for a file that does not exist yet, so that
    an engine can be measured in a process that has loaded nothing else.

    Attributes:
        name: In the zoo.
        batch: Pictures in a call.
        root: Folder of all networks' files.
    """

    name: str
    batch: int
    root: Path

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shape of each input."""
        size = SIZES.get(self.name, 224)
        return [(self.batch, 3, size, size)] * STREAMS.get(self.name, 1)

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs in exported files."""
        return [f"x{i}" for i in range(len(self.shapes))]

    @cached_property
    def arrays(self) -> list[Array]:
        """Its pictures; the first ones are the same for each batch size."""
        return [
            np.random.default_rng(stream).random(shape, dtype=np.float32)
            for stream, shape in enumerate(self.shapes)
        ]

    @cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """The same for PyTorch."""
        import torch

        return tuple(torch.from_numpy(x) for x in self.arrays)

    @cached_property
    def module(self) -> nn.Module:
        """In evaluation mode, with random weights and the norms' statistics of its pictures."""
        import torch
        from zoo import settled

        import wbcq

        torch.manual_seed(0)
        eight = Network(self.name, 8, self.root)
        return settled(wbcq.models.create(self.name, num_classes=5), list(eight.tensors))

    def file(self, name: str, build: Callable[[Path], None]) -> Path:
        """A file of this batch size: ``build`` writes it where it does not exist yet."""
        return _once(self.root / self.name / str(self.batch) / name, build)

    def file_of_any_batch(self, name: str, build: Callable[[Path], None]) -> Path:
        """As above, for files that serve every batch size."""
        return _once(self.root / self.name / name, build)

    def onnx(self) -> Path:
        """As an ONNX file."""

        def export(path: Path) -> None:
            import torch

            with quiet():
                torch.onnx.export(
                    self.module,
                    self.tensors,
                    str(path),
                    input_names=self.input_names,
                    opset_version=18,
                    dynamo=True,
                    external_data=False,
                )

        return self.file("model.onnx", export)


@dataclass(frozen=True)
class Engine:
    """How a name in the tables is measured.

    Attributes:
        name: In the tables.
        dtype: ``"int8"`` or ``"fp32"``: what the network was made for.
        prepare: Writes the files that ``load`` reads, if they do not exist.
        load: From a network and a number of threads to a callable that runs it.
        modules: What must be installed, to prepare and to load.
        runtime: What ``load`` imports.
        packages: Distributions whose versions the page states.
        plan: Bytes that the engine says it needs to run a network, if it does.
    """

    name: str
    dtype: str
    prepare: Callable[[Network], object]
    load: Callable[[Network, int], Call]
    modules: tuple[str, ...] = ()
    runtime: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    plan: Callable[[Network], dict[str, int]] | None = None

    @property
    def family(self) -> str:
        """The name without its variants."""
        return next(name for name in ORDER if self.name.startswith(name))

    @property
    def is_ours(self) -> bool:
        """Not a peer."""
        return self.name.startswith("wbcq")

    def versions(self) -> dict[str, str]:
        """Of its packages."""
        found = {}
        for package in self.packages:
            with contextlib.suppress(PackageNotFoundError):
                found[package] = version(package)
        return found


ENGINES: dict[str, Engine] = {}


def register(engine: Engine) -> Engine:
    """Adds it to the tables."""
    ENGINES[engine.name] = engine
    return engine


# Of the tables.
ORDER = ("wbcq", "OpenVINO", "ONNX Runtime", "ExecuTorch", "PyTorch", "MNN", "ncnn")


def available() -> dict[str, Engine]:
    """Engines whose modules are installed, in the order of the tables."""
    order = {name: index for index, name in enumerate(ORDER)}
    return {
        name: engine
        for name, engine in sorted(
            ENGINES.items(), key=lambda item: (item[1].dtype == "fp32", order[item[1].family])
        )
        if all(_installed(module) for module in engine.modules)
    }


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it is a part of
        return False


def _once(path: Path, build: Callable[[Path], None]) -> Path:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # The name's end stays: some converters choose the format by it.
        partial = path.with_name(f"partial-{path.name}")
        build(partial)
        partial.rename(path)
    return path


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporters and quantizers warn and log at length, native ones to the descriptors."""
    logging.disable(logging.WARNING)
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            for target, source in zip((1, 2), saved, strict=True):
                os.dup2(source, target)
                os.close(source)
            logging.disable(logging.NOTSET)
