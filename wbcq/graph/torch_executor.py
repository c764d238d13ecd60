"""Runs a graph with torch: differentiable, on any device, with hooks for fake quantization."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from wbcq.graph import ir
from wbcq.graph.torch_operators import RUNNERS, apply_functions

__all__ = ["TorchExecutor"]

_BUFFER_ROLES = frozenset({"running_mean", "running_var"})


class TorchExecutor(nn.Module):
    """A graph as a torch module.

    Parameters are trainable and stand in ``params`` with "." replaced by "/" (torch forbids dots);
    :meth:`export_params` gives them back under their qualified names. Statistics of batch
    normalization are buffers. A transform is a module that maps a tensor to a tensor of the same
    shape; it belongs to the executor and moves, trains and saves with it.

    Args:
        graph: What to run; its parameters are copied.
        activation_transforms: By value name (inputs and pre-activations of the graph too): applied
            to the value as soon as it is known, so that all readers see the result.
        weight_transforms: By qualified parameter name: applied once per forward, to any role.
        layers: By node name: computes the node up to its functions in place of its operator; called
            with the node's inputs and its parameters by role.

    Raises:
        ValueError: A transform names a value or parameter that the graph does not have.

    Example:
        >>> import torch
        >>> from wbcq.graph.capture import capture
        >>> model = torch.nn.Conv2d(3, 8, 3)
        >>> x = torch.rand(4, 3, 16, 16)
        >>> torch.equal(TorchExecutor(capture(model, x))(x), model(x))
        True
    """

    def __init__(
        self,
        graph: ir.Graph,
        *,
        activation_transforms: Mapping[str, nn.Module] | None = None,
        weight_transforms: Mapping[str, nn.Module] | None = None,
        layers: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.graph = graph
        self.params = nn.Module()
        self._keys: dict[str, str] = {}
        buffers = {
            name for node in graph for role, name in node.params.items() if role in _BUFFER_ROLES
        }
        for name, array in graph.params.items():
            tensor = torch.tensor(array)
            key = self._keys[name] = _key(name, self.params)
            if name in buffers:
                self.params.register_buffer(key, tensor)
            else:
                self.params.register_parameter(key, nn.Parameter(tensor))
        self.activation_transforms, self._activation_keys = _register(
            activation_transforms or {}, graph.values, "value"
        )
        self.weight_transforms, self._weight_keys = _register(
            weight_transforms or {}, graph.params, "parameter"
        )
        self.layers, self._layer_keys = _register(
            layers or {}, {node.name: node for node in graph}, "node"
        )
        self._last_use = _last_uses(graph)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Runs the graph.

        Args:
            *inputs: One float32 tensor for each input of the graph, any batch size.

        Returns:
            A tensor, or a tuple if the graph has several outputs.

        Raises:
            ValueError: The number of inputs or a shape is not the graph's.
        """
        outputs = self.run(inputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def run(
        self,
        inputs: Sequence[Tensor],
        *,
        on_value: Callable[[str, Tensor], Tensor] | None = None,
        on_read: Callable[[ir.Node | None, str, Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, ...]:
        """Runs the graph; what flows through it can be looked at and replaced.

        Args:
            inputs: As for a call.
            on_value: Called with the name of each value and the value, inputs included; what it
                returns takes the value's place.
            on_read: Called with a node (None for the caller, who reads the outputs), the name of a
                value that it reads, and the value; what it returns is read instead.

        Raises:
            ValueError: As for a call.
        """
        self._check(inputs)
        values: dict[str, Tensor] = {}
        params: dict[str, Tensor] = {}

        def store(name: str, x: Tensor) -> None:
            x = self._transformed(name, x)
            values[name] = x if on_value is None else on_value(name, x)

        def read(node: ir.Node | None, name: str) -> Tensor:
            return values[name] if on_read is None else on_read(node, name, values[name])

        for name, x in zip(self.graph.inputs, inputs, strict=True):
            store(name, x)
        for index, node in enumerate(self.graph.nodes):
            operands = [read(node, name) for name in node.inputs]
            roles = {role: self._param(name, params) for role, name in node.params.items()}
            layer = self.layer(node.name)
            if layer is None:
                result = RUNNERS[type(node.op)](node.op, operands, roles)
            else:
                result = layer(operands, roles)
            if node.pre_activation is not None:
                result = self._transformed(node.pre_activation, result)
            store(node.output, apply_functions(result, getattr(node.op, "functions", ())))
            for name in self._last_use[index]:
                del values[name]
        return tuple(read(None, name) for name in self.graph.outputs)

    def export_params(self) -> dict[str, Tensor]:
        """Copies of all parameters and statistics, without transforms, by qualified name."""
        return {name: self._stored(name).detach().clone() for name in self._keys}

    def activation_transform(self, value: str) -> nn.Module | None:
        """The transform of a value, if it has one."""
        key = self._activation_keys.get(value)
        return None if key is None else self.activation_transforms[key]

    def weight_transform(self, param: str) -> nn.Module | None:
        """The transform of a parameter, if it has one."""
        key = self._weight_keys.get(param)
        return None if key is None else self.weight_transforms[key]

    def layer(self, node: str) -> nn.Module | None:
        """The module that computes a node in place of its operator, if there is one."""
        key = self._layer_keys.get(node)
        return None if key is None else self.layers[key]

    def _stored(self, name: str) -> Tensor:
        tensor: Tensor = getattr(self.params, self._keys[name])
        return tensor

    def _param(self, name: str, cache: dict[str, Tensor]) -> Tensor:
        if name not in cache:
            transform = self.weight_transform(name)
            tensor = self._stored(name)
            cache[name] = tensor if transform is None else transform(tensor)
        return cache[name]

    def _transformed(self, name: str, x: Tensor) -> Tensor:
        transform = self.activation_transform(name)
        return x if transform is None else transform(x)

    def _check(self, inputs: Sequence[Tensor]) -> None:
        if len(inputs) != len(self.graph.inputs):
            raise ValueError(
                f"the graph has {len(self.graph.inputs)} inputs {list(self.graph.inputs)}, "
                f"got {len(inputs)}"
            )
        for name, x in zip(self.graph.inputs, inputs, strict=True):
            expected = self.graph.values[name].shape
            if tuple(x.shape[1:]) != expected[1:]:
                sizes = ", ".join(str(size) for size in expected[1:])
                raise ValueError(
                    f"input '{name}' has shape {list(x.shape)}, must be [batch, {sizes}]. Remedy: "
                    "capture the model with example inputs of the shape that it shall run with"
                )


def _key(name: str, container: nn.Module) -> str:
    key = name.replace(".", "/")
    while hasattr(container, key):
        key += "/"
    return key


def _register(
    transforms: Mapping[str, nn.Module], known: Mapping[str, object], what: str
) -> tuple[nn.ModuleDict, dict[str, str]]:
    modules = nn.ModuleDict()
    keys: dict[str, str] = {}
    for name, module in transforms.items():
        if name not in known:
            raise ValueError(f"a transform is given for {what} '{name}', which the graph lacks")
        key = keys[name] = _key(name, modules)
        modules[key] = module
    return modules, keys


def _last_uses(graph: ir.Graph) -> list[list[str]]:
    """For each node, the values that nothing needs after it."""
    last: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        for name in (*node.inputs, node.output):
            last[name] = index
    released: list[list[str]] = [[] for _ in graph.nodes]
    for name, index in last.items():
        if name not in graph.outputs:
            released[index].append(name)
    return released
