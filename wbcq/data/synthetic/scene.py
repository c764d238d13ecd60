"""A field of view: one white cell in the middle, red cells and platelets around it."""

from __future__ import annotations

import numpy as np

from wbcq.data.synthetic.cells import CLASSES, White, white_cell
from wbcq.data.synthetic.shapes import Field, Grid, coverage, ellipse, noise, smoothstep

__all__ = ["add_platelet", "add_red_cell", "specimen"]


def specimen(
    rng: np.random.Generator, grid: Grid, label: int, difficulty: float
) -> dict[str, Field]:
    """Amount of each substance in view.

    Args:
        rng: Source of all variation.
        grid: Field of view in micrometres; about 26 holds a cell and its neighbours.
        label: Class of the white cell in the middle.
        difficulty: 0 to 1, see :func:`wbcq.data.synthetic.cells.white_cell`.
    """
    off = 0.5 + 1.5 * difficulty
    cx, cy = (float(v) for v in rng.uniform(-off, off, 2))
    centred = Grid(grid.size, grid.pixel, grid.x - np.float32(cx), grid.y - np.float32(cy))
    cell = white_cell(rng, centred, label, difficulty)
    amounts = dict(cell.amounts)
    occupied = cell.body
    reserved = [(cx, cy, cell.radius)]
    if rng.random() < 0.12 * difficulty:
        occupied = _add_second_white(rng, grid, amounts, occupied, reserved, difficulty)
    haemoglobin, platelets = _red_cells_and_platelets(rng, grid, reserved)
    free = 1 - occupied
    amounts["haemoglobin"] = haemoglobin * free
    for substance, share in (("blue", 0.25), ("dark", 0.45)):
        amounts[substance] = (
            amounts.get(substance, np.zeros_like(grid.x)) + np.float32(share) * platelets * free
        )
    return amounts


def _add_second_white(
    rng: np.random.Generator,
    grid: Grid,
    amounts: dict[str, Field],
    occupied: Field,
    reserved: list[tuple[float, float, float]],
    difficulty: float,
) -> Field:
    """Adds a cell that reaches into the field from outside: often a neutrophil, as in blood."""
    first_x, first_y, first_radius = reserved[0]
    angle = float(rng.uniform(0, 2 * np.pi))
    far = first_radius + float(rng.uniform(6.5, 9.0))
    cx, cy = first_x + far * np.cos(angle), first_y + far * np.sin(angle)
    shifted = Grid(grid.size, grid.pixel, grid.x - np.float32(cx), grid.y - np.float32(cy))
    label = CLASSES.index("neutrophil" if rng.random() < 0.7 else "lymphocyte")
    other: White = white_cell(rng, shifted, label, difficulty)
    free = 1 - occupied
    for substance, amount in other.amounts.items():
        amounts[substance] = amounts.get(substance, np.zeros_like(free)) + amount * free
    reserved.append((float(cx), float(cy), other.radius))
    return np.maximum(occupied, other.body)


def _red_cells_and_platelets(
    rng: np.random.Generator, grid: Grid, reserved: list[tuple[float, float, float]]
) -> tuple[Field, Field]:
    haemoglobin = np.zeros_like(grid.x)
    platelets = np.zeros_like(grid.x)
    reach = grid.size * grid.pixel / 2 + 3.0
    crowding = float(rng.uniform(0.25, 1.0))
    tries = int(crowding * (2 * reach) ** 2 / 40)
    texture = noise(rng, grid, 3.0)
    placed: list[tuple[float, float, float]] = []
    for _ in range(tries):
        cx, cy = (float(v) for v in rng.uniform(-reach, reach, 2))
        radius = float(np.clip(rng.normal(3.5, 0.25), 2.8, 4.2))
        if _overlap(cx, cy, radius, reserved) > 0.15 or _overlap(cx, cy, radius, placed) > 0.22:
            continue
        placed.append((cx, cy, radius))
        add_red_cell(rng, grid, haemoglobin, texture, cx, cy, radius)
    for _ in range(int(rng.poisson(0.5))):
        cx, cy = (float(v) for v in rng.uniform(-reach, reach, 2))
        if _overlap(cx, cy, 1.2, reserved) < 0.05:
            add_platelet(rng, grid, platelets, texture, cx, cy)
    return haemoglobin, platelets


def _overlap(
    cx: float, cy: float, radius: float, others: list[tuple[float, float, float]]
) -> float:
    """Largest overlap with a disc among ``others``, as a share of this disc's diameter."""
    gaps = [np.hypot(cx - x, cy - y) - r - radius for x, y, r in others]
    return max((-float(gap) / (2 * radius) for gap in gaps), default=0.0)


def add_red_cell(
    rng: np.random.Generator,
    grid: Grid,
    target: Field,
    texture: Field,
    cx: float,
    cy: float,
    radius: float,
) -> None:
    """Adds a red cell to ``target``, the amount of haemoglobin.

    Args:
        rng: Source of its shape.
        grid: Field of view.
        target: float32 [size, size], changed.
        texture: Noise of variance 1 that makes outlines uneven, as ``target``.
        cx: Its middle in micrometres; it may be out of view.
        cy: As ``cx``.
        radius: In micrometres.
    """
    # Drawn before the cell may turn out to be out of view: whether it is depends on the size in
    # pixels, and the rest of the scene must not.
    stretch, angle = np.sqrt(rng.uniform(1.0, 1.25)), float(rng.uniform(0, np.pi))
    # Biconcave: a pale centre whose width and depth vary; thickness falls off at the rim.
    pale = float(rng.uniform(0.35, 0.95)) if rng.random() < 0.85 else 0.1
    width = float(rng.uniform(0.35, 0.55)) * radius
    density = np.float32(rng.uniform(0.8, 1.2))
    window = grid.window(cx, cy, radius * 1.35)
    if window is None:
        return
    local = grid.crop(window, cx, cy)
    outline = ellipse(local.x, local.y, 0, 0, radius * stretch, radius / stretch, angle)
    outline = outline + np.float32(0.12) * texture[window]
    centre = 1 - smoothstep(-0.55 * width, 0.45 * width, outline + np.float32(radius - width))
    rim = np.clip(-outline / 0.9, 0, 1) ** 0.5
    thickness = coverage(outline, grid.pixel) * (0.35 + 0.65 * rim) * (1 - pale * centre)
    target[window] += thickness * density


def add_platelet(
    rng: np.random.Generator, grid: Grid, target: Field, texture: Field, cx: float, cy: float
) -> None:
    """Adds a platelet to ``target``, the amount of platelets; as :func:`add_red_cell`."""
    radius, angle = float(rng.uniform(0.8, 1.5)), float(rng.uniform(0, np.pi))
    window = grid.window(cx, cy, radius * 2)
    if window is None:
        return
    local = grid.crop(window, cx, cy)
    outline = ellipse(local.x, local.y, 0, 0, radius * 1.2, radius / 1.2, angle)
    inside = coverage(outline + np.float32(0.3) * texture[window], grid.pixel)
    target[window] += inside * np.clip(1 + 0.6 * texture[window], 0.2, 1.8)
