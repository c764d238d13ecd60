"""Lowering: the program computes what fake quantization simulates and PyTorch's kernels compute."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wbcq import models
from wbcq.engine import program as prog
from wbcq.engine.exact import ExactExecutor
from wbcq.errors import UnsupportedOperatorError
from wbcq.graph import ir
from wbcq.graph.analysis import quantized_values, shared_qparams_groups
from wbcq.graph.capture import capture
from wbcq.graph.passes.pipeline import prepare_for_quantization
from wbcq.graph.torch_executor import TorchExecutor
from wbcq.quant.integer import quantize_weight
from wbcq.quant.lower import lower
from wbcq.quant.qparams import QParams, QuantizedGraph


class FakeQuant(nn.Module):
    def __init__(self, qparams: QParams) -> None:
        super().__init__()
        self.qparams = qparams

    def forward(self, x: Tensor) -> Tensor:
        p = self.qparams
        shape = [-1, *[1] * (x.dim() - 1)] if p.axis == 0 else []
        scale = torch.tensor(p.scale).reshape(shape)
        zero_point = torch.tensor(p.zero_point).reshape(shape)
        q = torch.clamp(torch.round(x * (1 / scale)) + zero_point, p.qmin, p.qmax)
        return (q - zero_point) * scale


class Record(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.low = self.high = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))
        return x


def qparams(scale: float, zero_point: int = 0, bits: int = 8) -> QParams:
    return QParams(np.float32(scale).reshape(()), np.int32(zero_point).reshape(()), 0, 2**bits - 1)


def power_of_two(value: float) -> float:
    return float(2.0 ** np.ceil(np.log2(max(value, 2.0**-20))))


def quantize(
    graph: ir.Graph, *inputs: Tensor, exact: bool, bits: int = 8, per_channel: bool = True
) -> QuantizedGraph:
    """Min-max quantization; ``exact`` makes every float32 operation of a simulation exact.

    For that, scales are powers of two and biases lie on the grid of the accumulator.
    """
    rounded: Callable[[float], float] = power_of_two if exact else lambda value: value
    records = {name: Record() for name in quantized_values(graph)}
    for group in shared_qparams_groups(graph):
        shared = Record()
        records.update(dict.fromkeys(group, shared))
    with torch.no_grad():
        TorchExecutor(graph, activation_transforms=records)(*inputs)
    levels = 2**bits - 1
    activations = {}
    for name, record in records.items():
        scale = rounded(max(record.high - record.low, 1e-3) / levels)
        zero_point = int(np.clip(round(-record.low / scale), 0, levels))
        activations[name] = qparams(scale, zero_point, bits)
    params = dict(graph.params)
    weights: dict[str, QParams] = {}
    for node in graph:
        if "weight" not in node.params:
            continue
        name = node.params["weight"]
        weight = graph.params[name]
        largest = np.abs(weight.reshape(len(weight), -1)).max(axis=1)
        if not per_channel:
            largest = largest.max(keepdims=True)
        scale_array = np.array([rounded(float(v) / 127) for v in largest], np.float32)
        zero = np.zeros(len(scale_array), np.int32)
        weights[name] = (
            QParams(scale_array, zero, -127, 127, axis=0)
            if per_channel
            else QParams(scale_array.reshape(()), zero.reshape(()), -127, 127)
        )
        if exact and "bias" in node.params and node.inputs[0] in activations:
            step = np.float64(activations[node.inputs[0]].scale) * scale_array
            bias = graph.params[node.params["bias"]]
            params[node.params["bias"]] = (np.rint(bias / step) * step).astype(np.float32)
    return QuantizedGraph(replace(graph, params=params), activations, weights)


def simulate(quantized: QuantizedGraph, *inputs: Tensor) -> list[npt.NDArray[np.float32]]:
    executor = TorchExecutor(
        quantized.graph,
        activation_transforms={k: FakeQuant(p) for k, p in quantized.activations.items()},
        weight_transforms={k: FakeQuant(p) for k, p in quantized.weights.items()},
    )
    with torch.no_grad():
        outputs = executor(*inputs)
    return [y.numpy() for y in (outputs if isinstance(outputs, tuple) else (outputs,))]


def prepare(model: nn.Module, *inputs: Tensor) -> ir.Graph:
    return prepare_for_quantization(capture(model.eval(), inputs))


class Net(nn.Module):
    """Small layers; ``forward`` is the function that it was made with."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.conv = nn.Conv2d(4, 6, 3, padding=1)
        self.strided = nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2))
        self.same = nn.Conv2d(4, 4, (4, 3), padding="same")
        self.pointwise = nn.Conv2d(6, 4, 1, bias=False)
        self.grouped = nn.Conv2d(4, 8, 3, groups=2)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * 8 * 6, 5)
        self.fc2 = nn.Linear(5, 5)
        self.up = nn.ConvTranspose2d(4, 6, 3, 2, 1)
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


