"""Pruning in one call."""

from __future__ import annotations

import copy
import importlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from wbcq.errors import DenseLayersWarning, PruningError
from wbcq.pruning.allocation import check_sparsity, global_masks, local_mask
from wbcq.pruning.choice import Choice, choose
from wbcq.pruning.layers import mask_of, weight_of
from wbcq.pruning.masks import apply_masks
from wbcq.pruning.patterns import Pattern
from wbcq.pruning.scores import Loss, weight_scores

__all__ = ["FLOOR", "choose_masks", "engine_columns", "prune"]

FLOOR = 0.01
"""Share of its weights that every layer keeps when all are pruned together."""

Scope = Literal["local", "global"]


def prune(
    model: nn.Module,
    sparsity: float | Mapping[str, float] | None = None,
    *,
    scope: Scope = "local",
    pattern: str = "unstructured",
    score: str = "l1",
    data: Iterable[Any] | None = None,
    loss: Loss | None = None,
    layers: Iterable[str] | None = None,
    skip: Iterable[str] = (),
    floor: float = FLOOR,
    example: Tensor | Sequence[Tensor] | None = None,
    **channel_options: Any,
) -> nn.Module:
    """Makes a copy of a network whose least important weights are zero and stay zero.

    They stay zero in any training loop, in copies, state dicts and pickles, in
    :func:`wbcq.quantize`, :func:`wbcq.compile_float` and :func:`wbcq.prepare_qat`. The copy can be
    pruned again: what is zero stays so. :func:`wbcq.pruning.make_permanent` takes the masks away.

    Args:
        model: Any module; convolutions (``Conv1d``, ``Conv2d``) and linear layers are pruned. It is
            not changed.
        sparsity: Share of weights (or channels) to prune, in [0, 1): of each layer, or of all
            together if ``scope`` is global. Or one for each layer by name, as from
            :func:`wbcq.pruning.allocate`; other layers stay dense. Never exceeded, and missed by
            less than a block. N:M has its own: leave it out.
        scope: ``"local"`` prunes each layer alike; ``"global"`` prunes the least weights of all
            layers.
        pattern: ``"unstructured"``, blocks of outputs x consecutive input channels at one tap
            (``"1x4"``, ``"2x4"``, ``"4x4"``; the last block of a layer may be smaller), N:M
            (``"2:4"`` keeps 2 of each 4 consecutive inputs), or ``"channel"``, which gives a
            smaller dense network (:func:`wbcq.pruning.channels.prune_channels`).
        score: What weights are ranked by: ``"l1"``, ``"l2"``, ``"taylor"`` or ``"activation"``, see
            :mod:`wbcq.pruning.scores`.
        data: Batches for the last two scores; for ``"channel"`` an example is taken from them.
        loss: For ``"taylor"``: ``loss(outputs, labels)``; cross-entropy if None.
        layers: What to prune: names (``"layer4"`` for all in it), glob patterns or types
            (``"Conv2d"``); None for all that the pattern fits.
        skip: Names, patterns or types to leave dense.
        floor: Global scope: share of its weights that each layer keeps, and one block in any case;
            other layers give more instead.
        example: A batch of the network's input, or of each of its inputs. For ``"channel"``, where
            there is no ``data``. For blocks of several inputs: they are then drawn among the
            channels that lie side by side in the engine, which others do where channels are
            shuffled, split or concatenated; without it blocks of such layers are scattered, and
            most of them cannot be skipped.
        **channel_options: For pattern ``"channel"``, what else is told there.

    Returns:
        The pruned copy, in the mode (training or evaluation) of the model.

    Raises:
        PruningError: A sparsity outside of [0, 1), an unknown pattern or score, a layer in
            ``layers`` that the pattern does not fit, or more to prune than floors leave.
        ValueError: ``layers`` or ``skip`` name what does not exist.

    Warns:
        DenseLayersWarning: Layers that the pattern does not fit (first layers of fewer than 4
            channels, depthwise convolutions) stay dense; lists them.

    Example:
        >>> import torch, wbcq
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(8, 16, 3), torch.nn.ReLU())
        >>> pruned = wbcq.prune(model, 0.75, pattern="1x4")
        >>> float((pruned[0].weight == 0).float().mean())
        0.75
        >>> quantized = wbcq.quantize(pruned, [torch.rand(4, 8, 16, 16)])
    """
    if not isinstance(model, nn.Module):
        raise PruningError(f"model is a {type(model).__name__}, must be a torch.nn.Module")
    if pattern == "channel":
        if layers is not None:
            raise PruningError(
                "pattern 'channel' takes skip, not layers, as layers depend on others"
            )
        shared = {"scope": scope, "score": score, "loss": loss, "skip": skip, "example": example}
        return _prune_channels(model, sparsity, data, {**shared, **channel_options})
    if channel_options:
        raise TypeError(f"prune() has no argument {next(iter(channel_options))!r}")
    pruned = copy.deepcopy(model)
    wanted = Pattern.parse(pattern)
    chosen = choose(pruned, wanted, sparsity if isinstance(sparsity, Mapping) else layers, skip)
    if chosen.dense:
        warn_of_dense(chosen, wanted)
    found = choose_masks(
        pruned,
        chosen,
        sparsity,
        wanted,
        columns=engine_columns(model, chosen, wanted, example),
        scope=scope,
        score=score,
        data=data,
        loss=loss,
        floor=floor,
    )
    return apply_masks(pruned, found)


