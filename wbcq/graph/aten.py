"""Translations from ATen operators to the graph's own: the place to add an operator. No torch here.

A translation is one function, registered under the operator's name without the trailing underscore
of its in-place form (in-place updates are replayed by :mod:`wbcq.graph.translate`). It reads the
call's arguments by their schema names and says what the call is: one node, the same tensor, or a
view of it. To refuse a call it raises ``call.unsupported(reason)``, which adds operator, module and
line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from wbcq.errors import UnsupportedOperatorError
from wbcq.graph import ir

__all__ = [
    "TRANSLATIONS",
    "AtenCall",
    "Deferred",
    "Emit",
    "Parameter",
    "Result",
    "Same",
    "Tensor",
    "View",
    "format_shape",
    "translates",
]

Shape: TypeAlias = tuple[int | None, ...]


@dataclass(frozen=True)
class Tensor:
    """An argument that depends on the model's inputs; ``handle`` is capture's own."""

    shape: Shape
    handle: Any = field(repr=False)


@dataclass(frozen=True)
class Parameter:
    """An argument that is a parameter, buffer or constant of the module, by qualified name."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Deferred:
    """The result of something that cannot be translated: an error only if it is needed.

    Attributes:
        error: Raised where the tensor is used.
        origin: The call that computed it.
        from_parameters: It was computed from parameters alone.
    """

    error: UnsupportedOperatorError
    origin: str
    from_parameters: bool = False


@dataclass(frozen=True)
class Emit:
    """The call is a node.

    Attributes:
        op: The operator.
        inputs: Values that it reads.
        params: By role.
        shape: The node's output, if the call's result is only a view of it.
    """

    op: ir.Op
    inputs: tuple[Tensor, ...]
    params: Mapping[str, Parameter] = field(default_factory=dict)
    shape: Shape | None = None


@dataclass(frozen=True)
class Same:
    """The call returns an argument, or a copy of it; the trace tells which.

    Attributes:
        argument: Its schema name.
        never_copies: The trace is wrong where it shows a copy.
    """

    argument: str = "self"
    never_copies: bool = False


@dataclass(frozen=True)
class View:
    """The call returns the same elements in the same order in the shape of the call's output."""

    argument: str = "self"


Result: TypeAlias = Emit | Same | View


@dataclass(frozen=True)
class AtenCall:
    """One call of an ATen operator.

    Attributes:
        operator: With overload, for example ``aten.conv2d.default``.
        arguments: By schema name, defaults filled in; tensors are Tensor, Parameter or Deferred.
        output_shape: Of the result, ``None`` first.
        source: Module and line of user code.
    """

    operator: str
    arguments: Mapping[str, Any]
    output_shape: Shape
    source: ir.SourceLocation

    def unsupported(self, reason: str) -> UnsupportedOperatorError:
        """An error that names operator, module and line."""
        return UnsupportedOperatorError(f"{self.operator} in {self.source}: {reason}")

    def tensor(self, name: str, *, ranks: Sequence[int] | None = (2, 4)) -> Tensor:
        """A value of the graph with one of the given ranks; None for any."""
        argument = self.arguments[name]
        if isinstance(argument, Deferred):
            raise argument.error
        if not isinstance(argument, Tensor):
            raise self.unsupported(
                f"argument '{name}' is {_describe(argument)}, but must depend on the model's inputs"
            )
        if ranks is not None and len(argument.shape) not in ranks:
            wanted = " or ".join(f"{rank}-D" for rank in ranks)
            shape = format_shape(argument.shape)
            raise self.unsupported(
                f"argument '{name}' has shape {shape}; only {wanted} is supported"
            )
        return argument

    def parameter(self, name: str) -> Parameter:
        """A parameter, buffer or constant."""
        argument = self.arguments[name]
        if isinstance(argument, Parameter):
            return argument
        if isinstance(argument, Deferred) and not argument.from_parameters:
            raise argument.error
        cause = f" by {argument.origin}" if isinstance(argument, Deferred) else ""
        raise self.unsupported(
            f"its {name} is computed in forward{cause}, but must be a stored parameter. Remedy: "
            "compute it once and store it, for example with "
            "torch.nn.utils.parametrize.remove_parametrizations"
        )

    def optional_parameter(self, name: str) -> Parameter | None:
        """A parameter or None."""
        return None if self.arguments[name] is None else self.parameter(name)

    def params(self, *names: str) -> dict[str, Parameter]:
        """Those of the named parameters that are not None, by role."""
        found = {name: self.optional_parameter(name) for name in names}
        return {name: parameter for name, parameter in found.items() if parameter is not None}

    def pair(self, name: str) -> tuple[int, int]:
        """A list of one or two integers."""
        values = self.arguments[name]
        if not all(isinstance(value, int) for value in values):
            raise self.unsupported(f"argument '{name}' depends on the batch size: {list(values)}")
        return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])


