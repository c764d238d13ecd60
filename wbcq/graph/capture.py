"""Capture: a torch module becomes a :class:`~wbcq.graph.ir.Graph`.

``torch.export`` traces the module in evaluation mode with a free batch size and without
decompositions, so the trace still has one ATen call per layer. Each call is translated by a
function in :mod:`wbcq.graph.translations`. Only this module and :mod:`wbcq.graph.translate` know
how torch represents a trace.
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
import torch.utils._pytree
from torch import Tensor, nn

from wbcq.errors import CaptureError
from wbcq.graph.export_errors import explain
from wbcq.graph.ir import Graph
from wbcq.graph.torch_executor import TorchExecutor
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
            fixed batch size, inputs that it does not accept), or computes something else than its
            trace.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> graph = capture(model, torch.zeros(1, 3, 32, 32))
        >>> [(node.name, type(node.op).__name__) for node in graph]
        [('0', 'Conv2d'), ('1', 'Clamp')]
    """
    compiled_from = getattr(model, "_orig_mod", None)
    model = compiled_from if isinstance(compiled_from, nn.Module) else model
    name = type(model).__name__ if name is None else name
    inputs = _check_inputs(model, example_inputs, name)
    device = inputs[0].device
    with _unchanged(model), torch.no_grad(), torch.autocast(device.type, enabled=False):
        for module in model.modules():
            module.training = False
        exported = _export(model, inputs, name)
        graph = Translator(model, exported, name).graph()
        _check_against(model, graph, inputs, name)
    return graph


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
    repeats = 1 if inputs[0].shape[0] > 1 else 2
    traced = tuple(torch.cat([x] * repeats) for x in inputs)

    def export(batch: object) -> torch.export.ExportedProgram:
        shapes: Any = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]
        for x in traced:
            shapes[x] = {0: batch}
        with _quiet():
            return torch.export.export(model, traced, dynamic_shapes=shapes, strict=False)

    try:
        return export(torch.export.Dim("batch"))
    except Exception as error:
        failure = error
    raise explain(
        failure, model, name, inputs, lambda: export(torch.export.Dim.STATIC)
    ) from failure


def _check_against(model: nn.Module, graph: Graph, inputs: tuple[Tensor, ...], name: str) -> None:
    """Compares graph and module on random pictures, alone and several at once.

    A trace holds for the path that was taken: a module that does something else for a batch of one,
    for example, must not be captured silently.
    """
    executor = TorchExecutor(graph).to(inputs[0].device)
    generator = torch.Generator().manual_seed(0)
    for batch in (1, 3):
        random = [torch.randn((batch, *x.shape[1:]), generator=generator) for x in inputs]
        pictures = [x.to(inputs[0].device) for x in random]
        try:
            results = model(*(x.clone() for x in pictures))
        except Exception:  # The module refuses this batch size; the graph need not.
            continue
        expected = [y for y in torch.utils._pytree.tree_leaves(results) if isinstance(y, Tensor)]
        outputs = executor(*pictures)
        ours = outputs if isinstance(outputs, tuple) else (outputs,)
        for index, (y, reference) in enumerate(zip(ours, expected, strict=True)):
            if not _is_close(y, reference):
                raise CaptureError(
                    f"output {index} of {name} differs between the module and its trace for a "
                    f"batch of {batch}. Remedy: let forward do the same for every batch size and "
                    "at every call"
                )


def _is_close(y: Tensor, reference: Tensor) -> bool:
    # squeeze() may have dropped a batch of one.
    if y.numel() != reference.numel():
        return False
    tolerance = 1e-3 * float(reference.abs().nan_to_num().max())
    return torch.allclose(y.flatten(), reference.flatten(), rtol=0, atol=tolerance, equal_nan=True)


@contextlib.contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Restores what forward may change: attributes and containers of modules, buffers, randomness.

    An attribute that forward assigns (``self.features = x``) would otherwise keep a tracing tensor.
    """
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    saved = [(module, dict(module.__dict__)) for module in model.modules()]
    containers = [
        (value, value.copy())
        for _, attributes in saved
        for value in attributes.values()
        if isinstance(value, (dict, list, set))
    ]
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for buffer, content in buffers:
            if not torch.equal(buffer, content):
                buffer.detach().copy_(content)
        for container, items in containers:
            container.clear()
            if isinstance(container, list):
                container.extend(items)
            else:
                container.update(items)
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
