"""Published collections of fields of view with white cells of the five classes."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from wbcq.data.pictures import DatasetError
from wbcq.data.synthetic import CLASSES
from wbcq.detection.data.base import Box, FieldOfView, FieldSet, Problems, file_field
from wbcq.detection.data.voc import read_voc
from wbcq.detection.data.yolo import read_yolo

__all__ = ["CHULA_CLASSES", "is_bccd", "is_chula", "read_bccd", "read_chula"]

CHULA_CLASSES = ("neutrophil", "eosinophil", "basophil", "lymphocyte", "monocyte")
"""What the numbers in Chula's label files mean."""

_TYPES = "wbc_types/labels.csv"


def is_bccd(root: Path) -> bool:
    """True for the layout that :func:`read_bccd` reads."""
    return (root / "BCCD/Annotations").is_dir() and (root / _TYPES).is_file()


def is_chula(root: Path) -> bool:
    """True for the layout that :func:`read_chula` reads."""
    return (root / "WBC_Samples/train/images").is_dir()


def read_bccd(root: Path, split: str, problems: Problems) -> FieldSet:
    """BCCD (Shenggan) with the types of its white cells (Banik et al.), a published split.

    Red cells and platelets are labelled incompletely and are left out. The types are known for each
    picture, not for each cell: a picture whose white cells may be of several types, or of none that
    is known, is left out with a note.

    Args:
        root: Holds ``BCCD`` and ``wbc_types``.
        split: ``"train"``, ``"val"`` or ``"test"``.
        problems: Told of labels that cannot be true.

    Raises:
        DatasetError: A file is missing or malformed.
    """
    types = _types(root / _TYPES)
    listing = root / f"BCCD/ImageSets/Main/{split}.txt"
    try:
        names = listing.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        raise DatasetError(f"{listing}: no such file") from None
    fields: list[FieldOfView] = []
    for name in names:
        record = read_voc(root / f"BCCD/Annotations/{name}.xml")
        boxes = _typed(name, record.boxes, types.get(name, ()), problems)
        if boxes is None:
            continue
        size = record.width, record.height
        path = root / f"BCCD/JPEGImages/{name}.jpg"
        checked = problems.checked(boxes, (*CLASSES, "RBC", "Platelets"), *size)
        white = checked[1] < len(CLASSES)
        fields.append(file_field(path, root, size, checked[0][white], checked[1][white]))
    return FieldSet(CLASSES, tuple(fields))


def _types(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return {
            f"BloodImage_{int(row['Image']):05d}": tuple(
                dict.fromkeys(p.strip().lower() for p in row["Category"].split(",") if p.strip())
            )
            for row in rows
        }
    except (OSError, KeyError, ValueError, AttributeError) as error:
        raise DatasetError(f"{path}: no table with Image and Category ({error!r})") from error


def _typed(
    name: str, boxes: tuple[Box, ...], types: tuple[str, ...], problems: Problems
) -> list[Box] | None:
    """Boxes with the white cells' type; None where it cannot be told."""
    if not any(box.kind == "WBC" for box in boxes):
        return list(boxes)
    if len(types) != 1 or types[0] not in CLASSES:
        told = f"the types {', '.join(types)}" if types else "no type"
        problems.notes.append(f"{name}: has white cells and {told}: picture left out")
        return None
    return [replace(box, kind=types[0]) if box.kind == "WBC" else box for box in boxes]


def read_chula(root: Path, split: str, problems: Problems) -> FieldSet:
    """WBC_Dataset of Chulalongkorn University, ``"train"`` or ``"valid"``: white cells only."""
    folder = root / "WBC_Samples" / split
    found = read_yolo(folder / "images", folder / "labels", CHULA_CLASSES, problems)
    return found.with_classes(CLASSES)
