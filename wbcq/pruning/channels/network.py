"""A network whose forward is a graph, for models whose own has numbers of channels in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from wbcq.graph import ir
from wbcq.graph.torch_operators import RUNNERS, apply_functions
from wbcq.pruning.channels.surgery import NORMS, own_tensors

__all__ = ["ChannelNetwork"]

_LAYERS: dict[type[ir.Op], tuple[type[nn.Module], ...]] = {
    ir.Conv2d: (nn.Conv2d,),
    ir.Linear: (nn.Linear,),
    ir.BatchNorm: NORMS,
    ir.Normalize: (nn.GroupNorm,),
}


class ChannelNetwork(nn.Module):
    """The layers of a model, under the names that they have there, joined by a graph.

    It trains, saves, copies and exports like any module: batch normalization works on the
    statistics of the batch in training mode, ``state_dict`` has the model's names. What the model's
    class has beside ``forward`` is gone, and so is dropout.

    Args:
        model: Holds the layers; they are not copied.
        graph: What to compute, as captured from a model of which this one has the parameters.
        outputs: The structure of what ``forward`` returns; None for a tensor or tuple.

    Example:
        >>> import torch
        >>> from wbcq.graph.capture import capture
        >>> layer = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
        >>> x = torch.rand(2, 3, 6, 6)
        >>> network = ChannelNetwork(layer, capture(layer, x))
        >>> sorted(network.state_dict()) == sorted(layer.state_dict())
        True
        >>> torch.equal(network.eval()(x), layer.eval()(x))
        True
    """

    def __init__(
        self, model: nn.Module, graph: ir.Graph, outputs: pytree.TreeSpec | None = None
    ) -> None:
        super().__init__()
        self.graph = graph
        self.training = model.training
        self._outputs = outputs
        self._paths: dict[str, str] = {}
        """Of the nodes that a layer computes."""
        self._indices: dict[str, str] = {}
        """Buffers of the nodes that choose channels."""
        tensors = dict(own_tensors(model))
        for node in graph:
            layer = _layer_of(model, node, tensors)
            if layer is not None:
                self._paths[node.name] = node.source.module
                _place(self, node.source.module, layer)
        for number, node in enumerate(graph):
            if isinstance(node.op, ir.Gather):
                self._indices[node.name] = f"channels{number}"
                chosen = torch.tensor(node.op.channels)
                self.register_buffer(f"channels{number}", chosen, persistent=False)
            elif node.name not in self._paths:
                for name in node.params.values():
                    own = tensors.get(name)
                    self._keep(name, torch.from_numpy(graph.params[name]) if own is None else own)

    def forward(self, *inputs: Tensor) -> Any:
        """Runs the graph on what the model takes, and returns what it returns."""
        values = dict(zip(self.graph.inputs, inputs, strict=True))
        for node in self.graph:
            result = self._compute(node, [values[name] for name in node.inputs])
            values[node.output] = apply_functions(result, getattr(node.op, "functions", ()))
        results = [values[name] for name in self.graph.outputs]
        if self._outputs is not None:
            return pytree.tree_unflatten(results, self._outputs)
        return results[0] if len(results) == 1 else tuple(results)

    def _compute(self, node: ir.Node, inputs: Sequence[Tensor]) -> Tensor:
        path = self._paths.get(node.name)
        if path is not None:
            result: Tensor = self.get_submodule(path)(*inputs)
            return result
        indices = self._indices.get(node.name)
        if indices is not None:
            return inputs[0].index_select(1, self.get_buffer(indices))
        params = {role: self._tensor(name) for role, name in node.params.items()}
        return RUNNERS[type(node.op)](node.op, inputs, params)

    def _keep(self, name: str, tensor: Tensor) -> None:
        path, _, attribute = _key(name).rpartition(".")
        owner = _container(self, path)
        if hasattr(owner, attribute):
            return
        if isinstance(tensor, nn.Parameter):
            owner.register_parameter(attribute, tensor)
        else:
            owner.register_buffer(attribute, tensor)

    def _tensor(self, name: str) -> Tensor:
        path, _, attribute = _key(name).rpartition(".")
        tensor: Tensor = getattr(self.get_submodule(path), attribute)
        return tensor


def _layer_of(model: nn.Module, node: ir.Node, tensors: dict[str, Tensor]) -> nn.Module | None:
    """The torch layer whose whole computation a node is."""
    if not node.source.module:
        return None
    try:
        module = model.get_submodule(node.source.module)
    except AttributeError:
        return None
    if not isinstance(module, _LAYERS.get(type(node.op), ())):
        return None
    if type(module).forward not in {kind.forward for kind in _LAYERS[type(node.op)]}:
        return None
    # Not its attributes: that of a masked layer is computed.
    held = {**module._parameters, **module._buffers}
    own = all(held.get(role) is tensors.get(name) for role, name in node.params.items())
    return module if own else None


def _place(root: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    owner = _container(root, parent)
    if name not in owner._modules:
        owner.add_module(name, layer)


def _container(root: nn.Module, path: str) -> nn.Module:
    """A submodule, made if there is none."""
    for name in path.split(".") if path else ():
        if name not in root._modules:
            root.add_module(name, nn.Module())
        child = root._modules[name]
        assert child is not None
        root = child
    return root


def _key(name: str) -> str:
    """A parameter's name as torch allows it."""
    return name.replace("@", "_")
