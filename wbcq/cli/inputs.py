"""Files as inputs of a model, for commands. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.errors import WbcqError

if TYPE_CHECKING:
    from wbcq.data.transforms import Preprocess
    from wbcq.engine.model import QuantizedModel

__all__ = ["ModelInputError", "class_shares", "picture_preprocess", "read_input", "read_pixels"]

Array: TypeAlias = npt.NDArray[np.float32]


class ModelInputError(WbcqError, ValueError):
    """A file cannot be an input of this model."""


def read_input(path: Path, model: QuantizedModel) -> Array:
    """A picture, or a .npy array as it is: float32 [N, C, H, W].

    Raises:
        ModelInputError: The model takes something else, or the array is none of numbers.
        DatasetError: The picture cannot be read.
        OSError: The array cannot be read.
    """
    if len(model.input_shapes) != 1:
        raise ModelInputError(
            f"the model takes {len(model.input_shapes)} inputs; `wbcq run` feeds models with one. "
            "Remedy: call it from Python"
        )
    if path.suffix.lower() == ".npy":
        array = _read_npy(path)
        return array[None] if array.ndim == 3 else array
    try:
        preprocess = picture_preprocess(model)
    except ModelInputError as error:
        raise ModelInputError(f"{path}: {error}. Remedy: pass a .npy array") from None
    return read_pixels(path, preprocess, model.input_shapes[0][1])[None]


def picture_preprocess(model: QuantizedModel) -> Preprocess:
    """How a model's file says that pictures are prepared; by default only resized.

    Raises:
        ModelInputError: The model does not take one grey or RGB picture.
    """
    from wbcq.data.transforms import Preprocess

    shapes = model.input_shapes
    if len(shapes) != 1:
        raise ModelInputError(f"the model takes {len(shapes)} pictures of each cell, not one")
    if len(shapes[0]) != 4 or shapes[0][1] not in (1, 3):
        raise ModelInputError(f"the model takes {list(shapes[0])}, not a grey or RGB picture")
    _, _, height, width = shapes[0]
    record = model.metadata.get("preprocess", {"size": height, "crop": 1.0})
    preprocess = Preprocess.from_metadata(record)
    if height != width or preprocess.size != height:
        raise ModelInputError(
            f"the model takes {height}x{width} pictures but its file says how to make "
            f"{preprocess.size}x{preprocess.size}"
        )
    return preprocess


def read_pixels(path: Path, preprocess: Preprocess, channels: int) -> Array:
    """One picture as float32 [channels, size, size] in 0..1.

    Raises:
        DatasetError: It is missing, damaged or no picture.
    """
    from wbcq.data.transforms import read_picture

    image = read_picture(path)
    pixels = preprocess(image.convert("L") if channels == 1 else image)[..., :channels]
    scaled: Array = pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(scaled)


def class_shares(scores: Array) -> Array:
    """Softmax of each row of logits [N, C]."""
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Array = shifted / shifted.sum(axis=1, keepdims=True)
    return shares


def _read_npy(path: Path) -> Array:
    try:
        with path.open("rb") as file:
            array: Array = np.lib.format.read_array(file, allow_pickle=False)
    except ValueError as error:
        raise ModelInputError(f"{path}: not a .npy array of numbers ({error})") from error
    return array
