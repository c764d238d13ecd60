"""Synthetic pictures of stained white blood cells, for demonstrations and tests."""

from wbcq.data.synthetic.cells import CLASSES
from wbcq.data.synthetic.dataset import ALIGNED, SyntheticWbc, render_cell
from wbcq.data.synthetic.optics import MODALITIES
from wbcq.data.synthetic.smears import OBJECTS, Smear, render_smear

__all__ = [
    "ALIGNED",
    "CLASSES",
    "MODALITIES",
    "OBJECTS",
    "Smear",
    "SyntheticWbc",
    "render_cell",
    "render_smear",
]
