"""Morphology of white blood cells: where each stained substance lies, class by class.

Proportions follow the usual haematology descriptions of a May-Gruenwald-Giemsa smear: five
classes that differ in size, nucleus shape, nucleus to cytoplasm ratio and granules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import numpy as np

from wbcq.data.synthetic.shapes import (
    Field,
    Grid,
    coverage,
    ellipse,
    noise,
    smooth_subtract,
    smooth_union,
    smoothstep,
    tapered,
)

__all__ = ["CLASSES", "SUBSTANCES", "White", "white_cell"]

CLASSES = ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil")

SUBSTANCES = ("chromatin", "blue", "pink", "eosin", "dark", "haemoglobin")
"""Chromatin; basophilic (RNA-rich) and acidophilic cytoplasm; eosinophil and basophil granules."""


@dataclass(frozen=True, eq=False)
class White:
    """One white cell, seen through its whole thickness.

    Attributes:
        body: Share of each pixel that the cell covers, 0..1.
        radius: Of the cell, micrometres.
        amounts: Optical thickness of each of its substances; 1 is typical where it is dense.
    """

    body: Field
    radius: float
    amounts: dict[str, Field]


@dataclass(frozen=True, eq=False)
class _Canvas:
    """The random source, the undistorted grid and one distorted like a soft cell."""

    rng: np.random.Generator
    grid: Grid
    x: Field
    y: Field
    hard: float

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def spread(self, mean: float, deviation: float) -> float:
        """A normal variable, cut at two deviations."""
        return mean + deviation * float(np.clip(self.rng.standard_normal(), -2, 2))

    def noise(self, wavelength: float) -> Field:
        return noise(self.rng, self.grid, wavelength)


def white_cell(rng: np.random.Generator, grid: Grid, label: int, difficulty: float) -> White:
    """Draws one white cell at the grid's origin.

    Args:
        rng: Source of all variation.
        grid: Field of view.
        label: Index into :data:`CLASSES`.
        difficulty: 0 (typical cells) to 1 (classes overlap in size, nucleus and granules).
    """
    soft = 0.35 + 0.25 * difficulty
    x = grid.x + np.float32(soft) * noise(rng, grid, 10.0)
    y = grid.y + np.float32(soft) * noise(rng, grid, 10.0)
    canvas = _Canvas(rng, grid, x, y, difficulty)
    return _DRAW[CLASSES[label]](canvas)


def _body(canvas: _Canvas, radius: float, elongation: float, ragged: float) -> Field:
    """Signed distance to a cell's outline."""
    angle = canvas.between(0, np.pi)
    stretch = float(np.sqrt(canvas.between(1, elongation)))
    outline = ellipse(canvas.x, canvas.y, 0, 0, radius * stretch, radius / stretch, angle)
    ragged_outline: Field = outline + np.float32(ragged) * canvas.noise(5.0)
    return ragged_outline


def _lobes(
    canvas: _Canvas, count: int, radius: float, reach: float, strand: float, blend: float
) -> Field:
    """Lobes along an arc, joined by strands; with thick strands, a band."""
    bend = canvas.between(0.5, 1.0) * (1 if canvas.chance(0.5) else -1) * np.pi / 2
    turn = canvas.between(0, 2 * np.pi)
    centres: list[tuple[float, float]] = []
    for i in range(count):
        along = 0.0 if count == 1 else 2 * i / (count - 1) - 1
        px, py = reach * np.sin(bend * along), reach * (np.cos(bend * along) - 0.55)
        px, py = px + canvas.spread(0, 0.2), py + canvas.spread(0, 0.2)
        c, s = np.cos(turn), np.sin(turn)
        centres.append((float(c * px - s * py), float(s * px + c * py)))
    shapes: list[Field] = []
    for i, (cx, cy) in enumerate(centres):
        size = radius * canvas.between(0.85, 1.15)
        squeeze = canvas.between(0.8, 1.2)
        # A lobe's long axis follows the chain.
        after = centres[min(i + 1, count - 1)]
        before = centres[max(i - 1, 0)]
        axis = np.arctan2(after[1] - before[1], after[0] - before[0])
        shapes.append(
            ellipse(canvas.x, canvas.y, cx, cy, size * squeeze, size / squeeze, float(axis))
        )
    shape = reduce(lambda one, other: smooth_union(one, other, blend), shapes)
    for start, end in pairwise(centres):
        link = tapered(canvas.x, canvas.y, start, end, strand, strand)
        shape = smooth_union(shape, link, 0.5)
    return shape


def _chromatin(canvas: _Canvas, shape: Field, density: float, clumps: float) -> Field:
    """Amount of chromatin: clumped, and denser along the nuclear membrane."""
    inside = coverage(shape, canvas.grid.pixel)
    texture = 0.65 * canvas.noise(1.8) + 0.75 * canvas.noise(0.9)
    rim = np.exp(-(((shape + np.float32(0.25)) / np.float32(0.35)) ** 2))
    amount = density * (0.92 + clumps * texture + 0.28 * rim)
    dense: Field = inside * np.clip(amount, 0.25, 1.6)
    return dense


