"""Observers: modules that watch a tensor and choose its quantization parameters.

All of them come per tensor (``axis=None``) and per channel, affine (unsigned, for activations) and
symmetric (signed, for weights), with 2 to 8 bits. Which one:

- :class:`MinMaxObserver` covers everything that it saw. Right for weights, and for activations
  without outliers.
- :class:`MovingAverageMinMaxObserver` follows a range that drifts, as during training.
- :class:`HistogramObserver` clips outliers where that lowers the expected squared error. Right for
  activations when only a few hundred pictures calibrate a network.
"""

from wbcq.quant.observers.base import MIN_SCALE, Observer
from wbcq.quant.observers.histogram import HistogramObserver
from wbcq.quant.observers.minmax import MinMaxObserver, MovingAverageMinMaxObserver

__all__ = [
    "MIN_SCALE",
    "OBSERVERS",
    "HistogramObserver",
    "MinMaxObserver",
    "MovingAverageMinMaxObserver",
    "Observer",
]

OBSERVERS: dict[str, type[Observer]] = {
    "histogram": HistogramObserver,
    "minmax": MinMaxObserver,
    "moving_average": MovingAverageMinMaxObserver,
}
"""Observer classes by their name in :class:`wbcq.QuantConfig`."""
