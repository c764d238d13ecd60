"""Cuts channels out of a copy of a module."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from wbcq.graph import ir
from wbcq.pruning.channels.labels import Labels
from wbcq.pruning.layers import MASK, mask_of

__all__ = ["NORMS", "canonical_names", "own_tensors", "shrunk_copy"]

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def own_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers under all their names, parameters first, as capture orders them."""
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def canonical_names(model: nn.Module) -> dict[int, str]:
    """The ``id`` of each parameter and buffer to the name that it has in a captured graph."""
    names: dict[int, str] = {}
    for name, tensor in own_tensors(model):
        names.setdefault(id(tensor), name)
    return names


def shrunk_copy(
    model: nn.Module, cuts: Mapping[str, Mapping[int, Labels]], graph: ir.Graph
) -> nn.Module:
    """A copy of a module with smaller parameters.

    Args:
        model: Left as it is.
        cuts: For each parameter that shrinks, and each of its axes, the indices that stay.
        graph: What the copy is to compute.

    Returns:
        The copy, in the same mode, with the same parameters under several names still shared. Its
        ``forward`` is the model's own and may not fit the smaller parameters.
    """
    model = copy.deepcopy(model)
    names = canonical_names(model)
    alive = list(own_tensors(model))  # No new tensor may get the id of an old one.
    smaller: dict[str, Tensor] = {}
    for module in model.modules():
        mask, weight = mask_of(module), module._parameters.get("weight")
        if mask is not None and names[id(weight)] in cuts:
            module._buffers[MASK] = _cut(mask, cuts[names[id(weight)]])
        for tensors in (module._parameters, module._buffers):
            for attribute, tensor in tensors.items():
                name = names.get(id(tensor), "")
                if tensor is not None and name in cuts:
                    if name not in smaller:
                        smaller[name] = _cut(tensor, cuts[name])
                    tensors[attribute] = smaller[name]  # type: ignore[assignment]
    del alive
    for module in model.modules():
        _update_sizes(module)
    for node in graph:
        _update_groups(model, node)
    return model


def _cut(tensor: Tensor, axes: Mapping[int, Labels]) -> Tensor:
    smaller = tensor.detach()
    for axis, indices in axes.items():
        smaller = smaller.index_select(axis, torch.from_numpy(indices).to(tensor.device))
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(smaller, tensor.requires_grad)
    return smaller


def _update_sizes(module: nn.Module) -> None:
    """What a layer says of itself follows from its weights."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, (*NORMS, nn.InstanceNorm2d)):
        known = module.running_mean if module.weight is None else module.weight
        module.num_features = module.num_features if known is None else len(known)
    elif isinstance(module, nn.GroupNorm) and module.weight is not None:
        module.num_channels = len(module.weight)


def _update_groups(model: nn.Module, node: ir.Node) -> None:
    try:
        module = model.get_submodule(node.source.module)
    except AttributeError:
        return
    if isinstance(node.op, ir.Conv2d) and isinstance(module, nn.Conv2d):
        module.groups = node.op.groups
        module.out_channels = module.weight.shape[0]
        module.in_channels = module.weight.shape[1] * module.groups
    elif isinstance(node.op, ir.Normalize) and isinstance(module, nn.GroupNorm):
        module.num_groups = node.op.groups