def _inner(canvas: _Canvas, body: Field, edge: float = 0.3) -> Field:
    """1 inside the cell, fading over ``edge`` micrometres towards its outline."""
    return smoothstep(0.0, edge + canvas.grid.pixel, -body)


def _grains(canvas: _Canvas, size: float, share: float, sharpness: float = 0.5) -> Field:
    """Granules of about ``size`` micrometres that cover about ``share`` of the area, 0..1."""
    # Quantile of a unit normal, close enough: grains are where the noise is above it.
    level = float(np.sqrt(np.pi / 8) * np.log((1 - share) / share))
    return smoothstep(level - sharpness, level + sharpness, canvas.noise(size))


def _basophil(canvas: _Canvas) -> White:
    radius = canvas.spread(5.9, 0.5)
    body = _body(canvas, radius, 1.15, 0.12)
    lobes = int(canvas.rng.integers(2, 4))
    nucleus = _lobes(canvas, lobes, 0.50 * radius, 0.36 * radius, 0.30 * radius, 1.5)
    inside = coverage(body, canvas.grid.pixel)
    chromatin = _chromatin(canvas, nucleus, canvas.spread(0.72, 0.08), 0.18) * inside
    # Stain dissolves part of the granules of many basophils.
    share = canvas.between(0.60 - 0.52 * canvas.hard, 0.64)
    grains = _grains(canvas, 1.05, share, 0.5) * _inner(canvas, body, 0.1)
    strength = canvas.between(1.0 - 0.6 * canvas.hard, 1.1)
    dark = grains * strength * np.clip(0.75 + 0.35 * canvas.noise(3.0), 0.1, 1.3)
    dark = dark * (1 - 0.45 * coverage(nucleus, canvas.grid.pixel))
    pink = _inner(canvas, body) * canvas.spread(1.0, 0.25)
    return White(inside, radius, {"chromatin": chromatin, "dark": dark, "pink": pink})


def _eosinophil(canvas: _Canvas) -> White:
    radius = canvas.spread(6.5, 0.5)
    body = _body(canvas, radius, 1.25, 0.06)
    lobes = 2 if canvas.chance(0.8 - 0.2 * canvas.hard) else int(canvas.rng.choice([1, 3]))
    size = {1: 0.50, 2: 0.42, 3: 0.35}[lobes] * radius
    nucleus = _lobes(canvas, lobes, size, 0.42 * radius, canvas.between(0.3, 0.7), 0.6)
    inside = coverage(body, canvas.grid.pixel)
    covered = coverage(nucleus, canvas.grid.pixel)
    chromatin = _chromatin(canvas, nucleus, canvas.spread(0.86, 0.08), 0.24) * inside
    strength = canvas.between(1.0 - 0.92 * canvas.hard, 1.1)
    grains = _grains(canvas, 0.9, 0.55, 0.9)
    eosin = _inner(canvas, body) * (0.45 + 0.7 * grains) * strength
    eosin = eosin * np.clip(1 + 0.18 * canvas.noise(6.0), 0.3, 1.3) * (1 - 0.75 * covered)
    pink = _inner(canvas, body) * canvas.spread(0.6, 0.15)
    return White(inside, radius, {"chromatin": chromatin, "eosin": eosin, "pink": pink})


def _lymphocyte(canvas: _Canvas) -> White:
    large = canvas.chance(0.15 + 0.40 * canvas.hard)
    radius = canvas.spread(6.0 + 0.8 * canvas.hard, 0.5) if large else canvas.spread(4.8, 0.4)
    body = _body(canvas, radius, 1.2, 0.10)
    share = canvas.between(0.74 - 0.10 * canvas.hard, 0.84) if large else canvas.between(0.82, 0.95)
    room = radius * (1 - share)
    angle = canvas.between(0, 2 * np.pi)
    offset = room * canvas.between(0, 0.9)
    cx, cy = offset * np.cos(angle), offset * np.sin(angle)
    size, squeeze = radius * share, canvas.between(1, 1.12)
    nucleus = ellipse(
        canvas.x, canvas.y, cx, cy, size * squeeze, size / squeeze, canvas.between(0, np.pi)
    )
    if canvas.chance(0.15 + 0.35 * canvas.hard):
        nucleus = _notched(
            canvas,
            nucleus,
            (float(cx), float(cy)),
            size,
            canvas.between(0.2, 0.35 + 0.4 * canvas.hard),
        )
    inside = coverage(body, canvas.grid.pixel)
    chromatin = (
        _chromatin(canvas, nucleus, canvas.spread(0.90 - 0.08 * canvas.hard * large, 0.08), 0.20)
        * inside
    )
    blue = _inner(canvas, body) * canvas.spread(0.90 - 0.25 * large, 0.15)
    blue = blue * np.clip(1 + 0.15 * canvas.noise(2.0), 0.3, 1.6)
    return White(inside, radius, {"chromatin": chromatin, "blue": blue})


