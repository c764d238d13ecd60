"""Masks of a whole model: in, out, and made permanent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from wbcq.errors import PruningError
from wbcq.pruning.choice import prunable_layers
from wbcq.pruning.layers import MASK, is_masked, mask_of, remove_mask, set_mask

__all__ = ["adopt_masks", "apply_masks", "make_permanent", "masks"]


def masks(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the masks of a model by layer name; empty if it is not pruned.

    Returns:
        bool tensors of the weights' shapes, False where pruned.
    """
    found = {}
    for name, module in model.named_modules():
        mask = mask_of(module)
        if mask is not None:
            found[name] = mask.clone()
    return found


def apply_masks(model: nn.Module, masks: Mapping[str, Any]) -> nn.Module:
    """Gives layers masks, in place; masks that they have are replaced.

    Layers that share a weight share its mask. Nothing is changed if any mask is unusable.

    Args:
        model: Whose layers.
        masks: By layer name, tensors or arrays of the weights' shapes; zero or False is pruned.

    Returns:
        The model itself.

    Raises:
        PruningError: A layer does not exist or cannot be pruned, or its mask has another shape or
            leaves no weight.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2, bias=False))
        >>> _ = apply_masks(model, {"0": [[1, 0], [1, 1]]})
        >>> model[0].weight[0, 1].item()
        0.0
    """
    layers = prunable_layers(model)
    wanted: dict[str, Tensor] = {}
    for name, mask in masks.items():
        if name not in layers:
            known = ", ".join(list(layers)[:12]) or "none"
            raise PruningError(f"mask for {name!r}, which is no layer to prune; layers are {known}")
        weight = layers[name]._parameters["weight"]
        wanted[name] = torch.as_tensor(mask)
        if weight is None or wanted[name].shape != weight.shape or not wanted[name].any():
            set_mask(layers[name], wanted[name], name)  # raises
        for other, layer in layers.items():
            if other != name and layer._parameters["weight"] is weight:
                wanted[other] = wanted[name]
    for name, mask in wanted.items():
        set_mask(layers[name], mask, name)
    return model


def make_permanent(model: nn.Module) -> nn.Module:
    """Takes the masks away and leaves zeros in the weights, in place.

    What is trained afterwards fills the zeros again.

    Returns:
        The model itself, of the classes that it had before it was pruned.
    """
    for module in model.modules():
        if is_masked(module):
            remove_mask(module)
    return model


def adopt_masks(model: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Gives a model the masks that a state dict holds, so that it can be loaded, in place.

    Args:
        model: Pruned or not.
        state: Of a pruned model of the same architecture.

    Returns:
        The model itself.

    Example:
        >>> import wbcq
        >>> state = wbcq.prune(nn.Sequential(nn.Linear(8, 8)), 0.5).state_dict()
        >>> model = adopt_masks(nn.Sequential(nn.Linear(8, 8)), state)
        >>> model.load_state_dict(state)
        <All keys matched successfully>
    """
    layers = prunable_layers(model)
    found = {}
    for key, mask in state.items():
        name, _, kind = key.rpartition(".")
        if kind == MASK and name in layers and mask.shape == layers[name].weight.shape:
            found[name] = mask
    return apply_masks(model, found)
