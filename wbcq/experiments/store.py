"""The folder in which results of units are kept."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wbcq.experiments.units import ExperimentError, Plan, Unit
from wbcq.report.files import replacing, write_text
from wbcq.version import __version__

if TYPE_CHECKING:
    from wbcq.report.reporter import Stage

__all__ = ["Predictions", "Store"]


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model says of each test picture.

    Attributes:
        names: Of the pictures.
        labels: int64 [N], the true classes.
        scores: float32 [N, C]: logits, or probabilities where several heads are averaged.
        classes: C names.
    """

    names: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    classes: tuple[str, ...]

    @property
    def decisions(self) -> npt.NDArray[np.int64]:
        """The class of the largest score, int64 [N]."""
        chosen: npt.NDArray[np.int64] = np.argmax(self.scores, axis=1).astype(np.int64)
        return chosen


class Store:
    """Results and files of units below ``<out>/units``.

    A result is written whole, after its files, when its unit ends: what an interruption leaves is
    either a finished unit or none.

    Args:
        out: Folder of the experiments.
        stage: Told how far the unit is that runs now.

    Example:
        >>> import tempfile
        >>> store = Store(tempfile.mkdtemp())
        >>> store.is_done("training/resnet18", "5f0c")
        False
    """

    def __init__(self, out: str | Path, stage: Stage | None = None) -> None:
        self.out = Path(out)
        self.stage = stage

    def __getstate__(self) -> dict[str, Any]:
        return {"out": self.out, "stage": None}  # progress bars stay where they are shown

    def path(self, key: str, suffix: str) -> Path:
        """Where a unit keeps its file of a kind; ``suffix`` is for example ``".pt"``."""
        return self.out / "units" / f"{key}{suffix}"

    def progress(self, done: int, total: int, note: str = "") -> None:
        """For units: how far this one is."""
        if self.stage is not None:
            self.stage(done, total, note)

    # Results.

    def is_done(self, key: str, fingerprint: str) -> bool:
        """Whether there is a result with this fingerprint, and its files."""
        record = self._record(key)
        if record is None or record["fingerprint"] != fingerprint:
            return False
        return all(self.path(key, suffix).exists() for suffix in record["result"].get("files", ()))

    def result(self, key: str) -> dict[str, Any]:
        """What a unit returned.

        Raises:
            ExperimentError: It has no result.
        """
        return self._existing(key)["result"]  # type: ignore[no-any-return]

    def seconds(self, key: str) -> float:
        """How long a unit took."""
        return float(self._existing(key)["seconds"])

    def results(self, units: Iterable[Unit]) -> dict[str, dict[str, Any]]:
        """Results of those units that are done with just these settings, by key."""
        plan = Plan(units)
        return {
            unit.key: self.result(unit.key)
            for unit in plan
            if self.is_done(unit.key, plan.fingerprints[unit.key])
        }

    def save(self, unit: Unit, fingerprint: str, result: Mapping[str, Any], seconds: float) -> None:
        """Writes a unit's result; its files must be there.

        Raises:
            ValueError: The result is not JSON, for example holds NaN.
            OSError: It cannot be written.
        """
        record = {
            "key": unit.key,
            "fingerprint": fingerprint,
            "arguments": unit.arguments,
            "result": result,
            "seconds": round(seconds, 3),
            "versions": versions(),
        }
        try:
            text = json.dumps(record, indent=1, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"unit {unit.key} returned what JSON cannot hold: {error}") from error
        write_text(self.path(unit.key, ".json"), text + "\n")
        self.path(unit.key, ".error.txt").unlink(missing_ok=True)

    def _existing(self, key: str) -> dict[str, Any]:
        record = self._record(key)
        if record is None:
            raise ExperimentError(f"{self.path(key, '.json')}: no result of {key}; run it first")
        return record

    def _record(self, key: str) -> dict[str, Any] | None:
        # A damaged file counts as none: the unit runs again.
        with suppress(FileNotFoundError, ValueError):
            record = json.loads(self.path(key, ".json").read_text(encoding="utf-8"))
            if isinstance(record, dict) and {"fingerprint", "result", "seconds"} <= record.keys():
                return record
        return None

    # Predictions.

    def save_predictions(
        self,
        key: str,
        names: Sequence[str],
        labels: npt.NDArray[np.int64],
        scores: npt.NDArray[np.float32],
        classes: Sequence[str],
    ) -> None:
        """Writes ``<key>.npz``; reports draw confusion matrices and sample pictures from it."""
        with replacing(self.path(key, ".npz")) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                names=np.array(names, dtype=np.str_),
                labels=labels.astype(np.int64),
                scores=scores.astype(np.float32),
                classes=np.array(classes, dtype=np.str_),
            )

    def predictions(self, key: str) -> Predictions:
        """Reads what :meth:`save_predictions` wrote.

        Raises:
            ExperimentError: There is no such file, or it is damaged.
        """
        path = self.path(key, ".npz")
        try:
            with np.load(path, allow_pickle=False) as file:
                return Predictions(
                    tuple(map(str, file["names"])),
                    file["labels"],
                    file["scores"],
                    tuple(map(str, file["classes"])),
                )
        except Exception as error:  # numpy and zipfile raise many kinds for damaged files
            raise ExperimentError(f"{path}: no predictions of {key} ({error})") from error


def versions() -> dict[str, str]:
    """Of what computes."""
    found = {"wbcq": __version__, "python": platform.python_version(), "numpy": np.__version__}
    with suppress(ModuleNotFoundError):
        import torch

        found["torch"] = str(torch.__version__)
    return found
