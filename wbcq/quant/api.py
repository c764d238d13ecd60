"""Post-training quantization in one call."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wbcq.engine.islands import FloatOperator, describe_islands, islands_from_metadata
from wbcq.engine.model import QuantizedModel
from wbcq.engine.program_file import program_bytes
from wbcq.errors import FloatFallbackWarning
from wbcq.graph.capture import capture
from wbcq.graph.ir import BatchNorm, Graph
from wbcq.graph.passes.pipeline import prepare_for_quantization
from wbcq.quant.bias_correction import correct_biases
from wbcq.quant.calibrate import CalibrationResult, calibrate
from wbcq.quant.calibration_data import CalibrationData
from wbcq.quant.config import QuantConfig, match_layers
from wbcq.quant.lower import lower
from wbcq.quant.qparams import QuantizedGraph
from wbcq.quant.source_model import check_float32
from wbcq.quant.weights import weight_qparams
from wbcq.version import __version__

__all__ = ["CalibratedGraph", "calibrated_graph", "quantize", "quantize_graph"]


def quantize(
    model: nn.Module,
    calib_loader: Iterable[Any],
    *,
    config: QuantConfig | None = None,
    progress: bool = True,
) -> QuantizedModel:
    """Quantizes a trained network to 8-bit integers.

    The model is captured in evaluation mode, batch normalization is folded, activations and
    residual additions are fused, ranges are calibrated, and the result is loaded into the engine.
    The model itself is not changed. The same model, data and config give the same bytes.

    Args:
        model: Any float32 module that ``torch.export`` can trace, in training or evaluation mode.
        calib_loader: Batches of pictures like those that the model will see, float32 [N, C, H, W]
            with the preprocessing of training; a few hundred pictures suffice. Any iterable of
            tensors, numpy arrays, tuples ``(picture, label)``, lists or dicts, read once; how each
            is read is told in :mod:`wbcq.quant.calibration_data`.
        config: Settings; :class:`QuantConfig`'s defaults if None.
        progress: Show a progress bar if stderr is a terminal and ``rich`` is installed.

    Returns:
        A model that runs on the integer engine and can be saved.

    Raises:
        CalibrationError: The data are empty, of wrong shape or dtype, or hold NaN or infinity.
        UnsupportedOperatorError: The model uses an operator that wbcq does not know.
        CaptureError: The model cannot be traced.
        ValueError: The model is not float32, or ``config`` names a layer that does not exist.

    Warns:
        FloatFallbackWarning: Operators run in float32, because ``config`` asks for it or because
            they have no integer form; once, listing layer, operator and reason.
            :meth:`QuantizedModel.profile` tells what they cost.

    Example:
        >>> import torch, wbcq
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> quantized = wbcq.quantize(model, [torch.rand(4, 3, 16, 16)])
        >>> quantized(torch.rand(2, 3, 16, 16)).shape
        torch.Size([2, 8, 14, 14])
    """
    config = QuantConfig() if config is None else config
    program = lower(calibrated_graph(model, calib_loader, config, progress=progress).quantized)
    _warn_of_islands(islands_from_metadata(program.metadata), type(model).__name__)
    return QuantizedModel(program_bytes(program))


@dataclass(frozen=True)
class CalibratedGraph:
    """A model between capture and lowering.

    Attributes:
        quantized: Folded, fused, calibrated, biases corrected.
        normalized: Names of the layers that absorbed a batch normalization.
        first: The first batch of the calibration data.
    """

    quantized: QuantizedGraph
    normalized: frozenset[str]
    first: tuple[Tensor, ...]


def calibrated_graph(
    model: nn.Module, calib_loader: Iterable[Any], config: QuantConfig, *, progress: bool
) -> CalibratedGraph:
    """Captures and calibrates a model; arguments and errors are those of :func:`quantize`."""
    check_float32(model)
    with _seeded(config.seed):
        data = CalibrationData(calib_loader, model)
        captured = capture(model, data.first)
        graph = prepare_for_quantization(captured)
        float_nodes = _float_nodes(graph, model, config)
        result = calibrate(graph, data, config, float_nodes, progress=progress)
    quantized = quantize_graph(graph, result, config, float_nodes, model=type(model).__name__)
    return CalibratedGraph(quantized, _normalized_layers(captured), data.first)


def _normalized_layers(captured: Graph) -> frozenset[str]:
    norms = [node for node in captured if isinstance(node.op, BatchNorm)]
    layers = [captured.producer(node.inputs[0]) for node in norms]
    return frozenset(layer.name for layer in layers if layer is not None)


def quantize_graph(
    graph: Graph,
    calibration: CalibrationResult,
    config: QuantConfig,
    float_nodes: frozenset[str] = frozenset(),
    *,
    model: str = "",
) -> QuantizedGraph:
    """Joins a graph, its calibration and its weights' scales, ready for lowering.

    Args:
        graph: Folded and fused.
        calibration: Of this graph.
        config: Settings of weights; all of it goes into the metadata.
        float_nodes: Names of nodes that compute in float32.
        model: The model's name, for the metadata.
    """
    metadata: dict[str, object] = {
        "model": model,
        "wbcq": __version__,
        "torch": str(torch.__version__),
        "calibration": {
            "observer": config.activation_observer,
            "pictures": calibration.pictures,
            "batches": calibration.batches,
        },
        "config": config.to_dict(),
    }
    if config.class_names:
        metadata["classes"] = list(config.class_names)
    weights = weight_qparams(graph, calibration.activations, config, float_nodes)
    if config.bias_correction:
        graph = correct_biases(graph, calibration.activations, weights, calibration.means)
        # A corrected bias must fit into int32 too.
        weights = weight_qparams(graph, calibration.activations, config, float_nodes)
    return QuantizedGraph(graph, dict(calibration.activations), weights, metadata, float_nodes)


def _warn_of_islands(islands: tuple[FloatOperator, ...], model: str) -> None:
    if not islands:
        return
    count = f"{len(islands)} operator{'s' if len(islands) > 1 else ''}"
    warnings.warn(
        f"{count} of {model} run{'' if len(islands) > 1 else 's'} in float32 although the network "
        f"is INT8:\n{describe_islands(islands)}\nprofile() shows their share of the time",
        FloatFallbackWarning,
        stacklevel=3,
    )


def _float_nodes(graph: Graph, model: nn.Module, config: QuantConfig) -> frozenset[str]:
    types = {path: type(module).__name__ for path, module in model.named_modules()}
    layers = {}
    for node in graph:
        parts = node.source.module.split(".") if node.source.module else []
        around = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
        kinds = [types[path] for path in around if path in types]
        layers[node.name] = [node.name, *around, type(node.op).__name__, *kinds]
    return match_layers(config.float_layers, layers)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
