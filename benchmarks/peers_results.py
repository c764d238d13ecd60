"""What `peers.py` measures, as records in a JSON file."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from machine import cpu_name

__all__ = ["OURS", "MemoryRow", "Results", "Row", "is_int8_peer"]

OURS = "wbcq int8"


def is_int8_peer(name: str) -> bool:
    """Whether the engine is one that ours is compared with."""
    return name.endswith("int8") and not name.startswith("wbcq")


@dataclass(frozen=True)
class Row:
    """Times of one network, batch and number of threads, all of one interleaved run.

    Attributes:
        network, batch, threads: Which.
        floor: Milliseconds: useful multiplications / the int8 peak, measured in the same run.
        median, minimum: Milliseconds over the rounds, by engine.
        ratio: Median over rounds of the engine's time / our INT8's.
        failures: Why an engine has no time.
        measured: Date.
    """

    network: str
    batch: int
    threads: int
    floor: float
    median: dict[str, float]
    minimum: dict[str, float]
    ratio: dict[str, float]
    failures: dict[str, str]
    measured: str = field(default_factory=lambda: str(date.today()))

    @property
    def key(self) -> tuple[str, int, int]:
        return self.network, self.batch, self.threads

    @property
    def engines(self) -> set[str]:
        """Those that were tried."""
        return {*self.median, *self.failures}

    def best(self, names: list[str]) -> str | None:
        """The fastest of them."""
        return min((n for n in names if n in self.ratio), key=self.ratio.__getitem__, default=None)

    @property
    def best_int8_peer(self) -> str | None:
        return self.best([name for name in self.median if is_int8_peer(name)])


@dataclass(frozen=True)
class MemoryRow:
    """Growth of the resident memory of a fresh process, in bytes.

    Attributes:
        network, batch, engine: Which; one thread.
        imported: By importing the engine.
        loaded: Peak while the model is loaded, over the state after the import.
        peak: Peak of loading and three runs, over the state after the import.
        planned: What ours plans to use: activations, scratch, tables and packed weights.
        failure: Why there are no figures.
    """

    network: str
    batch: int
    engine: str
    imported: int = 0
    loaded: int = 0
    peak: int = 0
    planned: dict[str, int] = field(default_factory=dict)
    failure: str = ""

    @property
    def key(self) -> tuple[str, int, str]:
        return self.network, self.batch, self.engine


@dataclass
class Results:
    """All rows, in a file that is whole after each of them."""

    path: Path
    rows: list[Row] = field(default_factory=list)
    memory: list[MemoryRow] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    cpu: str = field(default_factory=cpu_name)
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)

    @classmethod
    def read(cls, path: Path) -> Results:
        """From the file, if there is one."""
        if not path.exists():
            return cls(path)
        record: dict[str, Any] = json.loads(path.read_text())
        return cls(
            path,
            [Row(**row) for row in record["rows"]],
            [MemoryRow(**row) for row in record["memory"]],
            record["versions"],
            record["cpu"],
            record["cores"],
        )

    def write(self) -> None:
        record = {
            "cpu": self.cpu,
            "cores": self.cores,
            "versions": self.versions,
            "rows": [asdict(row) for row in self.rows],
            "memory": [asdict(row) for row in self.memory],
        }
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(_rounded(record), indent=1) + "\n")
        partial.replace(self.path)

    def find(self, network: str, batch: int, threads: int) -> Row | None:
        """The row, if it was measured."""
        key = (network, batch, threads)
        return next((row for row in self.rows if row.key == key), None)

    def find_memory(self, network: str, batch: int, engine: str) -> MemoryRow | None:
        """The row, if it was measured."""
        key = (network, batch, engine)
        return next((row for row in self.memory if row.key == key), None)

    def put(self, row: Row) -> None:
        """Instead of an older row of the same key."""
        self.rows = [other for other in self.rows if other.key != row.key] + [row]
        self.write()

    def put_memory(self, row: MemoryRow) -> None:
        """Instead of an older row of the same key."""
        self.memory = [other for other in self.memory if other.key != row.key] + [row]
        self.write()


def _rounded(value: Any) -> Any:
    """Six digits are more than any timing has."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value
