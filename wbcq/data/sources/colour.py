"""A stand-in for four modalities where only colour pictures exist.

It exercises multi-modal models on public data; it is not what four lights and a fluorescent dye
would show. Green, purple and red light become the green, blue and red planes; fluorescence becomes
a map of the nucleus.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wbcq.data.sources.base import ALIGNED

__all__ = ["SIMULATED", "simulate_modality"]

SIMULATED = "fluor, green, purple and red are simulated from the colour picture"

_PLANES = {"green": 1, "purple": 2, "red": 0}
_PART = 256


def simulate_modality(pixels: npt.NDArray[np.uint8], modality: str) -> npt.NDArray[np.uint8]:
    """A modality of stained colour pictures.

    Args:
        pixels: uint8 [N, H, W, 3], RGB.
        modality: ``"stain"`` (unchanged), one of :data:`ALIGNED`, or ``"all"`` of them.

    Returns:
        uint8 [N, H, W, 3], three equal channels but for ``"stain"``; 12 channels for ``"all"``.

    Example:
        >>> import numpy as np
        >>> purple_nucleus = np.array([82, 30, 124], np.uint8).reshape(1, 1, 1, 3)
        >>> red_cell = np.array([205, 160, 160], np.uint8).reshape(1, 1, 1, 3)
        >>> [int(simulate_modality(p, "fluor")[0, 0, 0, 0]) for p in (purple_nucleus, red_cell)]
        [170, 14]
    """
    if modality == "stain":
        return pixels
    if modality == "all":
        return np.concatenate([simulate_modality(pixels, name) for name in ALIGNED], axis=3)
    if modality in _PLANES:
        plane = pixels[..., _PLANES[modality]]
    else:
        # In parts, since the arithmetic needs four times the memory of the pictures.
        parts = range(0, len(pixels), _PART)
        plane = np.concatenate([_nucleus(pixels[start : start + _PART]) for start in parts])
    return np.repeat(plane[..., None], 3, axis=3)


def _nucleus(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Bright where a picture is both saturated and dark in red light, as only chromatin is."""
    colours = pixels.astype(np.float32) / 255
    brightest, darkest = colours.max(axis=3), colours.min(axis=3)
    saturation = (brightest - darkest) / np.maximum(brightest, 1 / 255)
    glow = 1.3 * (1 - colours[..., 0]) * saturation
    nucleus: npt.NDArray[np.uint8] = (np.clip(glow, 0, 1) * 255 + 0.5).astype(np.uint8)
    return nucleus
