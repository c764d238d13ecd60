"""Opening a field of view: what cannot be read as colours is refused before it takes memory."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from wbcq.errors import WbcqError

__all__ = ["FORMATS", "MAX_PIXELS", "FieldOfView", "PictureError", "open_field"]

FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is read. Others of Pillow's formats start programs or hold no photographs."""

MAX_PIXELS = 120_000_000
"""Unless asked otherwise: 30,000 x 4,000. It takes about 9 bytes for each."""

_MOST_PIXELS = 175_000_000  # beyond it Pillow itself refuses


class PictureError(WbcqError, ValueError):
    """A picture cannot be counted; the message names it and the remedy."""


@dataclass(frozen=True, eq=False)
class FieldOfView:
    """A decoded picture.

    Attributes:
        pixels: uint8 [H, W, 3], RGB, upright.
        notes: What was converted, for the user.
    """

    pixels: npt.NDArray[np.uint8]
    notes: tuple[str, ...] = ()


def open_field(
    source: str | Path | IO[bytes], name: str | None = None, *, max_pixels: int = MAX_PIXELS
) -> FieldOfView:
    """Reads a picture as upright 8-bit RGB.

    CMYK and palettes are converted, transparency is laid on white, 16-bit grey keeps its upper 8
    bits and several pages their first; the notes tell it.

    Args:
        source: A file of one of :data:`FORMATS`, whatever its name ends with.
        name: What an error calls it; the path if omitted.
        max_pixels: Larger pictures are refused before they are decoded.

    Raises:
        PictureError: It is missing, damaged, no picture, too large, or its values are no colours.
        ValueError: ``max_pixels`` is out of range.
    """
    shown = name or str(source)
    if not 1 <= max_pixels <= _MOST_PIXELS:
        raise ValueError(f"max_pixels is {max_pixels}; use 1 to {_MOST_PIXELS}")
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures; the limit here is ours. Odd metadata do no harm.
            warnings.simplefilter("ignore")
            with Image.open(source, formats=FORMATS) as opened:
                _check_size(opened, shown, max_pixels)
                return _read(opened, shown)
    except PictureError:
        raise
    except FileNotFoundError:
        raise PictureError(f"{shown}: no such file") from None
    except IsADirectoryError:
        raise PictureError(f"{shown}: a folder, not a picture") from None
    except UnidentifiedImageError:
        raise PictureError(
            f"{shown}: not a picture that can be read. Remedy: save it as 8-bit RGB in one of "
            f"{', '.join(FORMATS)}"
        ) from None
    except Image.DecompressionBombError:
        raise PictureError(_too_large(shown, "", max_pixels)) from None
    except Exception as error:  # decoders raise what they like for damaged files
        raise PictureError(f"{shown}: damaged picture ({_one_line(error)})") from error


def _check_size(opened: Image.Image, shown: str, max_pixels: int) -> None:
    width, height = opened.size
    if width < 1 or height < 1:
        raise PictureError(f"{shown}: damaged picture (it has no pixels)")
    if width * height > max_pixels:
        raise PictureError(_too_large(shown, f" has {width}x{height} pixels and", max_pixels))


def _too_large(shown: str, size: str, max_pixels: int) -> str:
    return (
        f"{shown}:{size} is larger than {max_pixels / 1e6:g} megapixels. Remedy: cut it into "
        "parts, or raise the limit where there is memory"
    )


def _read(opened: Image.Image, shown: str) -> FieldOfView:
    notes = []
    pages = getattr(opened, "n_frames", 1)
    if pages > 1:
        notes.append(f"the first of {pages} pages")
    opened.load()
    # In place, and converted only if need be: each copy of a large picture is gigabytes.
    ImageOps.exif_transpose(opened, in_place=True)
    image, mode = opened, opened.mode
    if mode == "I" or mode.startswith("I;16"):
        image, note = _from_integers(image, shown)
        notes.append(note)
    elif mode in ("F", "LAB", "HSV"):
        raise PictureError(
            f"{shown}: {mode} pixels are no colours to classify. Remedy: save it as 8-bit RGB"
        )
    elif image.has_transparency_data:
        coloured = image.convert("RGBA")
        if coloured.getchannel("A").getextrema() != (255, 255):
            notes.append("transparency is laid on white")
            ground = Image.new("RGBA", image.size, "white")
            ground.alpha_composite(coloured)
            coloured = ground
        image = coloured
    elif mode == "CMYK":
        notes.append("converted from CMYK without a colour profile")
    if mode in ("1", "L", "LA") or mode.startswith("I"):
        notes.append("grey, where stained colours are expected: do not trust the classes")
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    return FieldOfView(np.asarray(rgb, np.uint8), tuple(notes))


def _from_integers(image: Image.Image, shown: str) -> tuple[Image.Image, str]:
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise PictureError(
            f"{shown}: integers of {values.min()} to {values.max()} are no grey values. Remedy: "
            "save it as 8-bit RGB"
        )
    return Image.fromarray((values >> 8).astype(np.uint8)), "the upper 8 of 16 bits"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
