"""Sequences of numbers that a few nested loops count through."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from wbcq.engine.program import MAX_DIGITS

__all__ = ["as_digits"]

Digits: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], int]


def as_digits(numbers: npt.NDArray[np.int64]) -> Digits | None:
    """The loops that count through a sequence.

    Args:
        numbers: At least one.

    Returns:
        Sizes and strides, outermost loop first, and the first number: number i of the sequence is
        the first number plus the sum of the digits of i times their strides. None if there are no
        such :data:`~wbcq.engine.operators.MAX_DIGITS` digits.

    Example:
        >>> as_digits(np.array([5, 6, 7, 25, 26, 27]))
        ((2, 3), (20, 1), 5)
    """
    loops = _loops(numbers, MAX_DIGITS)
    if loops is None:
        return None
    sizes, strides = zip(*loops, strict=True) if loops else ((), ())
    return tuple(sizes), tuple(strides), int(numbers[0])


def _loops(numbers: npt.NDArray[np.int64], most: int) -> list[tuple[int, int]] | None:
    if len(numbers) == 1:
        return []
    if most == 0:
        return None
    stride = int(numbers[1] - numbers[0])
    steps = np.diff(numbers) != stride
    run = int(steps.argmax()) + 1 if steps.any() else len(numbers)
    # The first run may go on by chance where the next one begins: then a divisor of it is right.
    for size in range(run, 1, -1):
        if len(numbers) % size:
            continue
        rows = numbers.reshape(-1, size)
        if (rows == rows[:, :1] + stride * np.arange(size)).all():
            outer = _loops(rows[:, 0], most - 1)
            if outer is not None:
                return [*outer, (size, stride)]
    return None
