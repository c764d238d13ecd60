"""The C++ engine (pybind11). Everything here releases the GIL while it computes."""

import os
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

class OpProfile(TypedDict):
    name: str  # module path
    kind: str  # "conv2d", "max_pool2d", ...
    kernel: str  # name of the micro-kernel
    seconds: float  # median over the repeats
    macs: int
    bytes: int  # activations read and written, and weights read

class IoInfo(TypedDict):
    name: str
    shape: tuple[int, ...]  # -1 is the batch

class Model:
    """A loaded and packed model; immutable, shared between sessions and threads.

    Raises wbcq.errors.ModelFileError, ValueError, OSError or MemoryError.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        isa: str = "",
        memory: str = "speed",
        choices: dict[str, str] = ...,
        threads: int = 0,
    ) -> None: ...
    @staticmethod
    def from_bytes(
        data: bytes,
        isa: str = "",
        memory: str = "speed",
        choices: dict[str, str] = ...,
        threads: int = 0,
    ) -> Model: ...
    @staticmethod
    def from_descriptor(
        descriptor: int,
        isa: str = "",
        memory: str = "speed",
        choices: dict[str, str] = ...,
        threads: int = 0,
    ) -> Model:
        """Of a file that is open for reading; it may be closed afterwards."""
    @property
    def isa(self) -> str: ...
    @property
    def memory(self) -> str: ...
    @property
    def metadata(self) -> str: ...
    @property
    def inputs(self) -> list[IoInfo]: ...
    @property
    def outputs(self) -> list[IoInfo]: ...
    @property
    def packed_bytes(self) -> int: ...

class Session:
    """One caller's memory and threads for a model. Not for two threads at once."""

    def __init__(self, model: Model, threads: int = 0) -> None: ...
    @property
    def threads(self) -> int: ...
    @property
    def max_chunk(self) -> int:
        """The most pictures that go through the network together: batches go round in chunks."""
    def run(self, inputs: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
        """C-contiguous float32 arrays in PyTorch's order, all of one batch size."""
    def profile(
        self, inputs: Sequence[npt.NDArray[np.float32]], repeats: int = 20
    ) -> list[OpProfile]: ...
    def run_op(self, op: int, batch: int = 1, repeats: int = 1) -> None:
        """Runs one operator on whatever its operands' memory holds: for micro-benchmarks.

        A call from Python takes half a microsecond, so short operators are run ``repeats`` times.
        """
    def memory(self, batch: int) -> dict[str, int]:
        """Bytes: ``arena``, ``scratch``, ``tables``, ``packed_weights``, before anything runs."""

def available_isas() -> list[str]: ...
def default_threads() -> int: ...
def cpu_name() -> str:
    """Brand, family, model and stepping; on ARM the identification register; or "unknown"."""

def measure_peak(isa: str = "", threads: int = 1) -> float:
    """This core's int8 peak in GMAC/s, measured now with the ISA's multiply instructions."""

def measure_bandwidths(threads: int = 1) -> list[tuple[int, float]]:
    """(bytes, GB/s) of a thread that copies within so many bytes while ``threads`` do the same."""

def build_info() -> dict[str, Any]: ...
