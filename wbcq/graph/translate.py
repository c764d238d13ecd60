"""From a trace of ``torch.export`` to a graph, call by call.

In-place updates become values of their own: the trace's fake tensors say which tensors share
memory, and whoever shares it with an updated tensor sees the new value from then on.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.stride_tricks import as_strided
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind

from wbcq.errors import CaptureError, UnsupportedOperatorError
from wbcq.graph import translations
from wbcq.graph.constants import Constants
from wbcq.graph.ir import Graph, Node, Op, SourceLocation, Value
from wbcq.graph.layouts import Layout, is_expanded, orders_all
from wbcq.graph.trace import (
    Binding,
    Storage,
    functional_name,
    has_tensor,
    memory_of,
    node_name,
    schema_arguments,
    source_of,
    written_arguments,
)
from wbcq.graph.views import Steps, view_steps

__all__ = ["Translator"]

_NO_REGION = (
    "a block such as torch.autocast or torch.enable_grad, or a torch.cond, is not supported inside "
    "forward. Remedy: move it out of the model"
)
_NO_TRANSLATION = (
    "operator not supported. Remedy: replace the layer, or add a translation to "
    "wbcq/graph/translations"
)
_PARTIAL_WRITE = (
    "it writes to a part of a tensor or to a rearranged view of one, which is not supported. "
    "Remedy: compute a new tensor, for example with torch.cat"
)
_MIXED_BATCH = (
    "its result has shape {shape}, which mixes the pictures of a batch. Remedy: keep the batch "
    "first, as x.flatten(1) does and x.view(1, -1) does not"
)
_EMPTY = "its result has shape {shape}, which holds nothing. Remedy: leave it out of the network"

_Bound: TypeAlias = "Binding | translations.Parameter | translations.Deferred"


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
        self._constants = Constants(model, exported)
        self._batch = ""
        self._nodes: list[Node] = []
        self._values: dict[str, Value] = {}
        self._params: dict[str, npt.NDArray[np.float32]] = {}
        self._views: dict[tuple[str, Steps], str] = {}
        self._storages: dict[int, Storage] = {}
        self._bound: dict[fx.Node, _Bound | tuple[_Bound, ...]] = {}

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
                self._bound[node] = self._constants.parameter(parameters[node.name])
            elif node.op == "placeholder":
                inputs.append(self._bind_input(node))
            elif node.op == "call_function" and node.target is operator.getitem:
                self._bind_item(node)
            elif node.op == "call_function":
                self._call(node)
            elif node.op == "output":
                outputs = tuple(self._outputs(node))
        return Graph(self._values, tuple(self._nodes), tuple(inputs), outputs, self._params)

    def _bind_input(self, node: fx.Node) -> str:
        val = node.meta["val"]
        self._batch = self._batch or str(val.shape[0])
        name = self._unique(node.name)
        shape = self._shape(val)
        if shape is None:
            raise CaptureError(f"input '{name}' of {self._name} has shape {list(val.shape)}")
        self._values[name] = Value(name, shape)
        storage = self._storages[memory_of(val)] = Storage.new(name, shape)
        self._bound[node] = Binding(storage, storage.layout, name, SourceLocation())
        return name

    def _bind_item(self, node: fx.Node) -> None:
        sequence, index = node.args
        assert isinstance(sequence, fx.Node)
        assert isinstance(index, int)
        bound = self._bound.get(sequence)
        if isinstance(bound, tuple):
            self._bound[node] = bound[index]
        elif isinstance(bound, translations.Deferred):
            self._bound[node] = bound

    def _outputs(self, node: fx.Node) -> Iterator[str]:
        results: Any = node.args[0]
        for index, result in enumerate(results):
            bound = self._bound.get(result) if isinstance(result, fx.Node) else None
            if isinstance(bound, translations.Deferred):
                raise bound.error
            if isinstance(bound, Binding):
                yield self._materialize(bound)
            elif result is not None:
                raise CaptureError(
                    f"output {index} of {self._name} does not depend on its inputs. Remedy: return "
                    "only tensors that the network computes"
                )

    # Calls.

    def _call(self, node: fx.Node) -> None:
        target, val = node.target, node.meta.get("val")
        is_aten = isinstance(target, torch._ops.OpOverload)
        operator_name = str(target) if is_aten else getattr(target, "__name__", str(target))
        arguments = schema_arguments(node)
        written = written_arguments(node, arguments)
        if not has_tensor(val) and not (is_aten and written):
            return
        call = translations.AtenCall(
            operator_name,
            {key: self._argument(argument) for key, argument in arguments.items()},
            (self._shape(val) if isinstance(val, Tensor) else None) or (),
            source_of(node),
            self._constants.read,
        )
        try:
            if is_aten and not written and self._fold(node, call):
                return
            functional, in_place = functional_name(operator_name)
            translation = translations.TRANSLATIONS.get(functional)
            if not is_aten and written:
                raise call.unsupported(_NO_REGION)
            if translation is None or not has_tensor(val) or bool(written) != in_place:
                raise call.unsupported(_NO_TRANSLATION)
            result = translation(call)
            if isinstance(result, translations.Same):
                argument = call.arguments[result.argument]
                if isinstance(argument, translations.Parameter):
                    self._bound[node] = argument
                    return
            if isinstance(result, translations.Several):
                self._bound[node] = tuple(
                    self._one_of_several(node, call, index, item)
                    for index, item in enumerate(result.results)
                )
            else:
                assert isinstance(val, Tensor)
                self._bound[node] = self._apply(node, val, call, result, in_place=in_place)
        except UnsupportedOperatorError as error:
            self._bound[node] = deferred = _defer(call, error)
            for key in written:
                self._invalidate(arguments[key], deferred)

    def _fold(self, node: fx.Node, call: translations.AtenCall) -> bool:
        folded = self._constants.fold(
            node, dict(call.arguments), node_name(self._model, node, call.source)
        )
        if folded is not None:
            self._bound[node] = folded
        return folded is not None

    def _one_of_several(
        self,
        node: fx.Node,
        call: translations.AtenCall,
        index: int,
        result: translations.Emit | translations.View | None,
    ) -> _Bound:
        val = node.meta["val"][index]
        if result is None:
            error = call.unsupported(f"its result {index} is not supported")
            return translations.Deferred(error, f"{call.operator} in {call.source}")
        return self._apply(node, val, call, result, in_place=False)

    def _apply(
        self,
        node: fx.Node,
        val: Tensor,
        call: translations.AtenCall,
        result: translations.Emit | translations.View | translations.Same,
        *,
        in_place: bool,
    ) -> Binding:
        shape = self._shape(val)
        if shape is None:
            raise call.unsupported(_MIXED_BATCH.format(shape=list(val.shape)))
        if val.dtype != torch.float32:
            raise call.unsupported(f"its result is {val.dtype}, but only float32 is supported")
        sizes = [size or 0 for size in shape[1:]]
        if 0 in sizes:
            raise call.unsupported(_EMPTY.format(shape=translations.format_shape(shape)))
        name = node_name(self._model, node, call.source)
        storage = self._storages.get(memory_of(val))
        if isinstance(result, translations.Emit):
            if storage is not None and in_place:
                return self._update(call, name, result, storage, sizes)
            emitted = result.shape or shape
            storage = Storage.new(self._emit(name, call, result, emitted), emitted)
            self._storages[memory_of(val)] = storage
            return Binding(storage, _arranged(result, storage, sizes), name, call.source)
        seen: Binding = call.tensor(result.argument, ranks=None).handle
        if isinstance(result, translations.Same) and result.never_copies:
            storage = self._storages[memory_of(val)] = seen.storage
        if storage is not seen.storage:
            seen = self._copied(seen, tuple(sizes))
            self._storages[memory_of(val)] = seen.storage
        if isinstance(result, translations.Same):
            return seen
        rearrange = result.rearrange
        layout = seen.layout.reshape(sizes) if rearrange is None else rearrange(seen.layout)
        if not np.may_share_memory(layout, seen.storage.elements):
            raise call.unsupported("its result is a view that needs a copy")
        return Binding(seen.storage, layout, name, call.source)

    def _update(
        self,
        call: translations.AtenCall,
        name: str,
        result: translations.Emit,
        storage: Storage,
        sizes: list[int],
    ) -> Binding:
        """An in-place operator: everything that shares the memory sees the new value."""
        written = call.tensor("self", ranks=None).handle
        if not written.is_whole and result.arrange is None:
            raise call.unsupported(_PARTIAL_WRITE)
        emitted = result.shape or (None, *sizes)
        storage.content = self._emit(name, call, result, emitted)
        storage.shape = emitted
        return Binding(storage, written.layout.reshape(sizes), name, call.source)

    def _copied(self, seen: Binding, hint: tuple[int, ...]) -> Binding:
        """The same tensor in memory of its own, which will be seen in the shape of the hint."""
        if seen.is_whole:
            storage = Storage.new(seen.storage.content, seen.storage.shape)
        else:
            value = self._rearranged(seen, any_shape=True, hint=hint)
            storage = Storage.new(value, self._values[value].shape)
        return Binding(storage, storage.elements.reshape(seen.layout.shape), seen.name, seen.source)

    # Nodes.

    def _emit(
        self,
        name: str,
        call: translations.AtenCall,
        result: translations.Emit,
        shape: translations.Shape,
        emitted: dict[int, str] | None = None,
    ) -> str:
        emitted = {} if emitted is None else emitted  # what several nodes of the call read
        inputs = []
        for x in result.inputs:
            if isinstance(x, translations.Emit):
                assert x.shape is not None
                if id(x) not in emitted:
                    emitted[id(x)] = self._emit(name, call, x, x.shape, emitted)
                inputs.append(emitted[id(x)])
            else:
                inputs.append(self._materialize(x.handle))
        params: dict[str, str] = {}
        for role, parameter in result.params.items():
            if isinstance(parameter, np.ndarray):
                tensor = torch.from_numpy(np.asarray(parameter, np.float32))
                parameter = self._constants.store(f"{name}.{role}", tensor)
            self._load(call, role, parameter)
            params[role] = parameter.name
        return self._append(name, result.op, tuple(inputs), shape, params, call.source)

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

    def _materialize(self, binding: Binding) -> str:
        """The name of a value that has the binding's content and shape."""
        content = binding.storage.content
        if isinstance(content, translations.Deferred):
            raise content.error
        if binding.shape == binding.storage.shape and binding.is_whole:
            return content
        return self._rearranged(binding, any_shape=False)

    def _rearranged(self, binding: Binding, *, any_shape: bool, hint: tuple[int, ...] = ()) -> str:
        """Emits what computes a view; with ``any_shape``, its elements in their order suffice."""
        content = binding.storage.content
        if isinstance(content, translations.Deferred):
            raise content.error
        memory = binding.storage.layout
        steps = view_steps(binding.layout, memory, any_shape=any_shape, hint=hint)
        for index, step in enumerate(steps):
            key = (content, steps[index : index + 1])
            if key not in self._views:
                params = {}
                if step.weight is not None:
                    tensor = torch.from_numpy(step.weight)
                    parameter = self._constants.store(f"{binding.name}.weight", tensor)
                    self._params[parameter.name] = step.weight
                    params["weight"] = parameter.name
                shape = (None, *step.sizes)
                self._views[key] = self._append(
                    binding.name, step.op, (content,), shape, params, binding.source
                )
            content = self._views[key]
        return content

    def _load(
        self, call: translations.AtenCall, role: str, parameter: translations.Parameter
    ) -> None:
        if parameter.name in self._params:
            return
        dtype = self._constants.dtype(parameter)
        if dtype != torch.float32:
            raise call.unsupported(
                f"its {role} '{parameter.name}' is {dtype}, must be float32. Remedy: model.float()"
            )
        self._params[parameter.name] = self._constants.read(parameter)

    def _invalidate(self, argument: Any, deferred: translations.Deferred) -> None:
        """Marks memory that an untranslated call may have written: whoever reads it is in error."""
        if isinstance(argument, (list, tuple)):
            for item in argument:
                self._invalidate(item, deferred)
        elif isinstance(argument, fx.Node) and isinstance(argument.meta.get("val"), Tensor):
            storage = self._storages.get(memory_of(argument.meta["val"]))
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
        if not isinstance(bound, Binding):
            return argument.meta.get("val") if bound is None else bound
        if isinstance(bound.storage.content, translations.Deferred):
            return bound.storage.content
        return _tensor(bound)

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


