"""Which channels go, under a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from wbcq.pruning.channels.groups import Family
from wbcq.pruning.channels.importance import Array
from wbcq.pruning.channels.rewrite import Kept

__all__ = ["Chooser"]


@dataclass(frozen=True)
class Chooser:
    """Chooses labels.

    Attributes:
        families: What can be removed.
        scores: Importance of each label.
        is_global: Least important ones of the network; otherwise as many of each family.
        round_to: Layers keep a multiple of so many channels, where they have as many.
        least: A family keeps at least this share.
    """

    families: Sequence[Family]
    scores: Array
    is_global: bool
    round_to: int
    least: float

    def until(self, fits: Callable[[Kept], bool]) -> Kept | None:
        """Removes as little as fits.

        Args:
            fits: Whether a choice is small enough; what fits still does when more is removed.

        Returns:
            For each label whether it stays; None if nothing fits.
        """
        low, high = -1, self._steps  # Step 0 removes nothing.
        if not fits(self._removing(high)):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            if fits(self._removing(middle)):
                high = middle
            else:
                low = middle
        return self._removing(high)

    def fewest(self) -> Kept:
        """The choice that removes the most."""
        return self._removing(self._steps)

    @property
    def _steps(self) -> int:
        return sum(len(family.labels) for family in self.families) if self.is_global else 1000

    def _removing(self, step: int) -> Kept:
        """The choice after so many of all steps; each removes what the one before did, or more."""
        kept = np.ones(len(self.scores), np.bool_)
        doomed = np.zeros(len(self.scores), np.bool_)
        if self.is_global:
            labels = np.concatenate([family.labels for family in self.families])
            doomed[labels[np.argsort(self.scores[labels], kind="stable")[:step]]] = True
        for family in self.families:
            count = len(family.labels)
            stays = count * (1 - step / self._steps)
            if self.is_global:
                stays = float(count - doomed[family.labels].sum())
            order = np.argsort(self.scores[family.labels], kind="stable")
            kept[family.labels[order[: count - self._rounded(stays, family)]]] = False
        return kept

    def _rounded(self, stays: float, family: Family) -> int:
        """An allowed number of sets that stay."""
        count = len(family.labels)
        unit = self.round_to // math.gcd(self.round_to, family.width)
        fewest = min(count, unit * max(1, math.ceil(self.least * count / unit)))
        nearest = unit * int(stays / unit + 0.5)
        # All of them is always allowed; beyond the last multiple the next one is that.
        return max(fewest, count if nearest > count or stays >= count else nearest)