Translation: TypeAlias = Callable[[AtenCall], Result]
TRANSLATIONS: dict[str, Translation] = {}
"""Operator name with overload, for example ``aten.relu.default``, to its translation."""


def translates(*operators: str) -> Callable[[Translation], Translation]:
    """Registers a translation.

    Example:
        >>> @translates("aten.my_identity.default")
        ... def my_identity(call: AtenCall) -> Result:
        ...     return Same("self")
        >>> del TRANSLATIONS["aten.my_identity.default"]
    """

    def register(translation: Translation) -> Translation:
        for operator in operators:
            TRANSLATIONS[operator] = translation
        return translation

    return register


def format_shape(shape: Shape) -> str:
    """For messages: [N, 3, 32, 32]."""
    return "[" + ", ".join("N" if size is None else str(size) for size in shape) + "]"


def _describe(argument: object) -> str:
    if isinstance(argument, Parameter):
        return f"the parameter '{argument.name}'"
    return f"the constant {argument!r}"


def _symmetric(pads: tuple[int, int]) -> ir.Pads:
    return (pads[0], pads[1], pads[0], pads[1])


# Layers with parameters.


def _same_pads(call: AtenCall, kernel: Sequence[int]) -> ir.Pads:
    """padding="same": where the total is odd, the larger half is at the bottom or right."""
    dilation = call.pair("dilation")
    total = [dilation[axis] * (kernel[axis] - 1) for axis in range(2)]
    top, left = total[0] // 2, total[1] // 2
    return (top, left, total[0] - top, total[1] - left)


@translates("aten.conv2d.default", "aten.conv2d.padding")
def _conv2d(call: AtenCall) -> Result:
    x = call.tensor("input", ranks=(4,))
    weight = call.parameter("weight")
    padding = call.arguments["padding"]
    if padding == "same":
        pads = _same_pads(call, weight.shape[2:])
    elif padding == "valid":
        pads = (0, 0, 0, 0)
    else:
        pads = _symmetric(call.pair("padding"))
    op = ir.Conv2d(call.pair("stride"), pads, call.pair("dilation"), call.arguments["groups"])
    return Emit(op, (x,), call.params("weight", "bias"))


@translates("aten.linear.default")
def _linear(call: AtenCall) -> Result:
    return Emit(ir.Linear(), (call.tensor("input", ranks=(2,)),), call.params("weight", "bias"))


@translates("aten.batch_norm.default")
def _batch_norm(call: AtenCall) -> Result:
    if call.arguments["training"]:
        raise call.unsupported(
            "it normalizes with the statistics of the batch even in evaluation mode. Remedy: use "
            "track_running_stats=True, and do not pass training=True in forward"
        )
    params = call.params("running_mean", "running_var", "weight", "bias")
    return Emit(ir.BatchNorm(call.arguments["eps"]), (call.tensor("input"),), params)


# Elementwise.


def _clamp(call: AtenCall, low: float | None, high: float | None) -> Result:
    activation = ir.Activation(
        -math.inf if low is None else float(low), math.inf if high is None else float(high)
    )
    return Emit(ir.Clamp(activation), (call.tensor("self"),))


@translates("aten.relu.default")
def _relu(call: AtenCall) -> Result:
    return _clamp(call, 0.0, None)


@translates("aten.relu6.default")
def _relu6(call: AtenCall) -> Result:
    return _clamp(call, 0.0, 6.0)


