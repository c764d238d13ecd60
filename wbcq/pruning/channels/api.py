"""Channel pruning in one call."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from wbcq.errors import CaptureError, PruningError
from wbcq.graph.capture import capture
from wbcq.graph.ir import Graph
from wbcq.pruning.channels.dependencies import Dependencies, dependencies
from wbcq.pruning.channels.groups import (
    Costs,
    Family,
    channels_removed,
    families,
    label_count,
    layers_of,
)
from wbcq.pruning.channels.importance import SCORES, Loss, label_scores
from wbcq.pruning.channels.network import ChannelNetwork
from wbcq.pruning.channels.rewrite import Kept, is_same, kept_indices, shrunk_graph
from wbcq.pruning.channels.selection import Chooser
from wbcq.pruning.channels.surgery import own_tensors, shrunk_copy
from wbcq.pruning.layers import settle
from wbcq.quant.config import match_layers
from wbcq.quant.source_model import check_float32

__all__ = ["ChannelPlan", "plan_channels", "prune_channels"]


@dataclass(frozen=True, eq=False)
class ChannelPlan:
    """What is to go; :func:`plan_channels` makes it, :meth:`apply` does it.

    Attributes:
        dependencies: Labels of the network.
        families: What could have gone.
        kept: For each label whether its channels stay.
        macs: Multiply-accumulates of a picture before and after.
    """

    dependencies: Dependencies
    families: tuple[Family, ...]
    kept: Kept
    macs: tuple[int, int]
    _model: nn.Module
    _inputs: tuple[Tensor, ...]

    @property
    def channels(self) -> dict[str, tuple[int, int]]:
        """For each convolution and linear layer, its outputs before and after."""
        values = self.dependencies.values
        return {
            node.name: (len(values[node.output]), int(self.kept[values[node.output]].sum()))
            for node in layers_of(self.dependencies.graph).values()
        }

    def apply(self) -> nn.Module:
        """The smaller network.

        Returns:
            A copy of the model with smaller layers where the model's own ``forward`` then computes
            what it must, as its trace shows; else a :class:`ChannelNetwork` of the same layers.
        """
        cuts = kept_indices(self.dependencies, self.kept)
        graph = shrunk_graph(self.dependencies, self.kept)
        smaller = shrunk_copy(self._model, cuts, graph)
        try:
            if is_same(graph, capture(smaller, self._inputs)):
                return smaller
        except CaptureError:  # Numbers of channels in forward no longer fit.
            pass
        return self._as_graph(smaller)

    def _as_graph(self, smaller: nn.Module) -> nn.Module:
        dropped = [name for name, m in smaller.named_modules() if isinstance(m, nn.Dropout) and m.p]
        if dropped:
            warnings.warn(
                f"{type(smaller).__name__} has numbers of channels in its forward, so that the "
                f"smaller network is a graph, which has no dropout: {', '.join(dropped)} is left "
                "out",
                stacklevel=4,
            )
        graph = shrunk_graph(self.dependencies, self.kept)
        return ChannelNetwork(smaller, graph, _structure(self._model, self._inputs))


def _structure(model: nn.Module, inputs: tuple[Tensor, ...]) -> pytree.TreeSpec | None:
    """Of what a model returns; None for a tensor, a tuple of tensors, or what is no tensors."""
    probe = copy.deepcopy(model).eval()
    with torch.no_grad():
        leaves, structure = pytree.tree_flatten(probe(*(x.clone() for x in inputs)))
    plain = structure in (pytree.tree_structure(0), pytree.tree_structure((0,) * len(leaves)))
    return None if plain or not all(isinstance(x, Tensor) for x in leaves) else structure


def plan_channels(
    model: nn.Module,
    sparsity: float | None,
    example: Tensor | Sequence[Tensor],
    *,
    macs: float | None = None,
    scope: Literal["local", "global"] = "local",
    score: str = "l1",
    data: Iterable[Any] | None = None,
    loss: Loss | None = None,
    round_to: int = 1,
    least: float = 0.05,
    skip: Iterable[str] = (),
) -> ChannelPlan:
    """Chooses the channels that :func:`prune_channels` removes; its arguments and errors.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3))
        >>> plan_channels(model, 0.5, torch.zeros(1, 3, 16, 16)).channels
        {'0': (8, 4), '2': (2, 2)}
    """
    _check(sparsity, macs, scope, score, round_to, least)
    check_float32(model)
    for module in model.modules():
        settle(module)  # The zeros of masks are in the parameters then.
    inputs = (example,) if isinstance(example, Tensor) else tuple(example)
    graph, name = capture(model, inputs), type(model).__name__
    tensors = dict(own_tensors(model))
    own = [key for key, array in graph.params.items() if _is_own(tensors.get(key), array.shape)]
    deps = dependencies(graph, own)
    found = families(deps, _skipped(graph, model, skip))
    if not found:
        raise PruningError(
            f"no channel of {name} can be removed: each leads to an output, is skipped, or belongs "
            "to a parameter that is computed in forward. Remedy: skip fewer layers, or remove "
            "parametrizations (torch.nn.utils.parametrize.remove_parametrizations)"
        )
    scores = label_scores(deps, model, score, count=label_count(deps), data=data, loss=loss)
    chooser = Chooser(found, scores, scope == "global", round_to, least)
    costs = Costs(deps)
    before, total = costs.macs(), sum(family.channels for family in found)

    def fits(kept: Kept) -> bool:
        if macs is not None:
            return costs.macs(kept) <= macs * before
        return channels_removed(found, kept) >= round((sparsity or 0.0) * total)

    kept = chooser.until(fits)
    if kept is None:
        fewest = chooser.fewest()
        raise PruningError(
            f"{f'sparsity={sparsity}' if macs is None else f'macs={macs}'} cannot be reached for "
            f"{name}: with least={least} and round_to={round_to}, "
            f"{channels_removed(found, fewest)} of {total} channels can go, which leaves "
            f"{costs.macs(fewest) / before:.3f} of the multiplications. Remedy: ask for less, or "
            "choose a smaller least or round_to, or skip fewer layers"
        )
    return ChannelPlan(deps, found, kept, (before, costs.macs(kept)), model, inputs)


def prune_channels(
    model: nn.Module,
    sparsity: float | None,
    example: Tensor | Sequence[Tensor],
    *,
    macs: float | None = None,
    scope: Literal["local", "global"] = "local",
    score: str = "l1",
    data: Iterable[Any] | None = None,
    loss: Loss | None = None,
    round_to: int = 1,
    least: float = 0.05,
    skip: Iterable[str] = (),
) -> nn.Module:
    """Removes channels from a trained network: a smaller dense network, to be fine-tuned.

    What must go together goes together: both sides of additions and of multiplications with gates,
    whole groups of grouped and depthwise convolutions, through concatenations, slices and channel
    shuffles (after Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023, but channel
    by channel, which makes a shuffle a mere permutation). The result computes exactly what the
    model would compute if all that reads a removed channel had zero weights for it. Inputs and
    outputs of the network stay as they are.

    Args:
        model: Any float32 module that ``torch.export`` can trace; left as it is.
        sparsity: Share of the removable channels to remove, in [0, 1); None if ``macs`` is given.
        example: One float32 tensor [N, C, H, W], or one for each input; only shapes matter.
        macs: Multiply-accumulates to keep, as a share of the model's, in (0, 1): channels are
            removed until there are no more than that.
        scope: ``"local"`` takes the same share of every set of channels that run through the same
            values, ``"global"`` the least important ones of the network.
        score: ``"l1"``, ``"l2"``, ``"taylor"`` or ``"activation"``; see
            :mod:`wbcq.pruning.channels.importance`.
        data: Batches as for :func:`wbcq.quantize`, for ``"taylor"`` (with labels) and
            ``"activation"``.
        loss: For ``"taylor"``: ``loss(outputs, labels)``; cross-entropy if None.
        round_to: Layers keep multiples of so many channels where they can; 8 or 16 let time follow
            multiplications, any other number may not save any.
        least: The share that every set keeps, whatever its scores; never less than one channel.
        skip: Layers whose outputs stay: names, modules around them, types, or glob patterns.

    Returns:
        The model's own class with smaller layers, in the same mode, where its ``forward`` still
        fits. Where that has numbers of channels built in (ShuffleNetV2's ``chunk`` and shuffle), a
        :class:`ChannelNetwork` of the same layers under the same names.

    Raises:
        PruningError: An argument is out of range, the budget cannot be reached, nothing can be
            removed, or ``data`` or its labels are missing.
        ValueError: ``skip`` names no layer, or the model is not float32.
        CaptureError: The model cannot be traced.
        CalibrationError: ``data`` is unusable.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3))
        >>> prune_channels(model, None, torch.zeros(1, 3, 16, 16), macs=0.5)[0]
        Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1))
    """
    plan = plan_channels(
        model,
        sparsity,
        example,
        macs=macs,
        scope=scope,
        score=score,
        data=data,
        loss=loss,
        round_to=round_to,
        least=least,
        skip=skip,
    )
    return plan.apply()


def _check(
    sparsity: float | None, macs: float | None, scope: str, score: str, round_to: int, least: float
) -> None:
    if (sparsity is None) == (macs is None):
        raise PruningError(
            f"sparsity is {sparsity} and macs is {macs}; give one of them, and None for the other"
        )
    if sparsity is not None and not 0 <= sparsity < 1:
        raise PruningError(f"sparsity is {sparsity}, must be at least 0 and below 1")
    if macs is not None and not 0 < macs <= 1:
        raise PruningError(f"macs is {macs}, must be above 0 and at most 1: the share that is kept")
    if scope not in ("local", "global"):
        raise PruningError(f"scope is {scope!r}, must be 'local' or 'global'")
    if score not in SCORES:
        raise PruningError(f"score is {score!r}, must be one of {', '.join(map(repr, SCORES))}")
    if isinstance(round_to, bool) or not isinstance(round_to, int) or round_to < 1:
        raise PruningError(f"round_to is {round_to!r}, must be an integer of at least 1")
    if not 0 <= least <= 1:
        raise PruningError(f"least is {least}, must be from 0 to 1")


def _is_own(tensor: Tensor | None, shape: tuple[int, ...]) -> bool:
    return tensor is not None and tuple(tensor.shape) == shape


def _skipped(graph: Graph, model: nn.Module, skip: Iterable[str]) -> frozenset[str]:
    if isinstance(skip, str):
        raise PruningError(f"skip is the string {skip!r}; write ({skip!r},)")
    types = {path: type(module).__name__ for path, module in model.named_modules()}
    layers = {}
    for node in layers_of(graph).values():
        parts = node.source.module.split(".")
        around = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
        kinds = [types[path] for path in around if path in types]
        layers[node.name] = [node.name, *around, type(node.op).__name__, *kinds]
    return match_layers(skip, layers, "skip")
