"""Reading the nodes of a ``torch.export`` trace, and the memory that its tensors share."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from wbcq.graph import translations
from wbcq.graph.export_errors import is_user_code
from wbcq.graph.ir import SourceLocation
from wbcq.graph.layouts import Layout, is_whole, new_layout

__all__ = [
    "Binding",
    "Storage",
    "functional_name",
    "has_tensor",
    "memory_of",
    "node_name",
    "schema_arguments",
    "source_of",
    "written_arguments",
]

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_CONTAINERS = ("torch.nn.modules.module", "torch.nn.modules.container")


@dataclass(eq=False)
class Storage:
    """Memory: the value that it holds now, and where its elements lie.

    An update in place changes ``content`` and ``shape``; the elements stay where they are.
    """

    content: str | translations.Deferred
    shape: translations.Shape
    elements: Layout

    @classmethod
    def new(cls, content: str | translations.Deferred, shape: translations.Shape) -> Storage:
        """Memory of its own for a value."""
        return cls(content, shape, new_layout(tuple(size or 0 for size in shape[1:])))

    @property
    def layout(self) -> Layout:
        """Of the value itself."""
        return self.elements.reshape([size or 0 for size in self.shape[1:]])


@dataclass(frozen=True, eq=False)
class Binding:
    """A tensor of the trace: a view of memory. ``name`` is for the node that it may need."""

    storage: Storage
    layout: Layout
    name: str
    source: SourceLocation

    @property
    def shape(self) -> translations.Shape:
        """``None`` first, for the batch."""
        return (None, *self.layout.shape)

    @property
    def is_whole(self) -> bool:
        """True if it has all elements of its memory in their order."""
        return is_whole(self.layout, self.storage.elements)


def schema_arguments(node: fx.Node) -> dict[str, Any]:
    """Arguments by schema name, defaults filled in; by position if there is no schema."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return {str(index): argument for index, argument in enumerate(node.args)}
    arguments: dict[str, Any] = {}
    for index, argument in enumerate(node.target._schema.arguments):
        if index < len(node.args) and not argument.kwarg_only:
            arguments[argument.name] = node.args[index]
        else:
            arguments[argument.name] = node.kwargs.get(argument.name, argument.default_value)
    return arguments


def written_arguments(node: fx.Node, arguments: dict[str, Any]) -> list[str]:
    """Names of the arguments that a call may write to."""
    if isinstance(node.target, torch._ops.OpOverload):
        return [a.name for a in node.target._schema.arguments if a.is_write]
    # A higher-order operator may write to anything it gets; indexing a tuple writes nothing.
    return [] if node.target is operator.getitem else list(arguments)


def functional_name(name: str) -> tuple[str, bool]:
    """``aten.relu_.default`` gives ``aten.relu.default`` and True."""
    packet, _, overload = name.rpartition(".")
    in_place = packet.endswith("_")
    return f"{packet.removesuffix('_')}.{overload}", in_place


def memory_of(val: Tensor) -> int:
    """Identifies the memory of a tensor of the trace."""
    return int(val.untyped_storage()._cdata)


def has_tensor(val: object) -> bool:
    """True if a call's result is a tensor or has one in it."""
    if isinstance(val, (list, tuple)):
        return any(has_tensor(item) for item in val)
    return isinstance(val, Tensor)


def source_of(node: fx.Node) -> SourceLocation:
    """Module and line of user code of a call."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    lines = [f"{file}:{line}" for file, line in frames if is_user_code(file)]
    return SourceLocation(stack[-1][0] if stack else "", lines[-1] if lines else "")


def node_name(model: nn.Module, node: fx.Node, source: SourceLocation) -> str:
    """The path of a torch.nn layer; for a function, the path of its module and its own name."""
    try:
        bases = type(model.get_submodule(source.module)).__mro__
    except AttributeError:
        bases = ()
    is_layer = any(
        base.__module__.startswith("torch.nn.modules.") and base.__module__ not in _CONTAINERS
        for base in bases
    )
    if is_layer and source.module:
        return source.module
    function = str(node.target).split(".")[-2].strip("_")
    return f"{source.module}.{function}" if source.module else function
