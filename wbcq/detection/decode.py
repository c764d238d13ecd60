"""From the raw heads of YOLOv3 to boxes, the same bits on every machine.

An INT8 network's heads are the same bits on each instruction set; what follows them must not spoil
that. numpy's ``exp`` differs in the last bit between the vector units that it finds, so
:func:`exp` computes it of float64 additions, multiplications and roundings, which IEEE 754 defines
to the bit and numpy does one at a time. Redmon and Farhadi, "YOLOv3", 2018, section 2.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.detection.boxes import Detections

__all__ = ["Anchors", "decode", "exp", "sigmoid"]

Numbers: TypeAlias = npt.NDArray[np.float64]
Anchors: TypeAlias = Sequence[Sequence[Sequence[float]]]
"""For each head its anchors' widths and heights in pixels."""

# ln 2 in two parts: an integer below 2^11 times the first is exact.
_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_TAYLOR = tuple(1 / math.factorial(n) for n in range(13, -1, -1))
_LARGEST = 700.0

_WIDEST = 10.0
"""Of a size's logarithm: e^10 anchors are wider than any picture."""


def exp(x: npt.ArrayLike) -> Numbers:
    """e^x within 2 units in the last place, the same bits on every machine.

    Args:
        x: Taken as float64, limited to -700..700; not NaN.

    Example:
        >>> exp([0.0, 1.0]).round(9).tolist()
        [1.0, 2.718281828]
    """
    x = np.minimum(np.maximum(np.asarray(x, np.float64), -_LARGEST), _LARGEST)
    power = np.rint(x * (1 / math.log(2)))
    rest = (x - power * _LN2_HIGH) - power * _LN2_LOW
    value = np.full_like(rest, _TAYLOR[0])
    for coefficient in _TAYLOR[1:]:
        value = value * rest + coefficient
    return np.ldexp(value, power.astype(np.int64))


def sigmoid(x: npt.ArrayLike) -> Numbers:
    """1 / (1 + e^-x), the same bits on every machine."""
    result: Numbers = 1 / (1 + exp(-np.asarray(x, np.float64)))
    return result


def decode(
    heads: Sequence[npt.NDArray[np.float32]],
    anchors: Anchors,
    strides: Sequence[int],
    threshold: float = 0.25,
    *,
    every_class: bool = False,
) -> list[Detections]:
    """Boxes of all anchors whose score reaches a threshold; overlaps are not suppressed.

    A score is the objectness times the class's share, each a sigmoid. The result depends on the
    heads' bits alone, not on the machine. Anchors with NaN or infinity in them give no box.

    Args:
        heads: As :class:`wbcq.models.yolov3.YoloV3` returns them: for each stride float32
            [N, A * (5 + C), H, W]; for each of A anchors x, y, width, height, objectness and C
            classes.
        anchors: For each head A widths and heights in pixels.
        strides: For each head pixels of a cell of its grid.
        threshold: 0 to 1.
        every_class: Gives a box for each class whose score reaches the threshold, as mean average
            precision wants it, instead of one for the best class.

    Returns:
        For each of N pictures its cells, ordered by head, anchor, row and column. Boxes are not cut
        at the picture's border.

    Raises:
        ValueError: Heads, anchors and strides do not fit each other.

    Example:
        >>> import numpy as np
        >>> head = np.zeros((1, 6, 2, 2), np.float32)
        >>> head[0, 4, 0, 1] = head[0, 5, 0, 1] = 5
        >>> (found,) = decode([head], [[(20, 30)]], [32], 0.5)
        >>> found.boxes.tolist(), found.scores.round(3).tolist()
        ([[38.0, 1.0, 58.0, 31.0]], [0.9869999885559082])
    """
    _check(heads, anchors, strides, threshold)
    found: list[list[Detections]] = [[] for _ in range(len(heads[0]))]
    for head, sizes, stride in zip(heads, anchors, strides, strict=True):
        pictures, detections = _decode_head(head, sizes, stride, threshold, every_class)
        for index, parts in enumerate(found):
            parts.append(detections[pictures == index])
    return [Detections.concatenate(parts) for parts in found]


def _decode_head(
    head: npt.NDArray[np.float32],
    anchors: Sequence[Sequence[float]],
    stride: int,
    threshold: float,
    every_class: bool,
) -> tuple[npt.NDArray[np.int64], Detections]:
    """Picture of each cell, and the cells."""
    count, channels, height, width = head.shape
    grid = head.reshape(count, len(anchors), channels // len(anchors), height, width)
    # Only to save work: the margin is far above what a machine's logarithm may err by.
    least = -math.inf if threshold <= 0 else _logit(threshold) - 1e-6
    picture, anchor, row, column = np.nonzero(grid[:, :, 4] >= least)
    values = grid[picture, anchor, :, row, column].astype(np.float64)
    finite = np.isfinite(values).all(1)
    picture, anchor, row, column = (i[finite] for i in (picture, anchor, row, column))
    values = values[finite]

    scores = sigmoid(values[:, 4:5]) * sigmoid(values[:, 5:])
    if every_class:
        which, classes = np.nonzero(scores >= threshold)
    else:
        classes = scores.argmax(1)
        which = np.nonzero(scores[np.arange(len(scores)), classes] >= threshold)[0]
        classes = classes[which]

    sizes = np.asarray(anchors, np.float64)[anchor]
    centres = (sigmoid(values[:, :2]) + np.stack((column, row), 1)) * stride
    halves = sizes * exp(np.minimum(values[:, 2:4], _WIDEST)) / 2
    boxes = np.concatenate((centres - halves, centres + halves), 1).astype(np.float32)
    detections = Detections(
        boxes[which], scores[which, classes].astype(np.float32), classes.astype(np.int64)
    )
    return picture[which], detections


def _logit(share: float) -> float:
    return math.inf if share >= 1 else math.log(share / (1 - share))


def _check(
    heads: Sequence[npt.NDArray[np.float32]],
    anchors: Anchors,
    strides: Sequence[int],
    threshold: float,
) -> None:
    if not heads or not len(heads) == len(anchors) == len(strides):
        raise ValueError(
            f"{len(heads)} heads, anchors of {len(anchors)} and strides of {len(strides)}; pass "
            "equally many, at least one"
        )
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}; use a score of 0 to 1")
    classes = set()
    for index, (head, sizes) in enumerate(zip(heads, anchors, strict=True)):
        each, left = divmod(head.shape[1], len(sizes)) if head.ndim == 4 and sizes else (0, 1)
        if left or each < 6 or head.shape[0] != heads[0].shape[0]:
            raise ValueError(
                f"head {index} has shape {list(head.shape)}, must be [N, {len(sizes)} * (5 + "
                "classes), H, W] for its anchors"
            )
        classes.add(each - 5)
    if len(classes) > 1:
        raise ValueError(f"heads of {sorted(classes)} classes; all must have the same")
