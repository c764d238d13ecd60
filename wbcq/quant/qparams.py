"""Quantization parameters of one tensor, in numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from wbcq.graph.ir import Graph

__all__ = ["QParams", "QuantizedGraph"]


@dataclass(frozen=True, eq=False)
class QParams:
    """x = scale * (q - zero_point), q in qmin..qmax.

    Attributes:
        scale: float32 [] for a tensor, [C] for channels; positive and finite.
        zero_point: int32, the same shape; 0 for weights.
        qmin, qmax: 0 and 255 for 8-bit activations, -127 and 127 for 8-bit weights.
        axis: The channel axis, or None for one scale for the whole tensor.
    """

    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int32]
    qmin: int
    qmax: int
    axis: int | None = None


@dataclass(frozen=True)
class QuantizedGraph:
    """A graph with everything that lowering and simulation need to know about its integers.

    Attributes:
        graph: Folded and fused.
        activations: Name of a value to its qparams. A value without an entry stays float.
        weights: Name of a parameter to its qparams. A weight without an entry stays float.
        float_nodes: Names of nodes that compute in float32 although their values have qparams.
    """

    graph: Graph
    activations: Mapping[str, QParams]
    weights: Mapping[str, QParams]
    metadata: Mapping[str, object] = field(default_factory=dict)
    float_nodes: frozenset[str] = frozenset()
