"""The passes that every graph goes through before calibration."""

from __future__ import annotations

from wbcq.graph.ir import Graph
from wbcq.graph.passes.cleanup import remove_dead_nodes, remove_identities
from wbcq.graph.passes.distribute import distribute_over_concat
from wbcq.graph.passes.fold_batch_norm import fold_batch_norm
from wbcq.graph.passes.fold_pads import fold_pads
from wbcq.graph.passes.fuse import fuse_activations, fuse_residuals
from wbcq.graph.passes.simplify_functions import simplify_functions
from wbcq.graph.passes.slices import dissolve_channel_operators

__all__ = ["fold_and_fuse", "prepare_for_quantization"]


def prepare_for_quantization(graph: Graph) -> Graph:
    """Brings a captured graph into the form in which it is calibrated, simulated and executed.

    Dead nodes and identities go, batch normalization is folded, activations, residual sums and
    padding are fused, and operators that only choose or order channels dissolve. What is left is
    one node per rounding of the integer program.

    Args:
        graph: From :func:`wbcq.graph.capture.capture`.

    Returns:
        An equivalent graph; the argument is not changed.

    Example:
        >>> import torch
        >>> from wbcq.graph.capture import capture
        >>> model = torch.nn.Sequential(
        ...     torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU()
        ... )
        >>> graph = prepare_for_quantization(capture(model, torch.zeros(1, 3, 8, 8)))
        >>> [(node.name, node.op.activation.low) for node in graph]
        [('0', 0.0)]
    """
    return remove_dead_nodes(dissolve_channel_operators(fold_and_fuse(graph)))


def fold_and_fuse(graph: Graph) -> Graph:
    """All passes but the last: channels are still in the module's order."""
    graph = remove_identities(remove_dead_nodes(graph))
    graph = fold_batch_norm(simplify_functions(graph))
    graph = fuse_activations(distribute_over_concat(graph))
    return fuse_residuals(fold_pads(graph))
