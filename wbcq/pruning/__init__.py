"""Pruning: networks with fewer weights or fewer channels. Importing this imports torch."""

from wbcq.pruning.api import prune
from wbcq.pruning.budget import allocate
from wbcq.pruning.masks import adopt_masks, apply_masks, make_permanent, masks
from wbcq.pruning.report import LayerSparsity, layer_sparsity, model_sparsity, sparsity_table
from wbcq.pruning.schedules import PruneConfig, Pruner
from wbcq.pruning.sensitivity import Sensitivity, scan_sensitivity
from wbcq.pruning.verify import check_zeros

__all__ = [
    "LayerSparsity",
    "PruneConfig",
    "Pruner",
    "Sensitivity",
    "adopt_masks",
    "allocate",
    "apply_masks",
    "check_zeros",
    "layer_sparsity",
    "make_permanent",
    "masks",
    "model_sparsity",
    "prune",
    "scan_sensitivity",
    "sparsity_table",
]
