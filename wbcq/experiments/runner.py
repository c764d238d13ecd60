"""Runs units one after another, or on a Dask cluster; what is done already is kept."""

from __future__ import annotations

import errno
import shutil
import time
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from wbcq.experiments.store import Store
from wbcq.experiments.units import ExperimentError, Plan, Unit
from wbcq.report.files import write_text
from wbcq.report.reporter import Reporter

__all__ = ["NoSpaceError", "Outcome", "execute", "run_units"]

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_LEAST_FREE = 1 << 20


class NoSpaceError(ExperimentError):
    """Results cannot be written any more; those that were written are whole."""


@dataclass
class Outcome:
    """What became of the units.

    Attributes:
        ran: Keys of those that ended now.
        kept: Keys of those that had been done before.
        failed: Key to message of those that raised.
        skipped: Key to the failed unit that it needs.
    """

    ran: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether all units are done."""
        return not self.failed


def run_units(
    units: Iterable[Unit],
    store: Store,
    reporter: Reporter,
    *,
    threads: int | None = None,
    dask: str | None = None,
) -> Outcome:
    """Runs what is not done yet; a unit that fails stops only those that need it.

    Args:
        units: In any order.
        store: Where results are kept.
        reporter: Told about progress and failures.
        threads: Of torch in each unit; None leaves torch's setting.
        dask: Address of a scheduler, such as ``"tcp://10.0.0.1:8786"``, whose workers see the
            store's folder under the same path and have one thread each. None runs here.

    Raises:
        NoSpaceError: The disk is full.
        ExperimentError: Units contradict each other, or the cluster cannot be reached.
    """
    plan = Plan(units)
    outcome = Outcome()
    outcome.kept = [u.key for u in plan if store.is_done(u.key, plan.fingerprints[u.key])]
    if outcome.kept:
        reporter.note(f"{len(outcome.kept)} of {len(plan)} units are done already")
    if len(outcome.kept) == len(plan):
        return outcome
    store.out.mkdir(parents=True, exist_ok=True)
    try:
        if dask is None:
            _run_here(plan, store, reporter, outcome, threads)
        else:
            from wbcq.experiments.cluster import run_on_cluster

            run_on_cluster(plan, store, reporter, outcome, threads, dask)
    except NoSpaceError as error:
        done = len(outcome.kept) + len(outcome.ran)
        raise NoSpaceError(
            f"{error}; {done} of {len(plan)} units are done and kept in {store.out}. Remedy: free "
            "space and give the same command again"
        ) from error
    outcome.skipped = {
        key: reason
        for key, reason in plan.behind(outcome.failed).items()
        if key not in {*outcome.kept, *outcome.ran, *outcome.failed}
    }
    return outcome


def _run_here(
    plan: Plan, store: Store, reporter: Reporter, outcome: Outcome, threads: int | None
) -> None:
    for number, unit in enumerate(plan, 1):
        if unit.key in outcome.kept or unit.key in plan.behind(outcome.failed):
            continue
        try:
            with reporter.stage(f"{number}/{len(plan)} {unit.key}") as stage:
                execute(unit, plan.fingerprints[unit.key], Store(store.out, stage), threads)
        except NoSpaceError:
            raise
        except Exception as error:
            outcome.failed[unit.key] = describe(error)
            reporter.note(f"{unit.key} failed: {describe(error)}")
        else:
            outcome.ran.append(unit.key)


def execute(unit: Unit, fingerprint: str, store: Store, threads: int | None) -> None:
    """Runs one unit and writes its result; if it fails, the trace is in ``<key>.error.txt``."""
    start = time.perf_counter()
    try:
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        result: Mapping[str, object] = unit.run(store, **unit.arguments)
        store.save(unit, fingerprint, result, time.perf_counter() - start)
    except Exception as error:
        if _is_full(error, store.out):
            raise NoSpaceError(f"{store.out}: no space left while {unit.key} ran") from error
        with suppress(OSError):
            write_text(store.path(unit.key, ".error.txt"), traceback.format_exc())
        raise


def describe(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    kind = type(error).__name__
    return f"{kind}: {text}" if text else kind


def _is_full(error: Exception, folder: Path) -> bool:
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return True
    # torch.save tells a full disk as a RuntimeError of its archive writer.
    try:
        return shutil.disk_usage(folder).free < _LEAST_FREE
    except OSError:
        return False
