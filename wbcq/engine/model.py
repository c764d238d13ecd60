"""A quantized model: the file, the engine that runs it, and what it says. No torch."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq import _core
from wbcq.engine.contents import OpenFile
from wbcq.engine.exact import ExactExecutor
from wbcq.engine.islands import FloatOperator, islands_from_metadata
from wbcq.engine.limits import measure_limits
from wbcq.engine.profile import Profile
from wbcq.engine.program import Program
from wbcq.engine.program_file import read_program, write_model_bytes
from wbcq.engine.summary import summarize, summary_table
from wbcq.engine.tuned import TunedChoices, tuned_from_metadata
from wbcq.errors import ModelFileError

__all__ = ["QuantizedModel", "load"]

Array: TypeAlias = npt.NDArray[np.float32]

# Sessions made before a fork: their threads do not exist here, so they can neither run nor end.
_sessions_of_parent: list[_core.Session] = []


class QuantizedModel:
    """A network ready to run; :func:`load` and :func:`wbcq.quantize` make it.

    It computes in integers, apart from the operators that :attr:`float_operators` lists; one that
    :func:`wbcq.compile_float` made computes in float32.

    Several Python threads may call one model at once: each call borrows a session with memory and
    worker threads of its own. Copies and pickles carry the file's bytes.

    Args:
        data: Contents of a model file, or a file that stays open.
        threads: Threads of a call; None for ``WBCQ_NUM_THREADS`` or else the physical cores.
        isa: Instruction set, for example ``"avx2"``; None for ``WBCQ_FORCE_ISA`` or else the best
            that this CPU has. Results are the same bits with each.
        memory: ``"speed"`` for whatever is fastest; ``"small"`` for less memory: weights are
            stored once, batches run picture by picture. Results are the same bits with each.
        choices: Names of convolutions (those of :meth:`profile`) to ``"sparse"``, which leaves out
            zero blocks of weights (in float single ones), or ``"dense"``. For others the file's
            choices count if :func:`wbcq.tune` made some for this CPU, instruction set and number of
            threads, else the engine decides, by the share of zeros and the shape. Results are the
            same bits with each; in float zeros may differ in their sign.

    Raises:
        ModelFileError: The data are damaged, of another version, or no model file.
        ValueError: ``threads``, ``isa``, ``memory`` or ``choices``, or an environment variable for
            it, is not usable here.

    Example:
        >>> import torch, wbcq
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> model = wbcq.quantize(net, [torch.rand(4, 3, 16, 16)])
        >>> model(np.zeros((2, 3, 16, 16), np.float32)).shape
        (2, 8, 14, 14)
        >>> model.num_parameters
        224
    """

    def __init__(
        self,
        data: bytes | OpenFile,
        *,
        threads: int | None = None,
        isa: str | None = None,
        memory: str = "speed",
        choices: Mapping[str, str] | None = None,
    ) -> None:
        chosen = dict(choices or {})
        self._requested = threads, isa, memory, chosen
        self.threads = _core.default_threads() if threads is None else threads
        options = isa or "", memory, chosen, self.threads
        if isinstance(data, OpenFile):
            self._contents: bytes | OpenFile = data
            self._model = _core.Model.from_descriptor(data.descriptor, *options)
        else:
            self._contents = bytes(data)
            self._model = _core.Model.from_bytes(self._contents, *options)
        self._process = os.getpid()

    # What it computes.

    def __call__(self, *inputs: Any) -> Any:
        """Runs the network.

        Args:
            *inputs: One torch tensor or numpy array for each input of the model: float32, in the
                shape of :attr:`input_shapes` with any batch size, preprocessed as in training.

        Returns:
            A float32 array of the kind that was given (torch tensors on the first input's device);
            a tuple of them if the model has several outputs.

        Raises:
            ValueError: Number, kind, dtype or shape of the inputs is wrong; names input, what is
                expected and what was given.
        """
        arrays = self._read(inputs)
        with self._session() as session:
            return self._like(inputs, session.run(arrays))

    def simulate(self, *inputs: Any) -> Any:
        """The same computation in numpy, by the letter of the numeric contract, and slow.

        Arguments and results as for a call; the bits are those of every instruction set.
        """
        return self._like(inputs, ExactExecutor(self.program).run(*self._read(inputs)))

    def profile(self, *inputs: Any, repeats: int = 20) -> Profile:
        """Measures each operator, and what the machine can do at most.

        Args:
            *inputs: As for a call.
            repeats: Runs to take the median of, at least 1.

        Returns:
            A :class:`~wbcq.engine.profile.Profile`; printed, it is a table.

        Raises:
            ValueError: ``repeats`` is not positive, or an input is wrong.
        """
        if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
            raise ValueError(f"repeats is {repeats!r}, must be an integer of at least 1")
        arrays = self._read(inputs)
        if not arrays[0].shape[0]:
            raise ValueError("cannot profile a batch without pictures")
        with self._session() as session:
            threads = session.threads
            limits = measure_limits(self.isa, threads)
            records = session.profile(arrays, repeats)
        return Profile.from_records(
            records,
            self.program,
            limits=limits,
            batch=arrays[0].shape[0],
            repeats=repeats,
            threads=threads,
            isa=self.isa,
        )

    # What it is.

    @property
    def threads(self) -> int:
        """Threads of each call, the caller's own included; may be set.

        Choices that were tuned stay those for the threads that the model was loaded with.
        """
        return self._threads

    @threads.setter
    def threads(self, threads: int) -> None:
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise ValueError(f"threads is {threads!r}, must be an integer of at least 1")
        self._threads = threads
        self._idle: list[_core.Session] = []

    @property
    def isa(self) -> str:
        """Instruction set of the kernels in use."""
        return self._model.isa

    @property
    def memory(self) -> str:
        """What was chosen when it was loaded: ``"speed"`` or ``"small"``."""
        return self._model.memory

    def memory_use(self, batch: int = 1) -> dict[str, int]:
        """Bytes that a call needs beside the inputs and the outputs.

        Args:
            batch: Pictures in the call.

        Returns:
            ``arena`` (activations), ``scratch`` (of all threads), ``tables`` (operand addresses)
            and ``packed_weights``, which all calls at one time share.

        Raises:
            ValueError: ``batch`` is negative.
        """
        with self._session() as session:
            return session.memory(batch)

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What the file says about the model: calibration, config, classes."""
        metadata: dict[str, Any] = json.loads(self._model.metadata)
        return metadata

    @property
    def float_operators(self) -> tuple[FloatOperator, ...]:
        """Operators of the network that are float32 although the network is INT8, and why."""
        return islands_from_metadata(self.metadata)

    @property
    def tunings(self) -> tuple[TunedChoices, ...]:
        """What :func:`wbcq.tune` stored, for each machine that it ran on."""
        return tuned_from_metadata(self.metadata)

    @cached_property
    def program(self) -> Program:
        """The integer program; its arrays are read-only."""
        return read_program(self.to_bytes())

    @property
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of each input; -1 is the batch."""
        return tuple(tuple(spec["shape"]) for spec in self._model.inputs)

    @property
    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of each output; -1 is the batch."""
        return tuple(tuple(spec["shape"]) for spec in self._model.outputs)

    @property
    def num_parameters(self) -> int:
        """Number of weights and biases."""
        return sum(layer.parameters for layer in summarize(self.program))

    @property
    def file_size(self) -> int:
        """Bytes of the model file."""
        contents = self._contents
        return contents.size if isinstance(contents, OpenFile) else len(contents)

    def summary(self) -> str:
        """A table of the layers: kind, dtype, shapes, parameters, MACs of a picture, zeros, bytes.

        Where operators are float32 although the network is INT8, it says why.
        """
        return summary_table(self.program)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model file, whole or not at all.

        Raises:
            OSError: The path cannot be written; what was there stays.
        """
        write_model_bytes(self.to_bytes(), path)

    def to_bytes(self) -> bytes:
        """The contents of the model file.

        Raises:
            ModelFileError: The file that the model was loaded from was written in place since.
        """
        contents = self._contents
        return contents.read() if isinstance(contents, OpenFile) else contents

    def __repr__(self) -> str:
        name = self.metadata.get("model") or "model"
        return (
            f"<QuantizedModel {name}: {self.metadata.get('precision', 'int8')}, "
            f"{self.file_size:,} bytes, {self.isa}, {self.threads} threads>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.to_bytes(), *self._requested)

    # How it runs.

    @contextmanager
    def _session(self) -> Iterator[_core.Session]:
        """Borrows a session that no other thread uses; one whose run fails is dropped."""
        if self._process != os.getpid():
            _sessions_of_parent.extend(self._idle)
            self._idle, self._process = [], os.getpid()
        # Back to the list that it came from: setting `threads` starts a new one. Lists are their
        # own locks.
        idle = self._idle
        try:
            session = idle.pop()
        except IndexError:
            session = _core.Session(self._model, self._threads)
        yield session
        idle.append(session)

    def _read(self, inputs: Sequence[Any]) -> list[Array]:
        specs = self._model.inputs
        if len(inputs) != len(specs):
            names = ", ".join(spec["name"] for spec in specs)
            raise ValueError(f"{len(inputs)} inputs given, the model has {len(specs)}: {names}")
        arrays = []
        for x, spec in zip(inputs, specs, strict=True):
            arrays.append(_checked(x, spec["name"], tuple(spec["shape"])))
            if arrays[-1].shape[0] != arrays[0].shape[0]:
                raise ValueError(
                    f"input {spec['name']!r} has {arrays[-1].shape[0]} pictures, input "
                    f"{specs[0]['name']!r} has {arrays[0].shape[0]}; give equally many"
                )
        return arrays

    def _like(self, inputs: Sequence[Any], outputs: Sequence[Array]) -> Any:
        tensor = next((x for x in inputs if _is_tensor(x)), None)
        if tensor is None:
            return outputs[0] if len(outputs) == 1 else tuple(outputs)
        torch = sys.modules["torch"]
        tensors = tuple(torch.from_numpy(y).to(tensor.device) for y in outputs)
        return tensors[0] if len(tensors) == 1 else tensors


def load(
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    isa: str | None = None,
    memory: str = "speed",
    choices: Mapping[str, str] | None = None,
) -> QuantizedModel:
    """Loads a model file. Needs numpy alone.

    The file stays open and its bytes are not kept in memory. Replace it by renaming another over
    it, as :meth:`QuantizedModel.save` does; the model does not notice.

    Args:
        path: Written by :meth:`QuantizedModel.save`.
        threads: Threads of a call; None for the environment variable ``WBCQ_NUM_THREADS`` or else
            the physical cores.
        isa: Instruction set; None for ``WBCQ_FORCE_ISA`` or else the best that this CPU has.
        memory: ``"speed"``, or ``"small"`` for less memory at some cost in speed.
        choices: Names of convolutions to ``"sparse"`` or ``"dense"``, see :class:`QuantizedModel`.

    Raises:
        ModelFileError: The file is damaged, of another version, or no model file; names it.
        OSError: The file cannot be read.
        ValueError: ``threads``, ``isa``, ``memory`` or ``choices`` is not usable here.

    Example:
        >>> import wbcq
        >>> wbcq.load("absent.wbcq")
        Traceback (most recent call last):
        FileNotFoundError: [Errno 2] No such file or directory: 'absent.wbcq'
    """
    with open(path, "rb") as file:
        is_regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        data = OpenFile(path) if is_regular else file.read()
    try:
        return QuantizedModel(data, threads=threads, isa=isa, memory=memory, choices=choices)
    except ModelFileError as error:
        raise ModelFileError(f"{os.fspath(path)}: {error}") from error


def _restore(
    data: bytes,
    threads: int | None,
    isa: str | None,
    memory: str,
    choices: Mapping[str, str] | None = None,
) -> QuantizedModel:
    return QuantizedModel(data, threads=threads, isa=isa, memory=memory, choices=choices)


def _is_tensor(x: object) -> bool:
    # A tensor can only exist where torch was imported already.
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def _checked(x: Any, name: str, shape: tuple[int, ...]) -> Array:
    """The input as a C-contiguous float32 array."""
    if not _is_tensor(x) and not isinstance(x, np.ndarray):
        raise ValueError(
            f"input {name!r} is a {type(x).__name__}, must be a torch tensor or a numpy array"
        )
    dtype = str(x.dtype).removeprefix("torch.")
    if dtype != "float32":
        convert = "x.float()" if _is_tensor(x) else "x.astype(numpy.float32)"
        scale = " / 255 and the normalization of training" if dtype == "uint8" else ""
        raise ValueError(f"input {name!r} is {dtype}, must be float32: use {convert}{scale}")
    given = tuple(x.shape)
    if len(given) != len(shape) or given[1:] != shape[1:]:
        expected = ", ".join(["N", *map(str, shape[1:])])
        remedy = "resize or crop the pictures as in training"
        if given == shape[1:]:
            remedy = "x[None] adds the batch"
        elif len(given) == 4 and given[1:] == (*shape[2:], shape[1]):
            remedy = "the model takes channels first"
        raise ValueError(f"input {name!r} has shape {list(given)}, must be [{expected}]: {remedy}")
    array = x.detach().cpu().numpy() if _is_tensor(x) else x
    return np.require(array, np.float32, ["C", "A"])