NETS: dict[str, Callable[[Any, Tensor], Any]] = {
    "head": lambda n, x: n.conv(x),
    "relu": lambda n, x: F.relu(n.conv(x)),
    "relu6": lambda n, x: F.relu6(n.conv(x)),
    "strided and dilated": lambda n, x: F.relu(n.strided(x)),
    "same": lambda n, x: F.relu(n.same(x)),
    "grouped": lambda n, x: F.relu(n.grouped(x)),
    "depthwise": lambda n, x: n.pointwise(F.relu(n.conv(n.depthwise(x)))),
    "residual": lambda n, x: F.relu(n.same(x) + x),
    "residual of a conv": lambda n, x: n.same(x) + n.pointwise(F.relu(n.conv(x))),
    "add": lambda n, x: F.relu(F.relu(n.same(x)) + x),
    "added to itself": lambda n, x: (lambda y: y + y)(n.same(x)),
    "standalone relu": lambda n, x: (lambda y: F.relu(y) + n.same(y))(n.depthwise(x)),
    "relu on the input": lambda n, x: n.conv(F.relu(x)),
    "clamp of the input": lambda n, x: x.clamp(-0.5, 0.75),
    "standalone norm": lambda n, x: n.norm(F.relu(n.same(x))),
    "max pool": lambda n, x: n.conv(F.max_pool2d(F.relu(n.same(x)), 3, 2, 1)),
    "max pool of the input": lambda n, x: F.max_pool2d(x, (2, 3), (1, 2), dilation=(2, 1)),
    "max pool, ceil mode": lambda n, x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "average pool": lambda n, x: F.avg_pool2d(n.same(x), 2),
    "average pool, relu": lambda n, x: F.relu(F.avg_pool2d(x, (4, 2), (2, 1))),
    "average pool, padded": lambda n, x: F.avg_pool2d(x, 2, 2, 1),
    "average pool, divisor": lambda n, x: F.avg_pool2d(x, 3, 1, 1, divisor_override=8),
    "adaptive pool": lambda n, x: F.adaptive_avg_pool2d(n.same(x), (4, 3)),
    "adaptive pool, overlapping": lambda n, x: F.relu(F.adaptive_avg_pool2d(n.same(x), (7, 5))),
    "adaptive pool, growing": lambda n, x: F.adaptive_avg_pool2d(x, (12, 9)),
    "adaptive max pool": lambda n, x: F.adaptive_max_pool2d(n.same(x), (3, 4)),
    "transposed convolution": lambda n, x: F.relu(n.up(n.same(x))),
    "transposed picture": lambda n, x: F.relu(n.same(x).transpose(2, 3)),
    "pixel shuffle": lambda n, x: F.relu(F.pixel_shuffle(n.same(x), 2)),
    "pixels as channels": lambda n, x: F.pixel_unshuffle(n.same(x), 2) + 0.5,
    "another shape": lambda n, x: F.relu(n.same(x)).view(-1, 6, 8, 4),
    "linear of channels last": lambda n, x: n.last(n.same(x).permute(0, 2, 3, 1)).relu(),
    "linear after flatten": lambda n, x: n.fc(F.relu(n.same(x)).flatten(1)),
    "linear of the input": lambda n, x: n.fc2(F.relu(n.fc(x.flatten(1)))),
    "linear residual": lambda n, x: (lambda y: F.relu(n.fc2(y) + y))(F.relu(n.fc(x.flatten(1)))),
    "flatten at the end": lambda n, x: F.relu(n.conv(x)).flatten(1),
    "flattened head": lambda n, x: n.conv(x).flatten(1),
    "flattened sum": lambda n, x: F.relu(n.same(x)).flatten(1) + x.flatten(1),
    "flattened clamp": lambda n, x: (lambda y: y.relu() + y)(x.flatten(1)),
    "output used inside": lambda n, x: (lambda y: (y, n.pointwise(y)))(F.relu(n.conv(x))),
    "output twice": lambda n, x: (lambda y: (y, y, n.same(x).flatten(1)))(n.conv(x)),
    "input is output": lambda n, x: (x, n.conv(x)),
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@functools.cache
def prepared_net(name: str) -> ir.Graph:
    net = Net(NETS[name])
    nn.init.normal_(net.norm.weight)
    nn.init.normal_(net.norm.bias)
    return prepare(net, torch.zeros(1, 4, 8, 6))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("name", NETS)
def test_program_is_the_simulation(name: str, per_channel: bool, bits: int) -> None:
    """Bit for bit, with scales for which the simulation in float32 is exact."""
    graph = prepared_net(name)
    calibration, x = torch.randn(4, 4, 8, 6), 1.2 * torch.randn(5, 4, 8, 6)
    quantized = quantize(graph, calibration, exact=True, bits=bits, per_channel=per_channel)
    outputs = ExactExecutor(lower(quantized)).run(x.numpy())
    expected = simulate(quantized, x)
    assert len(outputs) == len(expected)
    for ours, theirs in zip(outputs, expected, strict=True):
        assert len(np.unique(theirs)) > (5 if bits == 8 else 2)
        np.testing.assert_array_equal(ours, theirs)


def sqnr(reference: npt.NDArray[np.float32], approximation: npt.NDArray[np.float32]) -> float:
    """Signal to quantization noise ratio in dB."""
    noise = np.square(reference - approximation, dtype=np.float64).sum()
    return float(10 * np.log10(np.square(reference, dtype=np.float64).sum() / noise))


def random_resnet(name: str) -> nn.Module:
    model = models.create(name, num_classes=10)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, 0, 0.2)
            module.running_mean = 0.3 * torch.randn(module.num_features)
            module.running_var = torch.rand(module.num_features) + 0.5
    return model


