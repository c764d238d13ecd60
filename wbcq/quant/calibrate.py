"""Runs pictures through a graph and chooses the quantization parameters of its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from wbcq.errors import CalibrationError
from wbcq.graph.analysis import quantized_values, shared_qparams_groups
from wbcq.graph.ir import Graph
from wbcq.graph.torch_executor import TorchExecutor
from wbcq.quant.calibration_data import CalibrationData
from wbcq.quant.config import QuantConfig
from wbcq.quant.observers import OBSERVERS, Observer
from wbcq.quant.progress import track
from wbcq.quant.qparams import QParams

__all__ = ["CalibrationResult", "activation_observers", "calibrate"]


@dataclass(frozen=True)
class CalibrationResult:
    """What calibration found.

    Attributes:
        activations: Name of a value to its quantization parameters.
        pictures: How many were seen.
        batches: How many were seen.
    """

    activations: Mapping[str, QParams]
    pictures: int
    batches: int


@torch.no_grad()
def calibrate(
    graph: Graph, data: CalibrationData, config: QuantConfig, *, progress: bool = False
) -> CalibrationResult:
    """Chooses the quantization parameters of a graph's activations.

    Values are observed where the engine rounds them: after folding and fusion, after the clamp of a
    fused ReLU. Values whose bytes are only moved share one observer.

    Args:
        graph: Folded and fused.
        data: Pictures like those that the model will see; a few hundred suffice.
        config: Which observer, how many bits.
        progress: Show a progress bar on the terminal, if ``rich`` is installed.

    Raises:
        CalibrationError: The data are unusable, or a value of the network is NaN or infinite.
    """
    observers = activation_observers(graph, config)
    executor = TorchExecutor(graph, activation_transforms=observers).eval()
    pictures = batches = 0
    for index, inputs in enumerate(track(data, len(data), "Calibrating", enabled=progress)):
        try:
            executor(*inputs)
        except CalibrationError as error:
            raise CalibrationError(f"batch {index}: {error}") from error
        pictures += inputs[0].shape[0]
        batches += 1
    by_observer = {id(observer): observer.qparams() for observer in set(observers.values())}
    activations = {name: by_observer[id(observer)] for name, observer in observers.items()}
    return CalibrationResult(activations, pictures, batches)


def activation_observers(graph: Graph, config: QuantConfig) -> dict[str, Observer]:
    """An observer for each value that is quantized; one for all values of a group that shares.

    Observers are called as the layer that computes the value, for their errors.
    """
    groups = {name: group for group in shared_qparams_groups(graph) for name in group}
    layers = {node.output: node.name for node in graph}
    observers: dict[str, Observer] = {}
    for value in quantized_values(graph):
        shared = next((other for other in groups.get(value, ()) if other in observers), None)
        observers[value] = (
            OBSERVERS[config.activation_observer](
                bits=config.activation_bits, name=layers.get(value, value)
            )
            if shared is None
            else observers[shared]
        )
    return observers
