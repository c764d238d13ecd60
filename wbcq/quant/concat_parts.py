"""Chooses whether a part of a Concat takes the scale of the concatenation or keeps its own.

What a Concat alone reads is rounded to the scale of the concatenation at once
(:func:`~wbcq.graph.analysis.shared_qparams_groups`). A part with other readers leaves a choice:

- *unified*, it is rounded once, to the scale of the concatenation, whose steps may be too coarse
  for the others;
- *requantized*, it keeps its own scale for the others and is rounded a second time on its way
  into the concatenation.

Calibration samples these values; the choice with the smaller squared error, summed over all who
read the part, is taken.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from wbcq.graph.analysis import is_move, quantized_values, shared_qparams_groups
from wbcq.graph.ir import Concat, Graph, Node
from wbcq.quant.fake_quant import fake_quantize
from wbcq.quant.qparams import QParams

__all__ = ["ConcatParts"]


class ConcatParts:
    """The parts of a graph's concatenations whose scale is a choice.

    Args:
        graph: Folded and fused.
        float_nodes: Names of nodes that compute in float32.

    Attributes:
        samples: Name of a value to what must see it while calibration runs.
    """

    def __init__(self, graph: Graph, float_nodes: frozenset[str] = frozenset()) -> None:
        self._graph = graph
        names = quantized_values(graph, float_nodes)
        self._group = {name: frozenset({name}) for name in names}
        for group in shared_qparams_groups(graph, float_nodes):
            self._group.update(dict.fromkeys(group, group))
        self._parts = [
            (node, value)
            for node in graph
            if isinstance(node.op, Concat)
            and node.name not in float_nodes
            and node.output in self._group
            for value in node.inputs
            if value in self._group and self._group[value] is not self._group[node.output]
        ]
        # The concatenation too: unified with one part it may be read where another one is chosen.
        chosen = [(node.output, value) for node, value in self._parts]
        sampled = {name for pair in chosen for value in pair for name in self._group[value]}
        self.samples: dict[str, Sample] = {name: Sample() for name in names if name in sampled}

    def unify(self, activations: Mapping[str, QParams]) -> dict[str, QParams]:
        """The quantization parameters of all values, after the choice for each part.

        Args:
            activations: Name of a value to its own quantization parameters.
        """
        result = dict(activations)
        for concat, value in self._parts:
            group, common = self._group[value], result[concat.output]
            joined = group | self._group[concat.output]
            if len(joined) > len(group) and self._gains(concat, value, result[value], common):
                result.update(dict.fromkeys(group, common))
                self._group.update(dict.fromkeys(joined, joined))
        return result

    def _gains(self, concat: Node, value: str, own: QParams, common: QParams) -> bool:
        once = self._error(value, common)
        twice = self._error(value, own, common)
        others = [name for name in self._group[value] if self._is_read_by_others(name, concat)]
        coarse = sum(self._error(name, common) for name in others)
        fine = sum(self._error(name, own) for name in others)
        return once + coarse <= twice + fine

    def _is_read_by_others(self, value: str, concat: Node) -> bool:
        return value in self._graph.outputs or any(
            reader is not concat and not is_move(reader) for reader in self._graph.consumers(value)
        )

    def _error(self, value: str, *roundings: QParams) -> float:
        """The squared error of a value of one picture that is rounded in these steps."""
        x = y = self.samples[value].values()
        for q in roundings:
            y = fake_quantize(y, torch.tensor(q.scale), torch.tensor(q.zero_point), q.qmin, q.qmax)
        elements = 1
        for size in self._graph.values[value].shape[1:]:
            elements *= size or 1
        return float((y - x).double().square().mean()) * elements


class Sample(nn.Module):
    """Returns its input and keeps some of its elements: as many of each batch, chosen at random.

    Memory is bounded: when too many were kept, half of them are dropped, and half as many are
    taken from then on.
    """

    def __init__(self, limit: int = 1 << 16) -> None:
        super().__init__()
        self._limit = limit
        self._quota = limit // 2
        self._kept: list[Tensor] = []
        self._generator = torch.Generator().manual_seed(0)

    def forward(self, x: Tensor) -> Tensor:
        """Takes in a tensor."""
        flat = x.detach().flatten()
        if flat.numel() > self._quota:
            index = torch.randint(flat.numel(), (self._quota,), generator=self._generator)
            flat = flat[index]
        self._kept.append(flat.clone())
        if sum(len(part) for part in self._kept) > self._limit:
            self._quota = max(1, self._quota // 2)
            self._kept = [part[: (len(part) + 1) // 2] for part in self._kept]
        return x

    def values(self) -> Tensor:
        """What was kept, [n]."""
        return torch.cat(self._kept)