@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_resnet_is_close_to_its_simulation(name: str) -> None:
    model, x = random_resnet(name), torch.randn(4, 3, 64, 64)
    graph = prepare(model, x)
    quantized = quantize(graph, x, exact=False)
    program = lower(quantized)
    assert len(program.ops) == len(graph.nodes)  # one more quantize, one flatten less
    assert (
        sum(isinstance(op, prog.Conv2d) and op.residual is not None for op in program.ops)
        == {
            "resnet18": 8,
            "resnet50": 16,
        }[name]
    )
    (ours,) = ExactExecutor(program).run(x.numpy())
    assert sqnr(simulate(quantized, x)[0], ours) > 30
    with torch.no_grad():
        assert sqnr(model(x).numpy(), ours) > 25


@pytest.fixture
def qnnpack() -> Iterator[None]:
    if "qnnpack" not in torch.backends.quantized.supported_engines:
        pytest.skip("this build of torch has no qnnpack")
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "qnnpack"
    yield
    torch.backends.quantized.engine = before


@pytest.mark.usefixtures("qnnpack")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_conv_is_pytorchs(relu: bool, groups: int) -> None:
    conv = nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=groups)
    nn.init.normal_(conv.bias)  # type: ignore[arg-type]
    model = nn.Sequential(conv, nn.ReLU()) if relu else nn.Sequential(conv)
    x = torch.randn(3, 8, 15, 17)
    graph = prepare(model, x)
    (output,) = graph.outputs
    quantized = quantize(graph, x, exact=False)
    params_x, params_w = quantized.activations["input"], quantized.weights["0.weight"]
    params_y = qparams(0.0173, 0 if relu else 117)
    quantized = replace(quantized, activations={"input": params_x, output: params_y})
    (ours,) = ExactExecutor(lower(quantized)).run(x.numpy())

    weight = torch.quantize_per_channel(
        conv.weight.detach(), torch.tensor(params_w.scale), torch.zeros(16).int(), 0, torch.qint8
    )
    packed = torch.ops.quantized.conv2d_prepack(weight, conv.bias, [2, 2], [1, 1], [1, 1], groups)
    kernel = torch.ops.quantized.conv2d_relu if relu else torch.ops.quantized.conv2d
    x_q = torch.quantize_per_tensor(
        x, float(params_x.scale), int(params_x.zero_point), torch.quint8
    )
    theirs = kernel(x_q, packed, float(params_y.scale), int(params_y.zero_point)).dequantize()
    np.testing.assert_array_equal(ours, theirs.numpy())
    assert len(np.unique(ours)) > 50


