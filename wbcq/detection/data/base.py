"""Fields of view with boxes: the interface of every source, and what is wrong with a box."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.data.pictures import DatasetError, Picture
from wbcq.data.transforms import read_picture

__all__ = [
    "Box",
    "FieldOfView",
    "FieldSet",
    "FieldSets",
    "OnBad",
    "Problems",
    "file_field",
    "picture_size",
]

OnBad: TypeAlias = Literal["skip", "raise"]
"""What happens to a label that cannot be true: left out with a note, or an error."""

_SLACK = 1.5
"""Pixels that a box may reach beyond the picture: conventions of where a pixel ends differ."""


@dataclass(frozen=True)
class Box:
    """A label as a file has it, unchecked.

    Attributes:
        where: File and line, for messages.
        kind: Name of the class.
        corners: x1, y1, x2, y2 in pixels.
    """

    where: str
    kind: str
    corners: tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class FieldOfView:
    """A picture and its cells.

    Attributes:
        name: Unique in its set.
        width: Of the picture in pixels.
        height: Of the picture in pixels.
        boxes: float32 [N, 4]: x1, y1, x2, y2 in pixels, inside the picture.
        labels: int64 [N].
        read: Gives the picture, uint8 [height, width, 3].
    """

    name: str
    width: int
    height: int
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    read: Callable[[], Picture]


@dataclass(frozen=True, eq=False)
class FieldSet:
    """Fields of view over common classes.

    Attributes:
        classes: Names; label k is ``classes[k]``.
        fields: The pictures.
    """

    classes: tuple[str, ...]
    fields: tuple[FieldOfView, ...]

    def __len__(self) -> int:
        return len(self.fields)

    @property
    def counts(self) -> dict[str, int]:
        """Boxes of each class."""
        labels = [f.labels for f in self.fields] or [np.empty(0, np.int64)]
        found = np.bincount(np.concatenate(labels), minlength=len(self.classes))
        return dict(zip(self.classes, found.tolist(), strict=True))

    def subset(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> FieldSet:
        """The pictures at ``indices``, in that order."""
        return replace(self, fields=tuple(self.fields[int(k)] for k in indices))

    def with_classes(self, classes: Sequence[str]) -> FieldSet:
        """The same pictures with boxes of some classes only, numbered as they are named here.

        Raises:
            DatasetError: A class is not in the set.
        """
        own = {name.lower(): k for k, name in enumerate(self.classes)}
        missing = [name for name in classes if name.lower() not in own]
        if missing:
            raise DatasetError(
                f"no class {', '.join(missing)}; classes are {', '.join(self.classes)}"
            )
        number = np.full(len(self.classes), -1)
        for new, name in enumerate(classes):
            number[own[name.lower()]] = new
        fields = []
        for seen in self.fields:
            labels = number[seen.labels].astype(np.int64)
            kept = labels >= 0
            fields.append(replace(seen, boxes=seen.boxes[kept], labels=labels[kept]))
        return FieldSet(tuple(classes), tuple(fields))


@dataclass(frozen=True, eq=False)
class FieldSets:
    """The parts of a data set.

    Attributes:
        train, val, test: Disjoint, over the same classes; ``val`` chooses the epoch, ``test`` is
            only reported.
        description: Where they come from.
        notes: What was left out or decided.
    """

    train: FieldSet
    val: FieldSet
    test: FieldSet
    description: str
    notes: tuple[str, ...] = ()

    def with_classes(self, classes: Sequence[str]) -> FieldSets:
        """The same with some classes only, see :meth:`FieldSet.with_classes`."""
        train, val, test = (p.with_classes(classes) for p in (self.train, self.val, self.test))
        return replace(self, train=train, val=val, test=test)


@dataclass
class Problems:
    """What is wrong with labels: refused, or noted.

    Attributes:
        on_bad: Which of the two.
        notes: One for each label that was left out or changed.
    """

    on_bad: OnBad = "raise"
    notes: list[str] = field(default_factory=list)

    def add(self, message: str, consequence: str = "left out") -> None:
        """Notes a problem.

        Raises:
            DatasetError: ``on_bad`` is ``"raise"``.
        """
        if self.on_bad == "raise":
            raise DatasetError(f"{message}. Mend the label, or leave such labels out (skip)")
        self.notes.append(f"{message}: {consequence}")

    def checked(
        self, boxes: Sequence[Box], classes: Sequence[str], width: int, height: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Boxes float32 [N, 4] inside the picture, and labels int64 [N].

        Args:
            boxes: As read.
            classes: Names that a box may have, in any case.
            width: Of the picture.
            height: Of the picture.

        Raises:
            DatasetError: A class is unknown, a box has no area or reaches beyond the picture, and
                ``on_bad`` is ``"raise"``.
        """
        number = {name.lower(): k for k, name in enumerate(classes)}
        kept: list[tuple[float, float, float, float]] = []
        labels: list[int] = []
        for box in boxes:
            shown = "(" + ", ".join(f"{value:g}" for value in box.corners) + ")"
            if box.kind.lower() not in number:
                self.add(f"{box.where}: unknown class {box.kind!r}, known: {', '.join(classes)}")
                continue
            x1, y1, x2, y2 = box.corners
            if not all(math.isfinite(value) for value in box.corners) or x2 <= x1 or y2 <= y1:
                self.add(f"{box.where}: the {box.kind} box {shown} has no area")
                continue
            inside = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
            if max(-x1, -y1, x2 - width, y2 - height) > _SLACK:
                empty = inside[2] <= inside[0] or inside[3] <= inside[1]
                self.add(
                    f"{box.where}: the {box.kind} box {shown} reaches beyond the picture of "
                    f"{width}x{height} pixels",
                    "left out" if empty else "cut at the border",
                )
            if inside[2] > inside[0] and inside[3] > inside[1]:
                kept.append(inside)
                labels.append(number[box.kind.lower()])
        return np.array(kept, np.float32).reshape(-1, 4), np.array(labels, np.int64)


def file_field(
    path: Path,
    root: Path,
    size: tuple[int, int],
    boxes: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
) -> FieldOfView:
    """A picture file that is decoded when it is asked for; its name is relative to ``root``."""
    name = path.relative_to(root).as_posix()
    return FieldOfView(name, *size, boxes, labels, partial(_read, path, size))


def _read(path: Path, size: tuple[int, int]) -> Picture:
    picture = np.asarray(read_picture(path), dtype=np.uint8)
    if picture.shape[1::-1] != size:
        raise DatasetError(
            f"{path}: {picture.shape[1]}x{picture.shape[0]} pixels, its labels say "
            f"{size[0]}x{size[1]}"
        )
    return picture


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height without decoding; turned as the picture's orientation says.

    Raises:
        DatasetError: The file is missing or no picture.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            turned = opened.getexif().get(0x0112, 1) >= 5
            return (opened.height, opened.width) if turned else opened.size
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file") from None
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{path}: not a picture ({error})") from error
