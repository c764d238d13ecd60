"""Capture: a torch module becomes a :class:`~wbcq.graph.ir.Graph`.

``torch.export`` traces the module in evaluation mode with a free batch size and without
decompositions, so the trace still has one ATen call per layer. Each call is translated by a
function in :mod:`wbcq.graph.aten`. Only this module and :mod:`wbcq.graph.translate` know how torch
represents a trace.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wbcq.errors import CaptureError
from wbcq.graph.export_errors import explain
from wbcq.graph.ir import Graph
from wbcq.graph.translate import Translator

__all__ = ["capture"]


def capture(
    model: nn.Module,
    example_inputs: Tensor | Sequence[Tensor],
    *,
    name: str | None = None,
) -> Graph:
    """Captures a module's computation in evaluation mode.

    The module is left as it was: training flags, attributes, parameters and buffers. Its parameters
    are copied.

    Args:
        model: Any module that ``torch.export`` can trace.
        example_inputs: What ``forward`` takes: float32 tensors with the batch first. Only shapes
            matter; the graph takes any batch size.
        name: The model's name in error messages; its class by default.

    Returns:
        A graph in PyTorch's layout, one node per ATen operator, parameters under their qualified
        names. Dropout and identities leave no node; of all views only flattening is known.

    Raises:
        UnsupportedOperatorError: An operator has no translation; names it, its module and line.
        CaptureError: The module cannot be traced (a decision that depends on a tensor's values, a
            fixed batch size, inputs that it does not accept).

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> graph = capture(model, torch.zeros(1, 3, 32, 32))
        >>> [(node.name, type(node.op).__name__) for node in graph]
        [('0', 'Conv2d'), ('1', 'Clamp')]
    """
    name = type(model).__name__ if name is None else name
    inputs = _check_inputs(model, example_inputs, name)
    with _unchanged(model), torch.no_grad():
        for module in model.modules():
            module.training = False
        exported = _export(model, inputs, name)
        return Translator(model, exported, name).graph()


def _check_inputs(
    model: nn.Module, example_inputs: Tensor | Sequence[Tensor], name: str
) -> tuple[Tensor, ...]:
    if isinstance(model, torch.jit.ScriptModule):
        raise CaptureError(f"{name} is a ScriptModule. Remedy: capture the module it was made from")
    inputs = (example_inputs,) if isinstance(example_inputs, Tensor) else tuple(example_inputs)
    if not inputs:
        raise CaptureError(f"{name} needs at least one example input")
    for index, x in enumerate(inputs):
        if not isinstance(x, Tensor):
            raise CaptureError(
                f"example input {index} of {name} is a {type(x).__name__}. Remedy: pass a tensor, "
                "or a sequence with one tensor for each argument of forward"
            )
        if x.dtype != torch.float32:
            raise CaptureError(
                f"example input {index} of {name} is {x.dtype}, must be torch.float32"
            )
        if x.dim() < 2 or x.shape[0] < 1:
            raise CaptureError(
                f"example input {index} of {name} has shape {list(x.shape)}, "
                "must have the batch first and another dimension"
            )
        if x.shape[0] != inputs[0].shape[0]:
            raise CaptureError(
                f"example inputs of {name} have batch sizes {[int(i.shape[0]) for i in inputs]}, "
                "must be equal"
            )
    device = next((p.device for p in model.parameters()), inputs[0].device)
    return tuple(x.detach().to(device) for x in inputs)


def _export(
    model: nn.Module, inputs: tuple[Tensor, ...], name: str
) -> torch.export.ExportedProgram:
    # torch.export treats sizes 0 and 1 as constants, so the batch is traced with at least two.
    traced = inputs if inputs[0].shape[0] > 1 else tuple(torch.cat([x, x]) for x in inputs)

    def export(batch: object) -> torch.export.ExportedProgram:
        shapes: Any = tuple({0: batch} for _ in traced)
        with _quiet():
            return torch.export.export(model, traced, dynamic_shapes=shapes, strict=False)

    try:
        return export(torch.export.Dim("batch"))
    except Exception as error:
        failure = error
    raise explain(
        failure, model, name, inputs, lambda: export(torch.export.Dim.STATIC)
    ) from failure


@contextlib.contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Restores the attributes of every module, training flags included, and their containers.

    An attribute that forward assigns (``self.features = x``) would otherwise keep a tracing tensor.
    """
    saved = [(module, dict(module.__dict__)) for module in model.modules()]
    containers = [
        (value, value.copy())
        for _, attributes in saved
        for value in attributes.values()
        if isinstance(value, (dict, list, set))
    ]
    try:
        yield
    finally:
        for container, content in containers:
            container.clear()
            if isinstance(container, list):
                container.extend(content)
            else:
                container.update(content)
        for module, attributes in saved:
            module.__dict__.clear()
            module.__dict__.update(attributes)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences torch's reports of a failing trace: the CaptureError says it better.

    What the model itself writes to stderr is passed on unless the trace fails.
    """
    handlers = [
        handler
        for name in ("torch", *logging.root.manager.loggerDict)
        if name.partition(".")[0] == "torch"
        for handler in logging.getLogger(name).handlers
    ]

    def drop(_: logging.LogRecord) -> bool:
        return False

    for handler in handlers:
        handler.addFilter(drop)
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The tensor attribute")
            yield
        sys.stderr.write(captured.getvalue())
    finally:
        for handler in handlers:
            handler.removeFilter(drop)
