"""How sparse a model is, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from wbcq.pruning.choice import prunable_layers
from wbcq.pruning.layers import is_masked, weight_of
from wbcq.pruning.patterns import Pattern
from wbcq.report.tables import Column, Table

__all__ = ["LayerSparsity", "layer_sparsity", "model_sparsity", "sparsity_table"]


@dataclass(frozen=True)
class LayerSparsity:
    """One layer.

    Attributes:
        name: Module path.
        kind: Its class.
        shape: Of its weight.
        weights: How many.
        zeros: How many of them are zero.
        masked: Whether they stay zero in training.
        blocks: Share of the 1x4 blocks that are zero as a whole, which is what an engine of 1x4
            blocks skips.
        blocks_of_four: The same of 4x4 blocks.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    weights: int
    zeros: int
    masked: bool
    blocks: float
    blocks_of_four: float

    @property
    def sparsity(self) -> float:
        """Share of the weights that are zero."""
        return self.zeros / self.weights


def layer_sparsity(model: nn.Module) -> tuple[LayerSparsity, ...]:
    """Counts zeros in every convolution and linear layer, pruned by us or not."""
    return tuple(_count(name, layer) for name, layer in prunable_layers(model).items())


def model_sparsity(model: nn.Module) -> float:
    """Share of all weights of convolutions and linear layers that are zero.

    Example:
        >>> import torch, wbcq
        >>> model = wbcq.prune(torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3)), 0.75, pattern="1x4")
        >>> model_sparsity(model)
        0.75
    """
    layers = layer_sparsity(model)
    return sum(layer.zeros for layer in layers) / max(1, sum(layer.weights for layer in layers))


def sparsity_table(layers: nn.Module | Iterable[LayerSparsity]) -> Table:
    """A table of the layers and their sum, for a terminal or as Markdown."""
    rows = layer_sparsity(layers) if isinstance(layers, nn.Module) else tuple(layers)
    columns = [
        Column("layer"),
        Column("kind"),
        Column("weight"),
        Column("weights", ",d"),
        Column("zeros %", ".1f"),
        Column("1x4 blocks %", ".1f"),
        Column("4x4 blocks %", ".1f"),
        Column("mask"),
    ]
    table = Table(columns, title="Sparsity")
    for row in rows:
        table.add(
            row.name,
            row.kind,
            "x".join(map(str, row.shape)),
            row.weights,
            100 * row.sparsity,
            100 * row.blocks,
            100 * row.blocks_of_four,
            "yes" if row.masked else "",
        )
    weights = sum(row.weights for row in rows)
    zeros = sum(row.zeros for row in rows)
    table.add("all", "", "", weights, 100 * zeros / max(1, weights), None, None, "")
    return table


def _count(name: str, layer: nn.Module) -> LayerSparsity:
    weight = weight_of(layer)
    used = weight != 0

    def empty(pattern: str) -> float:
        return float((Pattern.parse(pattern).block_sums(used.float()) == 0).float().mean())

    return LayerSparsity(
        name,
        type(layer).__name__,
        tuple(weight.shape),
        weight.numel(),
        int((~used).sum()),
        is_masked(layer),
        empty("1x4"),
        empty("4x4"),
    )
