"""The study's experiments: units of work that resume, and the tables and figures made of them.

Each experiment is a module with ``TITLE``, ``units(settings)`` (what must be done) and
``write(settings, store)`` (the table and the figure, made of what is done).

>>> from wbcq.experiments import names
>>> names()[0]
'dataset'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from wbcq.experiments.settings import Settings
    from wbcq.experiments.store import Store
    from wbcq.experiments.units import Unit

__all__ = ["Experiment", "experiment", "names"]

_NAMES = (
    "dataset",
    "quantization",
    "colour",
    "models",
    "bits",
    "pruning",
    "explain",
    "shift",
    "detection",
    "detection-pruning",
)
"""In the order in which they run; each is a module of this package (``_`` for ``-``)."""


class Experiment(Protocol):
    """What a module of an experiment has."""

    TITLE: str

    def units(self, settings: Settings) -> list[Unit]:
        """What must be done, shared trainings included."""

    def write(self, settings: Settings, store: Store) -> None:
        """Writes ``<name>.json``, ``<name>.md`` and ``<name>.png`` into ``settings.out``."""


def names() -> tuple[str, ...]:
    """The experiments."""
    return _NAMES


def experiment(name: str) -> Experiment:
    """The experiment of a name.

    Raises:
        ValueError: There is none of that name.
    """
    if name not in _NAMES:
        raise ValueError(f"no experiment {name!r}; choose all or one of {', '.join(_NAMES)}")
    module: Experiment = importlib.import_module(f"wbcq.experiments.{name.replace('-', '_')}")
    return module
