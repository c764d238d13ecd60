"""Choices that ``wbcq tune`` timed, in a model file's metadata: one set for each kind of machine.

The engine reads them too (``csrc/engine/tuned.h``), so that they count in every language.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from wbcq.engine import _layout as layout
from wbcq.engine._container import metadata_bytes, pack, unpack

__all__ = [
    "DENSE",
    "FREE",
    "SPARSE",
    "Machine",
    "TunedChoices",
    "tuned_from_metadata",
    "with_letters",
    "with_tuned",
]

DENSE: Final = "d"
SPARSE: Final = "s"
FREE: Final = "-"
"""Letters of an operator; the engine decides those that are free."""

_LETTERS: Final = "tuned"
"""Key of a machine to a letter for each operator of the program."""

_RUNS: Final = "tuning"
"""Key of a machine to what was measured."""


@dataclass(frozen=True)
class Machine:
    """What choices are fastest on.

    Attributes:
        cpu: Brand, family, model and stepping; on ARM the main identification register.
        isa: Instruction set of the kernels.
        threads: Of a call.
    """

    cpu: str
    isa: str
    threads: int

    @property
    def key(self) -> str:
        """What the choices are stored under.

        Example:
            >>> Machine("AMD EPYC (26.2.1)", "avx512vnni", 2).key
            'AMD EPYC (26.2.1)|avx512vnni|2'
        """
        return f"{self.cpu}|{self.isa}|{self.threads}"

    def __str__(self) -> str:
        return f"{self.cpu}, {self.isa}, {self.threads} thread{'s' if self.threads > 1 else ''}"


@dataclass(frozen=True)
class TunedChoices:
    """What a file holds for one kind of machine.

    Attributes:
        machine: Where it counts.
        batch: Pictures of a call when it was timed.
        dense_ms: A call with every operator dense, in milliseconds.
        tuned_ms: A call with these choices.
        letters: For each operator of the program ``"s"`` for sparse, ``"d"`` for dense, ``"-"``
            where the engine decides.
    """

    machine: Machine
    batch: int
    dense_ms: float
    tuned_ms: float
    letters: str

    def __str__(self) -> str:
        sparse, dense = self.letters.count(SPARSE), self.letters.count(DENSE)
        return (
            f"{self.machine}: {sparse} of {sparse + dense} operators with zero blocks sparse; "
            f"batch {self.batch} in {self.tuned_ms:.3f} ms, all dense {self.dense_ms:.3f} ms"
        )


def tuned_from_metadata(metadata: Mapping[str, Any]) -> tuple[TunedChoices, ...]:
    """All choices that metadata hold; entries that `wbcq tune` did not write are left out."""
    letters, runs = metadata.get(_LETTERS), metadata.get(_RUNS)
    if not isinstance(letters, dict) or not isinstance(runs, dict):
        return ()
    found = []
    for key, text in letters.items():
        cpu, isa, threads = (*key.split("|"), "", "")[:3]
        run = runs.get(key)
        if not isinstance(run, dict) or not threads.isdecimal():
            continue
        try:
            numbers = int(run["batch"]), float(run["dense_ms"]), float(run["tuned_ms"])
        except (KeyError, TypeError, ValueError):
            continue
        found.append(TunedChoices(Machine(cpu, isa, int(threads)), *numbers, str(text)))
    return tuple(found)


def with_letters(data: bytes, machine: Machine, letters: str) -> bytes:
    """A model file in which a machine has these letters; no other machine has any.

    All but the metadata stays as it is, byte for byte.
    """
    metadata = _metadata(data)
    metadata.pop(_RUNS, None)
    return _with_metadata(data, metadata | {_LETTERS: {machine.key: letters}})


def with_tuned(data: bytes, tuned: TunedChoices) -> bytes:
    """A model file with choices for one more machine, or other choices for it."""
    metadata = _metadata(data)
    key = tuned.machine.key
    run = {name: value for name, value in asdict(tuned).items() if name in _RUN_FIELDS}
    for field, value in ((_LETTERS, tuned.letters), (_RUNS, run)):
        known = metadata.get(field)
        metadata[field] = {**(known if isinstance(known, dict) else {}), key: value}
    return _with_metadata(data, metadata)


_RUN_FIELDS = ("batch", "dense_ms", "tuned_ms")


def _metadata(data: bytes) -> dict[str, Any]:
    metadata: dict[str, Any] = json.loads(bytes(unpack(data)["metadata"]) or b"{}")
    return metadata


def _with_metadata(data: bytes, metadata: dict[str, Any]) -> bytes:
    header = layout.HEADER.unpack_from(data)
    sections = {name: bytes(section) for name, section in unpack(data).items()}
    sections["metadata"] = metadata_bytes(metadata)
    return pack(sections, minor=header[2], features=header[5])
