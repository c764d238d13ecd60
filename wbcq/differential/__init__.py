"""Counting the white cells of a smear: from fields of view to five numbers. No torch.

>>> from wbcq import differential
"""

from wbcq.differential.cells import Cell
from wbcq.differential.classifier import CellClassifier, ClassifierError
from wbcq.differential.counter import CellCounter, Rules
from wbcq.differential.job import count_pictures, find_pictures
from wbcq.differential.pictures import FieldOfView, PictureError, open_field
from wbcq.differential.results import Count, PictureResult
from wbcq.differential.statistics import ClassCount, Differential, wilson

__all__ = [
    "Cell",
    "CellClassifier",
    "CellCounter",
    "ClassCount",
    "ClassifierError",
    "Count",
    "Differential",
    "FieldOfView",
    "PictureError",
    "PictureResult",
    "Rules",
    "count_pictures",
    "find_pictures",
    "open_field",
    "wilson",
]