def _monocyte(canvas: _Canvas) -> White:
    radius = canvas.spread(7.8 - 0.9 * canvas.hard, 0.6)
    body = _body(canvas, radius, 1.45, 0.16)
    share = canvas.between(0.58, 0.70 + 0.08 * canvas.hard)
    size, squeeze = radius * share, canvas.between(1.0, 1.25)
    angle = canvas.between(0, 2 * np.pi)
    offset = radius * (1 - share) * canvas.between(0.1, 0.7)
    cx, cy = offset * np.cos(angle), offset * np.sin(angle)
    nucleus = ellipse(
        canvas.x, canvas.y, cx, cy, size * squeeze, size / squeeze, canvas.between(0, np.pi)
    )
    round_nucleus = canvas.chance(0.5 * canvas.hard)
    depth = canvas.between(0.1, 0.4) if round_nucleus else canvas.between(0.55, 1.05)
    nucleus = _notched(canvas, nucleus, (float(cx), float(cy)), size, depth)
    nucleus = nucleus + np.float32(0.3) * canvas.noise(4.0)
    inside = coverage(body, canvas.grid.pixel)
    chromatin = _chromatin(canvas, nucleus, canvas.spread(0.76, 0.07), 0.26) * inside
    blue = _inner(canvas, body, 0.6) * canvas.spread(0.52, 0.08 + 0.10 * canvas.hard)
    blue = blue * np.clip(1 + 0.18 * canvas.noise(1.2) + 0.15 * canvas.noise(4.0), 0.2, 1.8)
    if canvas.chance(0.45):
        holes = 1 - 0.7 * _grains(canvas, 2.4, 0.03, 0.3)
        blue = blue * holes
        chromatin = chromatin * (0.5 + 0.5 * holes)
    pink = _inner(canvas, body) * canvas.spread(0.35, 0.15)
    return White(inside, radius, {"chromatin": chromatin, "blue": blue, "pink": pink})


def _neutrophil(canvas: _Canvas) -> White:
    radius = canvas.spread(6.3, 0.5)
    body = _body(canvas, radius, 1.2, 0.08)
    if canvas.chance(0.15 + 0.45 * canvas.hard):  # a band: not yet segmented
        width = canvas.between(0.2, 0.26 + 0.12 * canvas.hard) * radius
        nucleus = _lobes(canvas, 5, width, 0.52 * radius, width * 0.95, 1.0)
    else:
        lobes = int(canvas.rng.choice([2, 3, 4, 5], p=[0.2, 0.4, 0.3, 0.1]))
        size = {2: 0.34, 3: 0.29, 4: 0.25, 5: 0.22}[lobes] * radius
        nucleus = _lobes(canvas, lobes, size, 0.58 * radius, canvas.between(0.18, 0.40), 0.3)
    inside = coverage(body, canvas.grid.pixel)
    chromatin = _chromatin(canvas, nucleus, canvas.spread(0.92, 0.08), 0.24) * inside
    # Toxic granulation: coarser, darker granules.
    strength = canvas.between(0.5, 0.7 + 1.3 * canvas.hard)
    grains = _grains(canvas, canvas.between(0.75, 0.8 + 0.3 * canvas.hard), 0.22, 0.7)
    pink = _inner(canvas, body) * canvas.spread(1.0, 0.15)
    pink = pink * (0.75 + 0.65 * strength * grains)
    haze = canvas.between(0.0, 0.5 * canvas.hard)
    blue = _inner(canvas, body) * (0.3 * strength * grains + haze)
    return White(inside, radius, {"chromatin": chromatin, "pink": pink, "blue": blue})


def _notched(
    canvas: _Canvas, nucleus: Field, centre: tuple[float, float], size: float, depth: float
) -> Field:
    """A nucleus with an indentation that reaches ``depth`` of the way to its centre."""
    angle = canvas.between(0, 2 * np.pi)
    width = size * canvas.between(0.28, 0.45)
    far = size * (1.55 - depth)
    hole = ellipse(
        canvas.x,
        canvas.y,
        centre[0] + far * float(np.cos(angle)),
        centre[1] + far * float(np.sin(angle)),
        size * 0.6,
        width,
        angle,
    )
    return smooth_subtract(nucleus, hole, 0.8)


_DRAW: dict[str, Callable[[_Canvas], White]] = {
    "basophil": _basophil,
    "eosinophil": _eosinophil,
    "lymphocyte": _lymphocyte,
    "monocyte": _monocyte,
    "neutrophil": _neutrophil,
}
