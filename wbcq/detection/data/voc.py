"""Boxes in the XML files of Pascal VOC (Everingham et al. 2010)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from wbcq.data.pictures import DatasetError
from wbcq.detection.data.base import Box

__all__ = ["VocFile", "read_voc"]

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class VocFile:
    """One file's content.

    Attributes:
        width: Of the picture in pixels.
        height: Of the picture in pixels.
        boxes: Unchecked.
    """

    width: int
    height: int
    boxes: tuple[Box, ...]


@dataclass
class _Object:
    line: int
    values: dict[str, str] = field(default_factory=dict)


class _Reader:
    """Keeps each object's line, which trees of elements forget."""

    def __init__(self) -> None:
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.path: list[str] = []
        self.objects: list[_Object] = []
        self.size: dict[str, str] = {}
        self._chunks: list[str] = []

    def _start(self, tag: str, _: dict[str, str]) -> None:
        self.path.append(tag)
        self._chunks = []
        if self.path[1:] == ["object"]:
            self.objects.append(_Object(self.parser.CurrentLineNumber))

    def _text(self, text: str) -> None:
        self._chunks.append(text)

    def _end(self, tag: str) -> None:
        where, value = self.path[1:], "".join(self._chunks).strip()
        if where[:1] == ["size"]:
            self.size[tag] = value
        elif where == ["object", "name"] or where[:2] == ["object", "bndbox"]:
            # Parts of an object have boxes of their own, deeper down.
            self.objects[-1].values.setdefault(tag, value)
        self.path.pop()


def read_voc(path: Path) -> VocFile:
    """Reads one file.

    Raises:
        DatasetError: It is missing, no XML, or lacks the size or a part of a box; names the line.
    """
    reader = _Reader()
    try:
        reader.parser.Parse(path.read_bytes(), True)
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file") from None
    except expat.ExpatError as error:
        raise DatasetError(f"{path}: no XML ({error})") from error
    try:
        width, height = int(reader.size["width"]), int(reader.size["height"])
    except (KeyError, ValueError):
        raise DatasetError(f"{path}: no <size> with a <width> and <height>") from None
    if width < 1 or height < 1:
        raise DatasetError(f"{path}: says that the picture has {width}x{height} pixels")
    return VocFile(width, height, tuple(_box(path, found) for found in reader.objects))


def _box(path: Path, found: _Object) -> Box:
    where = f"{path}:{found.line}"
    try:
        x1, y1, x2, y2 = (float(found.values[name]) for name in _CORNERS)
        return Box(where, found.values["name"], (x1, y1, x2, y2))
    except KeyError as error:
        raise DatasetError(f"{where}: the object has no <{error.args[0]}>") from None
    except ValueError as error:
        raise DatasetError(f"{where}: a corner of the box is no number ({error})") from None
