"""What a folder of experiments holds, read for the report. Nothing is computed anew."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wbcq.errors import WbcqError

__all__ = ["Contents", "Experiment", "Explained", "Form", "Recall", "ReportError", "read_contents"]

EXPERIMENTS = {
    "dataset": "how many cells of each class are in each fold",
    "colour": "accuracy by modality",
    "models": "accuracy against time, size and multiplications",
    "quantization": "FP32 and INT8 of each network, confusion matrices and recalls",
    "bits": "accuracy against bits of weights and activations",
    "pruning": "accuracy, time and size of pruned networks",
    "shift": "the same networks on pictures of another data set",
    "explain": "heat maps, sample pictures and errors of layers",
}
"""Those that the report knows, in its order, and what of it they give."""

_METHODS = {
    "": "FP32",
    "float": "FP32, wbcq",
    "ptq-per-tensor": "INT8, PTQ per tensor",
    "ptq-per-channel": "INT8, PTQ per channel",
    "qat": "INT8, QAT",
    "pytorch-per-tensor": "INT8, PyTorch per tensor",
    "pytorch-per-channel": "INT8, PyTorch per channel",
}


class ReportError(WbcqError):
    """There is nothing to report, or it cannot be read."""


@dataclass(frozen=True)
class Experiment:
    """One table and its figures.

    Attributes:
        name: Of the experiment, as ``wbcq reproduce`` knows it.
        title: Its heading.
        columns: Headings; keys of ``rows``.
        rows: As the experiment wrote them.
        record: All that it wrote.
        figures: What each shows, and its file.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    record: Mapping[str, Any]
    figures: tuple[tuple[str, Path], ...]


@dataclass(frozen=True)
class Recall:
    """Of one class: a share with its 95 % interval (Wilson), and how many pictures it rests on."""

    name: str
    share: float
    low: float
    high: float
    pictures: int


@dataclass(frozen=True, eq=False)
class Form:
    """A network in one number format, over all folds.

    Attributes:
        arch: The network.
        label: Its form, such as ``"INT8, QAT"``.
        confusion: int64 [C, C], rows are true classes; summed over folds.
        classes: C names.
        recalls: One per class that has pictures.
        accuracy: Mean over folds, 0 to 1.
    """

    arch: str
    label: str
    confusion: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    recalls: tuple[Recall, ...]
    accuracy: float


@dataclass(frozen=True, eq=False)
class Explained:
    """One unit of the ``explain`` experiment.

    Attributes:
        result: What it returned.
        pictures: uint8 [N, H, W, 3], the samples.
        full, integer: uint8 [N, H, W], heat maps of the FP32 and the INT8 network.
    """

    result: Mapping[str, Any]
    pictures: npt.NDArray[np.uint8]
    full: npt.NDArray[np.uint8]
    integer: npt.NDArray[np.uint8]


@dataclass
class Contents:
    """Everything that was found.

    Attributes:
        folder: Where.
        experiments: By name, in the report's order.
        forms: By network.
        explained: In the order of the experiment.
        damaged: What could not be read, and why.
    """

    folder: Path
    experiments: dict[str, Experiment] = field(default_factory=dict)
    forms: dict[str, list[Form]] = field(default_factory=dict)
    explained: list[Explained] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    @property
    def missing(self) -> dict[str, str]:
        """Experiments that are not there, and what they would give."""
        return {name: what for name, what in EXPERIMENTS.items() if name not in self.experiments}


