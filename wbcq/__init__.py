"""INT8 quantization and pruning of small CNNs for edge CPUs.

Running a model file needs numpy alone; torch is imported by the functions that need it:

    import wbcq
    model = wbcq.load("cells.wbcq")
    scores = model(pictures)  # float32 [N, C, H, W]
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wbcq.engine.model import QuantizedModel, load
    from wbcq.engine.tuning import Tuning, tune
    from wbcq.errors import (
        CalibrationError,
        CaptureError,
        DenseLayersWarning,
        FloatFallbackWarning,
        ModelFileError,
        PruningError,
        UnsupportedOperatorError,
        WbcqError,
    )
    from wbcq.models.pretrained import example_model
    from wbcq.pruning.api import prune
    from wbcq.quant.api import quantize
    from wbcq.quant.config import QuantConfig
    from wbcq.quant.float_model import compile_float
    from wbcq.quant.qat import QatModule, QatSchedule, convert, prepare_qat
    from wbcq.version import __version__

__all__ = [
    "CalibrationError",
    "CaptureError",
    "DenseLayersWarning",
    "FloatFallbackWarning",
    "ModelFileError",
    "PruningError",
    "QatModule",
    "QatSchedule",
    "QuantConfig",
    "QuantizedModel",
    "Tuning",
    "UnsupportedOperatorError",
    "WbcqError",
    "__version__",
    "compile_float",
    "convert",
    "example_model",
    "load",
    "prepare_qat",
    "prune",
    "quantize",
    "tune",
]

_HOMES = {
    "CalibrationError": "wbcq.errors",
    "CaptureError": "wbcq.errors",
    "DenseLayersWarning": "wbcq.errors",
    "FloatFallbackWarning": "wbcq.errors",
    "ModelFileError": "wbcq.errors",
    "PruningError": "wbcq.errors",
    "QatModule": "wbcq.quant.qat",
    "QatSchedule": "wbcq.quant.qat",
    "QuantConfig": "wbcq.quant.config",
    "QuantizedModel": "wbcq.engine.model",
    "Tuning": "wbcq.engine.tuning",
    "UnsupportedOperatorError": "wbcq.errors",
    "WbcqError": "wbcq.errors",
    "__version__": "wbcq.version",
    "compile_float": "wbcq.quant.float_model",
    "convert": "wbcq.quant.qat",
    "example_model": "wbcq.models.pretrained",
    "load": "wbcq.engine.model",
    "prepare_qat": "wbcq.quant.qat",
    "prune": "wbcq.pruning.api",
    "quantize": "wbcq.quant.api",
    "tune": "wbcq.engine.tuning",
}
_PACKAGES = ("data", "detection", "explain", "models", "pruning", "train")


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"wbcq.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'wbcq' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted((*__all__, *_PACKAGES))
