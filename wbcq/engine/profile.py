"""Where a model's time goes, operator by operator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from wbcq.engine.program import Program
from wbcq.engine.summary import op_dtype, why_float
from wbcq.report.tables import Column, Table

__all__ = ["OperatorProfile", "Profile"]


@dataclass(frozen=True)
class OperatorProfile:
    """One operator's share of a run.

    Attributes:
        name: Module path.
        kind: ``"conv2d"``, ``"max_pool2d"``, ...
        kernel: Name of the micro-kernel.
        seconds: Median over the repeats.
        share: Of the sum over all operators, 0 to 1.
        macs: Useful multiplications, those with padding not counted.
        bytes: Activations read and written, and weights read.
        dtype: What it computes in: ``"int8"``, ``"float32"``, or both for what converts.
        why_float: Why it computes in float32 although the network is INT8, or empty.
    """

    name: str
    kind: str
    kernel: str
    seconds: float
    share: float
    macs: int
    bytes: int
    dtype: str = ""
    why_float: str = ""

    @property
    def gmacs_per_second(self) -> float:
        """Useful multiplications a second, in billions; 0 where nothing was measured."""
        return self.macs / self.seconds / 1e9 if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Profile:
    """A profile of one model and batch.

    Attributes:
        rows: Operators in execution order.
        batch: Pictures in a run.
        repeats: Runs measured.
        threads: Threads used.
        isa: Instruction set of the kernels.
    """

    rows: tuple[OperatorProfile, ...]
    batch: int
    repeats: int
    threads: int
    isa: str

    @classmethod
    def from_records(
        cls, records: Iterable[Mapping[str, Any]], program: Program, **run: Any
    ) -> Profile:
        """From what the engine reports, the program that it ran, and the run's attributes."""
        records = list(records)
        total = sum(record["seconds"] for record in records) or 1.0
        dtypes = {op.name: op_dtype(op, program.tensors) for op in program.ops}
        reasons = why_float(program)
        rows = []
        for record in records:
            name = record["name"]
            # What the engine adds reorders the caller's float arrays.
            is_added = record["kind"] in ("from_planar", "to_planar")
            rows.append(
                OperatorProfile(
                    **record,
                    share=record["seconds"] / total,
                    dtype="float32" if is_added else dtypes[name],
                    why_float="" if is_added else reasons.get(name, ""),
                )
            )
        return cls(tuple(rows), **run)

    @property
    def seconds(self) -> float:
        """Sum of the operators' times."""
        return sum(row.seconds for row in self.rows)

    @property
    def island_share(self) -> float:
        """Share of the time in operators that are float32 although the network is INT8, 0 to 1."""
        return sum(row.share for row in self.rows if row.why_float)

    @property
    def macs(self) -> int:
        """Sum of the operators' useful multiplications."""
        return sum(row.macs for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """JSON values: the attributes, ``island_share``, and each row's ``gmacs_per_second``."""
        rows = [{**asdict(row), "gmacs_per_second": row.gmacs_per_second} for row in self.rows]
        run = {"batch": self.batch, "repeats": self.repeats, "threads": self.threads}
        sums = {"seconds": self.seconds, "macs": self.macs, "island_share": self.island_share}
        return {**run, "isa": self.isa, **sums, "rows": rows}

    def __str__(self) -> str:
        table = Table(
            [
                Column("layer"),
                Column("kind"),
                Column("dtype"),
                Column("kernel"),
                Column("us", ",.1f"),
                Column("share", ".1%"),
                Column("MACs", ",d"),
                Column("GMAC/s", ",.1f"),
                Column("bytes", ",d"),
            ]
        )
        for row in self.rows:
            speed = row.gmacs_per_second if row.macs else None
            numbers = (row.seconds * 1e6, row.share, row.macs, speed, row.bytes)
            table.add(row.name, row.kind, row.dtype, row.kernel, *numbers)
        total_bytes = sum(row.bytes for row in self.rows)
        speed = self.macs / self.seconds / 1e9 if self.seconds > 0 else None
        table.add("total", None, None, None, self.seconds * 1e6, 1.0, self.macs, speed, total_bytes)
        run = f"batch {self.batch}, {self.threads} threads, {self.isa}, median of {self.repeats}"
        return "\n".join([table.to_markdown(), run, *self._islands()])

    def _islands(self) -> list[str]:
        islands = [row for row in self.rows if row.why_float]
        if not islands:
            return []
        lines = [f"  {row.name} ({row.kind}): {row.share:.1%}, {row.why_float}" for row in islands]
        share = f"{self.island_share:.1%} of the time"
        return [f"float32 although the network is INT8: {share}", *lines]
