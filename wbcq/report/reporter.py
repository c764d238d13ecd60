"""Who is told how far a long job is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["SILENT", "Reporter", "Stage"]


class Stage(Protocol):
    """Progress of one step of a long job."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Tells how far the step is, with a short note such as the loss."""


class Reporter(Protocol):
    """Who is told what a long job does."""

    def stage(self, name: str) -> AbstractContextManager[Stage]:
        """A step that takes a while."""

    def note(self, text: str) -> None:
        """One line that the user should read."""


class _Silent:
    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        yield lambda done, total, note="": None

    def note(self, text: str) -> None:
        pass


SILENT: Reporter = _Silent()
"""Tells nobody."""
