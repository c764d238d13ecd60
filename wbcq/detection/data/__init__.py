"""Fields of view with boxes: Pascal VOC, COCO, YOLO, published collections, synthetic smears."""

from wbcq.detection.data.base import FieldOfView, FieldSet, FieldSets, Problems
from wbcq.detection.data.opening import open_fields
from wbcq.detection.data.synthetic import synthetic_fields

__all__ = [
    "FieldOfView",
    "FieldSet",
    "FieldSets",
    "Problems",
    "open_fields",
    "synthetic_fields",
]
