"""The second stage: a classifier of single cells looks at what the detector found."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from wbcq.detection.decode import exp
from wbcq.errors import WbcqError

if TYPE_CHECKING:
    from wbcq.engine.model import QuantizedModel

__all__ = ["VIEW", "CellClassifier", "ClassifierError", "cut_out", "longer_sides"]

Picture: TypeAlias = npt.NDArray[np.uint8]
Boxes: TypeAlias = npt.NDArray[np.float32]
Array: TypeAlias = npt.NDArray[np.float32]
Numbers: TypeAlias = npt.NDArray[np.float64]

VIEW = 210.0
"""Side of what a classifier sees of a cell, in pixels of the detector's scale.

The same for all cells: a classifier of single cells was trained on pictures of one scale, and knows
a lymphocyte by its size too. Chosen on training parts, where it names up to 19 of 100 cells more
rightly than 1.4 times each cell's box.
"""

_LEAST = 1.2
"""Of a cell's longer side: larger cells are seen as a whole too."""

_BATCH = 16


class ClassifierError(WbcqError, ValueError):
    """A model does not classify pictures of single cells."""


class CellClassifier:
    """Names the class of cells in a picture. Needs numpy and Pillow.

    Args:
        model: Takes one RGB picture of a cell, 0 to 1, and gives a score of each class; its
            metadata name the ``classes``.
        view: Side of what it sees in pixels of the detector's scale, at which white cells are about
            as large as in the detector's training.

    Attributes:
        model: As given.
        classes: Names.
        size: Height and width of its input.

    Raises:
        ClassifierError: The model is of another kind.
    """

    def __init__(self, model: QuantizedModel, *, view: float = VIEW) -> None:
        self.model, self.view = model, view
        inputs = [tuple(shape) for shape in model.input_shapes]
        outputs = [tuple(shape) for shape in model.output_shapes]
        if len(inputs) != 1 or len(inputs[0]) != 4 or inputs[0][1] != 3:
            raise ClassifierError(f"the model takes {inputs}, not one RGB picture of a cell")
        if inputs[0][2] != inputs[0][3] or len(outputs) != 1 or len(outputs[0]) != 2:
            raise ClassifierError(
                f"the model makes {outputs} of {inputs}, not a score of each class of a square"
            )
        self.size = inputs[0][2]
        self.classes = tuple(str(name) for name in model.metadata.get("classes") or ())
        if len(self.classes) != outputs[0][1]:
            raise ClassifierError(
                f"the model gives {outputs[0][1]} scores, its metadata name {len(self.classes)} "
                "classes. Remedy: write their names under 'classes'"
            )

    def shares(self, picture: Picture, boxes: Boxes, scale: float = 1.0) -> Array:
        """How sure it is of each class.

        Args:
            picture: uint8 [H, W, 3], RGB.
            boxes: float32 [N, 4] in pixels.
            scale: Pixels of the detector's scale in one of the picture.

        Returns:
            float32 [N, classes], the softmax of its scores.
        """
        parts = [np.empty((0, len(self.classes)), np.float32)]
        for start in range(0, len(boxes), _BATCH):
            part = boxes[start : start + _BATCH]
            crops = cut_out(picture, part, self.size, self.sides(part, scale))
            scores = self.model(self.inputs(crops)).astype(np.float64)
            powers = exp(scores - scores.max(axis=1, keepdims=True))
            parts.append((powers / powers.sum(axis=1, keepdims=True)).astype(np.float32))
        return np.concatenate(parts)

    def sides(self, boxes: Boxes, scale: float = 1.0) -> Numbers:
        """Side of the square that it sees of each cell, float64 [N], in the picture's pixels."""
        sides: Numbers = np.maximum(self.view / scale, _LEAST * longer_sides(boxes))
        return sides

    @staticmethod
    def inputs(crops: Picture) -> Array:
        """uint8 [N, H, W, 3] as the model takes it: float32 [N, 3, H, W], 0 to 1."""
        pixels = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32)
        pixels /= np.float32(255)
        return pixels


def longer_sides(boxes: Boxes) -> Numbers:
    """float64 [N]."""
    sides: Numbers = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64).max(axis=1, initial=0)
    return sides


def cut_out(picture: Picture, boxes: Boxes, size: int, sides: Numbers) -> Picture:
    """Square pictures of cells; beyond the picture's border its last pixels are repeated.

    Args:
        picture: uint8 [H, W, 3].
        boxes: float32 [N, 4] in pixels.
        size: Height and width of the results.
        sides: float64 [N]: of the square around a box's middle, in pixels.

    Returns:
        uint8 [N, size, size, 3], resized with antialiasing.
    """
    cells = np.empty((len(boxes), size, size, 3), np.uint8)
    height, width = picture.shape[:2]
    for cell, (x1, y1, x2, y2), length in zip(cells, boxes.astype(np.float64), sides, strict=True):
        half = max(1.0, float(length) / 2)
        left, top = (x1 + x2) / 2 - half, (y1 + y2) / 2 - half
        first_x, first_y = int(np.floor(left)), int(np.floor(top))
        side = int(np.ceil(2 * half)) + 1
        columns = np.clip(np.arange(first_x, first_x + side), 0, width - 1)
        rows = np.clip(np.arange(first_y, first_y + side), 0, height - 1)
        region = Image.fromarray(picture[np.ix_(rows, columns)])
        inner = (left - first_x, top - first_y, left - first_x + 2 * half, top - first_y + 2 * half)
        resized = region.resize((size, size), Image.Resampling.BILINEAR, box=inner)
        cell[:] = np.asarray(resized, np.uint8)
    return cells
