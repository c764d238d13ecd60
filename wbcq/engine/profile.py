"""Where a model's time goes, operator by operator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from wbcq.engine.limits import MachineLimits
from wbcq.engine.program import Conv2d, Program
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
        zeros: Share of a convolution's weights that are zero, 0 to 1; else None.
        share_of_peak: Of the int8 peak, for operators that multiply integers; else None.
        share_of_bandwidth: Of what the memory that holds this many bytes gives; the larger of the
            two shares says what limits the operator, and how far from the limit it is.
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
    zeros: float | None = None
    share_of_peak: float | None = None
    share_of_bandwidth: float = 0.0

    @property
    def gigabytes_per_second(self) -> float:
        """Bytes a second, in billions; 0 where nothing was measured."""
        return self.bytes / self.seconds / 1e9 if self.seconds > 0 else 0.0

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
        limits: What the machine can do, measured in the same process.
    """

    rows: tuple[OperatorProfile, ...]
    batch: int
    repeats: int
    threads: int
    isa: str
    limits: MachineLimits

    @classmethod
    def from_records(
        cls,
        records: Iterable[Mapping[str, Any]],
        program: Program,
        *,
        limits: MachineLimits,
        **run: Any,
    ) -> Profile:
        """From what the engine reports, the program that it ran, and the run's attributes."""
        records = list(records)
        total = sum(record["seconds"] for record in records) or 1.0
        dtypes = {op.name: op_dtype(op, program.tensors) for op in program.ops}
        reasons = why_float(program)
        zeros = {
            op.name: float(np.mean(op.weight == 0)) for op in program.ops if isinstance(op, Conv2d)
        }
        rows = []
        for record in records:
            name = record["name"]
            # What the engine adds reorders the caller's float arrays.
            is_added = record["kind"] in ("from_planar", "to_planar")
            dtype = "float32" if is_added else dtypes[name]
            giga = record["seconds"] * 1e9
            is_int8 = record["macs"] > 0 and dtype.startswith("int8")
            bandwidth = limits.bandwidth(max(1, record["bytes"]))
            rows.append(
                OperatorProfile(
                    **record,
                    share=record["seconds"] / total,
                    dtype=dtype,
                    why_float="" if is_added else reasons.get(name, ""),
                    zeros=None if is_added else zeros.get(name),
                    share_of_peak=_ratio(record["macs"], giga * limits.peak_gmacs)
                    if is_int8
                    else None,
                    share_of_bandwidth=_ratio(record["bytes"], giga * bandwidth),
                )
            )
        return cls(tuple(rows), limits=limits, **run)

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

    @property
    def floor(self) -> float:
        """Seconds that the int8 multiplications take at the peak."""
        macs = sum(row.macs for row in self.rows if row.share_of_peak is not None)
        return macs / (self.limits.peak_gmacs * 1e9)

    def to_dict(self) -> dict[str, Any]:
        """JSON values: the attributes, ``floor``, ``island_share``, and each row's speeds."""
        rows = [
            {
                **asdict(row),
                "gmacs_per_second": row.gmacs_per_second,
                "gigabytes_per_second": row.gigabytes_per_second,
            }
            for row in self.rows
        ]
        run = {"batch": self.batch, "repeats": self.repeats, "threads": self.threads}
        sums = {"seconds": self.seconds, "macs": self.macs, "island_share": self.island_share}
        limits = {"floor": self.floor, "limits": asdict(self.limits)}
        return {**run, "isa": self.isa, **sums, **limits, "rows": rows}

    def table(self) -> Table:
        """A row for each operator, and the total."""
        table = Table(
            [
                Column("layer"),
                Column("kind"),
                Column("dtype"),
                Column("kernel"),
                Column("zeros", ".1%"),
                Column("us", ",.1f"),
                Column("share", ".1%"),
                Column("GMAC/s", ",.1f"),
                Column("of peak", ".1%"),
                Column("GB/s", ",.1f"),
                Column("of band", ".1%"),
            ]
        )
        for row in self.rows:
            table.add(
                row.name,
                row.kind,
                row.dtype,
                row.kernel,
                row.zeros,
                row.seconds * 1e6,
                row.share,
                row.gmacs_per_second if row.macs else None,
                row.share_of_peak,
                row.gigabytes_per_second,
                row.share_of_bandwidth,
            )
        giga = self.seconds * 1e9
        table.add(
            "total",
            None,
            None,
            None,
            None,
            self.seconds * 1e6,
            1.0,
            _ratio(self.macs, giga),
            _ratio(self.floor, self.seconds),
            _ratio(sum(row.bytes for row in self.rows), giga),
            None,
        )
        return table

    def notes(self) -> str:
        """Lines below the table: how it was measured, the limits, the islands."""
        run = f"batch {self.batch}, {self.threads} threads, {self.isa}, median of {self.repeats}"
        bandwidths = ", ".join(
            f"{speed:.0f} at {size / 1024:,.0f} KB" for size, speed in self.limits.bandwidths
        )
        lines = [
            f"{run}; int8 peak {self.limits.peak_gmacs:,.1f} GMAC/s",
            f"bandwidth of a thread, GB/s: {bandwidths}",
        ]
        if self.floor:
            over = self.seconds / self.floor
            lines.append(
                f"floor (int8 multiplications / peak) {1e3 * self.floor:.3f} ms, time / floor "
                f"{over:.2f}"
            )
        return "\n".join([*lines, *self._islands()])

    def __str__(self) -> str:
        return f"{self.table().to_markdown()}\n{self.notes()}"

    def _islands(self) -> list[str]:
        islands = [row for row in self.rows if row.why_float]
        if not islands:
            return []
        lines = [f"  {row.name} ({row.kind}): {row.share:.1%}, {row.why_float}" for row in islands]
        share = f"{self.island_share:.1%} of the time"
        return [f"float32 although the network is INT8: {share}", *lines]


def _ratio(value: float, by: float) -> float:
    """0 where nothing was measured."""
    return value / by if by > 0 else 0.0
