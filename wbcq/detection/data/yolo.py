"""Boxes in text files of YOLO: a line ``class x y width height`` for each cell, as shares."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wbcq.data.files import PICTURE_SUFFIXES
from wbcq.data.pictures import DatasetError
from wbcq.detection.data.base import Box, FieldSet, Problems, file_field, picture_size

__all__ = ["class_names", "read_yolo"]


def class_names(root: Path) -> tuple[str, ...]:
    """Names from ``classes.txt``, ``obj.names`` or the ``names`` of ``data.yaml``.

    Raises:
        DatasetError: There is none of them, or it cannot be read.
    """
    for name in ("classes.txt", "obj.names"):
        if (root / name).is_file():
            lines = (root / name).read_text(encoding="utf-8").splitlines()
            return tuple(line.strip() for line in lines if line.strip())
    for path in sorted(root.glob("*.y*ml")):
        import yaml

        try:
            names = yaml.safe_load(path.read_text(encoding="utf-8")).get("names")
        except (yaml.YAMLError, AttributeError, UnicodeDecodeError) as error:
            raise DatasetError(f"{path}: not readable ({error})") from error
        if isinstance(names, dict):
            return tuple(str(names[key]) for key in sorted(names))
        if isinstance(names, list):
            return tuple(map(str, names))
    raise DatasetError(
        f"{root}: no classes.txt, obj.names or data.yaml names the classes; write a classes.txt "
        "with a name in each line"
    )


def read_yolo(images: Path, labels: Path, classes: Sequence[str], problems: Problems) -> FieldSet:
    """Reads a folder of pictures and its folder of text files.

    A picture without a text file has no cells; that is how negatives are given.

    Args:
        images: Pictures.
        labels: Text files with the pictures' names.
        classes: Names of the numbers in the files.
        problems: Told of labels that cannot be true.

    Raises:
        DatasetError: There are no pictures, or a line is malformed; names file and line.
    """
    files = sorted(p for p in images.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES)
    if not files:
        raise DatasetError(f"{images}: no pictures ({', '.join(sorted(PICTURE_SUFFIXES))})")
    fields = []
    for path in files:
        size = picture_size(path)
        text = (labels / path.relative_to(images)).with_suffix(".txt")
        found = _boxes(text, size, classes) if text.is_file() else []
        fields.append(file_field(path, images, size, *problems.checked(found, classes, *size)))
    return FieldSet(tuple(classes), tuple(fields))


def _boxes(path: Path, size: tuple[int, int], classes: Sequence[str]) -> list[Box]:
    boxes = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        parts = line.split()
        if not parts:
            continue
        where = f"{path}:{number}"
        try:
            kind = int(parts[0])
            x, y, width, height = (float(value) for value in parts[1:5])
        except ValueError:
            raise DatasetError(
                f"{where}: {line!r} is not a class number and x, y, width and height"
            ) from None
        name = classes[kind] if 0 <= kind < len(classes) else f"number {kind}"
        left, right = (x - width / 2) * size[0], (x + width / 2) * size[0]
        top, bottom = (y - height / 2) * size[1], (y + height / 2) * size[1]
        boxes.append(Box(where, name, (left, top, right, bottom)))
    return boxes
