"""Runs a graph with torch: differentiable, on any device, with hooks for fake quantization."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wbcq.graph import ir

__all__ = ["TorchExecutor", "runs"]

Params: TypeAlias = Mapping[str, Tensor]
Runner: TypeAlias = Callable[[ir.Op, Sequence[Tensor], Params], Tensor]
OpT = TypeVar("OpT", bound=ir.Op)

_RUNNERS: dict[type[ir.Op], Runner] = {}
_BUFFER_ROLES = frozenset({"running_mean", "running_var"})


def runs(
    op_type: type[OpT],
) -> Callable[
    [Callable[[OpT, Sequence[Tensor], Params], Tensor]],
    Callable[[OpT, Sequence[Tensor], Params], Tensor],
]:
    """Registers the function that computes an operator from its inputs and its params by role."""

    def register(
        runner: Callable[[OpT, Sequence[Tensor], Params], Tensor],
    ) -> Callable[[OpT, Sequence[Tensor], Params], Tensor]:
        _RUNNERS[op_type] = runner  # type: ignore[assignment]
        return runner

    return register


class TorchExecutor(nn.Module):
    """A graph as a torch module.

    Parameters are trainable and stand in ``params`` with "." replaced by "/" (torch forbids dots);
    :meth:`export_params` gives them back under their qualified names. Statistics of batch
    normalization are buffers. A transform is a module that maps a tensor to a tensor of the same
    shape; it belongs to the executor and moves, trains and saves with it.

    Args:
        graph: What to run; its parameters are copied.
        activation_transforms: By value name (inputs of the graph too): applied to the value as
            soon as it is known, so that all readers see the result.
        weight_transforms: By qualified parameter name: applied once per forward, to any role.

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
        self._check(inputs)
        values: dict[str, Tensor] = {}
        params: dict[str, Tensor] = {}
        for name, x in zip(self.graph.inputs, inputs, strict=True):
            values[name] = self._transformed(name, x)
        for index, node in enumerate(self.graph.nodes):
            operands = [values[name] for name in node.inputs]
            roles = {role: self._param(name, params) for role, name in node.params.items()}
            result = _RUNNERS[type(node.op)](node.op, operands, roles)
            values[node.output] = self._transformed(node.output, result)
            for name in self._last_use[index]:
                del values[name]
        outputs = tuple(values[name] for name in self.graph.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

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


def _activate(x: Tensor, activation: ir.Activation) -> Tensor:
    if activation.is_identity:
        return x
    if activation == ir.RELU:
        return F.relu(x)
    return torch.clamp(x, activation.low, activation.high)


def _is_symmetric(pads: ir.Pads) -> bool:
    return pads[0] == pads[2] and pads[1] == pads[3]


def _pad(x: Tensor, pads: ir.Pads, value: float) -> Tensor:
    top, left, bottom, right = pads
    return F.pad(x, (left, right, top, bottom), value=value)


def _with_residual(x: Tensor, inputs: Sequence[Tensor], activation: ir.Activation) -> Tensor:
    return _activate(x + inputs[1] if len(inputs) > 1 else x, activation)


@runs(ir.Conv2d)
def _conv2d(op: ir.Conv2d, inputs: Sequence[Tensor], params: Params) -> Tensor:
    x, padding = inputs[0], op.pads[:2]
    if not _is_symmetric(op.pads):
        x, padding = _pad(x, op.pads, 0.0), (0, 0)
    y = F.conv2d(
        x, params["weight"], params.get("bias"), op.stride, padding, op.dilation, op.groups
    )
    return _with_residual(y, inputs, op.activation)


@runs(ir.Linear)
def _linear(op: ir.Linear, inputs: Sequence[Tensor], params: Params) -> Tensor:
    y = F.linear(inputs[0], params["weight"], params.get("bias"))
    return _with_residual(y, inputs, op.activation)


@runs(ir.BatchNorm)
def _batch_norm(op: ir.BatchNorm, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return F.batch_norm(
        inputs[0],
        params["running_mean"],
        params["running_var"],
        params.get("weight"),
        params.get("bias"),
        eps=op.eps,
    )


@runs(ir.Clamp)
def _clamp(op: ir.Clamp, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return _activate(inputs[0], op.activation)


@runs(ir.Add)
def _add(op: ir.Add, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return _activate(inputs[0] + inputs[1], op.activation)


@runs(ir.MaxPool2d)
def _max_pool2d(op: ir.MaxPool2d, inputs: Sequence[Tensor], params: Params) -> Tensor:
    x, padding = inputs[0], op.pads[:2]
    if not _is_symmetric(op.pads):
        x, padding = _pad(x, op.pads, float("-inf")), (0, 0)
    return F.max_pool2d(x, op.kernel, op.stride, padding, op.dilation, op.ceil_mode)


@runs(ir.AvgPool2d)
def _avg_pool2d(op: ir.AvgPool2d, inputs: Sequence[Tensor], params: Params) -> Tensor:
    x = inputs[0]
    if _is_symmetric(op.pads):
        y = F.avg_pool2d(
            x,
            op.kernel,
            op.stride,
            op.pads[:2],
            op.ceil_mode,
            op.count_include_pad,
            op.divisor or None,
        )
        return _activate(y, op.activation)
    if op.ceil_mode:
        raise ValueError(f"an average pool with pads {op.pads} and ceil_mode is not supported")
    counted = _pad(torch.ones_like(x[:1, :1]), op.pads, 1.0 if op.count_include_pad else 0.0)
    total = F.avg_pool2d(_pad(x, op.pads, 0.0), op.kernel, op.stride, divisor_override=1)
    divisor = F.avg_pool2d(counted, op.kernel, op.stride, divisor_override=1)
    return _activate(total / (op.divisor or divisor), op.activation)


@runs(ir.AdaptiveAvgPool2d)
def _adaptive_avg_pool2d(
    op: ir.AdaptiveAvgPool2d, inputs: Sequence[Tensor], params: Params
) -> Tensor:
    return _activate(F.adaptive_avg_pool2d(inputs[0], op.output_size), op.activation)


@runs(ir.Flatten)
def _flatten(op: ir.Flatten, inputs: Sequence[Tensor], params: Params) -> Tensor:
    return inputs[0].flatten(1)
