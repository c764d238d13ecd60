"""Networks that Hypothesis draws, quantized: the engine gives the oracle's bits, near the network.

A network that ends in an activation ends in float32, where the last bits are the machine's own.

In the ``ci`` profile 300 networks are drawn, beside the 1,000 programs with graphs of
``tests/wbcq/engine/test_engine_graphs.py``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from hypothesis import given
from hypothesis import strategies as st

import wbcq
from tests.wbcq.engine.strategies import cases
from tests.wbcq.engine.test_engine_bits import assert_same_bits
from tests.wbcq.graph.test_random_graphs import SIZE, Drawn, networks
from wbcq import _core
from wbcq.engine.islands import islands_from_metadata
from wbcq.graph.capture import capture
from wbcq.graph.passes.pipeline import prepare_for_quantization

Array = npt.NDArray[np.float32]
BATCHES = (4, 3, 1)
ISLANDS = ["Conv2d", "Linear", "Mul", "Add", "MaxPool2d", "AdaptiveAvgPool2d", "Concat"]


def outputs_of(result: Array | tuple[Array, ...]) -> tuple[Array, ...]:
    return result if isinstance(result, tuple) else (result,)


def quantized(net: Drawn, seed: int, **config: object) -> tuple[wbcq.QuantizedModel, Array]:
    pictures = torch.randn(4, net.channels[0], SIZE, SIZE, generator=torch.manual_seed(seed))
    settings = wbcq.QuantConfig(**config)  # type: ignore[arg-type]
    return wbcq.quantize(net, [pictures], config=settings, progress=False), pictures.numpy()


def check_engine(data: bytes, pictures: Array, expected: tuple[Array, ...], isa: str) -> None:
    for threads in (1, 2):
        session = _core.Session(_core.Model.from_bytes(data, isa), threads)
        for batch in BATCHES:
            outputs = session.run([np.ascontiguousarray(pictures[:batch])])
            for output, reference in zip(outputs, expected, strict=True):
                assert_same_bits(output, reference[:batch], f"{isa}, {threads}, batch {batch}")


def check_engine_with_islands(
    data: bytes, pictures: Array, expected: tuple[Array, ...], isa: str
) -> None:
    first = _core.Session(_core.Model.from_bytes(data, isa), 1).run([pictures])
    for output, reference in zip(first, expected, strict=True):
        # Where islands round differently, a quantized value may be one step away.
        error = np.abs(output - reference).max()
        assert error <= 0.05 * np.abs(reference).max() + 1e-6
    check_engine(data, pictures, tuple(first), isa)


@cases(2)
@given(networks(), st.integers(0, 2**16), st.sampled_from(["per_channel", "per_tensor"]))
def test_integer_networks(net: Drawn, seed: int, weights: str) -> None:
    model, pictures = quantized(net, seed, weights=weights)
    expected = outputs_of(model.simulate(pictures))
    in_integers = not islands_from_metadata(model.metadata)
    check = check_engine if in_integers else check_engine_with_islands
    for isa in _core.available_isas():
        check(model.to_bytes(), pictures, expected, isa)


@cases(0.5)
@given(networks(), st.integers(0, 2**16))
def test_results_are_near_the_network(net: Drawn, seed: int) -> None:
    model, pictures = quantized(net, seed)
    with torch.no_grad():
        expected = net.eval()(torch.from_numpy(pictures))
    for output, reference in zip(outputs_of(model(pictures)), expected, strict=True):
        error = np.abs(output - reference.numpy()).max()
        assert error <= 0.25 * np.abs(reference.numpy()).max() + 1e-6


@cases(0.5)
@given(networks(), st.integers(0, 2**16), st.lists(st.sampled_from(ISLANDS), min_size=1))
def test_float_islands(net: Drawn, seed: int, islands: list[str]) -> None:
    graph = prepare_for_quantization(capture(net, torch.zeros(2, net.channels[0], SIZE, SIZE)))
    present = {type(node.op).__name__ for node in graph}
    chosen = tuple(sorted(present.intersection(islands)))
    model, pictures = quantized(net, seed, float_layers=chosen)
    oracle = outputs_of(model.simulate(pictures))
    for isa in _core.available_isas():
        check_engine_with_islands(model.to_bytes(), pictures, oracle, isa)
