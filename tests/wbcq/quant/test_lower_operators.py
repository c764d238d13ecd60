"""Lowering of what the integer ResNets do not have: float islands, slices, tables, products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from wbcq import models
from wbcq.engine import program as prog
from wbcq.engine.exact import ExactExecutor
from wbcq.engine.model import QuantizedModel
from wbcq.engine.program_file import program_bytes
from wbcq.errors import FloatFallbackWarning
from wbcq.graph import ir
from wbcq.graph.analysis import quantized_values, shared_qparams_groups
from wbcq.graph.capture import capture
from wbcq.graph.ir import ChannelRange, Function, Node, Value
from wbcq.graph.passes.pipeline import prepare_for_quantization
from wbcq.graph.torch_executor import TorchExecutor
from wbcq.quant.api import quantize
from wbcq.quant.config import QuantConfig
from wbcq.quant.lower import lower
from wbcq.quant.observers import MinMaxObserver
from wbcq.quant.qparams import QuantizedGraph
from wbcq.quant.weights import weight_qparams

Array = npt.NDArray[np.float32]


def sqnr(reference: Array, approximation: Array) -> float:
    """Signal to quantization noise ratio in dB."""
    noise = np.square(reference - approximation, dtype=np.float64).sum() + 1e-30
    return float(10 * np.log10(np.square(reference, dtype=np.float64).sum() / noise))


def make_graph(
    nodes: Sequence[Node], shapes: Mapping[str, tuple[int, ...]], outputs: tuple[str, ...]
) -> ir.Graph:
    """A graph of one input, ``x``, with random parameters [O, I, KH, KW] and [O]."""
    generator = np.random.default_rng(0)
    params: dict[str, Array] = {}
    for node in nodes:
        for role, name in node.params.items():
            size = PARAMS[name]
            scale = 0.3 if role == "weight" else 0.1
            params[name] = (scale * generator.standard_normal(size)).astype(np.float32)
    values = {name: Value(name, (None, *shape)) for name, shape in shapes.items()}
    return ir.Graph(values, tuple(nodes), ("x",), outputs, params)


PARAMS: dict[str, tuple[int, ...]] = {
    "dense": (6, 4, 3, 3), "dense.b": (6,), "point": (5, 10, 1, 1), "point.b": (5,),
    "deep": (10, 1, 3, 3), "deep.b": (10,), "gate": (4, 4, 1, 1), "gate.b": (4,),
    "scale": (4,), "shift": (4,),
}  # fmt: skip
PICTURE = (4, 8, 6)


def conv(name: str, x: str, y: str, weight: str, op: ir.Conv2d | None = None) -> Node:
    op = ir.Conv2d(pads=(1, 1, 1, 1)) if op is None else op
    return Node(name, op, tuple(x.split()), y, {"weight": weight, "bias": f"{weight}.b"})


def run(
    graph: ir.Graph, float_nodes: frozenset[str] = frozenset()
) -> tuple[prog.Program, list[Array], list[Array]]:
    """The program, its outputs by the oracle (with the engine's beside it), and the graph's."""
    torch.manual_seed(0)
    x = torch.randn(6, *PICTURE)
    observers = {name: MinMaxObserver() for name in quantized_values(graph, float_nodes)}
    for group in shared_qparams_groups(graph, float_nodes):
        observers.update(dict.fromkeys(group, MinMaxObserver()))
    with torch.no_grad():
        expected = TorchExecutor(graph, activation_transforms=observers)(x)
    expected = expected if isinstance(expected, tuple) else (expected,)
    activations = {name: observer.qparams() for name, observer in observers.items()}
    weights = weight_qparams(graph, activations, QuantConfig(), float_nodes)
    program = lower(QuantizedGraph(graph, activations, weights, {}, float_nodes))
    ours = ExactExecutor(program).run(x.numpy())
    engine = QuantizedModel(program_bytes(program))(x)
    engine = engine if isinstance(engine, tuple) else (engine,)
    for oracle, result in zip(ours, engine, strict=True):
        if not float_nodes and "Softmax" not in [type(op).__name__ for op in program.ops]:
            np.testing.assert_array_equal(oracle, result.numpy())
        else:
            assert sqnr(oracle, result.numpy()) > 40
    return program, ours, [y.numpy() for y in expected]


def kinds(program: prog.Program) -> list[str]:
    return [type(op).__name__ for op in program.ops]


SLICED = ir.Conv2d(slices=(ChannelRange(1, 0, 4), ChannelRange(0, 0, 6)))
DEPTHWISE = ir.Conv2d(
    groups=10,
    pads=(1, 1, 1, 1),
    activation=ir.RELU,
    slices=(ChannelRange(1, 0, 4), ChannelRange(0, 0, 6)),
)
HARDSWISH = Function("hardswish")
DENSE = conv("dense", "x", "d", "dense", ir.Conv2d(pads=(1, 1, 1, 1), activation=ir.RELU))
WIDE = (6, 8, 6)

GRAPHS: dict[str, tuple[list[Node], dict[str, tuple[int, ...]], tuple[str, ...]]] = {
    "unary": ([Node("f", ir.Unary((HARDSWISH,)), ("x",), "y")], {"y": PICTURE}, ("y",)),
    "fused table": (
        [
            Node(
                "dense",
                ir.Conv2d(pads=(1, 1, 1, 1), functions=(Function("silu"),)),
                ("x",),
                "y",
                {"weight": "dense", "bias": "dense.b"},
                pre_activation="z",
            )
        ],
        {"z": WIDE, "y": WIDE},
        ("y",),
    ),
    "squeeze and excitation": (
        [
            Node("pool", ir.AdaptiveAvgPool2d(), ("x",), "p"),
            Node(
                "gate",
                ir.Conv2d(functions=(Function("hardsigmoid"),)),
                ("p",),
                "g",
                {"weight": "gate", "bias": "gate.b"},
                pre_activation="gz",
            ),
            Node("mul", ir.Mul(), ("x", "g"), "y"),
        ],
        {"p": (4, 1, 1), "gz": (4, 1, 1), "g": (4, 1, 1), "y": PICTURE},
        ("y",),
    ),
    "difference, two outputs": (
        [
            Node("pool", ir.AdaptiveAvgPool2d(), ("x",), "p"),
            Node("sub", ir.Sub(), ("x", "p"), "y"),
            Node("add", ir.Add(ir.RELU), ("y", "x"), "z"),
        ],
        {"p": (4, 1, 1), "y": PICTURE, "z": PICTURE},
        ("y", "z"),
    ),
    "resize and pad": (
        [
            Node("up", ir.Resize((16, 12), "bilinear"), ("x",), "u"),
            Node("near", ir.Resize((32, 24)), ("u",), "n"),
            Node("pad", ir.Pad((1, 0, 2, 3)), ("n",), "y"),
        ],
        {"u": (4, 16, 12), "n": (4, 32, 24), "y": (4, 35, 27)},
        ("y",),
    ),
    "concat": (
        [
            DENSE,
            Node("concat", ir.Concat(), ("d", "x"), "c"),
            Node("max", ir.MaxPool2d((2, 2), (2, 2)), ("c",), "y"),
        ],
        {"d": WIDE, "c": (10, 8, 6), "y": (10, 4, 3)},
        ("y",),
    ),
    "slices and concat": (
        [
            DENSE,
            Node("left", ir.Slice(0, 2), ("d",), "l"),
            Node("right", ir.Slice(2, 6), ("d",), "r"),
            Node("concat", ir.Concat(), ("r", "l"), "c"),
            Node("shuffle", ir.ChannelShuffle(2), ("c",), "y"),
        ],
        {"d": WIDE, "l": (2, 8, 6), "r": (4, 8, 6), "c": WIDE, "y": WIDE},
        ("y",),
    ),
    "convolution of slices": (
        [DENSE, conv("point", "d x", "y", "point", SLICED)],
        {"d": WIDE, "y": (5, 8, 6)},
        ("y",),
    ),
    "depthwise convolution of slices": (
        [DENSE, conv("deep", "d x", "y", "deep", DEPTHWISE)],
        {"d": WIDE, "y": (10, 8, 6)},
        ("y",),
    ),
    "affine": (
        [Node("norm", ir.ChannelAffine(), ("x",), "y", {"weight": "scale", "bias": "shift"})],
        {"y": PICTURE},
        ("y",),
    ),
    "softmax": (
        [DENSE, Node("softmax", ir.Softmax(), ("d",), "y")],
        {"d": WIDE, "y": WIDE},
        ("y",),
    ),
}


def build(name: str) -> ir.Graph:
    nodes, shapes, outputs = GRAPHS[name]
    return make_graph(nodes, {"x": PICTURE, **shapes}, outputs)


@pytest.mark.parametrize("name", GRAPHS)
def test_integers_are_close_to_the_graph(name: str) -> None:
    """And the engine has the oracle's bits."""
    _, ours, expected = run(build(name))
    for result, reference in zip(ours, expected, strict=True):
        assert sqnr(reference, result) > 27


@pytest.mark.parametrize("name", GRAPHS)
def test_all_in_float_is_the_graph(name: str) -> None:
    graph = build(name)
    program, ours, expected = run(graph, frozenset(node.name for node in graph))
    assert all(tensor.dtype == "f32" for tensor in program.tensors.values())
    for result, reference in zip(ours, expected, strict=True):
        np.testing.assert_allclose(result, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in GRAPHS if len(GRAPHS[name][0]) > 1])
