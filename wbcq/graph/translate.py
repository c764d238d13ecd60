"""From a trace of ``torch.export`` to a graph, call by call.

In-place updates become values of their own: the trace's fake tensors say which tensors share
memory, and whoever shares it with an updated tensor sees the new value from then on.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind

from wbcq.errors import CaptureError, UnsupportedOperatorError
from wbcq.graph import translations
from wbcq.graph.export_errors import is_user_code
from wbcq.graph.ir import Flatten, Graph, Node, Op, SourceLocation, Value

__all__ = ["Translator"]

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_CONTAINERS = ("torch.nn.modules.module", "torch.nn.modules.container")
_NO_REGION = (
    "a block such as torch.autocast or torch.enable_grad, or a torch.cond, is not supported inside "
    "forward. Remedy: move it out of the model"
)
_NO_TRANSLATION = (
    "operator not supported. Remedy: replace the layer, or add a translation to "
    "wbcq/graph/translations"
)


@dataclass(eq=False)
class _Storage:
    """Memory: what it holds now."""

    content: str | translations.Deferred
    shape: translations.Shape


@dataclass(frozen=True, eq=False)
class _Binding:
    """A tensor of the trace: memory, seen in a shape. ``name`` is for the Flatten it may need."""

    storage: _Storage
    shape: translations.Shape
    name: str
    source: SourceLocation


class Translator:
    """Translates one exported program.

    Args:
        model: The module that was exported: names parameters that it holds under several names.
        exported: Its trace, with a free batch size.
        name: Of the model, for messages.
    """

    def __init__(self, model: nn.Module, exported: torch.export.ExportedProgram, name: str) -> None:
        self._model = model
        self._exported = exported
        self._name = name
        self._tensors: dict[str, Tensor] = {}
        self._canonical: dict[str, str] = {}
        self._index_parameters(model)
        self._batch = ""
        self._nodes: list[Node] = []
        self._values: dict[str, Value] = {}
        self._params: dict[str, npt.NDArray[np.float32]] = {}
        self._flattened: dict[str, str] = {}
        self._storages: dict[int, _Storage] = {}
        self._bound: dict[fx.Node, _Binding | translations.Parameter | translations.Deferred] = {}

    def graph(self) -> Graph:
        """The graph.

        Raises:
            UnsupportedOperatorError, CaptureError: See :func:`wbcq.graph.capture.capture`.
        """
        specs = self._exported.graph_signature.input_specs
        parameters = {
            spec.arg.name: str(spec.target)
            for spec in specs
            if spec.kind is not InputKind.USER_INPUT
        }
        inputs: list[str] = []
        outputs: tuple[str, ...] = ()
        for node in self._exported.graph.nodes:
            if node.op == "placeholder" and node.name in parameters:
                self._bind_parameter(node, parameters[node.name])
            elif node.op == "placeholder":
                inputs.append(self._bind_input(node))
            elif node.op == "call_function":
                self._call(node)
            elif node.op == "output":
                outputs = tuple(self._outputs(node))
        return Graph(self._values, tuple(self._nodes), tuple(inputs), outputs, self._params)

    def _index_parameters(self, model: nn.Module) -> None:
        """A tensor that the module holds under several names goes by the first of them."""
        first: dict[int, str] = {}
        named = [
            *model.named_parameters(remove_duplicate=False),
            *model.named_buffers(remove_duplicate=False),
            *((name, t) for name, t in self._exported.constants.items() if isinstance(t, Tensor)),
        ]
        for name, tensor in named:
            canonical = first.setdefault(id(tensor), name)
            self._canonical[name] = canonical
            self._tensors[canonical] = tensor

    def _bind_parameter(self, node: fx.Node, target: str) -> None:
        shape = tuple(int(size) for size in node.meta["val"].shape)
        self._bound[node] = translations.Parameter(self._canonical[target], shape)

    def _bind_input(self, node: fx.Node) -> str:
        val = node.meta["val"]
        self._batch = self._batch or str(val.shape[0])
        name = self._unique(node.name)
        shape = self._shape(val)
        if shape is None:
            raise CaptureError(f"input '{name}' of {self._name} has shape {list(val.shape)}")
        self._values[name] = Value(name, shape)
        storage = self._storages[_memory(val)] = _Storage(name, shape)
        self._bound[node] = _Binding(storage, shape, name, SourceLocation())
        return name

    def _outputs(self, node: fx.Node) -> Iterator[str]:
        results: Any = node.args[0]
        for index, result in enumerate(results):
            bound = self._bound.get(result) if isinstance(result, fx.Node) else None
            if isinstance(bound, translations.Deferred):
                raise bound.error
            if isinstance(bound, _Binding):
                yield self._materialize(bound)
            elif result is not None:
                raise CaptureError(
                    f"output {index} of {self._name} does not depend on its inputs. Remedy: return "
                    "only tensors that the network computes"
                )

    def _call(self, node: fx.Node) -> None:
        target, val = node.target, node.meta.get("val")
        is_aten = isinstance(target, torch._ops.OpOverload)
        operator_name = str(target) if is_aten else getattr(target, "__name__", str(target))
        arguments = _schema_arguments(node)
        written = _written_arguments(node, arguments)
        if not _has_tensor(val) and not (is_aten and written):
            return
        shape = self._shape(val) if isinstance(val, Tensor) else None
        call = translations.AtenCall(
            operator_name,
            {key: self._argument(argument) for key, argument in arguments.items()},
            shape or (),
            self._source(node),
        )
        try:
            functional, in_place = _functional_name(operator_name)
            translation = translations.TRANSLATIONS.get(functional)
            if not is_aten and written:
                raise call.unsupported(_NO_REGION)
            if translation is None or not isinstance(val, Tensor) or bool(written) != in_place:
                raise call.unsupported(_NO_TRANSLATION)
            result = translation(call)
            if isinstance(result, translations.Same):
                argument = call.arguments[result.argument]
                if isinstance(argument, translations.Parameter):
                    self._bound[node] = argument
                    return
            if shape is None:
                raise call.unsupported(
                    f"its result has shape {list(val.shape)}, which mixes the pictures of a batch. "
                    "Remedy: keep the batch first, as x.flatten(1) does and x.view(1, -1) does not"
                )
            if val.dtype != torch.float32:
                raise call.unsupported(f"its result is {val.dtype}, but only float32 is supported")
            self._bound[node] = self._apply(node, call, result, in_place=in_place)
        except UnsupportedOperatorError as error:
            self._bound[node] = deferred = _defer(call, error)
            for key in written:
                self._invalidate(arguments[key], deferred)

    def _apply(
        self,
        node: fx.Node,
        call: translations.AtenCall,
        result: translations.Result,
        *,
        in_place: bool,
    ) -> _Binding:
        memory, shape = _memory(node.meta["val"]), call.output_shape
        name = self._node_name(node, call.source)
        storage = self._storages.get(memory)
        if isinstance(result, translations.Emit):
            emitted = _Storage(self._emit(name, call, result), result.shape or shape)
            if storage is not None and in_place:
                storage.content, storage.shape = emitted.content, emitted.shape
            else:
                storage = self._storages[memory] = emitted
            return _Binding(storage, shape, name, call.source)
        seen: _Binding = call.tensor(result.argument, ranks=None).handle
        if isinstance(result, translations.Same) and result.never_copies:
            storage = self._storages[memory] = seen.storage
        if storage is None:  # The result is a copy.
            storage = _Storage(seen.storage.content, seen.storage.shape)
            self._storages[memory] = storage
        if isinstance(result, translations.Same):
            return _Binding(storage, seen.shape, seen.name, seen.source)
        return _Binding(storage, shape, name, call.source)

    def _emit(self, name: str, call: translations.AtenCall, result: translations.Emit) -> str:
        inputs = tuple(self._materialize(x.handle) for x in result.inputs)
        for role, parameter in result.params.items():
            self._load(call, role, parameter.name)
        params = {role: parameter.name for role, parameter in result.params.items()}
        return self._append(
            name, result.op, inputs, result.shape or call.output_shape, params, call.source
        )

    def _append(
        self,
        name: str,
        op: Op,
        inputs: tuple[str, ...],
        shape: translations.Shape,
        params: dict[str, str],
        source: SourceLocation,
    ) -> str:
        name = self._unique(name)
        self._values[name] = Value(name, shape)
        self._nodes.append(Node(name, op, inputs, name, params, source))
        return name

    def _materialize(self, binding: _Binding) -> str:
        """The name of a value that has the binding's content and shape; emits Flatten if needed."""
        content, shape = binding.storage.content, binding.storage.shape
        if isinstance(content, translations.Deferred):
            raise content.error
        if shape == binding.shape:
            return content
        if len(binding.shape) != 2:
            before, after = map(translations.format_shape, (shape, binding.shape))
            raise UnsupportedOperatorError(
                f"{binding.name} in {binding.source}: a reshape from {before} to {after} is not "
                "supported, only x.flatten(1)"
            )
        if content not in self._flattened:
            self._flattened[content] = self._append(
                binding.name, Flatten(), (content,), binding.shape, {}, binding.source
            )
        return self._flattened[content]

    def _load(self, call: translations.AtenCall, role: str, name: str) -> None:
        if name in self._params:
            return
        tensor = self._tensors[name]
        if tensor.dtype != torch.float32:
            raise call.unsupported(
                f"its {role} '{name}' is {tensor.dtype}, must be float32. Remedy: model.float()"
            )
        self._params[name] = np.array(tensor.detach().cpu().numpy(), order="C")

    def _invalidate(self, argument: Any, deferred: translations.Deferred) -> None:
        """Marks memory that an untranslated call may have written: whoever reads it is in error."""
        if isinstance(argument, (list, tuple)):
            for item in argument:
                self._invalidate(item, deferred)
        elif isinstance(argument, fx.Node) and isinstance(argument.meta.get("val"), Tensor):
            storage = self._storages.get(_memory(argument.meta["val"]))
            if storage is not None:
                storage.content = deferred
            else:
                self._bound[argument] = deferred

    def _argument(self, argument: Any) -> Any:
        if isinstance(argument, (list, tuple)):
            return [self._argument(item) for item in argument]
        if not isinstance(argument, fx.Node):
            return argument
        bound = self._bound.get(argument)
        if not isinstance(bound, _Binding):
            return argument.meta.get("val") if bound is None else bound
        if isinstance(bound.storage.content, translations.Deferred):
            return bound.storage.content
        return translations.Tensor(bound.shape, bound)

    def _shape(self, val: Tensor) -> translations.Shape | None:
        """None if the first dimension is not the batch, or another depends on it."""
        sizes = list(val.shape)
        if not sizes or str(sizes[0]) != self._batch:
            return None
        if not all(isinstance(size, int) for size in sizes[1:]):
            return None
        return (None, *sizes[1:])

    def _unique(self, name: str) -> str:
        unique, count = name, 1
        while unique in self._values:
            count += 1
            unique = f"{name}@{count}"
        return unique

    def _source(self, node: fx.Node) -> SourceLocation:
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        frames = _FRAME.findall(node.meta.get("stack_trace") or "")
        lines = [f"{file}:{line}" for file, line in frames if is_user_code(file)]
        return SourceLocation(stack[-1][0] if stack else "", lines[-1] if lines else "")

    def _node_name(self, node: fx.Node, source: SourceLocation) -> str:
        """The path of a torch.nn layer; for a function, the path of its module and its own name."""
        try:
            bases = type(self._model.get_submodule(source.module)).__mro__
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


