"""Pictures of results: boxes on the field, and sheets of all cells of a class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from wbcq.differential.cells import Cell
from wbcq.differential.classifier import cut_out, longer_sides

__all__ = ["SHEET_CELL", "annotate", "class_colours", "contact_sheet", "thumbnails"]

Picture: TypeAlias = npt.NDArray[np.uint8]

_CONTEXT = 1.4
"""Side of what is shown of a cell in longer sides of its box."""

SHEET_CELL = 96
"""Height and width of a cell on a sheet in pixels."""

_PALETTE = ("#b3509f", "#e69f00", "#0072b2", "#009e73", "#d55e00", "#56b4e9", "#7a7a7a", "#8b5a2b")
"""Okabe and Ito's colours, which most colour-blind people tell apart, on pink smears."""

_INK, _PAPER, _ALARM = "#1c1c1c", "#ffffff", "#c1121f"
_LARGEST_SIDE = 4096


def class_colours(classes: Sequence[str]) -> dict[str, str]:
    """A colour for each class, ``#rrggbb``."""
    return {name: _PALETTE[index % len(_PALETTE)] for index, name in enumerate(classes)}


def annotate(picture: Picture, cells: Sequence[Cell], classes: Sequence[str]) -> Image.Image:
    """The picture with a numbered box around each cell; a dashed one is to be reviewed.

    Args:
        picture: uint8 [H, W, 3]; shown at 4096 pixels a side at most.
        cells: Of it; numbered from 1 in this order.
        classes: All classes, for their colours.
    """
    colours = class_colours(classes)
    factor = min(1.0, _LARGEST_SIDE / max(picture.shape[:2]))
    # Of a picture much larger than what is shown not every pixel is looked at: it saves a copy.
    step = max(1, int(0.5 / factor))
    image = Image.fromarray(np.ascontiguousarray(picture[::step, ::step]))
    if factor < 1:
        height, width = (max(1, round(side * factor)) for side in picture.shape[:2])
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    line = max(2, round(max(image.size) / 700))
    font = ImageFont.load_default(max(11, round(max(image.size) / 90)))
    for number, cell in enumerate(cells, 1):
        x1, y1, x2, y2 = (v * factor for v in cell.box)
        colour = colours.get(cell.kind, _INK)
        if cell.review:
            _dashed(draw, (x1, y1, x2, y2), colour, line)
        else:
            draw.rectangle((x1, y1, x2, y2), outline=colour, width=line)
        text = f"{number} {cell.kind[:3]} {100 * cell.confidence:.0f}"
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        wide, high = right - left + 6, bottom - top + 6
        x = min(max(0, x1), max(0, image.width - wide))
        y = y1 - high if y1 >= high else min(y2, image.height - high)
        draw.rectangle((x, y, x + wide, y + high), fill=colour)
        draw.text((x + 3 - left, y + 3 - top), text, fill=_PAPER, font=font)
    return image


def thumbnails(picture: Picture, cells: Sequence[Cell], size: int = SHEET_CELL) -> Picture:
    """uint8 [N, size, size, 3]: each cell with a little around it."""
    boxes = np.array([cell.box for cell in cells], np.float32).reshape(-1, 4)
    return cut_out(picture, boxes, size, _CONTEXT * longer_sides(boxes))


def contact_sheet(
    title: str, entries: Sequence[tuple[Picture, str, bool]], *, colour: str = _INK, across: int = 8
) -> Image.Image:
    """A page of cells.

    Args:
        title: Above them.
        entries: Of each cell the picture, uint8 [SHEET_CELL, SHEET_CELL, 3], the text below it,
            and whether it is to be reviewed, which frames it.
        colour: Of the title's bar, ``#rrggbb``.
        across: Cells in a row.
    """
    gap, caption, head = 8, 16, 34
    columns = max(3, min(across, len(entries)))
    rows = math.ceil(len(entries) / columns)
    step_x, step_y = SHEET_CELL + gap, SHEET_CELL + caption + gap
    page = Image.new("RGB", (gap + columns * step_x, head + gap + max(1, rows) * step_y), _PAPER)
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 0, page.width, head), fill=colour)
    draw.text((gap, 8), title, fill=_PAPER, font=ImageFont.load_default(15))
    font = ImageFont.load_default(10)
    for index, (cell, text, review) in enumerate(entries):
        row, column = divmod(index, columns)
        x, y = gap + column * step_x, head + gap + row * step_y
        page.paste(Image.fromarray(cell), (x, y))
        if review:
            box = (x - 3, y - 3, x + SHEET_CELL + 2, y + SHEET_CELL + 2)
            draw.rectangle(box, outline=_ALARM, width=3)
        draw.text((x, y + SHEET_CELL + 2), text, fill=_ALARM if review else _INK, font=font)
    return page


def _dashed(
    draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], colour: str, width: int
) -> None:
    x1, y1, x2, y2 = box
    corners = ((x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1))
    dash = 4.0 * width
    for (ax, ay), (bx, by) in pairwise(corners):
        length = math.hypot(bx - ax, by - ay)
        steps = max(1, round(length / (2 * dash)))
        for step in range(steps):
            start, end = step / steps, (step + 0.6) / steps
            draw.line(
                (
                    ax + (bx - ax) * start,
                    ay + (by - ay) * start,
                    ax + (bx - ax) * end,
                    ay + (by - ay) * end,
                ),
                fill=colour,
                width=width,
            )
