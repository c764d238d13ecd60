"""From scores to masks: which blocks go, in each layer or in all of them together."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from wbcq.errors import PruningError
from wbcq.pruning.patterns import Pattern

__all__ = ["check_sparsity", "global_masks", "local_mask"]


def check_sparsity(sparsity: object, where: str = "sparsity") -> float:
    """A share of weights in [0, 1).

    Raises:
        PruningError: It is something else.
    """
    number = isinstance(sparsity, (int, float)) and not isinstance(sparsity, bool)
    if not number or not 0 <= sparsity < 1:  # type: ignore[operator]
        raise PruningError(f"{where} is {sparsity!r}; use a share of the weights in [0, 1)")
    return float(sparsity)  # type: ignore[arg-type]


def local_mask(
    scores: Tensor, sparsity: float, pattern: Pattern, columns: Tensor | None = None
) -> Tensor:
    """Prunes the blocks of the least mean scores, at most ``sparsity`` of a layer's weights.

    Fewer by less than one block, and never all; among equal scores the first ones go.

    Args:
        scores: Of each weight, [outputs, inputs, *kernel], not negative.
        sparsity: In [0, 1); N:M has its own.
        pattern: Of what is pruned together.
        columns: The block of each input channel; None for neighbours.

    Returns:
        The mask, bool, False where pruned.
    """
    if pattern.kept:
        return pattern.keep_best(scores)
    sizes = pattern.block_sizes(scores.shape, columns)
    means = pattern.block_sums(scores.double(), columns).cpu() / sizes
    most = min(_count(sparsity, scores.numel()), scores.numel() - 1)
    kept = ~_least(means.ravel(), sizes.ravel(), most)
    return pattern.spread(kept.reshape(means.shape), scores.shape, columns).to(scores.device)


def global_masks(
    scores: Mapping[str, Tensor],
    sparsity: float,
    pattern: Pattern,
    floor: float,
    columns: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Prunes the blocks of the least mean scores of all layers together.

    Args:
        scores: Of each weight by layer, not negative.
        sparsity: Of all these layers' weights.
        pattern: Of what is pruned together, blocks.
        floor: Share of its weights that a layer keeps at least; one block in any case. Other layers
            are pruned more instead.
        columns: The block of each input channel of layers; of others neighbours are in blocks.

    Raises:
        PruningError: The floors leave less to prune than is asked for.
    """
    means, sizes, free = [], [], []
    blocks_of = dict(columns or {})
    for name, values in scores.items():
        size = pattern.block_sizes(values.shape, blocks_of.get(name))
        mean = pattern.block_sums(values.double(), blocks_of.get(name)).cpu() / size
        most = min(values.numel() - math.ceil(floor * values.numel()), values.numel() - 1)
        means.append(mean.ravel())
        sizes.append(size.ravel())
        # The best blocks of a layer are out of reach.
        free.append(_least(means[-1], sizes[-1], most))
    size, reachable = torch.cat(sizes), torch.cat(free)
    wanted, able = _count(sparsity, int(size.sum())), int(size[reachable].sum())
    if able < wanted and sparsity > able / int(size.sum()):
        raise PruningError(
            f"sparsity {sparsity} of all layers together needs {wanted} zeros, but {able} are "
            f"possible with floor={floor}. Remedy: a smaller sparsity or floor"
        )
    chosen = torch.zeros_like(reachable)
    chosen[reachable] = _least(torch.cat(means)[reachable], size[reachable], wanted)
    parts = torch.split(~chosen, [len(part) for part in means])
    masks = {}
    for (name, values), kept in zip(scores.items(), parts, strict=True):
        inputs = blocks_of.get(name)
        blocks = kept.reshape(pattern.block_sizes(values.shape, inputs).shape)
        masks[name] = pattern.spread(blocks, values.shape, inputs).to(values.device)
    return masks


def _count(sparsity: float, weights: int) -> int:
    # 0.29 * 100 is 28.999999999999996.
    return math.floor(sparsity * weights + 1e-6)


def _least(means: Tensor, sizes: Tensor, weights: int) -> Tensor:
    """True for blocks of the least means that have at most so many weights together."""
    chosen = torch.zeros(len(means), dtype=torch.bool)
    if len(sizes) and bool((sizes == sizes[0]).all()):  # no need to sort millions of them
        count = min(weights // int(sizes[0]), len(means))
        if count:
            bound = means.kthvalue(count).values
            chosen = means < bound
            ties = (means == bound).nonzero().ravel()
            chosen[ties[: count - int(chosen.sum())]] = True
        return chosen
    order = torch.argsort(means, stable=True)
    chosen[order] = sizes[order].cumsum(0) <= weights
    return chosen
