"""Which weights are pruned together.

A weight is [outputs, inputs, *kernel]. Pattern ``"RxC"`` cuts it into blocks of R consecutive
outputs and C consecutive input channels at one tap, aligned at multiples of R and C; a tail that is
no multiple is a smaller block. ``"unstructured"`` is 1x1. ``"N:M"`` keeps at most N of each M
consecutive input channels of an output at a tap.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wbcq.errors import PruningError

__all__ = ["Pattern"]

_BLOCK = re.compile(r"([1-9]\d*)x([1-9]\d*)")
_KEPT_OF = re.compile(r"([1-9]\d*):([1-9]\d*)")


@dataclass(frozen=True)
class Pattern:
    """Blocks of weights that are pruned together, or so many that are kept of each few.

    Attributes:
        name: As in :meth:`parse`.
        outputs, inputs: Of a block; of the weights of which ``kept`` stay.
        kept: N of N:M; 0 for blocks, which are pruned whole.

    Example:
        >>> Pattern.parse("2x4")
        Pattern(name='2x4', outputs=2, inputs=4, kept=0)
        >>> Pattern.parse("2:4").sparsity
        0.5
    """

    name: str
    outputs: int
    inputs: int
    kept: int = 0

    @classmethod
    def parse(cls, name: str) -> Pattern:
        """The pattern of a name.

        Raises:
            PruningError: The name is no pattern.
        """
        if name == "unstructured":
            return cls(name, 1, 1)
        if found := _BLOCK.fullmatch(name):
            return cls(name, int(found[1]), int(found[2]))
        found = _KEPT_OF.fullmatch(name)
        if found and int(found[1]) < int(found[2]):
            return cls(name, 1, int(found[2]), int(found[1]))
        raise PruningError(
            f"pattern is {name!r}; use 'unstructured', blocks of outputs x inputs such as '1x4' or "
            "'4x4', N:M with N < M such as '2:4', or 'channel'"
        )

    @property
    def sparsity(self) -> float | None:
        """The only one that N:M has; None for blocks."""
        return 1 - self.kept / self.inputs if self.kept else None

    def misfit(self, layer: nn.Module) -> str:
        """Why it does not fit a layer, or nothing if it does."""
        weight = layer._parameters["weight"]
        assert weight is not None
        groups = int(getattr(layer, "groups", 1))
        outputs, inputs = weight.shape[0] // groups, weight.shape[1]
        if inputs < self.inputs:
            plural = "s" * (inputs > 1)
            return f"{inputs} input channel{plural} of an output, {self.name} needs {self.inputs}"
        if outputs < self.outputs or (groups > 1 and outputs % self.outputs):
            return f"{outputs} outputs{' of a group' * (groups > 1)}, no blocks of {self.outputs}"
        return ""

    def block_sums(self, values: Tensor, columns: Tensor | None = None) -> Tensor:
        """Sums over blocks: [outputs, inputs, *kernel] gives [O / R, I / C, taps], rounded up.

        Args:
            values: Of each weight.
            columns: The block of each input channel, int64 [inputs] from 0; None for neighbours.
        """
        flat = values.reshape(*values.shape[:2], -1)
        if columns is not None:
            count = int(columns.max()) + 1
            gathered = flat.new_zeros(flat.shape[0], count, flat.shape[2])
            gathered.index_add_(1, columns.to(flat.device), flat)
            tail = F.pad(gathered, (0, 0, 0, 0, 0, -flat.shape[0] % self.outputs))
            return torch.sum(tail.reshape(-1, self.outputs, count, flat.shape[2]), dim=1)
        tails = (-flat.shape[1] % self.inputs, -flat.shape[0] % self.outputs)
        padded = F.pad(flat, (0, 0, 0, tails[0], 0, tails[1]))
        rows, across = padded.shape[0] // self.outputs, padded.shape[1] // self.inputs
        split = padded.reshape(rows, self.outputs, across, self.inputs, flat.shape[2])
        return torch.sum(split, dim=(1, 3))

    def block_sizes(self, shape: torch.Size, columns: Tensor | None = None) -> Tensor:
        """How many weights each block has, as :meth:`block_sums` lays them out; int64."""

        def along(count: int, step: int) -> Tensor:
            return torch.tensor([min(step, count - i) for i in range(0, count, step)])

        rows = along(shape[0], self.outputs)
        inputs = along(shape[1], self.inputs) if columns is None else columns.bincount()
        taps = shape[2:].numel()
        return (rows[:, None, None] * inputs[None, :, None]).expand(-1, -1, taps).contiguous()

    def spread(self, blocks: Tensor, shape: torch.Size, columns: Tensor | None = None) -> Tensor:
        """A value of each block to all its weights; the opposite of :meth:`block_sums`."""
        rows = blocks.repeat_interleave(self.outputs, 0)[: shape[0]]
        if columns is not None:
            return rows[:, columns.to(rows.device)].reshape(shape)
        return rows.repeat_interleave(self.inputs, 1)[:, : shape[1]].reshape(shape)

    def keep_best(self, scores: Tensor) -> Tensor:
        """The mask of N:M: of each M weights the N of the largest scores, the first among equals.

        A tail of fewer than M channels keeps N too.
        """
        flat = scores.reshape(*scores.shape[:2], -1)
        padded = F.pad(flat, (0, 0, 0, -flat.shape[1] % self.inputs), value=-torch.inf)
        split = padded.reshape(len(flat), -1, self.inputs, flat.shape[2])
        best = split.argsort(dim=2, descending=True, stable=True)[:, :, : self.kept]
        mask = torch.zeros(split.shape, dtype=torch.bool, device=split.device)
        mask.scatter_(2, best, True)
        return mask.flatten(1, 2)[:, : scores.shape[1]].reshape(scores.shape)
