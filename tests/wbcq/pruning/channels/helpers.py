"""Large networks that compute what their pruned selves must."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from wbcq.graph import ir
from wbcq.pruning.channels import ChannelPlan
from wbcq.pruning.channels.groups import layers_of
from wbcq.pruning.channels.rewrite import kept_indices


def pictures(*shapes: tuple[int, ...], batch: int = 2, seed: int = 0) -> list[Tensor]:
    """Random inputs of the given shapes."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn((batch, *shape), generator=generator) for shape in shapes]


def without_readers(plan: ChannelPlan, model: nn.Module) -> nn.Module:
    """The model with zero weights for removed channels in all layers that read them."""
    deps = plan.dependencies
    columns = {
        param: axes[1]
        for param, axes in kept_indices(deps, plan.kept).items()
        if 1 in axes and param in layers_of(deps.graph)
    }
    model = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters(remove_duplicate=False):
            if name in columns:
                gone = torch.ones(parameter.shape[1], dtype=torch.bool)
                gone[torch.from_numpy(columns[name])] = False
                parameter[:, gone] = 0
    return model


def without_writers(plan: ChannelPlan, model: nn.Module) -> nn.Module:
    """The model with removed channels that are zero: weights, biases and norms that give them."""
    statistics = {
        name
        for node in plan.dependencies.graph
        if isinstance(node.op, ir.BatchNorm)
        for role, name in node.params.items()
        if role.startswith("running")
    }
    model = copy.deepcopy(model)
    tensors = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, axes in kept_indices(plan.dependencies, plan.kept).items():
            if 0 in axes and name not in statistics:
                gone = torch.ones(len(tensors[name]), dtype=torch.bool)
                gone[torch.from_numpy(axes[0])] = False
                tensors[name][gone] = 0
    return model


def outputs(model: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    """All tensors that a model returns, in evaluation mode."""
    with torch.no_grad():
        result: Any = model.eval()(*(x.clone() for x in inputs))
    return [y for y in pytree.tree_leaves(result) if isinstance(y, Tensor)]