def _tensor(bound: Binding) -> translations.Tensor:
    base = expanded_from = None
    layout, storage = bound.layout, bound.storage
    if len(storage.shape) in (2, 4):
        whole = Binding(storage, storage.layout, bound.name, bound.source)
        # A picture of other sizes may be groups of channels.
        is_other = len(bound.shape) not in (2, 4) or len(storage.shape) == 4 == len(bound.shape)
        if is_other and bound.is_whole and bound.shape != storage.shape:
            base = translations.Tensor(storage.shape, whole)
        elif not bound.is_whole and orders_all(layout, storage.elements):
            base = translations.Tensor(storage.shape, whole, arrange=_as_in(layout))
    if base is None and len(bound.shape) == 3:
        base = translations.as_picture(translations.Tensor(bound.shape, bound))
    if is_expanded(layout):
        pixel = Binding(storage, layout[:, :1, :1], bound.name, bound.source)
        expanded_from = translations.Tensor(pixel.shape, pixel)
    return translations.Tensor(bound.shape, bound, base, expanded_from=expanded_from)


def _as_in(layout: Layout) -> translations.Arrange:
    """The elements that a view has of other memory of the same size."""

    def arrange(memory: Layout) -> Layout:
        strides = [stride * memory.itemsize for stride in layout.strides]
        return as_strided(memory, layout.shape, strides)

    return arrange


def _arranged(result: translations.Emit, storage: Storage, sizes: list[int]) -> Layout:
    if result.arrange is None:
        return storage.layout.reshape(sizes)
    return result.arrange(storage.layout)


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
