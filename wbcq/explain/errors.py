"""Where in a network quantization loses precision."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wbcq.engine.model import QuantizedModel
from wbcq.explain.taps import engine_values
from wbcq.graph.capture import capture
from wbcq.graph.ops import Conv2d, Linear
from wbcq.graph.passes.pipeline import prepare_for_quantization
from wbcq.graph.torch_executor import TorchExecutor
from wbcq.quant.qat import QatModule

__all__ = ["LayerError", "layer_errors"]


@dataclass(frozen=True)
class LayerError:
    """The error of one layer's output, with all that was rounded before it.

    Attributes:
        layer: Name.
        kind: Operator, such as ``"Conv2d"``.
        sqnr: Signal to quantization noise in decibels: 10 log10(sum x^2 / sum (x - x')^2);
            infinite without any error.
        drift: Mean of x' - x in units of the standard deviation of x: what moves all values one
            way, which later layers cannot average out.
    """

    layer: str
    kind: str
    sqnr: float
    drift: float


class _Sums:
    """Of one value over all pictures."""

    def __init__(self) -> None:
        self.count = 0
        self.x = self.square = self.noise = self.bias = 0.0

    def add(self, x: Tensor, y: Tensor) -> None:
        x, error = x.double(), y.double() - x.double()
        self.count += x.numel()
        self.x += float(x.sum())
        self.square += float(x.square().sum())
        self.noise += float(error.square().sum())
        self.bias += float(error.sum())

    def sqnr(self) -> float:
        if not self.noise:
            return math.inf
        return 10 * math.log10(self.square / self.noise) if self.square else -math.inf

    def drift(self) -> float:
        variance = self.square / self.count - (self.x / self.count) ** 2
        return self.bias / self.count / math.sqrt(variance) if variance > 0 else 0.0


def layer_errors(
    quantized: QuantizedModel, model: nn.Module, batches: Iterable[Tensor | Sequence[Tensor]]
) -> tuple[LayerError, ...]:
    """Compares each layer's output in the engine's integers with its output in float.

    Args:
        quantized: What :func:`wbcq.quantize` or :func:`wbcq.convert` made of ``model``.
        model: The float network; a :class:`wbcq.QatModule` stands for its weights without
            roundings.
        batches: Pictures, float32 [N, C, H, W], or several of them for several inputs.

    Returns:
        One for each layer, in the order of execution; layers that only relabel are left out.

    Raises:
        ValueError: No pictures, or ``quantized`` was made of another network.

    Example:
        >>> import torch, wbcq
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()).eval()
        >>> x = torch.rand(4, 3, 16, 16)
        >>> (error,) = layer_errors(wbcq.quantize(model, [x], progress=False), model, [x])
        >>> error.layer, error.sqnr > 35
        ('0', True)
    """
    reference: TorchExecutor | None = None
    sums: dict[str, _Sums] = {}
    for batch in batches:
        inputs = (batch,) if isinstance(batch, Tensor) else tuple(batch)
        if reference is None:
            reference = _float_executor(quantized, model, inputs)
        integers = engine_values(quantized, inputs)

        def compare(name: str, x: Tensor, integers: dict[str, Tensor] = integers) -> Tensor:
            if name in integers:
                sums.setdefault(name, _Sums()).add(x, integers[name].reshape(x.shape))
            return x

        with torch.no_grad():
            reference.run(inputs, on_value=compare)
    if reference is None:
        raise ValueError("no pictures; pass at least one batch")
    return tuple(
        LayerError(node.name, type(node.op).__name__, total.sqnr(), total.drift())
        for node in reference.graph
        if (total := sums.get(node.output)) is not None
    )


def _float_executor(
    quantized: QuantizedModel, model: nn.Module, example: tuple[Tensor, ...]
) -> TorchExecutor:
    if isinstance(model, QatModule):
        graph = model.quantized_graph().graph
    else:
        graph = prepare_for_quantization(capture(model, example))
    tensors = quantized.program.tensors
    for node in graph:
        shape = graph.values[node.output].shape
        found = tensors.get(node.output)
        if isinstance(node.op, (Conv2d, Linear)) and (
            found is None or found.channels * found.height * found.width != math.prod(shape[1:])  # type: ignore[arg-type]
        ):
            raise ValueError(
                f"the quantized network was not made of this {type(model).__name__}: layer "
                f"{node.name!r} is another there; pass the network that it was made of"
            )
    return TorchExecutor(graph).eval()
