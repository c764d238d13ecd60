"""A progress bar where one is wanted and possible."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["track"]

T = TypeVar("T")


def track(items: Iterable[T], total: int, description: str, *, enabled: bool) -> Iterator[T]:
    """Gives the items, and shows on stderr how far it is.

    Nothing is shown if ``rich`` is not installed or stderr is not a terminal.

    Args:
        items: What to give.
        total: How many there are; 0 if that is not known.
        description: Shown before the bar.
        enabled: False to show nothing.

    Example:
        >>> list(track("abc", 3, "Reading", enabled=True))
        ['a', 'b', 'c']
    """
    if not enabled or not sys.stderr.isatty():
        yield from items
        return
    try:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )
    except ImportError:
        yield from items
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=total or None)
        for item in items:
            yield item
            bar.advance(task)
