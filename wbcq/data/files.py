"""Sets of picture files; in the simplest case one folder per class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wbcq.data.pictures import DatasetError, Picture, to_tensor
from wbcq.data.transforms import Preprocess, read_picture

if TYPE_CHECKING:
    import torch

__all__ = ["FilePictures", "open_folder"]

PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True, eq=False)
class FilePictures:
    """Picture files below one folder, decoded when asked for.

    Attributes:
        root: The folder.
        files: For each picture the paths, relative to ``root`` with forward slashes, of its aligned
            views: one, or one for each modality.
        labels: int64 [N].
        classes: Class names.
        preprocess: Crop and size of every picture.
        groups: For each picture what it shares with others that must stay on the same side of a
            split (a smear, a patient); empty if nothing is known.
        origins: For each picture where it is listed, for messages; empty if it is in no list.
    """

    root: Path
    files: tuple[tuple[str, ...], ...]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    preprocess: Preprocess
    groups: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    @property
    def names(self) -> tuple[str, ...]:
        """The path of each picture's first view."""
        return tuple(views[0] for views in self.files)

    def picture(self, index: int) -> Picture:
        """uint8 [size, size, 3 V]: the channels of the V views follow one another.

        Raises:
            DatasetError: A file is missing or damaged; names it and where it is listed.
        """
        listed = f"{self.origins[index]}: " if self.origins else ""
        views = [
            self.preprocess(read_picture(self.root / name, listed + name))
            for name in self.files[index]
        ]
        return views[0] if len(views) == 1 else np.concatenate(views, axis=2)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return to_tensor(self.picture(index)), int(self.labels[index])

    def subset(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> FilePictures:
        """The pictures at ``indices``, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        files = tuple(self.files[i] for i in chosen)
        groups = tuple(self.groups[i] for i in chosen) if self.groups else ()
        origins = tuple(self.origins[i] for i in chosen) if self.origins else ()
        return replace(
            self, files=files, labels=self.labels[chosen], groups=groups, origins=origins
        )


def open_folder(root: str | Path, preprocess: Preprocess) -> FilePictures:
    """Opens a folder that holds one folder of pictures per class, in alphabetical order.

    Raises:
        DatasetError: Fewer than two class folders, or one without pictures.
    """
    root = Path(root)
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    names: list[str] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES)
        if not files:
            raise DatasetError(
                f"{folder}: no pictures ({', '.join(sorted(PICTURE_SUFFIXES))}); "
                "each folder is one class: add pictures or remove it"
            )
        names += [p.relative_to(root).as_posix() for p in files]
        labels += [label] * len(files)
    if len(folders) < 2:
        raise DatasetError(
            f"{root}: {len(folders)} class folders; put the pictures of each class into "
            "a folder with the class's name"
        )
    classes = tuple(folder.name for folder in folders)
    paths = tuple((name,) for name in names)
    return FilePictures(root, paths, np.asarray(labels, dtype=np.int64), classes, preprocess)