def choose_masks(
    model: nn.Module,
    choice: Choice,
    sparsity: float | Mapping[str, float] | None,
    pattern: Pattern,
    *,
    scope: Scope = "local",
    score: str = "l1",
    data: Iterable[Any] | None = None,
    loss: Loss | None = None,
    floor: float = FLOOR,
    scores: Mapping[str, Tensor] | None = None,
    columns: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Masks for layers of a model, which is not changed; what is pruned already stays pruned.

    Arguments and errors are those of :func:`prune`; ``scores``, if given, take the place of the
    named score, and ``columns`` are the blocks of layers' input channels where neighbours are not.
    """
    if scope not in ("local", "global"):
        raise PruningError(f"scope is {scope!r}; use 'local' or 'global'")
    check_sparsity(floor, "floor")
    shares = _shares(choice, sparsity, pattern)
    if scope == "global" and (pattern.kept or isinstance(sparsity, Mapping)):
        given = f"pattern {pattern.name}" if pattern.kept else "a sparsity of each layer"
        raise PruningError(f"scope is 'global' with {given}, which leaves nothing to share out")
    if scores is None:
        scores = weight_scores(model, choice.layers, score, data, loss)
    if scope == "global":
        found = global_masks(scores, next(iter(shares.values())), pattern, floor, columns)
    else:
        blocks = dict(columns or {})
        found = {
            name: local_mask(values, shares[name], pattern, blocks.get(name))
            for name, values in scores.items()
        }
    for name, layer in choice.layers.items():
        before = mask_of(layer)
        if before is not None:
            found[name] = found[name] & before
    return found


def _shares(
    choice: Choice, sparsity: float | Mapping[str, float] | None, pattern: Pattern
) -> dict[str, float]:
    fixed = pattern.sparsity
    if fixed is not None:
        if sparsity is not None and sparsity != fixed:
            raise PruningError(
                f"sparsity is {sparsity} with pattern {pattern.name}, which has {fixed}. Remedy: "
                "leave sparsity out"
            )
        return dict.fromkeys(choice.layers, fixed)
    if isinstance(sparsity, Mapping):
        return {
            name: check_sparsity(sparsity.get(name, 0.0), f"sparsity of layer {name!r}")
            for name in choice.layers
        }
    return dict.fromkeys(choice.layers, check_sparsity(sparsity))


def engine_columns(
    model: nn.Module,
    choice: Choice,
    pattern: Pattern,
    example: Tensor | Sequence[Tensor] | None,
) -> dict[str, Tensor]:
    """The block of each input channel of layers, as the engine can skip it.

    Empty without an example and for patterns that have no blocks of several inputs.
    """
    if example is None or pattern.inputs == 1 or pattern.kept:
        return {}
    from wbcq.pruning.order import input_blocks

    found = input_blocks(model, example, pattern.inputs)
    return {
        name: columns
        for name, columns in found.items()
        if name in choice.layers and len(columns) == weight_of(choice.layers[name]).shape[1]
    }


def warn_of_dense(choice: Choice, pattern: Pattern) -> None:
    """Tells which layers a pattern leaves dense."""
    listed = "\n".join(f"  {name}: {reason}" for name, reason in choice.dense.items())
    count = f"{len(choice.dense)} layer{'s' if len(choice.dense) > 1 else ''}"
    warnings.warn(
        f"{count} stay{'' if len(choice.dense) > 1 else 's'} dense, as pattern {pattern.name} does "
        f"not fit:\n{listed}\nname them in skip to say so yourself",
        DenseLayersWarning,
        stacklevel=3,
    )


def _prune_channels(
    model: nn.Module, sparsity: Any, data: Iterable[Any] | None, options: dict[str, Any]
) -> nn.Module:
    from wbcq.quant.calibration_data import CalibrationData

    if isinstance(sparsity, Mapping):
        raise PruningError("pattern 'channel' takes one sparsity, as layers depend on each other")
    if sparsity is not None:
        check_sparsity(sparsity)
    example = options.pop("example", None)
    if example is None and data is not None:
        data = list(data)
        example = CalibrationData(data, model).first
    if example is None:
        raise PruningError(
            "pattern 'channel' must run the network once. Remedy: pass example=pictures, or data"
        )
    channels = importlib.import_module("wbcq.pruning.channels")
    found: nn.Module = channels.prune_channels(model, sparsity, example, data=data, **options)
    return found
