"""Errors and warnings of wbcq. Each message names the object, the value and the remedy."""

from __future__ import annotations

__all__ = [
    "CalibrationError",
    "CaptureError",
    "DenseLayersWarning",
    "FloatFallbackWarning",
    "ModelFileError",
    "PruningError",
    "UnsupportedOperatorError",
    "WbcqError",
]


class WbcqError(Exception):
    """Base class of wbcq's own errors."""


class CaptureError(WbcqError):
    """A model cannot be turned into a graph (for example data-dependent control flow)."""


class UnsupportedOperatorError(CaptureError):
    """A model uses an operator that wbcq cannot run; names it, its module and source line."""


class CalibrationError(WbcqError, ValueError):
    """Calibration data are unusable: empty, wrong shape or dtype, NaN or infinity."""


class ModelFileError(WbcqError):
    """A model file is damaged, of another version, or not a model file."""


class PruningError(WbcqError, ValueError):
    """A network cannot be pruned as asked, or a pruned weight is not zero; names the layer."""


class DenseLayersWarning(UserWarning):
    """Layers that a pattern of pruning does not fit stay dense; lists them and says why."""


class FloatFallbackWarning(UserWarning):
    """Operators of a quantized model run in float32; lists them and says why."""
