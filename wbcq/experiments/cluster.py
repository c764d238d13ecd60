"""Units on a Dask cluster."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from wbcq.experiments.runner import NoSpaceError, Outcome, describe, execute
from wbcq.experiments.store import Store
from wbcq.experiments.units import ExperimentError, Plan, Unit
from wbcq.report.reporter import Reporter, Stage

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["run_on_cluster"]

_CONNECT_SECONDS = 10


def run_on_cluster(
    plan: Plan,
    store: Store,
    reporter: Reporter,
    outcome: Outcome,
    threads: int | None,
    address: str,
) -> None:
    """Runs the units of a plan that are not kept; arguments as for :func:`run_units`."""
    from distributed import Client

    with ExitStack() as stack:
        try:
            client = stack.enter_context(
                Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
            )
        except (OSError, ValueError) as error:
            raise ExperimentError(
                f"{address}: no Dask scheduler answers ({describe(error)}). Remedy: start one with "
                "`dask scheduler` and workers with `dask worker --nthreads 1`"
            ) from error
        stage = stack.enter_context(reporter.stage(f"{len(plan)} units on {address}"))
        _Cluster(client, plan, store, reporter, stage, outcome, threads).run()


class _Cluster:
    """Hands out what is ready; units that want to be alone go last, one at a time."""

    def __init__(
        self,
        client: Client,
        plan: Plan,
        store: Store,
        reporter: Reporter,
        stage: Stage,
        outcome: Outcome,
        threads: int | None,
    ) -> None:
        self.client = client
        self.plan = plan
        self.store = store
        self.reporter = reporter
        self.stage = stage
        self.outcome = outcome
        self.threads = threads
        self.waiting = [unit for unit in plan if unit.key not in outcome.kept]
        self.running: dict[Any, Unit] = {}

    def run(self) -> None:
        from distributed import as_completed

        queue = as_completed(loop=self.client.loop)
        try:
            self._submit(queue)
            while self.running:
                future = next(queue)
                self._collect(future, self.running.pop(future))
                self._submit(queue)
        finally:
            self.client.cancel(list(self.running))

    def _submit(self, queue: Any) -> None:
        blocked = self.plan.behind(self.outcome.failed)
        self.waiting = [unit for unit in self.waiting if unit.key not in blocked]
        done = {*self.outcome.kept, *self.outcome.ran}
        ready = [unit for unit in self.waiting if done.issuperset(unit.needs)]
        together = [unit for unit in ready if not unit.alone]
        if any(unit.alone for unit in self.running.values()):
            return
        chosen = together if together or self.running else ready[:1]
        for unit in chosen:
            future = self.client.submit(
                execute,
                unit,
                self.plan.fingerprints[unit.key],
                self.store,
                self.threads,
                key=f"{unit.key}-{self.plan.fingerprints[unit.key]}",
                pure=False,
                retries=0,
            )
            self.running[future] = unit
            self.waiting.remove(unit)
            queue.add(future)
        done_count = len(self.outcome.kept) + len(self.outcome.ran)
        self.stage(done_count, len(self.plan), f"{len(self.running)} running")

    def _collect(self, future: Any, unit: Unit) -> None:
        error = future.exception()
        if isinstance(error, NoSpaceError):
            raise error
        if error is None and not self.store.is_done(unit.key, self.plan.fingerprints[unit.key]):
            error = ExperimentError(
                f"its worker wrote no result into {self.store.out.resolve()}; that folder must be "
                "shared by all machines under one path"
            )
        if error is None:
            self.outcome.ran.append(unit.key)
            return
        self.outcome.failed[unit.key] = describe(error)
        self.reporter.note(f"{unit.key} failed: {describe(error)}")
