"""How a specimen looks: light absorption by each substance, focus, illumination and the camera.

Bright-field pictures follow the Beer-Lambert law: optical densities of substances add, each with
its own absorption at each wavelength. The fluorescence picture is light emitted by a nucleic acid
stain on a dark background.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wbcq.data.pictures import Picture
from wbcq.data.synthetic.shapes import Field, Grid, noise

__all__ = [
    "BRIGHT_FIELD",
    "MODALITIES",
    "Light",
    "develop",
    "expose",
    "optical_density",
    "photograph",
]

MODALITIES = ("stain", "fluor", "green", "purple", "red")

BRIGHT_FIELD = ("stain", "green", "purple", "red")
"""Those whose light passes through the specimen."""

# Optical density of amount 1. "stain": red, green and blue channels of a Giemsa smear under white
# light. Single lights: eosin absorbs green, haemoglobin purple (its Soret band), azure dyes red.
_ABSORPTION: dict[str, dict[str, tuple[float, ...]]] = {
    "stain": {
        "chromatin": (1.14, 2.05, 0.50),
        "blue": (0.72, 0.82, 0.27),
        "pink": (0.18, 0.30, 0.17),
        "eosin": (0.18, 0.62, 0.50),
        "dark": (1.05, 1.95, 0.52),
        "haemoglobin": (0.22, 0.34, 0.22),
    },
    "green": {
        "chromatin": (1.65,),
        "blue": (0.62,),
        "pink": (0.32,),
        "eosin": (0.85,),
        "dark": (1.60,),
        "haemoglobin": (0.34,),
    },
    "purple": {
        "chromatin": (0.95,),
        "blue": (0.42,),
        "pink": (0.22,),
        "eosin": (0.34,),
        "dark": (1.00,),
        "haemoglobin": (1.25,),
    },
    "red": {
        "chromatin": (1.35,),
        "blue": (0.70,),
        "pink": (0.10,),
        "eosin": (0.08,),
        "dark": (1.30,),
        "haemoglobin": (0.05,),
    },
}

_EMISSION = {"chromatin": 0.62, "blue": 0.16, "pink": 0.03, "eosin": 0.10, "dark": 0.05}

_BACKGROUND = {"stain": (1.0, 0.905, 0.80), "green": (0.86,), "purple": (0.82,), "red": (0.88,)}


_ROWS = 256


@dataclass(frozen=True)
class Light:
    """What one photograph shares over its modalities.

    Attributes:
        defocus: Standard deviation of the blur in micrometres.
        noise: Standard deviation of the camera's noise at full brightness, 0..1.
        azure, eosin: Strength of the two dyes, 1 is typical.
        tint: Relative gain of the red, green and blue channels.
        slope: Change of illumination across the field, along x and y.
        exposure: 1 is typical.
    """

    defocus: float
    noise: float
    azure: float
    eosin: float
    tint: tuple[float, float, float]
    slope: tuple[float, float]
    exposure: float

    @staticmethod
    def sample(rng: np.random.Generator, difficulty: float) -> Light:
        """Draws a photograph's conditions; they get worse with ``difficulty``."""
        vary = 0.4 + 0.8 * difficulty

        def around_one(deviation: float) -> float:
            return float(np.exp(np.clip(rng.standard_normal(), -2, 2) * deviation * vary))

        return Light(
            defocus=float(rng.uniform(0.08, 0.12 + 0.75 * difficulty)),
            noise=float(rng.uniform(0.004, 0.010 + 0.035 * difficulty)),
            azure=around_one(0.18),
            eosin=around_one(0.25),
            tint=(around_one(0.02), around_one(0.02), around_one(0.04)),
            slope=(float(rng.normal(0, 0.04 * vary)), float(rng.normal(0, 0.04 * vary))),
            exposure=float(rng.uniform(1 - 0.08 * vary, 1.0)),
        )


