"""Runs pictures through a graph and chooses the quantization parameters of its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from wbcq.errors import CalibrationError
from wbcq.graph.analysis import quantized_values, shared_qparams_groups
from wbcq.graph.ir import Graph
from wbcq.graph.torch_executor import TorchExecutor
from wbcq.quant.calibration_data import CalibrationData
from wbcq.quant.concat_parts import ConcatParts
from wbcq.quant.config import QuantConfig
from wbcq.quant.observers import OBSERVERS, HistogramObserver, Observer
from wbcq.quant.progress import track
from wbcq.quant.qparams import QParams
from wbcq.quant.weights import operands, weighted_nodes

__all__ = ["CalibrationResult", "activation_observer", "activation_observers", "calibrate"]

# Of activations: see HistogramObserver; docs/adr/0003-clip-weight-and-bias-correction.md tells why.
_CLIP_WEIGHT = 32.0


@dataclass(frozen=True)
class CalibrationResult:
    """What calibration found.

    Attributes:
        activations: Name of a value to its quantization parameters.
        means: Name of a convolution's or linear layer's input to the mean of each channel, [C].
        pictures: How many were seen.
        batches: How many were seen.
    """

    activations: Mapping[str, QParams]
    means: Mapping[str, npt.NDArray[np.float64]]
    pictures: int
    batches: int


@torch.no_grad()
def calibrate(
    graph: Graph,
    data: CalibrationData,
    config: QuantConfig,
    float_nodes: frozenset[str] = frozenset(),
    *,
    progress: bool = False,
) -> CalibrationResult:
    """Chooses the quantization parameters of a graph's activations.

    Values are observed where the engine rounds them: after folding and fusion, after the clamp of a
    fused ReLU. Values whose bytes are only moved share one observer. A part of a Concat takes the
    parameters of the concatenation where that lowers the error (:mod:`wbcq.quant.concat_parts`).

    Args:
        graph: Folded and fused.
        data: Pictures like those that the model will see; a few hundred suffice.
        config: Which observer, how many bits.
        float_nodes: Names of nodes that compute in float32; values between them are not observed.
        progress: Show a progress bar on the terminal, if ``rich`` is installed.

    Raises:
        CalibrationError: The data are unusable, or a value of the network is NaN or infinite.
    """
    observers = activation_observers(graph, config, float_nodes)
    means = {value: ChannelMean() for node in weighted_nodes(graph) for value in operands(node)}
    parts = ConcatParts(graph, float_nodes)
    watching: tuple[Mapping[str, nn.Module], ...] = (observers, means, parts.samples)
    transforms = {
        name: nn.Sequential(*(modules[name] for modules in watching if name in modules))
        for name in {name: None for modules in watching for name in modules}
    }
    executor = TorchExecutor(graph, activation_transforms=transforms).eval()
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
    return CalibrationResult(
        parts.unify(activations),
        {name: mean.mean() for name, mean in means.items()},
        pictures,
        batches,
    )


class ChannelMean(nn.Module):
    """Returns its input [N, C, ...] and remembers the mean of each channel."""

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(1, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Takes in a tensor."""
        means = x.flatten(2).mean(dim=2) if x.dim() > 2 else x
        self.total = self.total + means.double().sum(dim=0)
        self.count += x.shape[0]
        return x

    def mean(self) -> npt.NDArray[np.float64]:
        """The means of what was seen, [C]."""
        mean: npt.NDArray[np.float64] = (self.total / self.count).cpu().numpy()
        return mean


def activation_observers(
    graph: Graph, config: QuantConfig, float_nodes: frozenset[str] = frozenset()
) -> dict[str, Observer]:
    """An observer for each value that is quantized; one for all values of a group that shares.

    Observers are called as the layer that computes the value, for their errors.
    """
    groups = {name: group for group in shared_qparams_groups(graph, float_nodes) for name in group}
    layers = {value: node.name for node in graph for value in (node.pre_activation, node.output)}
    observers: dict[str, Observer] = {}
    for value in quantized_values(graph, float_nodes):
        shared = next((other for other in groups.get(value, ()) if other in observers), None)
        observers[value] = (
            activation_observer(config, layers.get(value, value))
            if shared is None
            else observers[shared]
        )
    return observers


def activation_observer(config: QuantConfig, name: str) -> Observer:
    """The observer of one activation; ``name`` appears in its errors."""
    if config.activation_observer == "histogram":
        return HistogramObserver(bits=config.activation_bits, clip_weight=_CLIP_WEIGHT, name=name)
    return OBSERVERS[config.activation_observer](bits=config.activation_bits, name=name)