def test_each_node_alone_in_float(name: str) -> None:
    graph = build(name)
    for node in graph:
        _, ours, expected = run(graph, frozenset({node.name}))
        for result, reference in zip(ours, expected, strict=True):
            assert sqnr(reference, result) > 27


def test_what_costs_nothing() -> None:
    assert kinds(run(build("convolution of slices"))[0]) == ["Quantize", "Conv2d", "Conv2d"]
    program = run(build("concat"))[0]
    assert kinds(program) == ["Quantize", "Conv2d", "Lookup", "MaxPool2d", "Dequantize"]
    assert program.tensors["d"].parent == "c"


def test_conversions_are_shared() -> None:
    nodes = [
        DENSE,
        Node("f", ir.Unary((HARDSWISH,)), ("d",), "a"),
        Node("g", ir.Unary((Function("tanh"),)), ("d",), "b"),
        Node("add", ir.Add(), ("a", "b"), "y"),
    ]
    graph = make_graph(nodes, {"x": PICTURE, "d": WIDE, "a": WIDE, "b": WIDE, "y": WIDE}, ("y",))
    program, _, _ = run(graph, frozenset({"f", "g", "add"}))
    assert kinds(program).count("Dequantize") == 1
    assert kinds(program).count("Quantize") == 1


def test_resnet_with_float_layers() -> None:
    torch.manual_seed(0)
    model, x = models.create("resnet18", num_classes=10).eval(), torch.randn(2, 3, 64, 64)
    config = QuantConfig(float_layers=("conv1", "layer4*"), activation_observer="minmax")
    with pytest.warns(FloatFallbackWarning, match="operators of ResNet run in float32"):
        quantized = quantize(model, [x], config=config, progress=False)
    floats = {item["name"] for item in quantized.metadata["float_operators"]}
    graph = prepare_for_quantization(capture(model, x))
    assert floats == {n.name for n in graph if n.name.startswith(("conv1", "layer4"))}
    (oracle,) = ExactExecutor(quantized.program).run(x.numpy())
    assert sqnr(oracle, quantized(x).numpy()) > 30
    with torch.no_grad():
        assert sqnr(model(x).numpy(), oracle) > 20


def test_float_layers_by_type() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 5, 1))
    config = QuantConfig(float_layers=("MaxPool2d",))
    with pytest.warns(FloatFallbackWarning):
        quantized = quantize(model, [torch.randn(4, 3, 8, 8)], config=config, progress=False)
    assert [
        (item["operator"], item["reason"]) for item in quantized.metadata["float_operators"]
    ] == [("MaxPool2d", "asked for in float_layers")]