def photograph(
    rng: np.random.Generator,
    grid: Grid,
    amounts: Mapping[str, Field],
    light: Light,
    modality: str,
) -> Picture:
    """One picture of a specimen.

    Args:
        rng: Source of the camera's noise.
        grid: Field of view.
        amounts: Optical thickness of each substance.
        light: Conditions of the photograph.
        modality: One of :data:`MODALITIES`.

    Returns:
        uint8 [size, size, 3] for ``"stain"``, [size, size, 1] for the others.
    """
    if modality == "fluor":
        planes = [_emitted(rng, grid, amounts, light)]
    else:
        planes = _transmitted(grid, amounts, light, modality)
    return expose(rng, planes, light)


def optical_density(amounts: Mapping[str, Field], light: Light, modality: str) -> list[Field]:
    """How strongly a specimen absorbs, float32 [height, width] for each channel of a modality.

    Densities of things that lie upon each other add.

    Args:
        amounts: Optical thickness of each substance, of one shape; not empty.
        light: Conditions of the photograph, among them the strength of the dyes.
        modality: One of :data:`BRIGHT_FIELD`.
    """
    first = next(iter(amounts.values()))
    planes: list[Field] = []
    for channel in range(len(_BACKGROUND[modality])):
        density = np.zeros_like(first)
        for substance, amount in amounts.items():
            dye = light.eosin if substance in ("pink", "eosin", "haemoglobin") else light.azure
            density += np.float32(_ABSORPTION[modality][substance][channel] * dye) * amount
        planes.append(density)
    return planes


def develop(
    densities: Sequence[Field], illumination: Field, pixel: float, light: Light, modality: str
) -> list[Field]:
    """What the lens makes of what has passed, float32 [height, width] for each channel.

    Args:
        densities: Of :func:`optical_density`.
        illumination: Light at each pixel, about 1.
        pixel: Side of a pixel in micrometres.
        light: Conditions of the photograph.
        modality: One of :data:`BRIGHT_FIELD`.
    """
    from scipy import ndimage

    tint = light.tint if modality == "stain" else (1.0,)
    planes: list[Field] = []
    for density, bright, colour in zip(densities, _BACKGROUND[modality], tint, strict=True):
        passed = np.exp(-density)
        blurred = ndimage.gaussian_filter(passed, light.defocus / pixel, truncate=3.0)
        gain = bright * colour * light.exposure
        planes.append(np.float32(gain) * illumination * blurred)
    return planes


def expose(rng: np.random.Generator, planes: Sequence[Field], light: Light) -> Picture:
    """What the camera makes of it: noise and 8 bits; uint8 [height, width, channels]."""
    height, width = planes[0].shape
    picture = np.empty((height, width, len(planes)), np.uint8)
    for top in range(0, height, _ROWS):  # large fields would need gigabytes at once
        rows = slice(top, top + _ROWS)
        image = np.stack([plane[rows] for plane in planes], axis=-1)
        # Shot noise grows with the square root of the light, read noise does not.
        deviation = light.noise * np.sqrt(0.15 + np.clip(image, 0, 1))
        image += deviation * rng.standard_normal(image.shape, dtype=np.float32)
        picture[rows] = np.clip(image, 0, 1) * 255 + 0.5
    return picture


def _transmitted(
    grid: Grid, amounts: Mapping[str, Field], light: Light, modality: str
) -> list[Field]:
    slope_x, slope_y = light.slope
    extent = np.float32(grid.size * grid.pixel / 2)
    illumination = 1 + (np.float32(slope_x) * grid.x + np.float32(slope_y) * grid.y) / extent
    densities = optical_density(amounts, light, modality)
    return develop(densities, illumination, grid.pixel, light, modality)


def _emitted(
    rng: np.random.Generator, grid: Grid, amounts: Mapping[str, Field], light: Light
) -> Field:
    from scipy import ndimage

    glow = np.zeros_like(grid.x)
    for substance, amount in amounts.items():
        glow += np.float32(_EMISSION.get(substance, 0.0) * light.azure) * amount
    # Light from above and below the focal plane adds a wide halo.
    sharp = ndimage.gaussian_filter(glow, (0.2 + light.defocus) / grid.pixel, truncate=3.0)
    halo = ndimage.gaussian_filter(glow, 2.0 / grid.pixel, truncate=2.0)
    haze = np.float32(0.03) + np.float32(0.008) * noise(rng, grid, 12.0)
    seen: Field = np.float32(light.exposure) * (0.85 * sharp + 0.18 * halo) + haze
    return seen
