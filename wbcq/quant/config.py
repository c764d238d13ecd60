"""How a model is quantized. Needs neither torch nor numpy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

__all__ = ["ObserverName", "QuantConfig", "WeightGranularity", "match_layers"]

WeightGranularity = Literal["per_channel", "per_tensor"]
ObserverName = Literal["histogram", "minmax", "moving_average"]


@dataclass(frozen=True)
class QuantConfig:
    """Settings of :func:`wbcq.quantize`, checked when made.

    Attributes:
        weights: One scale for each output channel, or one for each weight tensor.
        weight_observer: What chooses the weights' range: ``"minmax"`` covers all of them,
            ``"histogram"`` minimises the squared error, which pays below 8 bits.
        weight_bits: 2 to 8.
        activation_observer: What chooses the activations' range, see :mod:`wbcq.quant.observers`.
        activation_bits: 2 to 8.
        bias_correction: Keep the mean of each layer's outputs, see
            :mod:`wbcq.quant.bias_correction`.
        float_layers: Layers that compute in float32: names (``"layer4.1.conv2"``, ``"layer4"``
            for all in it), glob patterns (``"layer4.*"``) or type names (``"Linear"``, or the
            class of a module that contains them).
        seed: Seeds torch while calibration runs, so that a shuffling loader gives the same
            pictures each time; the caller's random state is restored.
        class_names: Names of the outputs, kept in the file's metadata.

    Raises:
        ValueError: A field has a value that is not allowed; names field, value and what is.

    Example:
        >>> QuantConfig(weights="per_tensor", float_layers=("fc",)).activation_bits
        8
    """

    weights: WeightGranularity = "per_channel"
    weight_observer: Literal["minmax", "histogram"] = "minmax"
    weight_bits: int = 8
    activation_observer: ObserverName = "histogram"
    activation_bits: int = 8
    bias_correction: bool = True
    float_layers: tuple[str, ...] = ()
    seed: int = 0
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_choice("weights", self.weights, get_args(WeightGranularity))
        _check_choice("weight_observer", self.weight_observer, ("minmax", "histogram"))
        _check_choice("activation_observer", self.activation_observer, get_args(ObserverName))
        for name in ("weight_bits", "activation_bits"):
            _check_integer(name, getattr(self, name), 2, 8)
        _check_integer("seed", self.seed, 0, 2**63 - 1)
        if not isinstance(self.bias_correction, bool):
            raise ValueError(
                f"QuantConfig.bias_correction is {self.bias_correction!r}; allowed are True, False"
            )
        for name in ("float_layers", "class_names"):
            object.__setattr__(self, name, _strings(name, getattr(self, name)))

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values; :meth:`from_dict` reads them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> QuantConfig:
        """The config with these fields; those not given have their defaults.

        Raises:
            ValueError: A field is unknown or has a value that is not allowed.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise ValueError(
                    f"QuantConfig has no field {name!r}{suggestions(name, known)}; "
                    f"fields are {', '.join(known)}"
                )
        return cls(**values)


def _check_choice(field: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        choices = ", ".join(map(repr, allowed))
        raise ValueError(f"QuantConfig.{field} is {value!r}; allowed are {choices}")


def _check_integer(field: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"QuantConfig.{field} is {value!r}; allowed are integers {low} to {high}")


def _strings(field: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        raise ValueError(f"QuantConfig.{field} is the string {value!r}; write ({value!r},)")
    if not isinstance(value, Iterable):
        raise ValueError(f"QuantConfig.{field} is {value!r}; allowed is a sequence of strings")
    strings = tuple(value)
    for item in strings:
        if not isinstance(item, str) or not item:
            raise ValueError(f"QuantConfig.{field} holds {item!r}; allowed are non-empty strings")
    return strings


def match_layers(
    patterns: Iterable[str], layers: Mapping[str, Iterable[str]], field: str = "float_layers"
) -> frozenset[str]:
    """The layers that ``QuantConfig.float_layers``, for example, means.

    Args:
        patterns: Names or glob patterns.
        layers: Name of a layer to everything it may be called by: its own name, those of the
            modules around it, and their types.
        field: What the patterns are called in messages.

    Returns:
        Names of layers.

    Raises:
        ValueError: A pattern matches no layer; gives names that are close to it.

    Example:
        >>> layers = {"conv1": ["conv1", "Conv2d"], "fc": ["fc", "Linear"]}
        >>> sorted(match_layers(["Linear"], layers)), sorted(match_layers(["*"], layers))
        (['fc'], ['conv1', 'fc'])
    """
    aliases = {name: tuple(names) for name, names in layers.items()}
    matched: set[str] = set()
    for pattern in patterns:
        found = {
            name
            for name, names in aliases.items()
            if any(alias == pattern or fnmatchcase(alias, pattern) for alias in names)
        }
        if not found:
            known = sorted({alias for names in aliases.values() for alias in names})
            raise ValueError(
                f"{field} names {pattern!r}, but no layer is called so"
                f"{suggestions(pattern, known)}; layers are {_shortened(list(aliases))}"
            )
        matched |= found
    return frozenset(matched)


def suggestions(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'a' or 'b'?"``, or nothing where no known name is close."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def _shortened(names: list[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, ... ({len(names)} in all)"
