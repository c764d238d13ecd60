"""Figures and pictures as text that stands inside a page."""

from __future__ import annotations

import base64
import io
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["heat_overlay", "picture_uri", "png_uri", "themed_svg"]

_INK = {
    "#000000": "currentColor",
    "#ffffff": "var(--paper)",
    "#eeeeee": "var(--rule)",
    "#c8c8c8": "var(--line)",
}
"""Greys of figures, and what the page has in their place."""


def themed_svg(draw: Callable[[Path], None], name: str) -> str:
    """A matplotlib figure as an ``<svg>`` element in the colours of the page around it.

    Its text stays text, black becomes the page's ink, and white its paper; nothing refers to the
    network.

    Args:
        draw: Writes the figure into the file that it is given.
        name: Differs between the figures of a page; it keeps their inner references apart.
    """
    import matplotlib

    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": name}
    with tempfile.TemporaryDirectory() as folder, matplotlib.rc_context(settings):
        path = Path(folder) / "figure.svg"
        draw(path)
        text = path.read_text(encoding="utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    text = re.sub(r"font: (\S+) [^;\"]*", r"font-size: \1", text)
    # Ids are hashes, or names of groups that every figure has.
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    for colour, themed in _INK.items():
        text = text.replace(colour, themed)
    return text.strip()


def png_uri(path: Path) -> str:
    """A PNG file as it is."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def picture_uri(picture: npt.NDArray[np.uint8]) -> str:
    """uint8 [H, W, 3] as a JPEG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def heat_overlay(
    picture: npt.NDArray[np.uint8], heat: npt.NDArray[np.floating]
) -> npt.NDArray[np.uint8]:
    """A picture, greyed, under its heat map.

    Args:
        picture: uint8 [H, W, 3].
        heat: [H, W] in 0..1.
    """
    import matplotlib

    colours = matplotlib.colormaps["inferno"](np.asarray(heat, np.float64))[..., :3]
    grey = picture.mean(axis=2, keepdims=True) / 255
    weight = 0.25 + 0.6 * np.asarray(heat, np.float64)[..., None]
    mixed = (1 - weight) * grey + weight * colours
    shown: npt.NDArray[np.uint8] = np.rint(255 * np.clip(mixed, 0, 1)).astype(np.uint8)
    return shown