@translates("aten.hardtanh.default")
def _hardtanh(call: AtenCall) -> Result:
    return _clamp(call, call.arguments["min_val"], call.arguments["max_val"])


@translates("aten.clamp.default")
def _clamp_both(call: AtenCall) -> Result:
    return _clamp(call, call.arguments["min"], call.arguments["max"])


@translates("aten.clamp_min.default")
def _clamp_min(call: AtenCall) -> Result:
    return _clamp(call, call.arguments["min"], None)


@translates("aten.clamp_max.default")
def _clamp_max(call: AtenCall) -> Result:
    return _clamp(call, None, call.arguments["max"])


@translates("aten.add.Tensor")
def _add(call: AtenCall) -> Result:
    other, alpha = call.arguments["other"], call.arguments["alpha"]
    if isinstance(other, (int, float)) and other == 0:
        return Same("self")
    a, b = call.tensor("self"), call.tensor("other")
    if alpha != 1:
        raise call.unsupported(f"a sum with alpha={alpha} is not supported, only a + b")
    if a.shape != b.shape:
        raise call.unsupported(
            f"a sum of the shapes {format_shape(a.shape)} and {format_shape(b.shape)} needs "
            "broadcasting, which is not supported"
        )
    return Emit(ir.Add(), (a, b))


# Pooling.


@translates("aten.max_pool2d.default")
def _max_pool2d(call: AtenCall) -> Result:
    kernel = call.pair("kernel_size")
    op = ir.MaxPool2d(
        kernel,
        call.pair("stride") if call.arguments["stride"] else kernel,
        _symmetric(call.pair("padding")),
        call.pair("dilation"),
        call.arguments["ceil_mode"],
    )
    return Emit(op, (call.tensor("self", ranks=(4,)),))


@translates("aten.avg_pool2d.default")
def _avg_pool2d(call: AtenCall) -> Result:
    kernel = call.pair("kernel_size")
    op = ir.AvgPool2d(
        kernel,
        call.pair("stride") if call.arguments["stride"] else kernel,
        _symmetric(call.pair("padding")),
        call.arguments["ceil_mode"],
        call.arguments["count_include_pad"],
        call.arguments["divisor_override"] or 0,
    )
    return Emit(op, (call.tensor("self", ranks=(4,)),))


@translates("aten.adaptive_avg_pool2d.default")
def _adaptive_avg_pool2d(call: AtenCall) -> Result:
    return Emit(ir.AdaptiveAvgPool2d(call.pair("output_size")), (call.tensor("self", ranks=(4,)),))


@translates("aten.mean.dim")
def _mean(call: AtenCall) -> Result:
    x = call.tensor("self", ranks=(4,))
    dims = call.arguments["dim"]
    if dims is None or {dim % 4 for dim in dims} != {2, 3}:
        raise call.unsupported(f"a mean over the dimensions {dims}; only height and width together")
    return Emit(ir.AdaptiveAvgPool2d((1, 1)), (x,), shape=(*x.shape[:2], 1, 1))


# Operators that compute nothing.


@translates("aten.dropout.default", "aten.feature_dropout.default", "aten.alpha_dropout.default")
def _dropout(call: AtenCall) -> Result:
    if call.arguments["train"]:
        raise call.unsupported(
            "dropout is active in evaluation mode. Remedy: use nn.Dropout, or pass "
            "training=self.training to the functional form"
        )
    return Same("input", never_copies=True)


@translates(
    "aten.alias.default",
    "aten.clone.default",
    "aten.contiguous.default",
    "aten.detach.default",
    "aten.to.device",
    "aten.to.dtype",
    "aten.to.dtype_layout",
    "aten.to.other",
)
def _same(call: AtenCall) -> Result:
    return Same("self")


@translates(
    "aten.flatten.using_ints",
    "aten.view.default",
    "aten.reshape.default",
    "aten._unsafe_view.default",
    "aten.squeeze.default",
    "aten.squeeze.dim",
    "aten.squeeze.dims",
    "aten.unsqueeze.default",
)
def _view(call: AtenCall) -> Result:
    return View("self")
