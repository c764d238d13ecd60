"""A network in float32 on the engine: the baseline that INT8 is measured against."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wbcq.engine.model import QuantizedModel
from wbcq.engine.program_file import program_bytes
from wbcq.graph.capture import capture
from wbcq.graph.passes.pipeline import prepare_for_quantization
from wbcq.quant.lower import lower
from wbcq.quant.qparams import QuantizedGraph
from wbcq.quant.source_model import check_float32
from wbcq.version import __version__

__all__ = ["compile_float"]


def compile_float(
    model: nn.Module, example: Tensor | Sequence[Tensor], *, threads: int | None = None
) -> QuantizedModel:
    """Compiles a network for the engine without quantizing it.

    The model is captured, folded and fused as by :func:`wbcq.quantize`, and every operator computes
    in float32: what INT8 must beat, in speed and in accuracy. The model itself is not changed.

    Args:
        model: Any float32 module that ``torch.export`` can trace, in training or evaluation mode.
        example: What the model takes: float32 [N, C, H, W], or one such tensor for each input.
            Only the shapes matter; the result takes any batch size.
        threads: Threads of a call; None for ``WBCQ_NUM_THREADS`` or else the physical cores.

    Returns:
        A model that runs and is saved as a quantized one; :func:`wbcq.load` reads its file. Results
        are those of PyTorch up to rounding. For one instruction set they are the same bits whatever
        the threads and the batch; between instruction sets they are close.

    Raises:
        UnsupportedOperatorError: The model uses an operator that wbcq does not know.
        CaptureError: The model cannot be traced.
        ValueError: The model is not float32, or ``threads`` is not usable here.

    Example:
        >>> import torch, wbcq
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> compiled = wbcq.compile_float(model, torch.zeros(1, 3, 16, 16))
        >>> x = torch.rand(2, 3, 16, 16)
        >>> torch.allclose(compiled(x), model(x), atol=1e-5)
        True
    """
    check_float32(model)
    graph = prepare_for_quantization(capture(model, example))
    metadata = {
        "model": type(model).__name__,
        "precision": "float32",
        "wbcq": __version__,
        "torch": str(torch.__version__),
    }
    nodes = frozenset(node.name for node in graph)
    program = lower(QuantizedGraph(graph, {}, {}, metadata, nodes))
    return QuantizedModel(program_bytes(program), threads=threads)
