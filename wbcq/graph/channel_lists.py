"""Values that exist only as lists of channels of other values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from wbcq.graph.ir import ChannelRange

__all__ = ["Channel", "Piece", "as_slices", "by_source", "pieces"]

Channel: TypeAlias = tuple[str, int]
"""The name of a value that is computed, and one of its channels."""


@dataclass(frozen=True)
class Piece:
    """Channels ``start`` to ``stop - 1`` of a value."""

    source: str
    start: int
    stop: int


def pieces(channels: Sequence[Channel]) -> tuple[Piece, ...]:
    """The fewest pieces that are a list in its order.

    Example:
        >>> [(p.source, p.start, p.stop) for p in pieces([("a", 0), ("a", 1), ("b", 3), ("a", 0)])]
        [('a', 0, 2), ('b', 3, 4), ('a', 0, 1)]
    """
    found: list[Piece] = []
    for source, channel in channels:
        last = found[-1] if found else None
        if last is not None and last.source == source and last.stop == channel:
            found[-1] = Piece(source, last.start, channel + 1)
        else:
            found.append(Piece(source, channel, channel + 1))
    return tuple(found)


def by_source(channels: Sequence[Channel]) -> list[int]:
    """Positions in a list in the order that gives few pieces.

    The channels of one value stand together, in rising order; values stand in the order in which
    they first occur.

    Example:
        >>> by_source([("a", 0), ("b", 0), ("a", 1), ("b", 1)])
        [0, 2, 1, 3]
    """
    first: dict[str, int] = {}
    for source, _ in channels:
        first.setdefault(source, len(first))
    return sorted(range(len(channels)), key=lambda i: (first[channels[i][0]], channels[i][1], i))


def as_slices(
    channels: Sequence[Channel], widths: dict[str, int]
) -> tuple[tuple[str, ...], tuple[ChannelRange, ...]]:
    """A layer's operands and ``slices``.

    Args:
        channels: What the layer reads, in the order of its weights.
        widths: Number of channels of each value.

    Returns:
        Names without repetition, and ranges of them; no ranges for the whole of one value.
    """
    parts = pieces(channels)
    operands = tuple(dict.fromkeys(part.source for part in parts))
    if len(parts) == 1 and (parts[0].start, parts[0].stop) == (0, widths[operands[0]]):
        return operands, ()
    return operands, tuple(
        ChannelRange(operands.index(part.source), part.start, part.stop) for part in parts
    )