def read_contents(folder: str | Path) -> Contents:
    """Reads what ``wbcq reproduce`` wrote.

    Damaged files are listed and left out.

    Raises:
        ReportError: No such folder, or no result in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ReportError(f"{folder}: no such folder. Remedy: wbcq reproduce all --out {folder}")
    contents = Contents(folder)
    for name in EXPERIMENTS:
        experiment = _experiment(contents, name)
        if experiment is not None:
            contents.experiments[name] = experiment
    if not contents.experiments:
        damaged = f" ({'; '.join(contents.damaged)})" if contents.damaged else ""
        raise ReportError(
            f"{folder}: no results of experiments{damaged}. Remedy: wbcq reproduce all --quick "
            f"--out {folder}"
        )
    contents.forms = _forms(contents)
    if "explain" in contents.experiments:
        for key in contents.experiments["explain"].record["units"]:
            if str(key).startswith("explain/"):
                contents.explained += _explained(contents, str(key))
    return contents


def _experiment(contents: Contents, name: str) -> Experiment | None:
    path = contents.folder / f"{name}.json"
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        rows = tuple(dict(row) for row in record["rows"])
        units, title = [str(key) for key in record["units"]], str(record["title"])
        views = [str(view["title"]) for view in record.get("views", ())]
        shown = {name: title, **{str(k): str(v) for k, v in record.get("figures", {}).items()}}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        contents.damaged.append(f"{path.name}: damaged ({type(error).__name__}: {error})")
        return None
    seen = dict.fromkeys(key for row in rows for key in row if not key.endswith(" sd"))
    # Only names: a path of somebody else's record must not bring other files into the page.
    files = [(told, contents.folder / f"{Path(stem).name}.png") for stem, told in shown.items()]
    return Experiment(
        name,
        title,
        tuple(views or seen),
        rows,
        {**record, "units": units},
        tuple((told, file) for told, file in files if file.exists()),
    )


def _result(contents: Contents, key: str) -> Mapping[str, Any] | None:
    """What a unit returned; None if it is gone or damaged, which is noted."""
    path = contents.folder / "units" / f"{key}.json"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))["result"]
        if not isinstance(result, dict):
            raise ValueError("its result is no record")
    except (OSError, ValueError, TypeError, KeyError) as error:
        contents.damaged.append(f"units/{key}.json: {type(error).__name__}: {error}")
        return None
    return result


# Forms of networks.


def _forms(contents: Contents) -> dict[str, list[Form]]:
    """Trainings and what was made of them, grouped over folds."""
    keys: dict[tuple[str, str, str], list[str]] = {}
    for experiment in contents.experiments.values():
        for key in experiment.record["units"]:
            place = _place(key)
            if place is not None and key not in keys.setdefault(place, []):
                keys[place].append(key)
    forms: dict[str, list[Form]] = {}
    modalities = {(arch, modality) for arch, modality, _ in keys if modality}
    for (arch, modality, method), group in keys.items():
        results = {key: result for key in group if (result := _result(contents, key)) is not None}
        label = _METHODS.get(method, method)
        if modality and sum(arch == other for other, _ in modalities) > 1:
            label += f", {modality}"
        form = _form(contents, arch, label, results)
        if form is not None:
            forms.setdefault(arch, []).append(form)
    order = list(_METHODS.values())
    for found in forms.values():  # trainings on several modalities come first
        found.sort(key=lambda form: order.index(form.label) if form.label in order else 0)
    return forms


def _place(key: str) -> tuple[str, str, str] | None:
    """Network, modality and method of a unit that judged a network."""
    match key.split("/"):
        case ["training", arch, modality, _]:
            return arch, modality, ""
        case ["quantization", arch, _, method]:
            return arch, "", method
        case _:
            return None


def _form(
    contents: Contents, arch: str, label: str, results: Mapping[str, Mapping[str, Any]]
) -> Form | None:
    matrices: list[npt.NDArray[np.int64]] = []
    accuracies: list[float] = []
    names: tuple[str, ...] = ()
    for key, result in results.items():
        try:
            matrix = np.array(result["confusion"], dtype=np.int64)
            names = tuple(str(name) for name in result["classes"])
            if matrix.shape != (len(names), len(names)):
                raise ValueError(f"a confusion matrix of {matrix.shape}")
            accuracies.append(float(result["accuracy"]))
            matrices.append(matrix)
        except (KeyError, TypeError, ValueError) as error:
            contents.damaged.append(f"units/{key}.json: {type(error).__name__}: {error}")
    if not matrices or len({matrix.shape for matrix in matrices}) > 1:
        return None
    confusion = np.sum(matrices, axis=0)
    share = _share_distinct(contents, tuple(results))
    recalls = tuple(_recalls(confusion, names, share))
    mean = float(np.mean(accuracies))
    return Form(arch, label, confusion, names, recalls, mean)


def _share_distinct(contents: Contents, keys: Sequence[str]) -> float:
    """How many different pictures there are for each answer.

    Where all folds are tested on one published test part, their answers are not independent, and
    an interval that counts each picture several times is too narrow.
    """
    names: list[str] = []
    for key in keys:
        path = contents.folder / "units" / f"{key}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                names += [str(name) for name in file["names"]]
        except Exception:  # numpy and zipfile raise many kinds for damaged files
            return 1 / len(keys)
    return len(set(names)) / len(names) if names else 1.0


def _recalls(
    confusion: npt.NDArray[np.int64], classes: Sequence[str], share: float
) -> Iterator[Recall]:
    from scipy.stats import binomtest

    for label, name in enumerate(classes):
        total, right = int(confusion[label].sum()), int(confusion[label, label])
        if not total:
            continue
        count = max(1, round(share * total))
        found = min(count, round(count * right / total))
        interval = binomtest(found, count).proportion_ci(0.95, method="wilson")
        yield Recall(name, right / total, float(interval.low), float(interval.high), count)


# Heat maps.


def _explained(contents: Contents, key: str) -> list[Explained]:
    result = _result(contents, key)
    if result is None:
        return []
    path = contents.folder / "units" / f"{key}.maps.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [np.asarray(file[name]) for name in ("pictures", "full", "integer")]
        count = {len(array) for array in arrays} | {len(result["samples"])}
        if len(count) > 1:
            raise ValueError("not one heat map per sample")
    except Exception as error:  # numpy and zipfile raise many kinds for damaged files
        contents.damaged.append(f"units/{key}.maps.npz: {type(error).__name__}: {error}")
        return []
    return [Explained(result, *arrays)]
