"""Synthetic fields of view of a smear: many red cells, platelets, several white cells, and boxes.

Each cell is drawn on a small window of its own and its optical density is added to the field's, so
that time and memory grow with the number of cells and of pixels, not with their product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wbcq.data.pictures import Picture
from wbcq.data.synthetic.cells import CLASSES, White, white_cell
from wbcq.data.synthetic.optics import BRIGHT_FIELD, Light, develop, expose, optical_density
from wbcq.data.synthetic.scene import add_platelet, add_red_cell
from wbcq.data.synthetic.shapes import Field, Grid, noise

__all__ = ["BLOOD", "OBJECTS", "PIXEL_UM", "Smear", "render_smear"]

OBJECTS = (*CLASSES, "red_cell", "platelet")
"""What :attr:`Smear.labels` index: the white cells' classes come first."""

BLOOD = (0.01, 0.03, 0.30, 0.06, 0.60)
"""Shares of the classes of white cells in healthy blood, about."""

PIXEL_UM = 0.125
"""Side of a pixel in micrometres, as a 40x objective on a usual camera has it."""

_WHITE_SPACING_UM2 = 3000.0
_WHITE_HALF_UM = 11.0
_RED_HALF_UM = 5.5
_PLATELET_HALF_UM = 3.0
_MOST_PIXELS = 1 << 25


