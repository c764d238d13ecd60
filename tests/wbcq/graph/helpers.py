"""Comparing a module with its graph, before and after the passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wbcq.graph import ir
from wbcq.graph.capture import capture
from wbcq.graph.passes.pipeline import prepare_for_quantization
from wbcq.graph.torch_executor import TorchExecutor


class Wraps(nn.Module):
    """A module whose forward is a function of layers and input."""

    def __init__(self, function: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, *inputs: Tensor) -> Any:
        """Calls the function with itself, for the layers, and the inputs."""
        return self.function(self, *inputs)


def op_names(graph: ir.Graph) -> list[str]:
    """Names of the operators' types, in order."""
    return [type(node.op).__name__ for node in graph]


def run(graph: ir.Graph, *inputs: Tensor) -> tuple[Tensor, ...]:
    """The graph's outputs."""
    with torch.no_grad():
        outputs = TorchExecutor(graph)(*inputs)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def settle_norms(model: nn.Module) -> nn.Module:
    """Gives batch normalizations statistics and weights that matter."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            module.running_mean = torch.randn(module.num_features) * 0.1
            module.running_var = torch.rand(module.num_features) + 0.5
    return model


def assert_close(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> None:
    """Equal up to float32's rounding, relative to the largest number."""
    for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert a.shape == b.shape, f"output {index}"
        tolerance = 3e-5 * max(1.0, float(b.abs().max()))
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def assert_valid(graph: ir.Graph) -> None:
    """Each value is computed once, before it is read, in the shape that the graph says."""
    known = set(graph.inputs)
    for node in graph:
        assert set(node.inputs) <= known, f"{node.name} reads a value before it is computed"
        assert node.output not in known
        known.add(node.output)
        if node.pre_activation is not None:
            assert node.op.functions  # type: ignore[attr-defined]
            known.add(node.pre_activation)
        assert set(node.params.values()) <= set(graph.params)
        if isinstance(node.op, (ir.Conv2d, ir.Linear)):
            _assert_valid_layer(graph, node, node.op)
    assert set(graph.outputs) <= known
    assert set(graph.values) == known
    assert len({node.name for node in graph}) == len(graph.nodes)
    _assert_shapes(graph)


def _assert_valid_layer(graph: ir.Graph, node: ir.Node, op: ir.Conv2d | ir.Linear) -> None:
    assert len(node.inputs) - op.operands in (0, 1)
    weight = graph.param(node, "weight")
    assert weight is not None
    widths = [graph.values[name].shape[1] or 0 for name in node.inputs]
    channels = sum(piece.size for piece in op.slices) if op.slices else widths[0]
    groups = op.groups if isinstance(op, ir.Conv2d) else 1
    assert weight.shape[1] * groups == channels
    assert {piece.index for piece in op.slices} == set(range(op.operands if op.slices else 0))
    for piece in op.slices:
        assert 0 <= piece.start < piece.stop <= widths[piece.index]
    if op.slices and groups > 1:
        assert weight.shape[:2] == (groups, 1)


def _assert_shapes(graph: ir.Graph) -> None:
    seen: dict[str, tuple[int, ...]] = {}

    class Shape(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def forward(self, x: Tensor) -> Tensor:
            seen[self.name] = tuple(x.shape)
            return x

    executor = TorchExecutor(graph, activation_transforms={n: Shape(n) for n in graph.values})
    with torch.no_grad():
        executor(*(torch.zeros(2, *_sizes(graph, name)) for name in graph.inputs))
    for name, shape in seen.items():
        assert shape == (2, *_sizes(graph, name)), name


def _sizes(graph: ir.Graph, value: str) -> tuple[int, ...]:
    return tuple(size or 0 for size in graph.values[value].shape[1:])


def check(model: nn.Module, *shapes: tuple[int, ...], seed: int = 0) -> tuple[ir.Graph, ir.Graph]:
    """Module == captured graph == graph after all passes; returns the two graphs.

    Args:
        model: Any module.
        *shapes: Of its inputs, without the batch.
        seed: Of the pictures.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randn((2, *shape), generator=generator) for shape in shapes]
    captured = capture(model.eval(), inputs)
    prepared = prepare_for_quantization(captured)
    assert_valid(captured)
    assert_valid(prepared)
    with torch.no_grad():
        results = model(*(x.clone() for x in inputs))
    expected = results if isinstance(results, tuple) else (results,)
    assert_close(run(captured, *inputs), expected)
    assert_close(run(prepared, *inputs), expected)
    return captured, prepared
