"""Times operators dense and sparse in their network, and keeps what is faster. No torch."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq import _core
from wbcq.engine.model import QuantizedModel, load
from wbcq.engine.program import Conv2d, Op, Tensor
from wbcq.engine.tuned import DENSE, FREE, SPARSE, Machine, TunedChoices, with_letters, with_tuned
from wbcq.report.tables import Column, Table

__all__ = ["Clock", "OperatorTuning", "Tuning", "tune"]

Array: TypeAlias = npt.NDArray[np.float32]
Progress: TypeAlias = Callable[[int, int, str], None]

_LEAST_ZERO_BLOCKS: Final = 0.05
"""Operators with a smaller share of zero blocks are not timed: dense."""

_HOPELESS: Final = 3.0
"""Times slower than dense in a first run: not timed again."""

_CLEARLY_FASTER: Final = 1.01
_SECONDS_OF_A_TIMING: Final = 0.05
_MOST_REPEATS: Final = 50


class Clock(Protocol):
    """How long things take."""

    def operators(
        self, model: QuantizedModel, inputs: Sequence[Array], repeats: int
    ) -> Mapping[str, float]:
        """Seconds of each operator by name, medians of so many calls."""

    def network(self, model: QuantizedModel, inputs: Sequence[Array], repeats: int) -> float:
        """Seconds of a call, the mean of so many."""


class _EngineClock:
    def operators(
        self, model: QuantizedModel, inputs: Sequence[Array], repeats: int
    ) -> Mapping[str, float]:
        return {row.name: row.seconds for row in model.profile(*inputs, repeats=repeats).rows}

    def network(self, model: QuantizedModel, inputs: Sequence[Array], repeats: int) -> float:
        start = time.perf_counter()
        for _ in range(repeats):
            model(*inputs)
        return (time.perf_counter() - start) / repeats


@dataclass(frozen=True)
class OperatorTuning:
    """An operator that can run either way.

    Attributes:
        name: Module path.
        zero_blocks: Share of its blocks (one output, four inputs) that are zero, 0 to 1.
        dense_seconds, sparse_seconds: In the network, for the whole batch.
        kernel: Of the sparse way.
        choice: ``"dense"`` or ``"sparse"``, what the file says now.
    """

    name: str
    zero_blocks: float
    dense_seconds: float
    sparse_seconds: float
    kernel: str
    choice: str


@dataclass(frozen=True)
class Tuning:
    """What :func:`tune` found.

    Attributes:
        model: The model with its choices; save it to keep them.
        choices: What its file holds now for this machine.
        operators: Those that were timed both ways, in execution order.
        engine_seconds: A call with the choices that the engine makes by its own estimate.
    """

    model: QuantizedModel
    choices: TunedChoices
    operators: tuple[OperatorTuning, ...]
    engine_seconds: float

    def table(self) -> Table:
        """A row for each operator that was timed, and the whole network."""
        table = Table(
            [
                Column("layer"),
                Column("zero blocks", ".1%"),
                Column("dense us", ",.1f"),
                Column("sparse us", ",.1f"),
                Column("dense / sparse", ".2f"),
                Column("choice"),
                Column("sparse kernel"),
            ]
        )
        for op in self.operators:
            table.add(
                op.name,
                op.zero_blocks,
                1e6 * op.dense_seconds,
                1e6 * op.sparse_seconds,
                op.dense_seconds / op.sparse_seconds if op.sparse_seconds > 0 else None,
                op.choice,
                op.kernel,
            )
        return table

    def notes(self) -> str:
        """Lines below the table: the whole network all dense, as the engine guesses, tuned."""
        choices = self.choices
        if not self.operators:
            return (
                f"{choices.machine}: no operator has zero blocks to leave out; it stays dense. "
                'Remedy: prune before quantizing, as in wbcq.prune(model, 0.75, pattern="1x4")'
            )
        faster = choices.dense_ms / choices.tuned_ms if choices.tuned_ms > 0 else 1.0
        return (
            f"{choices.machine}, batch {choices.batch}: all dense {choices.dense_ms:.3f} ms, the "
            f"engine's own choice {1e3 * self.engine_seconds:.3f} ms, tuned "
            f"{choices.tuned_ms:.3f} ms ({faster:.2f} times as fast as dense)"
        )

    def __str__(self) -> str:
        table = f"{self.table().to_markdown()}\n" if self.operators else ""
        return table + self.notes()


def tune(
    model: str | os.PathLike[str] | QuantizedModel,
    *,
    threads: int | None = None,
    isa: str | None = None,
    batch: int = 1,
    rounds: int = 9,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> Tuning:
    """Chooses between dense and sparse kernels by timing both on this machine.

    Every convolution whose weights have blocks of zeros runs both ways inside the network, in
    turns, and keeps the faster. Then the whole network is timed all dense, with these choices and
    with the engine's own: the fastest stays, so that zeros never make a network slower. No choice
    changes a result.

    The choices are kept in the model's metadata under this CPU, instruction set and number of
    threads; :func:`wbcq.load` and the C API follow them where all three are the same. Those of
    other machines stay. The machine should do nothing else meanwhile.

    Args:
        model: A model file, or a model; neither is changed.
        threads: Threads of a call; None for the model's, or as for :func:`wbcq.load`.
        isa: Instruction set; None for the model's, or as for :func:`wbcq.load`.
        batch: Pictures of a call.
        rounds: How often everything is timed; medians count.
        progress: Called with the timings done, all of them, and what is timed.
        clock: What times; None for the engine's clock.

    Returns:
        A :class:`Tuning`; printed, it is a table. ``tune(path).model.save(path)`` keeps it.

    Raises:
        ModelFileError: The file is damaged or no model file; names it.
        OSError: The file cannot be read.
        ValueError: ``batch``, ``rounds``, ``threads`` or ``isa`` is not usable, or the environment
            variable WBCQ_SPARSE overrules every choice.

    Example:
        >>> import torch, wbcq
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> model = wbcq.quantize(net, [torch.rand(4, 3, 16, 16)])
        >>> wbcq.tune(model, threads=1).operators  # it is not pruned
        ()
    """
    for name, value in (("batch", batch), ("rounds", rounds)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}, must be an integer of at least 1")
    if use := os.environ.get("WBCQ_SPARSE"):
        raise ValueError(
            f"environment variable WBCQ_SPARSE is {use!r} and overrules what is tuned. Remedy: "
            "unset it"
        )
    if isinstance(model, QuantizedModel):
        threads = model.threads if threads is None else threads
        model = QuantizedModel(model.to_bytes(), threads=threads, isa=isa or model.isa)
    else:
        model = load(model, threads=threads, isa=isa)
    return _Tuner(model, batch, rounds, progress or _nobody, clock or _EngineClock()).tune()


def _nobody(done: int, total: int, note: str) -> None:
    pass


class _Tuner:
    """One tuning of one model."""

    def __init__(
        self, model: QuantizedModel, batch: int, rounds: int, progress: Progress, clock: Clock
    ) -> None:
        self.model, self.data = model, model.to_bytes()
        self.machine = Machine(_core.cpu_name(), model.isa, model.threads)
        self.ops = model.program.ops
        self.batch, self.rounds, self.progress, self.clock = batch, rounds, progress, clock
        rng = np.random.default_rng(0)
        self.inputs = [
            rng.random((batch, *shape[1:]), dtype=np.float32) for shape in model.input_shapes
        ]

    def tune(self) -> Tuning:
        tensors = self.model.program.tensors
        shares = {op.name: _zero_blocks(op, tensors) for op in self.ops}
        worth = {name for name, share in shares.items() if share >= _LEAST_ZERO_BLOCKS}
        everywhere = self._load(worth, worth)
        kernels = self._sparse_kernels(everywhere) if worth else {}
        able = set(kernels)
        if not able:
            choices = TunedChoices(self.machine, self.batch, 0.0, 0.0, FREE * len(self.ops))
            return Tuning(self.model, choices, (), 0.0)
        dense = self._load(able, set())
        dense_times, sparse_times = self._time_operators(dense, everywhere, able)
        networks = {
            "dense": frozenset[str](),
            "tuned": frozenset(op for op in able if sparse_times[op] < dense_times[op]),
            "engine": frozenset(self._sparse_kernels(self._load(set(), set()))) & able,
        }
        seconds = self._time_networks(dense, able, networks)
        # What the engine guesses must be clearly faster than what was timed.
        clearly = {**seconds, "engine": seconds["engine"] * _CLEARLY_FASTER}
        best = min(networks, key=lambda name: clearly[name])
        letters = self._letters(able, networks[best])
        choices = TunedChoices(
            self.machine, self.batch, 1e3 * seconds["dense"], 1e3 * seconds[best], letters
        )
        operators = tuple(
            OperatorTuning(
                op.name,
                shares[op.name],
                dense_times[op.name],
                sparse_times[op.name],
                kernels[op.name],
                "sparse" if op.name in networks[best] else "dense",
            )
            for op in self.ops
            if op.name in able
        )
        return Tuning(
            self._from_bytes(with_tuned(self.data, choices)), choices, operators, seconds["engine"]
        )

    def _from_bytes(self, data: bytes) -> QuantizedModel:
        return QuantizedModel(data, threads=self.machine.threads, isa=self.machine.isa)

    def _letters(self, able: AbstractSet[str], sparse: AbstractSet[str]) -> str:
        def letter(name: str) -> str:
            return SPARSE if name in sparse else DENSE if name in able else FREE

        return "".join(letter(op.name) for op in self.ops)

    def _load(self, able: AbstractSet[str], sparse: AbstractSet[str]) -> QuantizedModel:
        """The model with operators that are told to be dense or sparse; others decide."""
        return self._from_bytes(with_letters(self.data, self.machine, self._letters(able, sparse)))

    def _sparse_kernels(self, model: QuantizedModel) -> dict[str, str]:
        """Operators that leave zero blocks out, and their kernels."""
        rows = model.profile(*self.inputs, repeats=1).rows
        return {row.name: row.kernel for row in rows if row.kernel.startswith("sparse_")}

    def _time_operators(
        self, dense: QuantizedModel, sparse: QuantizedModel, able: AbstractSet[str]
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Seconds of each operator both ways: medians of rounds that take turns."""
        first = [self.clock.operators(model, self.inputs, 1) for model in (dense, sparse)]
        hopeful = {op for op in able if first[1][op] <= _HOPELESS * first[0][op]}
        if hopeful < able:
            sparse = self._load(able, hopeful)
        repeats = _repeats(sum(first[0].values()))
        models = (dense, sparse)
        times: list[list[Mapping[str, float]]] = [[], []]
        for i in range(self.rounds):
            self.progress(i, 2 * self.rounds, "operators")
            for way in (0, 1) if i % 2 == 0 else (1, 0):
                times[way].append(self.clock.operators(models[way], self.inputs, repeats))

        def medians(way: int) -> dict[str, float]:
            seen = {op: times[way] if op in hopeful else [first[way]] for op in able}
            return {op: statistics.median(time[op] for time in seen[op]) for op in able}

        return medians(0), medians(1)

    def _time_networks(
        self, dense: QuantizedModel, able: AbstractSet[str], networks: Mapping[str, frozenset[str]]
    ) -> dict[str, float]:
        """Seconds of a call with each set of sparse operators, the dense one first.

        What is slower than dense in most of the rounds, in each of which all take their turn, is
        never told to be faster: its median is that of dense times the median of their ratios.
        """
        distinct = dict.fromkeys(networks.values())
        models = {sparse: self._load(able, sparse) if sparse else dense for sparse in distinct}
        times: dict[frozenset[str], list[float]] = {sparse: [] for sparse in distinct}
        repeats = _repeats(self.clock.network(dense, self.inputs, 1))
        for i in range(self.rounds):
            self.progress(self.rounds + i, 2 * self.rounds, "whole network")
            for sparse in list(distinct)[:: 1 if i % 2 == 0 else -1]:
                times[sparse].append(self.clock.network(models[sparse], self.inputs, repeats))
        self.progress(2 * self.rounds, 2 * self.rounds, "")
        base = times[networks["dense"]]
        seconds = {}
        for name, sparse in networks.items():
            ratios = (mine / other for mine, other in zip(times[sparse], base, strict=True))
            seconds[name] = statistics.median(base) * statistics.median(ratios)
        return seconds


def _repeats(seconds: float) -> int:
    """Calls that make up a timing of something that takes so long."""
    return max(1, min(_MOST_REPEATS, int(_SECONDS_OF_A_TIMING / max(seconds, 1e-9))))


def _zero_blocks(op: Op, tensors: Mapping[str, Tensor]) -> float:
    """Share of the blocks of one output and four channels of an input that are zero.

    In float a block is a single weight.
    """
    if not isinstance(op, Conv2d) or op.groups != 1:
        return 0.0
    if op.weight.dtype == np.float32:
        return float((op.weight == 0).mean())
    rows = op.weight.reshape(-1, op.weight.shape[-1])
    ends = np.cumsum([tensors[x].channels for x in op.xs])
    starts = np.concatenate([np.arange(a, b, 4) for a, b in zip([0, *ends], ends, strict=False)])
    is_zero: Any = ~np.logical_or.reduceat(rows != 0, starts, axis=1)
    return float(is_zero.mean())
