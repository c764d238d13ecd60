"""Which layers of a model are pruned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from wbcq.errors import PruningError
from wbcq.pruning.layers import Prunable
from wbcq.pruning.patterns import Pattern
from wbcq.quant.config import match_layers

__all__ = ["Choice", "choose", "prunable_layers"]


@dataclass(frozen=True)
class Choice:
    """Layers that are pruned, and those that are not.

    Attributes:
        layers: By name, in the model's order; of layers that share a weight the first.
        dense: Layers that were to be pruned but do not fit the pattern, and why.
    """

    layers: dict[str, nn.Module]
    dense: dict[str, str]


def prunable_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Convolutions and linear layers with weights of their own, by name.

    A weight that is computed (``torch.nn.utils.parametrize``) cannot be pruned.
    """
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, Prunable)
        and module._parameters.get("weight") is not None
        and not hasattr(module, "parametrizations")
    }


def choose(
    model: nn.Module,
    pattern: Pattern,
    layers: Iterable[str] | None = None,
    skip: Iterable[str] = (),
) -> Choice:
    """Chooses layers by name and type, and leaves out those that the pattern does not fit.

    Args:
        model: Whose layers.
        pattern: What they must fit.
        layers: Names (``"layer4"`` for all in it), glob patterns or types; None for all.
        skip: Names, patterns or types that are left as they are.

    Raises:
        PruningError: A layer that ``layers`` calls by its full name does not fit, or nothing is
            left.
        ValueError: No layer is called so.
    """
    named = prunable_layers(model)
    types = {path: type(module).__name__ for path, module in model.named_modules()}
    aliases = {}
    for name in named:
        parts = name.split(".")
        around = [".".join(parts[:n]) for n in range(1, len(parts) + 1)] if name else []
        aliases[name] = [*around, *(types[path] for path in around or [""])]
    asked = None if layers is None else _names("layers", layers)
    wanted = set(named) if asked is None else match_layers(asked, aliases, "layers")
    wanted = wanted - match_layers(_names("skip", skip), aliases, "skip")
    chosen: dict[str, nn.Module] = {}
    dense: dict[str, str] = {}
    owners: set[int] = set()
    for name, layer in named.items():
        if name not in wanted or id(layer._parameters["weight"]) in owners:
            continue
        owners.add(id(layer._parameters["weight"]))
        reason = pattern.misfit(layer)
        if not reason:
            chosen[name] = layer
        elif asked is not None and name in asked:
            raise PruningError(
                f"pattern {pattern.name} does not fit layer {name!r}: {reason}. Remedy: another "
                "pattern for it, or leave it out of layers"
            )
        else:
            dense[name] = reason
    if not chosen:
        listed = "; ".join(f"{name!r}: {reason}" for name, reason in dense.items())
        raise PruningError(
            f"{type(model).__name__} has no layer to prune with pattern {pattern.name}"
            + (f" ({listed})" if listed else "")
        )
    return Choice(chosen, dense)


def _names(field: str, value: Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise PruningError(f"{field} is the string {value!r}; write ({value!r},)")
    return tuple(value)
