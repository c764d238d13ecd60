"""Boxes in a JSON file of COCO (Lin et al. 2014)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wbcq.data.pictures import DatasetError
from wbcq.detection.data.base import Box, FieldOfView, FieldSet, Problems, file_field

__all__ = ["is_coco", "read_coco"]


def is_coco(path: Path) -> bool:
    """Whether a JSON file looks like one of COCO's."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and {"images", "annotations", "categories"} <= record.keys()


def read_coco(path: Path, folders: Sequence[Path], problems: Problems) -> FieldSet:
    """Reads one file and finds its pictures.

    Groups (``iscrowd``) are no cells and are left out.

    Args:
        path: The JSON file.
        folders: Where pictures may lie; the first that has one is taken.
        problems: Told of labels that cannot be true.

    Raises:
        DatasetError: The file is no COCO file, names a picture that no folder has, or an annotation
            is malformed; names its id.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        names = {int(c["id"]): str(c["name"]) for c in record["categories"]}
        pictures = {int(p["id"]): p for p in record["images"]}
        annotations = list(record["annotations"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: no COCO file ({error!r})") from error
    used = {int(a["category_id"]) for a in annotations if "category_id" in a}
    # Some tools put a category on top of the others that no box has.
    classes = tuple(name for number, name in sorted(names.items()) if number in used)
    boxes: dict[int, list[Box]] = {number: [] for number in pictures}
    for position, annotation in enumerate(annotations):
        where = f"{path}: annotation {annotation.get('id', f'number {position}')}"
        box, picture = _box(where, annotation, names)
        if picture not in pictures:
            raise DatasetError(f"{where}: there is no picture {picture}")
        if not annotation.get("iscrowd"):
            boxes[picture].append(box)
    fields = [
        _field(path, picture, folders, boxes[number], classes, problems)
        for number, picture in pictures.items()
    ]
    return FieldSet(classes, tuple(fields))


def _box(where: str, annotation: Mapping[str, Any], names: Mapping[int, str]) -> tuple[Box, int]:
    try:
        x, y, width, height = (float(value) for value in annotation["bbox"])
        category, picture = int(annotation["category_id"]), int(annotation["image_id"])
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{where}: no bbox of four numbers, category_id and image_id ({error!r})"
        ) from error
    kind = names.get(category, f"category {category}")
    return Box(where, kind, (x, y, x + width, y + height)), picture


def _field(
    path: Path,
    picture: Mapping[str, Any],
    folders: Sequence[Path],
    boxes: Sequence[Box],
    classes: Sequence[str],
    problems: Problems,
) -> FieldOfView:
    try:
        name, size = str(picture["file_name"]), (int(picture["width"]), int(picture["height"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: a picture has no file_name and size ({error!r})") from error
    folder = next((f for f in folders if (f / name).is_file()), None)
    if folder is None:
        listed = ", ".join(map(str, folders))
        raise DatasetError(f"{path}: its picture {name} is in none of {listed}")
    return file_field(folder / name, folder, size, *problems.checked(boxes, classes, *size))
