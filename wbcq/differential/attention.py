"""Where a classifier looks, by the integers of its own engine and without torch.

A network that ends in the mean over its last features and a linear layer has an exact class
activation map: the linear layer of each feature, whose mean is the logit (Zhou et al., "Learning
Deep Features for Discriminative Localization", CVPR 2016). Both being integer operators of one
program, leaving out the mean makes a program that computes the map. A map of few pixels becomes
finer by shifting the picture and interleaving the maps (Sermanet et al., "OverFeat", 2014).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.differential.classifier import CellClassifier, Picture, cut_out
from wbcq.engine.model import QuantizedModel
from wbcq.engine.program import BATCH, AvgPool2d, Conv2d, Io
from wbcq.engine.program_file import program_bytes

__all__ = ["Attention"]

Array: TypeAlias = npt.NDArray[np.float32]

_SHIFTS = 4
"""Along each axis: a map has so many times the pixels of the last features."""


class Attention:
    """Maps of what speaks for a class in cells of a picture.

    Args:
        classifier: One that ends in the mean of its features and a linear layer.

    Raises:
        ValueError: It ends otherwise.
    """

    def __init__(self, classifier: CellClassifier) -> None:
        self._classifier = classifier
        self._model = _without_mean(classifier.model)
        self._side = self._model.output_shapes[0][2]

    def maps(
        self,
        picture: Picture,
        boxes: npt.NDArray[np.float32],
        classes: npt.NDArray[np.int64],
        scale: float = 1.0,
    ) -> Array:
        """What speaks for a class more than for the others on average.

        Args:
            picture: uint8 [H, W, 3], RGB.
            boxes: float32 [N, 4] in pixels.
            classes: int64 [N], of the classifier, to be explained.
            scale: As for :meth:`CellClassifier.shares`.

        Returns:
            float32 [N, S, S] of the squares that the classifier sees, whose sides are
            :meth:`CellClassifier.sides`; the largest value of a map is 1, or all are 0 where
            nothing speaks for the class.
        """
        side = self._side * _SHIFTS
        maps = np.zeros((len(boxes), side, side), np.float32)
        seen = self._classifier.sides(boxes, scale)
        for index, (box, label) in enumerate(zip(boxes, classes, strict=True)):
            heat = self._map(picture, box, int(label), float(seen[index]))
            peak = heat.max()
            if peak > 0:
                maps[index] = heat / peak
        return maps

    def _map(
        self, picture: Picture, box: npt.NDArray[np.float32], label: int, seen: float
    ) -> Array:
        step = seen / (self._side * _SHIFTS)
        offsets = (np.arange(_SHIFTS) - (_SHIFTS - 1) / 2) * step
        shifts = [(y, x) for y in offsets for x in offsets]
        boxes = np.array([box + np.array([x, y, x, y]) for y, x in shifts], np.float32)
        crops = cut_out(picture, boxes, self._classifier.size, np.full(len(boxes), seen))
        evidence = self._model(self._classifier.inputs(crops))
        contrast = evidence[:, label] - evidence.mean(axis=1)
        grid = contrast.reshape(_SHIFTS, _SHIFTS, self._side, self._side).transpose(2, 0, 3, 1)
        heat: Array = np.maximum(grid.reshape(self._side * _SHIFTS, -1), 0)
        return heat


def _without_mean(model: QuantizedModel) -> QuantizedModel:
    """The same network whose last layer reads every feature instead of their mean."""
    program = model.program
    pool, last = program.ops[-2:] if len(program.ops) > 1 else (None, None)
    if not isinstance(pool, AvgPool2d) or not isinstance(last, Conv2d) or last.x != pool.y:
        raise ValueError("the classifier does not end in a mean and a linear layer")
    features, scores = program.tensors[pool.x], program.tensors[last.y]
    if (
        tuple(pool.kernel) != (features.height, features.width)
        or pool.table is not None
        or (pool.lo, pool.hi) != (0, 255)
        or scores.dtype != "f32"
        or features.dtype != "u8"
        or last.weight.shape[1:3] != (1, 1)
    ):
        raise ValueError("the classifier does not end in a plain mean and a linear layer")
    tensors = {name: tensor for name, tensor in program.tensors.items() if name != pool.y}
    tensors[last.y] = replace(scores, height=features.height, width=features.width)
    shape = (BATCH, scores.channels, features.height, features.width)
    mapped = replace(
        program,
        tensors=tensors,
        ops=(*program.ops[:-2], replace(last, x=pool.x)),
        outputs=(Io(last.y, shape),),
    )
    return QuantizedModel(program_bytes(mapped), threads=model.threads)
