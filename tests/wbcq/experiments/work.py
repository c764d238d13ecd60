"""Functions that units of tests run: of a module, as workers import them by name."""

from __future__ import annotations

import errno
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wbcq.experiments.store import Store
from wbcq.experiments.units import Unit


class Listener:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.notes: list[str] = []
        self.steps: list[tuple[int, int, str]] = []

    @contextmanager
    def stage(self, name: str) -> Any:
        self.stages.append(name)
        yield lambda done, total, note="": self.steps.append((done, total, note))

    def note(self, text: str) -> None:
        self.notes.append(text)


def add(store: Store, *, key: str, value: int, of: list[str]) -> dict[str, Any]:
    """Its value and those of other units; each call is a line of a file beside the result."""
    log = store.out / "log.txt"
    with log.open("a") as file:
        file.write(f"{key} begins\n")
    store.progress(1, 2, "half")
    total = value + sum(store.result(other)["sum"] for other in of)
    store.path(key, ".txt").parent.mkdir(parents=True, exist_ok=True)
    store.path(key, ".txt").write_text(str(total))
    time.sleep(0.02)
    with log.open("a") as file:
        file.write(f"{key} ends\n")
    return {"sum": total, "files": [".txt"]}


def fail(store: Store, *, message: str) -> dict[str, Any]:
    raise ValueError(message)


def fill_disk(store: Store) -> dict[str, Any]:
    raise OSError(errno.ENOSPC, "No space left on device", "x.pt")


def interrupt(store: Store) -> dict[str, Any]:
    raise KeyboardInterrupt


def not_json(store: Store) -> dict[str, Any]:
    return {"accuracy": float("nan")}


def nowhere(store: Store, *, folder: str) -> dict[str, Any]:
    """As a worker that does not see the same folder: removes its result again."""
    return {"files": [".missing"]}


def adding(key: str, value: int = 1, of: tuple[str, ...] = (), alone: bool = False) -> Unit:
    arguments = {"key": key, "value": value, "of": list(of)}
    return Unit(key, add, arguments, needs=of, alone=alone)


def failing(key: str, needs: tuple[str, ...] = ()) -> Unit:
    return Unit(key, fail, {"message": "a reason"}, needs=needs)


def begun(out: Path) -> list[str]:
    """Keys in the order in which they ran."""
    lines = (out / "log.txt").read_text().splitlines()
    return [line.split()[0] for line in lines if line.endswith("begins")]


def lines(out: Path) -> list[str]:
    return (out / "log.txt").read_text().splitlines()
