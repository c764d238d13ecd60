"""A sparsity for each layer, such that as little as possible is lost under a budget."""

from __future__ import annotations

import itertools

from wbcq.errors import PruningError
from wbcq.pruning.allocation import check_sparsity
from wbcq.pruning.sensitivity import LayerScan, Sensitivity

__all__ = ["allocate"]


def allocate(
    scan: Sensitivity, sparsity: float | None = None, *, macs: float | None = None
) -> dict[str, float]:
    """Chooses sparsities of layers under a budget, for :func:`wbcq.prune`.

    What layers lose is taken to add up. Each layer's losses are made convex from below; then the
    cheapest step of any layer is taken, one after another, the last one in part: the least sum of
    these losses for exactly this budget.

    Args:
        scan: From :func:`wbcq.pruning.scan_sensitivity`.
        sparsity: Share of all weights of the scanned layers to prune, in [0, 1).
        macs: Or instead the share of their multiplications to keep, in (0, 1].

    Returns:
        By layer; 0 for layers that stay dense. None is above the scan's largest sparsity.

    Raises:
        PruningError: Not one budget, one out of range, or one that the scan's largest sparsity
            cannot reach.

    Example:
        >>> layers = {"a": LayerScan(100, 0, (0.1, 0.9)), "b": LayerScan(100, 0, (0.2, 0.3))}
        >>> allocate(Sensitivity("error", "1x4", (0.5, 0.75), layers), 0.625)
        {'a': 0.5, 'b': 0.75}
    """
    if (sparsity is None) == (macs is None):
        raise PruningError("pass one budget: sparsity, or macs")
    if sparsity is None:
        kept = macs if isinstance(macs, (int, float)) else -1.0
        if not 0 < kept <= 1:
            raise PruningError(f"macs is {macs!r}; use a share to keep in (0, 1]")
        wanted, costs = 1 - kept, {name: layer.macs for name, layer in scan.layers.items()}
    else:
        wanted = check_sparsity(sparsity)
        costs = {name: layer.weights for name, layer in scan.layers.items()}
    total = sum(costs.values())
    largest = scan.sparsities[-1]
    if wanted > largest + 1e-9:
        raise PruningError(
            f"the budget prunes {wanted:.3f} of all, the scan ends at {largest}. Remedy: scan "
            "larger sparsities, or a smaller budget"
        )
    steps = [
        (slope / max(costs[name], 1), name, start, end)
        for name, layer in scan.layers.items()
        for slope, start, end in _hull(scan.sparsities, layer)
    ]
    found = dict.fromkeys(scan.layers, 0.0)
    left = wanted * total
    for _, name, start, end in sorted(steps):
        if left <= 0:
            break
        share = min(1.0, left / max(costs[name] * (end - start), 1e-12))
        found[name] = start + share * (end - start)
        left -= costs[name] * (end - start)
    return {name: round(value, 6) for name, value in found.items()}


def _hull(sparsities: tuple[float, ...], layer: LayerScan) -> list[tuple[float, float, float]]:
    """Steps of the lower convex hull of a layer's losses: slope, start, end; slopes rise."""
    corners: list[tuple[float, float]] = [(0.0, 0.0)]
    for point in zip(sparsities, layer.losses, strict=True):
        corners.append(point)
        while len(corners) > 2:
            (x0, y0), (x1, y1), (x2, y2) = corners[-3:]
            if (y1 - y0) * (x2 - x1) < (y2 - y1) * (x1 - x0):
                break
            del corners[-2]
    return [((y1 - y0) / (x1 - x0), x0, x1) for (x0, y0), (x1, y1) in itertools.pairwise(corners)]
