"""The Markdown page of what `peers.py` measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import geometric_mean

from peers_results import OURS, MemoryRow, Results, Row, is_int8_peer

from wbcq.report.tables import Column, Table

__all__ = ["page"]

AVX2, FP32 = "wbcq int8 avx2", "wbcq fp32"


def page(results: Results) -> str:
    """All of it."""
    rows = results.rows
    dates = sorted({row.measured for row in rows})
    versions = ", ".join(f"{name} {version}" for name, version in sorted(results.versions.items()))
    parts = [
        "# wbcq and its peers",
        f"`python benchmarks/peers.py`, {' to '.join(dict.fromkeys((dates[0], dates[-1])))}, "
        f"{results.cpu}, {results.cores} cores. {versions}.",
        "Milliseconds of a call, the median of interleaved rounds and in brackets the fastest "
        "round: compare within a row. Random weights, 224x224 pictures, YOLOv3 512x512, static "
        "INT8 models, weights per channel. The floor is useful multiplications (those with "
        "padding not counted) / the int8 peak measured in the same run; direct convolution "
        "cannot go below it.",
        "## Summary",
        "The best INT8 peer's time / ours, over all rows of a network. ONNX Runtime's kernels "
        "cannot be made to use AVX2 on a CPU with more: AVX2 is compared with our own.",
        _summary(rows),
        "## INT8",
        _times(rows, lambda name: name.endswith("int8") or name in (AVX2, "wbcq int8 small")),
        "## FP32 and bf16",
        _times(rows, lambda name: name.endswith(("fp32", "bf16"))),
    ]
    if results.memory:
        parts += ["## Memory", _memory_text(), _memory(results.memory)]
    failures = _failures(results)
    if failures:
        parts += ["## Not measured", failures]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _networks(rows: Iterable[Row] | Iterable[MemoryRow]) -> list[str]:
    return list(dict.fromkeys(row.network for row in rows))


def _by_key(rows: Iterable[Row]) -> dict[tuple[str, int, int], Row]:
    return {row.key: row for row in rows}


def _summary(rows: list[Row]) -> str:
    table = Table(
        [
            Column("network"),
            Column("geometric mean", ".2f"),
            Column("worst row", ".2f"),
            Column("the best peers"),
            Column("best bf16 or fp32 peer / ours", ".2f"),
            Column("ours / floor, largest batch, 1 thread", ".2f"),
            Column("2 threads, batch 1", ".2f"),
            Column("2 threads, largest batch", ".2f"),
            Column("our FP32: best FP32 peer / ours", ".2f"),
        ]
    )
    found = _by_key(rows)
    for network in _networks(rows):
        own = [row for row in rows if row.network == network]
        compared = [(row, row.best_int8_peer) for row in own]
        ratios = [row.ratio[best] for row, best in compared if best is not None]
        floats = [_float_ratio(row) for row in own]
        ours_float = [_fp32_ratio(row) for row in own]
        largest = max(row.batch for row in own)
        one = found.get((network, largest, 1))
        table.add(
            network,
            geometric_mean(ratios) if ratios else None,
            min(ratios, default=None),
            ", ".join(dict.fromkeys(best for _, best in compared if best is not None)),
            _mean(floats),
            one.median[OURS] / one.floor if one else None,
            _speedup(found, network, 1),
            _speedup(found, network, largest),
            _mean(ours_float),
        )
    return table.to_markdown()


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return geometric_mean(known) if known else None


def _float_ratio(row: Row) -> float | None:
    """The best peer in floating point, whatever its type, to our INT8."""
    names = [n for n in row.median if not n.startswith("wbcq") and not is_int8_peer(n)]
    best = row.best(names)
    return row.ratio[best] if best else None


def _fp32_ratio(row: Row) -> float | None:
    """The best FP32 peer to our FP32."""
    names = [n for n in row.median if n.endswith("fp32") and n != FP32]
    best = row.best(names)
    return row.ratio[best] / row.ratio[FP32] if best and FP32 in row.ratio else None


def _speedup(found: dict[tuple[str, int, int], Row], network: str, batch: int) -> float | None:
    """Rows are of different runs, but of one machine: minima are compared."""
    one, two = found.get((network, batch, 1)), found.get((network, batch, 2))
    return one.minimum[OURS] / two.minimum[OURS] if one and two else None


def _times(rows: list[Row], wanted: Callable[[str], bool]) -> str:
    names = [n for n in dict.fromkeys(n for row in rows for n in row.median) if wanted(n)]
    columns = [Column("network"), Column("batch", "d"), Column("threads", "d")]
    columns += [Column("floor", ".2f"), *(Column(name, ".2f") for name in names)]
    is_int8 = OURS in names
    if is_int8:
        columns += [Column("best peer"), Column("its time / ours", ".2f")]
        columns += [Column("ours / floor", ".2f")]
    table = Table(columns)
    for row in rows:
        cells: list[str | float | None] = [_time(row, name) for name in names]
        if is_int8:
            best = row.best_int8_peer
            cells += [best, row.ratio[best] if best else None, row.median[OURS] / row.floor]
        table.add(row.network, row.batch, row.threads, row.floor, *cells)
    return table.to_markdown()


def _time(row: Row, name: str) -> str | None:
    if name not in row.median:
        return None
    digits = 3 if row.median[name] < 1 else 2 if row.median[name] < 100 else 1
    return f"{row.median[name]:.{digits}f} ({row.minimum[name]:.{digits}f})"


def _memory_text() -> str:
    return (
        "Megabytes, each engine in a fresh process of one thread: growth of the resident memory "
        "by importing the engine / peak growth after that while it loads the model / peak growth "
        "until it has run three times. `planned` is what `QuantizedModel.memory_use()` says: "
        "activations, scratch, tables and packed weights."
    )


def _memory(rows: list[MemoryRow]) -> str:
    measured = [row for row in rows if not row.failure]
    names = list(dict.fromkeys(row.engine for row in measured))
    columns = [Column("network"), Column("batch", "d"), *(Column(name) for name in names)]
    columns += [Column("planned", ".1f"), Column("planned, small", ".1f")]
    columns += [Column("ours / best INT8 peer", ".2f"), Column("small / best INT8 peer", ".2f")]
    table = Table(columns)
    by_key = {row.key: row for row in measured}
    for network, batch in dict.fromkeys((row.network, row.batch) for row in measured):
        cells = [_growth(by_key.get((network, batch, name))) for name in names]
        peers = [
            row.peak
            for row in measured
            if (row.network, row.batch) == (network, batch) and is_int8_peer(row.engine)
        ]
        ours = [by_key.get((network, batch, name)) for name in (OURS, "wbcq int8 small")]
        planned = [sum(row.planned.values()) / 1e6 if row else None for row in ours]
        ratios = [row.peak / min(peers) if row and peers else None for row in ours]
        table.add(network, batch, *cells, *planned, *ratios)
    return table.to_markdown()


def _growth(row: MemoryRow | None) -> str | None:
    if row is None:
        return None
    return " / ".join(f"{value / 1e6:.1f}" for value in (row.imported, row.loaded, row.peak))


def _failures(results: Results) -> str:
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in results.rows:
        for name, why in row.failures.items():
            reasons.setdefault((name, why), []).append(row.network)
    for memory in results.memory:
        if memory.failure:
            reasons.setdefault((memory.engine, memory.failure), []).append(memory.network)
    return "\n".join(
        f"- {name}: {', '.join(dict.fromkeys(networks))}: {why}"
        for (name, why), networks in sorted(reasons.items())
    )