def _schema_arguments(node: fx.Node) -> dict[str, Any]:
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


def _written_arguments(node: fx.Node, arguments: dict[str, Any]) -> list[str]:
    if isinstance(node.target, torch._ops.OpOverload):
        return [a.name for a in node.target._schema.arguments if a.is_write]
    # A higher-order operator may write to anything it gets; indexing a tuple writes nothing.
    return [] if node.target is operator.getitem else list(arguments)


def _functional_name(name: str) -> tuple[str, bool]:
    """``aten.relu_.default`` gives ``aten.relu.default`` and True."""
    packet, _, overload = name.rpartition(".")
    in_place = packet.endswith("_")
    return f"{packet.removesuffix('_')}.{overload}", in_place


def _defer(call: translations.AtenCall, error: UnsupportedOperatorError) -> translations.Deferred:
    """The first cause: an argument's own error, or this one."""
    arguments: list[Any] = []
    for argument in call.arguments.values():
        arguments.extend(argument if isinstance(argument, list) else [argument])
    causes = [
        a for a in arguments if isinstance(a, translations.Deferred) and not a.from_parameters
    ]
    if causes:
        return causes[0]
    tensors = [
        a
        for a in arguments
        if isinstance(a, (translations.Tensor, translations.Parameter, translations.Deferred))
    ]
    from_parameters = bool(tensors) and not any(isinstance(a, translations.Tensor) for a in tensors)
    return translations.Deferred(error, f"{call.operator} in {call.source}", from_parameters)


def _memory(val: Tensor) -> int:
    """Identifies the memory of a tensor of the trace."""
    return int(val.untyped_storage()._cdata)


def _has_tensor(val: object) -> bool:
    if isinstance(val, (list, tuple)):
        return any(_has_tensor(item) for item in val)
    return isinstance(val, Tensor)
