"""One ATen call, what it can be translated to, and the registry of translations. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.errors import UnsupportedOperatorError
from wbcq.graph import ir
from wbcq.graph.layouts import Layout, new_layout

__all__ = [
    "TRANSLATIONS",
    "Arrange",
    "Array",
    "AtenCall",
    "Deferred",
    "Emit",
    "Parameter",
    "Result",
    "Same",
    "Several",
    "Shape",
    "Tensor",
    "View",
    "as_picture",
    "format_shape",
    "symmetric_pads",
    "translates",
]

Shape: TypeAlias = tuple[int | None, ...]
Arrange: TypeAlias = Callable[[Layout], Layout]
"""From the layout of a node's output to that of a view of it."""


@dataclass(frozen=True)
class Tensor:
    """An argument that depends on the model's inputs.

    Attributes:
        shape: ``None`` first.
        handle: Capture's own.
        base: The same elements as a picture or row of channels, as they lie in memory, if the
            tensor has another number of dimensions or has them in another order.
        arrange: Of a base: where the tensor's elements lie in what has the base's shape; None if
            they are in the same order.
        expanded_from: The one pixel N, C, 1, 1 whose copies the tensor consists of, if it does.
    """

    shape: Shape
    handle: Any = field(repr=False)
    base: Tensor | None = None
    arrange: Arrange | None = None
    expanded_from: Tensor | None = None


@dataclass(frozen=True)
class Parameter:
    """A parameter, buffer or constant of the module, or what is computed from these alone."""

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


Array: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Emit:
    """The call is a node.

    Attributes:
        op: The operator.
        inputs: Values that it reads, or nodes that come before it, which need a ``shape``.
        params: By role; an array becomes a parameter of the graph.
        shape: The node's output, if the call's result is only a view of it.
        arrange: That view; None for the same elements in the same order.
    """

    op: ir.Op
    inputs: tuple[Tensor | Emit, ...]
    params: Mapping[str, Parameter | Array] = field(default_factory=dict)
    shape: Shape | None = None
    arrange: Arrange | None = None


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
    """The call returns elements of an argument, or a copy of them; the trace tells which.

    Attributes:
        argument: Its schema name.
        rearrange: From the argument's layout, one dimension for each but the batch, to the
            result's; None for the same elements in the same order in the result's shape.
    """

    argument: str = "self"
    rearrange: Callable[[Layout], Layout] | None = None


@dataclass(frozen=True)
class Several:
    """The call returns a sequence; None stands for a result that is not supported."""

    results: tuple[Emit | View | None, ...]


Result: TypeAlias = Emit | Same | View | Several


@dataclass(frozen=True)
class AtenCall:
    """One call of an ATen operator.

    Attributes:
        operator: With overload, for example ``aten.conv2d.default``.
        arguments: By schema name, defaults filled in; tensors are Tensor, Parameter or Deferred.
        output_shape: Of the result, ``None`` first; empty for a sequence.
        source: Module and line of user code.
        read: Gives what a parameter holds.
    """

    operator: str
    arguments: Mapping[str, Any]
    output_shape: Shape
    source: ir.SourceLocation
    read: Callable[[Parameter], npt.NDArray[Any]]

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

    def elements(self, name: str) -> Tensor:
        """A value of any rank for an operator that treats all elements alike.

        Its node must have ``shape`` and ``arrange`` of what is returned.
        """
        x = self.tensor(name, ranks=None)
        return self.tensor(name) if x.base is None else x.base

    def picture(self, name: str) -> Tensor:
        """A value N, C, H, W, or N, C, L as a picture of height 1.

        A node that reads it must have the picture's ``shape`` of its output.
        """
        return as_picture(self.tensor(name, ranks=(3, 4)))

    def channels_last(self, name: str) -> Tensor:
        """A value whose last dimension is the channels, as a picture.

        A node that keeps or changes the channels of each pixel must have the ``arrange`` of what is
        returned, and the picture's height and width.
        """
        x = self.tensor(name, ranks=None)
        if len(x.shape) == 2:
            return x
        if len(x.shape) > 4:
            raise self.unsupported(f"argument '{name}' has shape {format_shape(x.shape)}")
        pixels = tuple(size or 0 for size in x.shape[1:-1])

        def arrange(layout: Layout) -> Layout:
            return np.moveaxis(layout.reshape(len(layout), *pixels), 0, -1)

        base = x.base
        if base is not None and base.shape[1] == x.shape[-1]:
            probe = new_layout(tuple(size or 0 for size in base.shape[1:]))
            same = base.arrange is not None and base.arrange(probe).strides
            if same == arrange(probe).strides:
                return replace(base, arrange=arrange)
        layout = np.moveaxis(x.handle.layout, -1, 0)
        layout = layout[..., None] if layout.ndim == 2 else layout
        return Tensor((None, *layout.shape), replace(x.handle, layout=layout), arrange=arrange)

    def axis(self, value: int, rank: int) -> int:
        """A dimension counted from the front; refuses the batch."""
        axis = value % rank
        if axis == 0:
            raise self.unsupported("it works along the batch, but pictures must be independent")
        return axis

    def parameter(self, name: str) -> Parameter:
        """A parameter, buffer or constant."""
        argument = self.arguments[name]
        if isinstance(argument, Parameter):
            return argument
        if isinstance(argument, Deferred) and not argument.from_parameters:
            raise argument.error
        cause = f" by {argument.origin}" if isinstance(argument, Deferred) else ""
        raise self.unsupported(
            f"its {name} is computed in forward{cause}, but must not depend on the model's inputs. "
            "Remedy: compute it once and store it, for example with "
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


def as_picture(x: Tensor) -> Tensor:
    """A value N, C, L as a picture of height 1; others as they are."""
    if len(x.shape) != 3:
        return x
    layout = x.handle.layout[:, None]
    return Tensor((None, *layout.shape), replace(x.handle, layout=layout))


def format_shape(shape: Shape) -> str:
    """For messages: [N, 3, 32, 32]."""
    return "[" + ", ".join("N" if size is None else str(size) for size in shape) + "]"


def _describe(argument: object) -> str:
    if isinstance(argument, Parameter):
        return f"the parameter '{argument.name}'"
    return f"the constant {argument!r}"


def symmetric_pads(pads: tuple[int, int]) -> ir.Pads:
    """Top, left, bottom, right from vertical and horizontal."""
    return (pads[0], pads[1], pads[0], pads[1])
