"""Independent pieces of work, in the order in which they can run."""

from __future__ import annotations

import graphlib
import hashlib
import heapq
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wbcq.errors import WbcqError

__all__ = ["ExperimentError", "Plan", "Unit"]

_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


class ExperimentError(WbcqError):
    """Units that contradict each other, or results that are not there."""


@dataclass(frozen=True)
class Unit:
    """A piece of work whose result is a JSON file: where the file is, the work is done.

    Attributes:
        key: Parts between slashes, such as ``"quantization/resnet18/fold0/qat"``; also the path of
            the result in the store.
        run: A function of a module (other machines import it by its name), called as
            ``run(store, **arguments)``; returns what JSON can hold. Files that it writes have
            paths from :meth:`Store.path <wbcq.experiments.store.Store.path>` for the unit's own
            key, and are listed under ``"files"`` by their suffixes.
        arguments: JSON values: everything that shapes the result, the data's identity included.
        needs: Keys of the units whose results this one reads.
        alone: Nothing else runs meanwhile, and it runs as late as it can: for timings.

    Raises:
        ValueError: The key is no relative path, ``run`` cannot be imported by its name, or an
            argument is no JSON value.
    """

    key: str
    run: Callable[..., Mapping[str, Any]]
    arguments: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    alone: bool = False

    def __post_init__(self) -> None:
        if not all(_PART.fullmatch(part) for part in self.key.split("/")):
            raise ValueError(
                f"the key {self.key!r} is not letters, digits, '_', '-' and '.' between slashes"
            )
        if "<" in self.run.__qualname__:
            raise ValueError(
                f"unit {self.key} runs {self.run.__qualname__}; use a function of a module"
            )
        try:
            json.dumps(self.arguments, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"unit {self.key}: arguments are not JSON values ({error})") from error

    @property
    def work(self) -> str:
        """What it computes, apart from what it needs; equal for equal work."""
        name = f"{self.run.__module__}:{self.run.__qualname__}"
        return json.dumps([name, self.arguments, self.needs], sort_keys=True)


class Plan:
    """Units with their fingerprints, each once.

    A fingerprint changes with a unit's function, its arguments and the fingerprints of what it
    needs, so a result with another fingerprint belongs to other settings or data.

    Args:
        units: The same unit may appear several times, as experiments share trainings.

    Raises:
        ExperimentError: Two units have one key, or a unit needs one that is not there, or itself.

    Example:
        >>> def count(store, *, to): return {"sum": sum(range(to))}
        >>> plan = Plan([Unit("b", count, {"to": 2}, needs=("a",)), Unit("a", count, {"to": 1})])
        >>> [unit.key for unit in plan]
        ['a', 'b']
    """

    def __init__(self, units: Iterable[Unit]) -> None:
        self._units: dict[str, Unit] = {}
        for unit in units:
            known = self._units.setdefault(unit.key, unit)
            if known.work != unit.work:
                raise ExperimentError(f"two different units are called {unit.key}")
        for unit in self._units.values():
            missing = [key for key in unit.needs if key not in self._units]
            if missing:
                raise ExperimentError(f"unit {unit.key} needs {missing[0]}, which is not planned")
        self._order = list(_ordered(self._units))
        self.fingerprints: dict[str, str] = {}
        for key in self._order:
            needed = [self.fingerprints[other] for other in self._units[key].needs]
            digest = hashlib.sha256(json.dumps([self._units[key].work, needed]).encode())
            self.fingerprints[key] = digest.hexdigest()[:16]

    def __iter__(self) -> Iterator[Unit]:
        return (self._units[key] for key in self._order)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, key: str) -> Unit:
        return self._units[key]

    def behind(self, keys: Iterable[str]) -> dict[str, str]:
        """Units that need one of these, directly or not, each with one of them as the reason."""
        reasons: dict[str, str] = {key: key for key in keys}
        for unit in self:
            reason = next((reasons[key] for key in unit.needs if key in reasons), None)
            if reason is not None:
                reasons.setdefault(unit.key, reason)
        return {key: reason for key, reason in reasons.items() if key != reason}


def _ordered(units: Mapping[str, Unit]) -> Iterator[str]:
    """As listed as far as needs allow, so that units on the same pictures stay together."""
    sorter = graphlib.TopologicalSorter({key: unit.needs for key, unit in units.items()})
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        circle: Sequence[str] = error.args[1]
        raise ExperimentError(f"units need each other: {' -> '.join(circle)}") from None
    place = {key: (unit.alone, number) for number, (key, unit) in enumerate(units.items())}
    ready: list[tuple[tuple[bool, int], str]] = []
    while sorter.is_active():
        for key in sorter.get_ready():
            heapq.heappush(ready, (place[key], key))
        _, key = heapq.heappop(ready)
        sorter.done(key)
        yield key
