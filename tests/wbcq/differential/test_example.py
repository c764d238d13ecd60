"""The models that come with the package count a synthetic smear."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest

from wbcq.data.synthetic import CLASSES
from wbcq.data.synthetic.smears import render_smear
from wbcq.detection import iou
from wbcq.differential import Rules
from wbcq.differential.models import load_counter
from wbcq.models.pretrained import DETECTOR

pytestmark = pytest.mark.skipif(
    not files("wbcq.models.pretrained").joinpath(DETECTOR).is_file(),
    reason="this copy has no example detector",
)


def test_a_smear_of_known_content() -> None:
    """Larger than a window, so that cells in overlaps would count twice if they were not merged."""
    smear = render_smear(1100, 900, seed=20_260_003, white=14, shares=(0.2,) * 5)
    boxes, labels = smear.white
    cells = load_counter(rules=Rules(by="both"), threads=1).count(smear.picture)
    found = iou(np.array([cell.box for cell in cells], np.float32), boxes) > 0.4
    assert found.sum(0).tolist() == [1] * len(boxes)
    assert len(cells) <= len(boxes) + 2
    named = [cells[row].kind == CLASSES[labels[column]] for row, column in np.argwhere(found)]
    assert np.mean(named) >= 0.7
    sure = [not cells[row].review for row, _ in np.argwhere(found)]
    assert all(right for right, quiet in zip(named, sure, strict=True) if quiet)
