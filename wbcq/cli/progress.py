"""Progress of long commands: bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from wbcq.report.reporter import Stage

__all__ = ["ConsoleReporter"]


class ConsoleReporter:
    """Shows stages and notes on one console; a :class:`wbcq.report.Reporter`."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """A bar while the stage runs, and a line with its time that stays."""
        start = time.perf_counter()
        last = ""
        with self._bar() as bar:
            task = bar.add_task(escape(name), total=None, note="")

            def update(done: int, total: int, note: str = "") -> None:
                nonlocal last
                last = note or last
                bar.update(task, completed=done, total=total, note=escape(last))

            yield update
        seconds = time.perf_counter() - start
        outcome = f"  {last}" if last else ""
        self._console.print(f"{name:<24} {seconds:6.1f} s{outcome}", markup=False, highlight=False)

    def note(self, text: str) -> None:
        """One line."""
        self._console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)

    def _bar(self) -> Progress:
        return Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
