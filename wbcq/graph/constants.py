"""Tensors of a module that do not depend on its inputs, and what is computed from them alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn

from wbcq.graph.translations import Parameter

__all__ = ["Constants"]


class Constants:
    """Parameters, buffers and constants by qualified name, as float32 arrays for the graph.

    A tensor that the module holds under several names goes by the first of them.

    Args:
        model: The module that was exported.
        exported: Its trace, which may hold constants of its own.
    """

    def __init__(self, model: nn.Module, exported: torch.export.ExportedProgram) -> None:
        self._tensors: dict[str, Tensor] = {}
        self._canonical: dict[str, str] = {}
        first: dict[int, str] = {}
        named = [
            *model.named_parameters(remove_duplicate=False),
            *model.named_buffers(remove_duplicate=False),
            *((name, t) for name, t in exported.constants.items() if isinstance(t, Tensor)),
        ]
        for name, tensor in named:
            canonical = first.setdefault(id(tensor), name)
            self._canonical[name] = canonical
            self._tensors[canonical] = tensor

    def parameter(self, target: str) -> Parameter:
        """The tensor that the trace calls by a qualified name."""
        name = self._canonical[target]
        return Parameter(name, tuple(self._tensors[name].shape))

    def dtype(self, parameter: Parameter) -> torch.dtype:
        """Of what a parameter holds."""
        return self._tensors[parameter.name].dtype

    def read(self, parameter: Parameter) -> npt.NDArray[Any]:
        """A copy of what a parameter holds."""
        return np.array(self._tensors[parameter.name].detach().cpu().numpy(), order="C")

    def store(self, name: str, tensor: Tensor) -> Parameter:
        """Adds a tensor; a name that is taken gets a number."""
        unique, count = name, 1
        while unique in self._tensors:
            count += 1
            unique = f"{name}@{count}"
        self._tensors[unique] = tensor
        return Parameter(unique, tuple(tensor.shape))

    def fold(
        self, node: fx.Node, arguments: dict[str, Any], name: str
    ) -> Parameter | tuple[Parameter, ...] | None:
        """Runs a call whose arguments are constants.

        Args:
            node: A call of an ATen operator that writes to none of its arguments.
            arguments: By schema name; tensors that are constants are Parameter.
            name: For the result.

        Returns:
            The result or results; None if the call has other arguments or is random.
        """
        target = node.target
        assert isinstance(target, torch._ops.OpOverload)
        if torch.Tag.nondeterministic_seeded in target.tags or not _is_static(node.meta["val"]):
            return None
        try:
            concrete = {key: self._concrete(value) for key, value in arguments.items()}
        except TypeError:
            return None
        positional = [concrete.pop(a.name) for a in target._schema.arguments if not a.kwarg_only]
        result = target(*positional, **concrete)
        if isinstance(result, Tensor):
            return self._unchanged(arguments, result) or self.store(name, result)
        return tuple(self.store(name, item) for item in result)

    def _unchanged(self, arguments: dict[str, Any], result: Tensor) -> Parameter | None:
        """The argument that a call returned or copied, which keeps its name."""
        for argument in arguments.values():
            if isinstance(argument, Parameter):
                tensor = self._tensors[argument.name]
                if tensor.dtype == result.dtype and torch.equal(tensor, result):
                    return argument
        return None

    def _concrete(self, argument: Any) -> Any:
        if isinstance(argument, (list, tuple)):
            return [self._concrete(item) for item in argument]
        if isinstance(argument, Parameter):
            return self._tensors[argument.name].detach()
        known = (bool, int, float, str, torch.dtype, torch.device, torch.layout)
        if argument is None or isinstance(argument, (*known, torch.memory_format)):
            return argument
        raise TypeError(f"{argument!r} is not known before the network runs")


def _is_static(val: object) -> bool:
    if isinstance(val, (list, tuple)):
        return all(_is_static(item) for item in val)
    return isinstance(val, Tensor) and all(isinstance(size, int) for size in val.shape)
