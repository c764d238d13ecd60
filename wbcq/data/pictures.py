"""Sets of labelled pictures: the interface, and the one that lives in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.errors import WbcqError

if TYPE_CHECKING:
    import torch

__all__ = ["ArrayPictures", "DatasetError", "Picture", "PictureSet", "Progress", "preload"]

Picture: TypeAlias = npt.NDArray[np.uint8]
"""uint8 [H, W, C], C is 1 or 3 (RGB)."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of pictures done and their total."""


class DatasetError(WbcqError, ValueError):
    """A data set cannot be used; the message names the file or folder and the remedy."""


class PictureSet(Protocol):
    """Labelled pictures in a fixed order; a map-style dataset for torch's ``DataLoader``."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; label k is ``classes[k]``."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """int64 [N]."""

    @property
    def names(self) -> Sequence[str]:
        """One unique name per picture (for a folder, the path relative to it)."""

    def __len__(self) -> int: ...
    def picture(self, index: int) -> Picture:
        """The picture as uint8 [H, W, C]."""

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """The picture as float32 [C, H, W] in 0..1 (or a tuple of aligned ones), and its label."""


def to_tensor(picture: Picture) -> torch.Tensor:
    """A uint8 [H, W, C] picture as a float32 [C, H, W] tensor in 0..1."""
    import torch

    chw = np.ascontiguousarray(picture.transpose(2, 0, 1))
    return torch.from_numpy(chw).to(torch.float32).div_(255)


@dataclass(frozen=True, eq=False)
class ArrayPictures:
    """Pictures of one size in one array.

    Attributes:
        pixels: uint8 [N, H, W, C].
        labels: int64 [N], values index ``classes``.
        classes: Class names.
        names: N names.

    Example:
        >>> import numpy as np
        >>> pictures = ArrayPictures(
        ...     np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1]), ("a", "b"), ("x.png", "y.png")
        ... )
        >>> len(pictures), pictures.picture(0).shape
        (2, (8, 8, 3))
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        count = len(self.pixels)
        if self.pixels.ndim != 4 or self.pixels.dtype != np.uint8:
            raise DatasetError(
                f"pixels are {self.pixels.dtype} {self.pixels.shape}; pass uint8 [N, H, W, C]"
            )
        if len(self.labels) != count or len(self.names) != count:
            raise DatasetError(
                f"{count} pictures, {len(self.labels)} labels and {len(self.names)} names; "
                "pass one label and one name for each picture"
            )
        if count and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise DatasetError(
                f"labels span {self.labels.min()}..{self.labels.max()} but there are "
                f"{len(self.classes)} classes; labels index classes from 0"
            )

    def __len__(self) -> int:
        return len(self.pixels)

    def picture(self, index: int) -> Picture:
        """The picture as uint8 [H, W, C]; a view, do not write to it."""
        view: Picture = self.pixels[index]
        return view

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return to_tensor(self.pixels[index]), int(self.labels[index])

    def subset(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> ArrayPictures:
        """The pictures at ``indices``, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return ArrayPictures(
            self.pixels[chosen],
            self.labels[chosen],
            self.classes,
            tuple(self.names[i] for i in chosen),
        )


def preload(
    pictures: PictureSet,
    *,
    on_corrupt: Literal["raise", "skip"] = "raise",
    progress: Progress | None = None,
) -> tuple[ArrayPictures, tuple[str, ...]]:
    """Decodes or renders every picture once.

    Args:
        pictures: A set whose pictures all have one shape.
        on_corrupt: ``"raise"`` names every unreadable picture in one error; ``"skip"`` leaves
            them out and returns their messages.
        progress: Called after every picture.

    Returns:
        The pictures in memory, and a message for each picture that was left out.

    Raises:
        DatasetError: Unreadable pictures (with ``"raise"``), or none left.
    """
    loaded: list[Picture] = []
    kept: list[int] = []
    problems: list[str] = []
    for index in range(len(pictures)):
        try:
            loaded.append(pictures.picture(index))
            kept.append(index)
        except DatasetError as error:
            problems.append(str(error))
        if progress is not None:
            progress(index + 1, len(pictures))
    if problems and on_corrupt == "raise":
        raise DatasetError(
            f"{len(problems)} of {len(pictures)} pictures cannot be read: {_shorten(problems)}. "
            "Replace or remove them"
        )
    if not loaded:
        raise DatasetError(f"no readable picture: {_shorten(problems) or 'the set is empty'}")
    in_memory = ArrayPictures(
        np.stack(loaded),
        pictures.labels[np.asarray(kept)],
        pictures.classes,
        tuple(pictures.names[i] for i in kept),
    )
    return in_memory, tuple(problems)


def _shorten(messages: Sequence[str], limit: int = 10) -> str:
    listed = "; ".join(messages[:limit])
    return listed if len(messages) <= limit else f"{listed}; and {len(messages) - limit} more"
