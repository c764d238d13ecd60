"""A quantized network as a module that trains."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wbcq.engine.model import QuantizedModel
from wbcq.engine.program_file import program_bytes
from wbcq.graph.ir import Graph, Node
from wbcq.graph.torch_executor import TorchExecutor
from wbcq.pruning.layers import is_masked
from wbcq.quant.api import calibrated_graph
from wbcq.quant.calibrate import activation_observer
from wbcq.quant.config import QuantConfig
from wbcq.quant.lower import lower
from wbcq.quant.qat.layers import FoldedNorm, QatLayer
from wbcq.quant.qat.ranges import ActivationRange, WeightRange
from wbcq.quant.qparams import QParams, QuantizedGraph
from wbcq.quant.weights import operands, weight_qparams, weighted_nodes, weighted_op

__all__ = ["QatModule", "QatSchedule", "convert", "prepare_qat"]


@dataclass(frozen=True)
class QatSchedule:
    """After how many training batches what stops to move; None: when its method is called.

    Attributes:
        freeze_norm: Batch normalization, see :meth:`QatModule.freeze_norm`.
        freeze_ranges: Ranges of activations, see :meth:`QatModule.freeze_ranges`.

    Raises:
        ValueError: A number is negative.
    """

    freeze_norm: int | None = None
    freeze_ranges: int | None = None

    def __post_init__(self) -> None:
        for name in ("freeze_norm", "freeze_ranges"):
            batches = getattr(self, name)
            if batches is not None and batches < 0:
                raise ValueError(f"QatSchedule.{name} is {batches}; use 0 or more training batches")

    @classmethod
    def of(cls, batches: int) -> QatSchedule:
        """The default for a training of so many batches: norms at a half, ranges at 3 quarters."""
        return cls(freeze_norm=batches // 2, freeze_ranges=batches * 3 // 4)


class QatModule(nn.Module):
    """A quantized network that trains like any other module; :func:`prepare_qat` makes it.

    In training mode activations and weights are rounded as the engine will round them, with
    straight-through gradients; batch normalization works on the statistics of the batch until it is
    frozen. In evaluation mode the module computes *in the engine*, in the integers of what
    :func:`convert` would give now: what validation sees is what will run, to the bit. It then gives
    no gradients.

    ``state_dict`` holds all that changes, so that a checkpoint restores a training.
    """

    batches: Tensor

    def __init__(
        self,
        quantized: QuantizedGraph,
        config: QuantConfig,
        normalized: frozenset[str],
        schedule: QatSchedule,
        keep_zeros: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        self.schedule = schedule
        self._quantized = quantized
        ranges = _activation_ranges(quantized, config)
        layers = {
            node.name: _layer(quantized, node, config, ranges, node.name in normalized, keep_zeros)
            for node in weighted_nodes(quantized.graph)
            if keep_zeros or node.params["weight"] in quantized.weights
        }
        self.executor = TorchExecutor(quantized.graph, activation_transforms=ranges, layers=layers)
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        self._engine: tuple[tuple[int, ...], QuantizedModel] | None = None

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Runs the network.

        Args:
            *inputs: As the model that was prepared takes them: float32, batch first.
        """
        if not self.training:
            return self._run_integers(inputs)
        for when, freeze in (
            (self.schedule.freeze_norm, self.freeze_norm),
            (self.schedule.freeze_ranges, self.freeze_ranges),
        ):
            if when is not None and int(self.batches) >= when:
                freeze()
        self.batches += 1
        return self.executor(*inputs)  # type: ignore[no-any-return]

    def freeze_norm(self) -> QatModule:
        """From now on normalizes with the running statistics, as it will run. Returns itself."""
        for module in self.modules():
            if isinstance(module, FoldedNorm):
                module.frozen.fill_(True)
        return self

    def freeze_ranges(self) -> QatModule:
        """From now on keeps the ranges of activations as they are. Returns itself."""
        for module in self.modules():
            if isinstance(module, ActivationRange):
                module.frozen.fill_(True)
        return self

    def quantized_graph(self) -> QuantizedGraph:
        """The network as it is now, folded, with its quantization parameters."""
        graph = self._folded_graph()
        activations: dict[str, QParams] = {}
        for name in self._quantized.activations:
            module = self.executor.activation_transform(name)
            assert isinstance(module, ActivationRange)
            activations[name] = module.qparams()
        nodes = self._quantized.float_nodes
        metadata = {**self._quantized.metadata, "qat": {"batches": int(self.batches)}}
        weights = weight_qparams(graph, activations, self.config, nodes)
        return QuantizedGraph(graph, activations, weights, metadata, nodes)

    def _folded_graph(self) -> Graph:
        graph, stored = self._quantized.graph, self.executor.export_params()
        params = dict(stored)
        for node in graph:
            layer = self.executor.layer(node.name)
            if isinstance(layer, QatLayer):
                name, bias = node.params["weight"], node.params.get("bias", "")
                weight, folded_bias = layer.folded(stored[name], stored.get(bias))
                params[name] = weight
                if folded_bias is not None:
                    params[bias] = folded_bias
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in params.items()}
        return graph.with_nodes(graph.nodes, params=arrays)

    def _run_integers(self, inputs: tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        # In-place changes of a tensor count up its version.
        tensors = (*self.parameters(), *self.buffers())
        versions = tuple(tensor._version for tensor in tensors)
        if self._engine is None or self._engine[0] != versions:
            self._engine = versions, convert(self)
        outputs: Tensor | tuple[Tensor, ...] = self._engine[1](*(x.detach() for x in inputs))
        return outputs


def prepare_qat(
    model: nn.Module,
    example: Tensor | Iterable[Any],
    *,
    config: QuantConfig | None = None,
    schedule: QatSchedule | None = None,
    keep_zeros: bool | None = None,
    progress: bool = True,
) -> QatModule:
    """Makes a network that trains with the roundings that it will run with.

    The model is captured, folded, fused and calibrated as by :func:`wbcq.quantize`, so training
    starts from the quantized network, and :func:`convert` without training gives that network.
    Train it with any loop, with a rate of about a tenth of the one that the network was trained
    with, and keep the best epoch by validation. The model itself is not changed.

    Args:
        model: As for :func:`wbcq.quantize`.
        example: Data to calibrate with: batches as for :func:`wbcq.quantize`, or one tensor, which
            is taken as a single batch.
        config: Settings; :class:`QuantConfig`'s defaults if None.
        schedule: When batch normalization and ranges are frozen; if None, when
            :meth:`QatModule.freeze_norm` and :meth:`QatModule.freeze_ranges` are called.
        keep_zeros: Weights of convolutions and linear layers that are zero now stay zero; None for
            models with masks of :func:`wbcq.prune`.
        progress: Show a progress bar while calibrating.

    Raises:
        CalibrationError: The data are empty, of wrong shape or dtype, or hold NaN or infinity.
        UnsupportedOperatorError: The model uses an operator that wbcq does not know.
        CaptureError: The model cannot be traced.

    Example:
        >>> import torch, wbcq
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
        >>> pictures = torch.rand(8, 3, 16, 16)
        >>> qat = wbcq.prepare_qat(model, pictures)
        >>> optimizer = torch.optim.Adam(qat.parameters(), 1e-3)
        >>> qat.train()(pictures).square().mean().backward()
        >>> _ = optimizer.step()
        >>> quantized = wbcq.convert(qat)
        >>> torch.equal(qat.eval()(pictures), quantized(pictures))
        True
    """
    config = QuantConfig() if config is None else config
    loader: Iterable[Any] = [example] if isinstance(example, Tensor) else example
    calibrated = calibrated_graph(model, loader, config, progress=progress)
    if keep_zeros is None:
        keep_zeros = any(is_masked(module) for module in model.modules())
    module = QatModule(
        calibrated.quantized, config, calibrated.normalized, schedule or QatSchedule(), keep_zeros
    )
    with torch.no_grad():
        module.executor.eval()(*calibrated.first)  # sets the norms' statistics
    return module.train()


def convert(qat: QatModule) -> QuantizedModel:
    """The network as it is now, for the engine.

    Args:
        qat: From :func:`prepare_qat`, in training or evaluation mode, on any device.

    Raises:
        ValueError: ``qat`` is something else.
    """
    if not isinstance(qat, QatModule):
        raise ValueError(
            f"convert takes what wbcq.prepare_qat returns, not a {type(qat).__name__}. Remedy: for "
            "a network without quantization-aware training use wbcq.quantize"
        )
    return QuantizedModel(program_bytes(lower(qat.quantized_graph())))


def _activation_ranges(
    quantized: QuantizedGraph, config: QuantConfig
) -> dict[str, ActivationRange]:
    """A range for each value; values that share their qparams share it."""
    layers = {v: node.name for node in quantized.graph for v in (node.pre_activation, node.output)}
    shared: dict[int, ActivationRange] = {}
    ranges = {}
    for name, qparams in quantized.activations.items():
        if id(qparams) not in shared:
            make = functools.partial(activation_observer, config, layers.get(name, name))
            shared[id(qparams)] = ActivationRange(qparams, make)
        ranges[name] = shared[id(qparams)]
    return ranges


def _layer(
    quantized: QuantizedGraph,
    node: Node,
    config: QuantConfig,
    ranges: Mapping[str, ActivationRange],
    normalized: bool,
    keep_zeros: bool,
) -> QatLayer:
    graph, op, name = quantized.graph, weighted_op(node), node.params["weight"]
    # Folding multiplies and passes reorder: what was pruned is what is zero now.
    mask = torch.from_numpy(graph.params[name] != 0) if keep_zeros else None
    if name not in quantized.weights:
        return QatLayer(op, None, mask=mask)
    weights = WeightRange(
        config.weight_observer, config.weight_bits, config.weights == "per_channel"
    )
    uses = Counter(name for other in graph for name in other.params.values())
    alone = all(uses[name] == 1 for name in node.params.values())
    norm = None
    if normalized and alone and "bias" in node.params:
        norm = FoldedNorm(len(graph.params[name]))
    dense = getattr(op, "groups", 1) == 1
    slices = [(ranges[operands(node)[piece.index]], piece.size) for piece in op.slices if dense]
    return QatLayer(op, weights, norm, slices, mask)
