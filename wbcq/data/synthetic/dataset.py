"""Synthetic white blood cells as a dataset: balanced or not, reproducible, made on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wbcq.data.pictures import Picture, to_tensor
from wbcq.data.synthetic.cells import CLASSES
from wbcq.data.synthetic.optics import MODALITIES, Light, photograph
from wbcq.data.synthetic.scene import specimen
from wbcq.data.synthetic.shapes import Grid

if TYPE_CHECKING:
    import torch

__all__ = ["ALIGNED", "SyntheticWbc", "render_cell"]

ALIGNED = ("fluor", "green", "purple", "red")
"""The four aligned pictures of one cell, in the order in which multi-modal models take them."""

FIELD_UM = 26.0


def render_cell(
    label: int | str,
    *,
    size: int = 128,
    seed: int = 0,
    index: int = 0,
    difficulty: float = 0.5,
    modalities: Sequence[str] = ("stain",),
) -> dict[str, Picture]:
    """Renders one cell, in one or several aligned modalities.

    The cell depends on ``seed``, ``label``, ``index`` and ``difficulty`` alone: asking for more
    modalities, or for another size, shows the same cell.

    Args:
        label: Class name or index, see :data:`wbcq.data.synthetic.CLASSES`.
        size: Pixels along each side of a field of about 26 micrometres.
        seed: Of the whole data set.
        index: Number of the cell in its class.
        difficulty: 0 (typical cells, sharp) to 1 (classes overlap; blur, noise and stain vary).
        modalities: Of ``"stain"`` (RGB, like a Giemsa smear), ``"fluor"`` (nuclear fluorescence)
            and the bright-field lights ``"green"``, ``"purple"`` and ``"red"`` (grey).

    Returns:
        uint8 [size, size, 3] for ``"stain"``, [size, size, 1] for the others.

    Raises:
        ValueError: Unknown class or modality, or a size, seed or difficulty out of range.

    Example:
        >>> pictures = render_cell("neutrophil", size=64, modalities=("stain", "fluor"))
        >>> pictures["stain"].shape, pictures["fluor"].shape
        ((64, 64, 3), (64, 64, 1))
    """
    label = _label(label)
    _check(size, seed, difficulty)
    if index < 0:
        raise ValueError(f"index is {index}; use 0 or more")
    for modality in modalities:
        if modality not in MODALITIES:
            raise ValueError(f"modality is {modality!r}; use one of {', '.join(MODALITIES)}")
    shape_seed, camera_seed = np.random.SeedSequence([seed, label, index]).spawn(2)
    rng = np.random.default_rng(shape_seed)
    field = FIELD_UM * float(rng.uniform(0.94, 1.06))
    light = Light.sample(rng, difficulty)
    grid = Grid.square(size, field)
    amounts = specimen(rng, grid, label, difficulty)
    cameras = dict(zip(MODALITIES, camera_seed.spawn(len(MODALITIES)), strict=True))
    return {
        modality: photograph(
            np.random.default_rng(cameras[modality]), grid, amounts, light, modality
        )
        for modality in modalities
    }


@dataclass(frozen=True, eq=False)
class SyntheticWbc:
    """Synthetic cells as a map-style dataset; a drop-in for ``torch.utils.data.Dataset``.

    Classes alternate, so that any part of the set holds all of them in about their proportions.

    Attributes:
        n_per_class: Cells of each class; one number, or one per class.
        size: Pixels along each side.
        seed: Cell k of a class is the same for every set with this seed.
        difficulty: 0 to 1, see :func:`render_cell`.
        modality: ``"stain"``, ``"fluor"``, ``"green"``, ``"purple"``, ``"red"``, or ``"all"`` for
            the aligned four of :data:`ALIGNED`.
        first: Number of the first cell of each class: sets of one seed whose ranges do not
            overlap share no cell.

    Example:
        >>> cells = SyntheticWbc(n_per_class=2, size=64)
        >>> len(cells), cells.picture(0).shape, cells.classes[int(cells.labels[4])]
        (10, (64, 64, 3), 'neutrophil')
    """

    n_per_class: int | Sequence[int]
    size: int = 128
    seed: int = 0
    difficulty: float = 0.5
    modality: str = "stain"
    first: int = 0

    def __post_init__(self) -> None:
        _check(self.size, self.seed, self.difficulty)
        if len(self._counts) != len(CLASSES) or min(self._counts) < 0 or sum(self._counts) == 0:
            raise ValueError(
                f"n_per_class is {self.n_per_class}; pass a positive number, or one count for "
                f"each of {', '.join(CLASSES)}"
            )
        if self.modality not in (*MODALITIES, "all"):
            raise ValueError(
                f"modality is {self.modality!r}; use one of {', '.join(MODALITIES)} or all"
            )
        if self.first < 0:
            raise ValueError(f"first is {self.first}; use 0 or more")

    @property
    def _counts(self) -> tuple[int, ...]:
        counts = self.n_per_class
        return (counts,) * len(CLASSES) if isinstance(counts, int) else tuple(counts)

    @cached_property
    def _cells(self) -> list[tuple[int, int]]:
        """(index, label) of every item. The k-th of n cells of a class stands at (k + 1/2) / n."""
        placed = [
            ((k + 0.5) / count, label, k)
            for label, count in enumerate(self._counts)
            for k in range(count)
        ]
        return [(self.first + k, label) for _, label, k in sorted(placed)]

    @property
    def items(self) -> list[tuple[int, int]]:
        """(label, number in its class) of every cell, as :func:`render_cell` takes them."""
        return [(label, number) for number, label in self._cells]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in alphabetical order."""
        return CLASSES

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """int64 [N]."""
        return np.array([label for _, label in self._cells], dtype=np.int64)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """For example ``monocyte/seed0-00012``."""
        return tuple(f"{CLASSES[label]}/seed{self.seed}-{k:05d}" for k, label in self._cells)

    def __len__(self) -> int:
        return sum(self._counts)

    def picture(self, index: int) -> Picture:
        """uint8 [size, size, 3]; grey pictures are repeated, ``"all"`` gives 12 channels."""
        cell, label = self._cells[index]
        wanted = ALIGNED if self.modality == "all" else (self.modality,)
        rendered = render_cell(
            label,
            size=self.size,
            seed=self.seed,
            index=cell,
            difficulty=self.difficulty,
            modalities=wanted,
        )
        planes = [rendered[name] for name in wanted]
        return np.concatenate(
            [np.broadcast_to(p, (self.size, self.size, 3)) for p in planes], axis=2
        )

    def __getitem__(self, index: int) -> tuple[torch.Tensor | tuple[torch.Tensor, ...], int]:
        """The picture, or a tuple of the aligned four, float32 [3, size, size], and its label."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is outside of a set of {len(self)} cells")
        pixels = to_tensor(self.picture(index))
        label = int(self.labels[index])
        if self.modality == "all":
            return tuple(pixels[k : k + 3] for k in range(0, len(pixels), 3)), label
        return pixels, label


def _label(label: int | str) -> int:
    if isinstance(label, str):
        if label not in CLASSES:
            raise ValueError(f"label is {label!r}; use one of {', '.join(CLASSES)}")
        return CLASSES.index(label)
    if not 0 <= label < len(CLASSES):
        raise ValueError(f"label is {label}; use 0 to {len(CLASSES) - 1}")
    return int(label)


def _check(size: int, seed: int, difficulty: float) -> None:
    if not 16 <= size <= 2048:
        raise ValueError(f"size is {size} pixels; use 16 to 2048")
    if seed < 0:
        raise ValueError(f"seed is {seed}; use 0 or more")
    if not 0 <= difficulty <= 1:
        raise ValueError(f"difficulty is {difficulty}; use 0 to 1")
