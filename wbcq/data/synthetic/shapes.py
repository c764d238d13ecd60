"""Shapes as signed distances (micrometres, negative inside) and smooth noise, on a pixel grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "Field",
    "Grid",
    "coverage",
    "ellipse",
    "noise",
    "smooth_subtract",
    "smooth_union",
    "smoothstep",
    "tapered",
]

Field: TypeAlias = npt.NDArray[np.float32]
"""float32, one value per pixel."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Pixel centres of a square field of view in micrometres; the origin is its middle.

    Attributes:
        size: Pixels along each side.
        pixel: Side of a pixel in micrometres.
        x, y: float32 [size, size]; y grows downwards.
    """

    size: int
    pixel: float
    x: Field
    y: Field

    @staticmethod
    def square(size: int, field_um: float) -> Grid:
        """A grid of ``size`` x ``size`` pixels over ``field_um`` micrometres."""
        axis = ((np.arange(size, dtype=np.float32) + 0.5) / size - 0.5) * np.float32(field_um)
        x, y = np.broadcast_arrays(axis[None, :], axis[:, None])
        return Grid(size, field_um / size, x, y)

    def window(self, cx: float, cy: float, radius: float) -> tuple[slice, slice] | None:
        """Rows and columns within ``radius`` of a point, or None if none are in view."""
        half = self.size / 2

        def span(centre: float) -> slice:
            low = int(np.floor((centre - radius) / self.pixel + half))
            high = int(np.ceil((centre + radius) / self.pixel + half))
            return slice(max(low, 0), min(high, self.size))

        rows, columns = span(cy), span(cx)
        empty = rows.start >= rows.stop or columns.start >= columns.stop
        return None if empty else (rows, columns)

    def crop(self, window: tuple[slice, slice], cx: float, cy: float) -> Grid:
        """The part of the grid in ``window``, with ``(cx, cy)`` as its origin."""
        return Grid(self.size, self.pixel, self.x[window] - cx, self.y[window] - cy)


def coverage(distance: Field, pixel: float) -> Field:
    """Share of each pixel that lies inside a shape (an antialiased edge), 0..1."""
    share: Field = np.clip(0.5 - distance / np.float32(pixel), 0, 1)
    return share


def smoothstep(low: float, high: float, value: Field) -> Field:
    """0 below ``low``, 1 above ``high``, with a smooth step between."""
    t: Field = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return t * t * (3 - 2 * t)


def ellipse(
    x: Field, y: Field, cx: float, cy: float, a: float, b: float, angle: float = 0.0
) -> Field:
    """Signed distance (exact on the outline, close near it) to an ellipse with half axes a, b."""
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    dx, dy = x - np.float32(cx), y - np.float32(cy)
    u, v = (c * dx + s * dy) / np.float32(a), (c * dy - s * dx) / np.float32(b)
    radius = np.sqrt(u * u + v * v)
    # Divided by the length of the gradient, so that thin and round ellipses have equal edges.
    slope = np.sqrt((u / np.float32(a)) ** 2 + (v / np.float32(b)) ** 2)
    distance: Field = radius * (radius - 1) / np.maximum(slope, np.float32(1e-4))
    return distance


def tapered(
    x: Field,
    y: Field,
    start: tuple[float, float],
    end: tuple[float, float],
    r_start: float,
    r_end: float,
) -> Field:
    """Signed distance to a rod whose radius changes linearly from one end to the other."""
    ax, ay = np.float32(end[0] - start[0]), np.float32(end[1] - start[1])
    dx, dy = x - np.float32(start[0]), y - np.float32(start[1])
    t = np.clip((dx * ax + dy * ay) / max(float(ax * ax + ay * ay), 1e-6), 0, 1)
    radius = np.float32(r_start) + t * np.float32(r_end - r_start)
    gap: Field = np.hypot(dx - t * ax, dy - t * ay) - radius
    return gap


def smooth_union(first: Field, second: Field, blend: float) -> Field:
    """Union of two shapes whose seam is rounded over about ``blend`` micrometres."""
    h = np.maximum(np.float32(blend) - np.abs(first - second), 0) / np.float32(blend)
    joined: Field = np.minimum(first, second) - h * h * np.float32(blend / 4)
    return joined


def smooth_subtract(body: Field, hole: Field, blend: float) -> Field:
    """What is left of ``body`` outside ``hole``, with a rounded rim."""
    return -smooth_union(-body, hole, blend)


def noise(rng: np.random.Generator, grid: Grid, wavelength: float) -> Field:
    """Smooth Gaussian noise of mean 0, variance 1 and a period of about ``wavelength`` um.

    A cubic B-spline surface over random control points. Its cost does not depend on the
    wavelength, and without BLAS the result is the same with any number of threads.
    """
    cells = max(2, round(2 * grid.size * grid.pixel / wavelength))
    first, weights = _spline(grid.size, cells)
    control = rng.standard_normal((cells + 3, cells + 3), dtype=np.float32)
    rows = weights[0][:, None] * control[first]
    for k in range(1, 4):
        rows += weights[k][:, None] * control[first + k]
    surface: Field = weights[0] * rows[:, first]
    for k in range(1, 4):
        surface += weights[k] * rows[:, first + k]
    return surface


@lru_cache(maxsize=256)
def _spline(size: int, cells: int) -> tuple[npt.NDArray[np.intp], Field]:
    """Each pixel's first control point, and weights [4, size] that keep the noise's variance 1."""
    position = (np.arange(size) + 0.5) / size * cells
    first = np.minimum(position.astype(np.intp), cells - 1)
    t = position - first
    weights = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    )
    weights /= np.sqrt((weights**2).sum(axis=0))
    single = weights.astype(np.float32)
    for array in (first, single):
        array.setflags(write=False)
    return first, single
