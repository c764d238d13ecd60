"""A detector: a quantized YOLOv3 and what turns pictures into its input and heads into cells."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.detection.boxes import Detections, nms
from wbcq.detection.decode import decode
from wbcq.detection.tiles import Window, merge_windows, windows
from wbcq.errors import WbcqError

if TYPE_CHECKING:
    from wbcq.engine.model import QuantizedModel

__all__ = ["Detector", "DetectorError"]

Picture: TypeAlias = npt.NDArray[np.uint8]


class DetectorError(WbcqError, ValueError):
    """A model file is no detector, or says of itself what does not fit."""


class Detector:
    """Finds cells in pictures of any size. Needs numpy alone.

    Boxes, scores and classes of an INT8 network are the same bits on every instruction set and
    thread count.

    Args:
        model: A network with heads as :class:`wbcq.models.yolov3.YoloV3` has them. Its metadata
            hold, under ``"detector"``, ``classes`` (names), ``anchors`` (for each head its widths
            and heights in pixels), ``strides`` (of each head) and ``size`` (of its input); the
            input is RGB, 0 to 1.

    Attributes:
        model: As given.
        classes: Names.
        size: Height and width in pixels of what the network sees at once.

    Raises:
        DetectorError: The metadata lack something or contradict the network.

    Example:
        >>> Detector.load("cells.wbcq")
        Traceback (most recent call last):
        FileNotFoundError: [Errno 2] No such file or directory: 'cells.wbcq'
    """

    def __init__(self, model: QuantizedModel) -> None:
        self.model = model
        record = model.metadata.get("detector")
        if not isinstance(record, Mapping):
            raise DetectorError(
                "the model is no detector: its metadata have no 'detector' with classes, anchors, "
                "strides and size. Remedy: a detector, or write them"
            )
        try:
            self.classes = tuple(str(name) for name in record["classes"])
            self.anchors = tuple(
                tuple((float(width), float(height)) for width, height in head)
                for head in record["anchors"]
            )
            self.strides = tuple(int(stride) for stride in record["strides"])
            self.size = int(record["size"])
        except (KeyError, TypeError, ValueError) as error:
            raise DetectorError(
                f"the model's 'detector' record is not usable: {error!r}"
            ) from error
        self._check()

    @staticmethod
    def load(path: str | os.PathLike[str], *, threads: int | None = None) -> Detector:
        """Loads a model file.

        Args:
            path: Of a detector.
            threads: As for :func:`wbcq.load`.

        Raises:
            DetectorError: It is a model file of something else; names it.
            ModelFileError: It is damaged or no model file.
            OSError: It cannot be read.
        """
        from wbcq.engine.model import load

        try:
            return Detector(load(path, threads=threads))
        except DetectorError as error:
            raise DetectorError(f"{os.fspath(path)}: {error}") from None

    def detect(
        self,
        picture: Picture,
        *,
        threshold: float = 0.25,
        overlap: float = 0.45,
        margin: int | None = None,
        every_class: bool = False,
        across_classes: bool = False,
    ) -> Detections:
        """Finds the cells of one picture.

        A picture larger than :attr:`size` is looked at in overlapping windows, one at a time, so
        that memory beside the picture does not grow with it; a smaller one is framed with its
        median colour.

        Args:
            picture: uint8 [H, W, 3], RGB.
            threshold: Least score.
            overlap: Intersection over union above which two boxes are one cell.
            margin: Pixels that neighbouring windows share, three eighths of :attr:`size` if None.
                Cells up to that size are seen whole.
            every_class: Several classes of one box, as mean average precision wants it.
            across_classes: Boxes of different classes are one cell too, as counting wants it.

        Returns:
            Boxes in the picture's pixels, within it; the best score first.

        Raises:
            ValueError: The picture has another shape or dtype.
        """
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise ValueError(
                f"the picture is {picture.dtype} {list(picture.shape)}, must be uint8 [H, W, 3]"
            )
        height, width = picture.shape[:2]
        places = windows(height, width, self.size, 3 * self.size // 8 if margin is None else margin)
        parts = []
        for place in places:
            heads = self.model(self._input(picture, place)[None])
            (found,) = decode(
                heads if isinstance(heads, tuple) else (heads,),
                self.anchors,
                self.strides,
                threshold,
                every_class=every_class,
            )
            parts.append(nms(found, overlap, across_classes=across_classes))
        return merge_windows(parts, places, height, width, overlap, across_classes=across_classes)

    def _input(self, picture: Picture, place: Window) -> npt.NDArray[np.float32]:
        """float32 [3, size, size] in 0..1."""
        part = picture[place.y : place.y + place.size, place.x : place.x + place.size]
        if part.shape[:2] != (place.size, place.size):
            framed = np.empty((place.size, place.size, 3), np.uint8)
            framed[:] = np.median(part, axis=(0, 1)).astype(np.uint8)
            framed[: part.shape[0], : part.shape[1]] = part
            part = framed
        pixels = np.ascontiguousarray(part.transpose(2, 0, 1), np.float32)
        pixels /= np.float32(255)
        return pixels

    def _check(self) -> None:
        inputs, outputs = self.model.input_shapes, self.model.output_shapes
        if [tuple(shape)[1:] for shape in inputs] != [(3, self.size, self.size)]:
            raise DetectorError(
                f"the model takes {[list(shape) for shape in inputs]}, its 'detector' record says "
                f"one RGB picture of {self.size}x{self.size}"
            )
        expected = [
            (len(sizes) * (5 + len(self.classes)), self.size // stride, self.size // stride)
            for sizes, stride in zip(self.anchors, self.strides, strict=False)
            if stride > 0
        ]
        found = [tuple(shape)[1:] for shape in outputs]
        if len(self.anchors) != len(self.strides) or not self.classes or found != expected:
            raise DetectorError(
                f"the model has heads {[list(shape) for shape in found]}; {len(self.classes)} "
                f"classes, anchors of {len(self.anchors)} heads and strides "
                f"{list(self.strides)} of its 'detector' record need "
                f"{[list(shape) for shape in expected]}"
            )

    def __repr__(self) -> str:
        return f"<Detector of {', '.join(self.classes)}: {self.size}x{self.size}, {self.model!r}>"
