"""Where cells come from, cut into folds: synthetic ones, public collections, a user's own.

>>> from wbcq.data.sources import open_source
>>> source = open_source(None, preset="study", scale=0.002)
>>> source.folds, source.modalities
((0, 1, 2, 3, 4), ('fluor', 'green', 'purple', 'red', 'stain'))
>>> {split: len(labels) for split, labels in source.labels(0).items()}
{'train': 41, 'val': 6, 'test': 12}
"""

from wbcq.data.sources.base import Sets, Source
from wbcq.data.sources.opening import open_source
from wbcq.data.sources.synthetic import SyntheticSource
from wbcq.report.reporter import Reporter, Stage

__all__ = ["Reporter", "Sets", "Source", "Stage", "SyntheticSource", "open_source"]
