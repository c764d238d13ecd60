"""Fields of view of every kind: read, converted and told, or refused with a remedy."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("PIL")

from PIL import Image

from wbcq.differential import PictureError, open_field

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> io.BytesIO:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_plain_pictures_keep_their_pixels(kind: str) -> None:
    field = open_field(saved(Image.fromarray(PIXELS), kind), "x")
    np.testing.assert_array_equal(field.pixels, PIXELS)
    assert field.notes == ()


def test_turned_pictures_are_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    field = open_field(saved(Image.fromarray(PIXELS), "PNG", exif=exif), "x")
    np.testing.assert_array_equal(field.pixels, np.rot90(PIXELS, -1))


def test_transparency_is_laid_on_white() -> None:
    alpha = np.full((12, 20, 1), 255, np.uint8)
    opaque = Image.fromarray(np.concatenate((PIXELS, alpha), 2))
    assert open_field(saved(opaque), "x").notes == ()
    alpha[:6] = 0
    field = open_field(saved(Image.fromarray(np.concatenate((PIXELS, alpha), 2))), "x")
    assert (field.pixels[:6] == 255).all()
    np.testing.assert_array_equal(field.pixels[6:], PIXELS[6:])
    assert field.notes == ("transparency is laid on white",)


def test_cmyk() -> None:
    field = open_field(saved(Image.fromarray(PIXELS).convert("CMYK"), "TIFF"), "x")
    assert field.pixels.shape == PIXELS.shape
    assert field.notes == ("converted from CMYK without a colour profile",)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_the_upper_eight(kind: str) -> None:
    values = np.arange(240, dtype=np.uint16).reshape(12, 20) * 273
    field = open_field(saved(Image.fromarray(values), kind), "x")
    np.testing.assert_array_equal(field.pixels[..., 1], values >> 8)
    assert "the upper 8 of 16 bits" in field.notes
    assert any("grey" in note for note in field.notes)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P"])
def test_grey_and_palettes(mode: str) -> None:
    field = open_field(saved(Image.fromarray(PIXELS).convert(mode)), "x")
    assert field.pixels.shape == PIXELS.shape
    assert any("grey" in note for note in field.notes) == (mode != "P")


def test_the_first_of_several_pages() -> None:
    first = Image.fromarray(PIXELS)
    pages = saved(first, "TIFF", save_all=True, append_images=[first.rotate(90)])
    field = open_field(pages, "x")
    np.testing.assert_array_equal(field.pixels, PIXELS)
    assert field.notes == ("the first of 2 pages",)


def test_numbers_that_are_no_colours() -> None:
    floats = Image.fromarray(np.ones((4, 4), np.float32))
    with pytest.raises(PictureError, match=r"x: F pixels are no colours .* save it as 8-bit RGB"):
        open_field(saved(floats, "TIFF"), "x")
    integers = Image.fromarray(np.full((4, 4), -7, np.int32))
    with pytest.raises(PictureError, match="integers of -7 to -7 are no grey values"):
        open_field(saved(integers, "TIFF"), "x")


def test_too_large_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(PictureError, match=r"x: has 20x12 pixels and is larger than 0\.0001 mega"):
        open_field(saved(Image.fromarray(PIXELS)), "x", max_pixels=100)
    for width, height in ((30_000, 5_000), (2**31 - 1, 2**31 - 1), (60_000, 60_000)):
        with pytest.raises(PictureError, match=r"Remedy: cut it into parts"):
            open_field(io.BytesIO(bomb(width, height)), "x")
    with pytest.raises(ValueError, match="max_pixels is 0"):
        open_field(saved(Image.fromarray(PIXELS)), "x", max_pixels=0)


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is so large, with almost nothing in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def test_not_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.png").write_text("a cell")
    (tmp_path / "c.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    for name in ("a.png", "b.png", "c.eps"):
        with pytest.raises(PictureError, match=rf"{name}: not a picture that can be read"):
            open_field(tmp_path / name)
    with pytest.raises(PictureError, match=r"none\.png: no such file"):
        open_field(tmp_path / "none.png")
    with pytest.raises(PictureError, match="a folder, not a picture"):
        open_field(tmp_path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
@given(data=st.data())
def test_damage_is_a_clear_error_or_a_picture(kind: str, data: st.DataObject) -> None:
    whole = bytearray(saved(Image.fromarray(PIXELS), kind).getvalue())
    if data.draw(st.booleans()):
        whole = whole[: data.draw(st.integers(0, len(whole) - 1))]
    for _ in range(data.draw(st.integers(0, 4))):
        if whole:
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    field, message = None, ""
    try:
        field = open_field(io.BytesIO(bytes(whole)), "x", max_pixels=100_000)
    except PictureError as error:
        message = str(error)
    if field is None:
        assert message.startswith("x:")
        assert "\n" not in message
    else:
        assert field.pixels.ndim == 3
        assert field.pixels.dtype == np.uint8
