"""Finding cells in fields of view. What finds them needs numpy alone; what trains imports torch."""

from wbcq.detection.boxes import Detections, iou, nms
from wbcq.detection.decode import decode
from wbcq.detection.detector import Detector, DetectorError
from wbcq.detection.tiles import Window, merge_windows, windows

__all__ = [
    "Detections",
    "Detector",
    "DetectorError",
    "Window",
    "decode",
    "iou",
    "merge_windows",
    "nms",
    "windows",
]
