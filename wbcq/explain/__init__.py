"""Where a classifier looks, in float and in INT8, and where quantization errs. Imports torch."""

from wbcq.explain.agreement import Agreement, agreement, energy_inside, top_share
from wbcq.explain.errors import LayerError, layer_errors
from wbcq.explain.layercam import HeatMaps, layer_cam
from wbcq.explain.taps import last_spatial_layer

__all__ = [
    "Agreement",
    "HeatMaps",
    "LayerError",
    "agreement",
    "energy_inside",
    "last_spatial_layer",
    "layer_cam",
    "layer_errors",
    "top_share",
]
