"""What the experiments are run on and with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from wbcq.data.pictures import ArrayPictures, DatasetError
from wbcq.data.sources import Sets, Source, open_source
from wbcq.data.sources.base import ALIGNED

__all__ = [
    "ARCHITECTURES",
    "MULTI_MODAL",
    "Settings",
    "fingerprint",
    "load_all_cells",
    "load_cells",
    "source_of",
]

MULTI_MODAL = "mm_mimo3"

ARCHITECTURES = (
    "resnet18",
    "shufflenet_v2_x1_0",
    "mobilenet_v2",
    MULTI_MODAL,
    "regnet_x_400mf",
    "mobilenet_v3_small",
    "shufflenet_v2_x0_5",
)
"""Those of the study's classification table, in its order."""

_PATHS = ("out", "data", "shifted", "fields")

_QUICK: Mapping[str, Any] = {
    "scale": 1.75,
    "folds": 1,
    "size": 64,
    "epochs": 4,
    "qat_epochs": 1,
    "calibration": 128,
    "timing_seconds": 0.1,
    "brief": True,
}


@dataclass(frozen=True)
class Settings:
    """Of all experiments; the defaults are the full ones, :meth:`quick` gives the quick ones.

    Attributes:
        out: Folder for results.
        data: A data set (see :func:`wbcq.data.open_source`); None for synthetic cells.
        preset: Of synthetic cells, ``"balanced"`` or ``"study"``.
        scale: Factor of the number of synthetic cells.
        seed: Of the cells, folds, initial weights and trainings.
        folds: How many of the data set's folds are run.
        size: Pixels along each side.
        epochs: Of each training.
        qat_epochs: Of quantization-aware training, which starts from the trained network.
        recipe: ``"ours"``, or ``"study"`` for the study's.
        calibration: Training pictures that set the ranges of activations.
        threads: Of each unit, and of timings.
        timing_seconds: Least time of each of the turns of a timing.
        shifted: Another data set of the same classes, on which ``shift`` tests.
        fields: Pictures with boxes (see :func:`wbcq.detection.data.open_fields`) for ``detection``
            and ``detection-pruning``; None for synthetic smears.
        detector: Network of these two, ``"yolov3"`` or ``"yolov3_tiny"``; None for the former where
            there is a GPU.
        brief: Leaves out what is not in the study's tables.
    """

    out: Path
    data: Path | None = None
    preset: str = "study"
    scale: float = 1.0
    seed: int = 0
    folds: int = 5
    size: int = 96
    epochs: int = 20
    qat_epochs: int = 5
    recipe: str = "ours"
    calibration: int = 256
    threads: int = 1
    timing_seconds: float = 0.3
    shifted: Path | None = None
    brief: bool = False
    fields: Path | None = None
    detector: str | None = None

    def __post_init__(self) -> None:
        for name in ("folds", "epochs", "qat_epochs", "calibration", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least 1")
        if self.detector not in (None, "yolov3", "yolov3_tiny"):
            raise ValueError(f"detector is {self.detector!r}; use 'yolov3' or 'yolov3_tiny'")
        if self.recipe not in ("ours", "study"):
            raise ValueError(f"recipe is {self.recipe!r}; use 'ours' or 'study'")

    @classmethod
    def quick(cls, out: Path, **changes: Any) -> Settings:
        """Small pictures, one fold, few epochs.

        Example:
            >>> Settings.quick(Path("out"), epochs=3).epochs
            3
        """
        return cls(out, **{**_QUICK, "preset": "balanced", **changes})

    def changed(self, **changes: Any) -> Settings:
        """With other values, where they are not None."""
        return replace(self, **{name: v for name, v in changes.items() if v is not None})

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, for reports."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        paths = {name: values[name] and str(values[name]) for name in _PATHS}
        return {**values, **paths}

    @property
    def source(self) -> Source:
        """Where the cells come from."""
        data = None if self.data is None else str(self.data.resolve())
        return _source(data, self.preset, self.scale, self.seed)

    @property
    def fold_numbers(self) -> tuple[int, ...]:
        """The folds that are run.

        Raises:
            DatasetError: The data set has fewer.
        """
        found = self.source.folds
        if self.folds > len(found):
            raise DatasetError(
                f"{self.source.name} has {len(found)} folds, {self.folds} are asked for; use "
                f"--folds {len(found)} or less"
            )
        return found[: self.folds]

    @property
    def modality(self) -> str:
        """What networks of one picture see: stained cells, or else those in purple light."""
        found = self.source.modalities
        return next((name for name in ("stain", "purple") if name in found), found[0])

    @property
    def has_all_modalities(self) -> bool:
        """Whether there are four aligned pictures of each cell."""
        return set(ALIGNED) <= set(self.source.modalities)

    @property
    def architectures(self) -> tuple[str, ...]:
        """Those of the study; without the multi-modal one where its pictures are missing."""
        if self.has_all_modalities:
            return ARCHITECTURES
        return tuple(name for name in ARCHITECTURES if name != MULTI_MODAL)

    def modality_of(self, arch: str) -> str:
        """What a network sees: ``"all"`` modalities, or one."""
        return "all" if arch == MULTI_MODAL else self.modality

    def cells(self, fold: int, modality: str) -> dict[str, Any]:
        """The pictures of a fold as an argument of units, for :func:`load_cells`."""
        record: dict[str, Any] = {
            "data": None if self.data is None else str(self.data.resolve()),
            "seed": self.seed,
            "size": self.size,
            "fold": fold,
            "modality": modality,
        }
        if self.data is None:
            return {**record, "preset": self.preset, "scale": self.scale}
        return {**record, "files": fingerprint(str(self.data.resolve()))}

    def shifted_cells(self, modality: str) -> dict[str, Any]:
        """All pictures of the other data set as an argument, for :func:`load_all_cells`."""
        return replace(self, data=self.shifted).cells(0, modality)


def source_of(cells: Mapping[str, Any]) -> Source:
    """The source of what :meth:`Settings.cells` described."""
    return _source(
        cells["data"], cells.get("preset", "balanced"), cells.get("scale", 1.0), cells["seed"]
    )


def load_cells(cells: Mapping[str, Any]) -> Sets:
    """The pictures that :meth:`Settings.cells` described; those of two folds stay in memory.

    A fold's four modalities are loaded together and dealt out: it takes little longer than one.
    """
    record = dict(cells)
    modality = record.pop("modality")
    source = source_of(cells)
    if modality not in ALIGNED or not set(ALIGNED) <= set(source.modalities):
        return _loaded(json.dumps(record), modality)
    sets = _loaded(json.dumps(record), "all")
    channels = slice(3 * ALIGNED.index(modality), 3 * ALIGNED.index(modality) + 3)

    def dealt(pictures: ArrayPictures) -> ArrayPictures:
        return replace(pictures, pixels=pictures.pixels[..., channels])

    return replace(sets, train=dealt(sets.train), val=dealt(sets.val), test=dealt(sets.test))


def load_all_cells(cells: Mapping[str, Any]) -> ArrayPictures:
    """The pictures of all parts of what :meth:`Settings.shifted_cells` described."""
    sets = load_cells(cells)
    parts = (sets.train, sets.val, sets.test)
    return ArrayPictures(
        np.concatenate([part.pixels for part in parts]),
        np.concatenate([part.labels for part in parts]),
        sets.test.classes,
        tuple(name for part in parts for name in part.names),
    )


@lru_cache(maxsize=2)
def _loaded(record: str, modality: str) -> Sets:
    cells = json.loads(record)
    return source_of(cells).load(cells["fold"], modality, size=cells["size"])


@lru_cache(maxsize=4)
def _source(data: str | None, preset: str, scale: float, seed: int) -> Source:
    if data is None:
        return open_source(None, preset=preset, scale=scale, seed=seed)
    return open_source(data, seed=seed)


@lru_cache(maxsize=4)
def fingerprint(data: str) -> str:
    """Changes when a file is added, removed, renamed or written with other bytes."""
    path = Path(data)
    folder = path if path.is_dir() else path.parent
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            contents = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{file.relative_to(folder).as_posix()}\0{contents}\n".encode())
    return digest.hexdigest()[:16]