# What the program looks like.


def test_linear_weights_follow_the_flattened_picture() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 5, 7))
    x = torch.randn(2, 3, 4, 5)
    quantized = quantize(prepare(model, x), x, exact=False)
    (op,) = (op for op in lower(quantized).ops if isinstance(op, prog.Conv2d))
    integers = quantize_weight(quantized.graph.params["1.weight"], quantized.weights["1.weight"])
    np.testing.assert_array_equal(op.weight, integers.reshape(7, 3, 4, 5).transpose(0, 2, 3, 1))


def test_what_the_caller_sees() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(5, 2)

        def forward(self, picture: Tensor, age: Tensor, unused: Tensor) -> tuple[Tensor, Tensor]:
            y: Tensor = self.conv(picture)
            return F.relu(y), self.fc(age)

    inputs = (torch.randn(2, 3, 4, 6), torch.randn(2, 5), torch.randn(2, 9))
    quantized = quantize(prepare(Two(), *inputs), *inputs, exact=True)
    quantized = replace(quantized, metadata={"classes": ["a", "b"]})
    program = lower(quantized)
    assert [(io.tensor, io.shape) for io in program.inputs] == [
        ("picture", (-1, 3, 4, 6)),
        ("age", (-1, 5)),
        ("unused", (-1, 9)),
    ]
    assert [(io.tensor, io.shape) for io in program.outputs] == [
        ("relu", (-1, 4, 4, 6)),
        ("fc", (-1, 2)),
    ]
    assert [type(op).__name__ for op in program.ops] == [
        "Quantize", "Quantize", "Conv2d", "Conv2d", "Dequantize",
    ]  # fmt: skip
    assert program.metadata == {"classes": ["a", "b"]}
    outputs = ExactExecutor(program).run(*(x.numpy() for x in inputs))
    for ours, theirs in zip(outputs, simulate(quantized, *inputs), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_head_keeps_its_float_bias() -> None:
    conv = nn.Conv2d(2, 3, 1)
    x = torch.randn(1, 2, 4, 4)
    quantized = quantize(prepare(nn.Sequential(conv), x), x, exact=False)
    (op,) = (op for op in lower(quantized).ops if isinstance(op, prog.Conv2d))
    assert conv.bias is not None
    np.testing.assert_array_equal(op.bias, conv.bias.detach().numpy())


def test_quantized_head_if_it_has_qparams() -> None:
    x = torch.randn(1, 2, 4, 4)
    quantized = quantize(prepare(nn.Sequential(nn.Conv2d(2, 3, 1)), x), x, exact=False)
    activations = {**quantized.activations, "0": qparams(0.02, 128)}
    program = lower(replace(quantized, activations=activations))
    assert [type(op).__name__ for op in program.ops] == ["Quantize", "Conv2d", "Dequantize"]


# Errors.


def simple(function: Any) -> QuantizedGraph:
    x = torch.randn(2, 4, 8, 6)
    return quantize(prepare(Net(function), x), x, exact=False)


def without(mapping: Any, name: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key != name}


def test_float_value_is_named() -> None:
    quantized = simple(lambda n, x: n.pointwise(F.relu(n.conv(x))))
    broken = replace(quantized, activations=without(quantized.activations, "relu"))
    with pytest.raises(UnsupportedOperatorError, match=r"the output of layer 'conv'.*calibrate"):
        lower(broken)
    broken = replace(quantized, activations=without(quantized.activations, "x"))
    with pytest.raises(UnsupportedOperatorError, match="input 'x' has no quantization parameters"):
        lower(broken)


def test_graph_that_was_not_prepared() -> None:
    x = torch.randn(2, 4, 8, 6)
    graph = capture(Net(lambda n, x: n.norm(x)), x)
    with pytest.raises(UnsupportedOperatorError, match=r"'norm' \(BatchNorm.*prepare_for_quant"):
        lower(QuantizedGraph(graph, {"x": qparams(0.1), "norm": qparams(0.1)}, {}))


def test_max_pool_must_share() -> None:
    quantized = simple(lambda n, x: F.max_pool2d(F.relu(n.conv(x)), 2))
    activations = {**quantized.activations, "max_pool2d": qparams(0.5, 3)}
    with pytest.raises(
        ValueError, match=r"'max_pool2d' .*only moves values.*shared_qparams_groups"
    ):
        lower(replace(quantized, activations=activations))


def test_accumulator_that_overflows() -> None:
    quantized = simple(lambda n, x: F.relu(n.conv(x)))
    params = quantized.weights["conv.weight"]
    scale = params.scale.copy()
    scale[4] = 1e-12
    weights = {"conv.weight": replace(params, scale=scale)}
    with pytest.raises(ValueError, match=r"layer 'conv' .*accumulator of output channel 4.*scale"):
        lower(replace(quantized, weights=weights))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qmin": -128}, r"to -128\.\.127, must be axis 0 or None and within -127\.\.127"),
        ({"axis": 1}, "quantized on axis 1"),
        ({"zero_point": np.full(6, 3, np.int32)}, "must be symmetric"),
    ],
)
def test_weights_that_are_not_symmetric_int8(change: dict[str, Any], message: str) -> None:
    quantized = simple(lambda n, x: n.conv(x))
    weights = {"conv.weight": replace(quantized.weights["conv.weight"], **change)}
    with pytest.raises(ValueError, match=message):
        lower(replace(quantized, weights=weights))


def test_signed_activations_are_refused() -> None:
    quantized = simple(lambda n, x: n.conv(x))
    activations = {"x": QParams(np.asarray(np.float32(1)), np.asarray(np.int32(0)), -128, 127)}
    with pytest.raises(ValueError, match=r"value 'x' is quantized to -128\.\.127"):
        lower(replace(quantized, activations=activations))


def test_sum_of_a_flattened_picture_and_a_row() -> None:
    net = Net(lambda n, x: n.wide(x.flatten(1)) + x.flatten(1))
    net.wide = nn.Linear(4 * 8 * 6, 4 * 8 * 6)
    x = torch.randn(2, 4, 8, 6)
    quantized = quantize(prepare(net, x), x, exact=False)
    with pytest.raises(UnsupportedOperatorError, match="flattened picture of 8x6 pixels"):
        lower(quantized)
