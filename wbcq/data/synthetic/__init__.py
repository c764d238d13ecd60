"""Synthetic pictures of stained white blood cells, for demonstrations and tests."""

from wbcq.data.synthetic.cells import CLASSES
from wbcq.data.synthetic.dataset import ALIGNED, SyntheticWbc, render_cell
from wbcq.data.synthetic.optics import MODALITIES

__all__ = ["ALIGNED", "CLASSES", "MODALITIES", "SyntheticWbc", "render_cell"]