@dataclass(frozen=True, eq=False)
class Smear:
    """One field of view and what is in it.

    Attributes:
        picture: uint8 [height, width, 3] for ``"stain"``, otherwise [height, width, 1].
        boxes: float32 [N, 4], x1 y1 x2 y2 in pixels: the extent of the pixels of which a cell
            covers at least half, so whole numbers; cut at the picture's border. Every cell whose
            middle is in the picture has one.
        labels: int64 [N], index :data:`OBJECTS`; white cells come first.
    """

    picture: Picture
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    @property
    def white(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Boxes and labels of the white cells alone."""
        chosen = self.labels < len(CLASSES)
        return self.boxes[chosen], self.labels[chosen]


def render_smear(
    width: int = 1024,
    height: int = 1024,
    *,
    seed: int = 0,
    index: int = 0,
    white: int | Sequence[tuple[int | str, float, float]] | None = None,
    shares: Sequence[float] = BLOOD,
    difficulty: float = 0.5,
    pixel_um: float = PIXEL_UM,
    modality: str = "stain",
) -> Smear:
    """Renders a field of view; the same arguments give the same pixels and boxes.

    Args:
        width: Pixels, 64 or more, 33 million in all at most.
        height: As ``width``.
        seed: Of the whole set of pictures.
        index: Number of the picture in the set.
        white: White cells: how many, or the class and the middle (x and y in pixels) of each, or
            None for a random number, one per 3000 square micrometres on average.
        shares: How frequent each of :data:`wbcq.data.synthetic.CLASSES` is among random cells.
        difficulty: 0 (typical cells, sharp) to 1 (classes overlap; blur, noise and stain vary).
        pixel_um: Side of a pixel in micrometres, 0.05 to 0.5.
        modality: ``"stain"`` or one of the bright-field lights.

    Raises:
        ValueError: An argument is out of range, or a given cell lies outside the picture.

    Example:
        >>> smear = render_smear(256, 192, white=[("monocyte", 100, 90)], seed=3)
        >>> smear.picture.shape, OBJECTS[smear.labels[0]]
        ((192, 256, 3), 'monocyte')
        >>> x1, y1, x2, y2 = smear.boxes[0]
        >>> bool(x1 < 100 < x2 and y1 < 90 < y2)
        True
    """
    _check(width, height, seed, index, difficulty, pixel_um, modality)
    kinds = _shares(shares)
    light_seed, white_seed, rest_seed, camera_seed = np.random.SeedSequence([seed, index]).spawn(4)
    light = Light.sample(np.random.default_rng(light_seed), difficulty)
    field = _Field(width, height, pixel_um, light, modality)
    rng = np.random.default_rng(white_seed)
    if white is None:
        white = int(rng.poisson(width * height * pixel_um**2 / _WHITE_SPACING_UM2))
    if isinstance(white, int):
        _scatter_white(rng, field, white, kinds, difficulty)
    else:
        _place_white(rng, field, white, difficulty)
    rng = np.random.default_rng(rest_seed)
    _scatter_red(rng, field)
    _scatter_platelets(rng, field)
    picture = expose(np.random.default_rng(camera_seed), field.developed(), light)
    boxes = np.array(field.boxes, dtype=np.float32).reshape(-1, 4)
    return Smear(picture, boxes, np.array(field.labels, dtype=np.int64))


class _Field:
    """A field of view that fills with cells."""

    def __init__(self, width: int, height: int, pixel: float, light: Light, modality: str) -> None:
        self.width, self.height, self.pixel = width, height, pixel
        self.light, self.modality = light, modality
        probe = {"pink": np.zeros((1, 1), np.float32)}
        channels = len(optical_density(probe, light, modality))
        self.densities = np.zeros((channels, height, width), np.float32)
        self.occupied = np.zeros((height, width), np.float32)
        self.discs = np.empty((0, 3))
        """Of white cells: middle and radius, micrometres."""
        self.boxes: list[tuple[int, int, int, int]] = []
        self.labels: list[int] = []

    def sees(self, x: float, y: float) -> bool:
        """Whether a point (micrometres from the upper left corner) is in the picture."""
        return 0 <= x < self.width * self.pixel and 0 <= y < self.height * self.pixel

    def grid(self, x: float, y: float, half: float) -> tuple[Grid, int, int]:
        """A window of whole pixels around a point, with it as origin, and its first pixel."""
        size = 2 * int(np.ceil(half / self.pixel))
        left = int(np.floor(x / self.pixel)) - size // 2
        top = int(np.floor(y / self.pixel)) - size // 2
        steps = np.arange(size, dtype=np.float64) + 0.5
        across = ((left + steps) * self.pixel - x).astype(np.float32)
        down = ((top + steps) * self.pixel - y).astype(np.float32)
        columns, rows = np.broadcast_arrays(across[None, :], down[:, None])
        return Grid(size, self.pixel, columns, rows), left, top

    def add(
        self, left: int, top: int, amounts: dict[str, Field], body: Field, label: int | None
    ) -> None:
        """Adds a cell; what is there already lies above it. Without a label it gets no box."""
        size = len(body)
        x1, x2 = max(left, 0), min(left + size, self.width)
        y1, y2 = max(top, 0), min(top + size, self.height)
        if x1 >= x2 or y1 >= y2:
            return
        inside = slice(y1 - top, y2 - top), slice(x1 - left, x2 - left)
        where = slice(y1, y2), slice(x1, x2)
        free = 1 - self.occupied[where]
        seen = {name: amount[inside] * free for name, amount in amounts.items()}
        for plane, added in zip(
            self.densities, optical_density(seen, self.light, self.modality), strict=True
        ):
            plane[where] += added
        covered = body[inside] >= 0.5
        if label is not None and covered.any():
            columns = np.flatnonzero(covered.any(axis=0))
            rows = np.flatnonzero(covered.any(axis=1))
            box = (x1 + columns[0], y1 + rows[0], x1 + columns[-1] + 1, y1 + rows[-1] + 1)
            self.boxes.append(box)
            self.labels.append(label)
        if label is not None and label < len(CLASSES):
            self.occupied[where] = np.maximum(self.occupied[where], body[inside])

    def overlap(self, x: float, y: float, radius: float, others: npt.NDArray[np.float64]) -> float:
        """The largest overlap with one of some discs, as a share of this disc's diameter."""
        if not len(others):
            return 0.0
        gaps = np.hypot(others[:, 0] - x, others[:, 1] - y) - others[:, 2] - radius
        return max(0.0, -float(gaps.min()) / (2 * radius))

    def developed(self) -> list[Field]:
        """What the camera sees of it."""
        slope_x, slope_y = self.light.slope
        across = np.linspace(-slope_x, slope_x, self.width, dtype=np.float32)
        down = np.linspace(-slope_y, slope_y, self.height, dtype=np.float32)
        illumination = 1 + across[None, :] + down[:, None]
        densities = list(self.densities)
        return develop(densities, illumination, self.pixel, self.light, self.modality)


def _add_white(
    rng: np.random.Generator, field: _Field, label: int, x: float, y: float, difficulty: float
) -> None:
    grid, left, top = field.grid(x, y, _WHITE_HALF_UM)
    cell: White = white_cell(rng, grid, label, difficulty)
    field.add(left, top, cell.amounts, cell.body, label)
    field.discs = np.vstack([field.discs, (x, y, cell.radius)])


def _place_white(
    rng: np.random.Generator,
    field: _Field,
    cells: Sequence[tuple[int | str, float, float]],
    difficulty: float,
) -> None:
    for kind, x, y in cells:
        label = CLASSES.index(kind) if kind in CLASSES else kind
        if not isinstance(label, int) or not 0 <= label < len(CLASSES):
            raise ValueError(
                f"white cell ({kind!r}, {x}, {y}): use a class of {', '.join(CLASSES)} or its index"
            )
        um_x, um_y = x * field.pixel, y * field.pixel
        if not field.sees(um_x, um_y):
            raise ValueError(
                f"white cell ({kind!r}, {x}, {y}) is outside the picture of {field.width}x"
                f"{field.height} pixels; its middle must be inside"
            )
        _add_white(rng, field, label, um_x, um_y, difficulty)


def _scatter_white(
    rng: np.random.Generator,
    field: _Field,
    count: int,
    shares: npt.NDArray[np.float64],
    difficulty: float,
) -> None:
    """Random cells that hardly overlap; fewer where there is no room."""
    for _ in range(count):
        label = int(rng.choice(len(CLASSES), p=shares))
        for _ in range(50):
            x = float(rng.uniform(0, field.width * field.pixel))
            y = float(rng.uniform(0, field.height * field.pixel))
            # Seven micrometres: a usual radius; the cell's own is known when it is drawn.
            if field.overlap(x, y, 7.0, field.discs) <= 0.05:
                _add_white(rng, field, label, x, y, difficulty)
                break


def _scatter_red(rng: np.random.Generator, field: _Field) -> None:
    border = 4.0
    wide, high = (n * field.pixel + 2 * border for n in (field.width, field.height))
    # Thick and thin places of a smear.
    tries = int(float(rng.uniform(0.3, 1.1)) * wide * high / 40)
    placed = np.empty((tries, 3))
    count = 0
    for _ in range(tries):
        x, y = float(rng.uniform(0, wide)) - border, float(rng.uniform(0, high)) - border
        radius = float(np.clip(rng.normal(3.5, 0.25), 2.8, 4.2))
        if (
            field.overlap(x, y, radius, field.discs) > 0.12
            or field.overlap(x, y, radius, placed[:count]) > 0.2
        ):
            continue
        placed[count] = x, y, radius
        count += 1
        grid, left, top = field.grid(x, y, _RED_HALF_UM)
        amount = np.zeros_like(grid.x)
        add_red_cell(rng, grid, amount, noise(rng, grid, 3.0), 0.0, 0.0, radius)
        # The pale centre belongs to the cell, which is convex: its extent is that of the rim.
        body = np.float32(1) * (amount > 0.15)
        label = OBJECTS.index("red_cell") if field.sees(x, y) else None
        field.add(left, top, {"haemoglobin": amount}, body, label)


def _scatter_platelets(rng: np.random.Generator, field: _Field) -> None:
    area = field.width * field.height * field.pixel**2
    for _ in range(int(rng.poisson(area / 1400))):
        x = float(rng.uniform(0, field.width * field.pixel))
        y = float(rng.uniform(0, field.height * field.pixel))
        if field.overlap(x, y, 1.2, field.discs) > 0.05:
            continue
        grid, left, top = field.grid(x, y, _PLATELET_HALF_UM)
        amount = np.zeros_like(grid.x)
        add_platelet(rng, grid, amount, noise(rng, grid, 3.0), 0.0, 0.0)
        amounts = {"blue": np.float32(0.25) * amount, "dark": np.float32(0.45) * amount}
        field.add(left, top, amounts, np.float32(1) * (amount > 0.1), OBJECTS.index("platelet"))


def _shares(shares: Sequence[float]) -> npt.NDArray[np.float64]:
    found = np.asarray(shares, dtype=np.float64)
    if found.shape != (len(CLASSES),) or not (found >= 0).all() or not found.sum() > 0:
        raise ValueError(
            f"shares is {list(shares)}; pass one number of at least 0 for each of "
            f"{', '.join(CLASSES)}"
        )
    scaled: npt.NDArray[np.float64] = found / found.sum()
    return scaled


def _check(
    width: int,
    height: int,
    seed: int,
    index: int,
    difficulty: float,
    pixel_um: float,
    modality: str,
) -> None:
    if min(width, height) < 64 or width * height > _MOST_PIXELS:
        raise ValueError(
            f"the picture is {width}x{height} pixels; use at least 64 along each side and "
            f"{_MOST_PIXELS} in all at most"
        )
    for name, value in (("seed", seed), ("index", index)):
        if value < 0:
            raise ValueError(f"{name} is {value}; use 0 or more")
    if not 0 <= difficulty <= 1:
        raise ValueError(f"difficulty is {difficulty}; use 0 to 1")
    if not 0.05 <= pixel_um <= 0.5:
        raise ValueError(f"pixel_um is {pixel_um}; use 0.05 to 0.5")
    if modality not in BRIGHT_FIELD:
        raise ValueError(f"modality is {modality!r}; use one of {', '.join(BRIGHT_FIELD)}")
