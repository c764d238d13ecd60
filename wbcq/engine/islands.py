"""Float islands: what computes in float32 in a network that is otherwise INT8. No torch.

Lowering writes them into the metadata, so that a file tells of them wherever it is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["FloatOperator", "describe_islands", "islands_from_metadata", "islands_to_metadata"]

_KEY = "float_operators"


@dataclass(frozen=True)
class FloatOperator:
    """An operator of the network that computes in float32 although the network is INT8.

    Attributes:
        name: Module path.
        operator: Its kind, for example ``"Conv2d"``.
        reason: Why, for example ``"asked for in float_layers"``.
        ops: Names of the program's operators that compute it, conversions not among them.
    """

    name: str
    operator: str
    reason: str
    ops: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} ({self.operator}): {self.reason}"


def islands_to_metadata(islands: Iterable[FloatOperator]) -> dict[str, Any]:
    """What a model file's metadata say of islands: nothing if there are none.

    Example:
        >>> islands_to_metadata([FloatOperator("a", "Softmax", "has no integer form", ("a",))])
        {'float_operators': [{'name': 'a', 'operator': 'Softmax', 'reason': 'has no integer form', \
'ops': ['a']}]}
    """
    records = [{**asdict(island), "ops": list(island.ops)} for island in islands]
    return {_KEY: records} if records else {}


def islands_from_metadata(metadata: Mapping[str, Any]) -> tuple[FloatOperator, ...]:
    """The islands that metadata tell of; metadata are free-form, so what is malformed is ignored.

    Example:
        >>> islands_from_metadata({"float_operators": [{"name": "a"}, 3], "classes": ["x"]})
        ()
    """
    records = metadata.get(_KEY)
    if not isinstance(records, list):
        return ()
    return tuple(island for record in records for island in _read(record))


def _read(record: object) -> Iterable[FloatOperator]:
    if not isinstance(record, Mapping):
        return
    texts = [record.get(field) for field in ("name", "operator", "reason")]
    name, operator, reason = texts
    ops = record.get("ops", [name])
    if all(isinstance(text, str) for text in texts) and isinstance(ops, list):
        yield FloatOperator(str(name), str(operator), str(reason), tuple(map(str, ops)))


def describe_islands(islands: tuple[FloatOperator, ...], *, most: int = 20) -> str:
    """A line for each of the first islands, and how many more there are.

    Example:
        >>> print(describe_islands((FloatOperator("head", "Softmax", "has no integer form"),)))
          head (Softmax): has no integer form
    """
    lines = [f"  {island}" for island in islands[:most]]
    if len(islands) > most:
        lines.append(f"  ... and {len(islands) - most} more")
    return "\n".join(lines)
