"""The oracle of version 1.1 against PyTorch, and operators in terms of each other."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wbcq.engine.graphs import (
    FLOAT_STEPS,
    STEPS,
    float_inputs_for,
    float_programs,
    graphs,
    steps,
)
from tests.wbcq.engine.strategies import cases, inputs_for
from wbcq.engine import _exact_f32
from wbcq.engine.exact import ExactExecutor
from wbcq.engine.operators import UNARY_FUNCTIONS
from wbcq.engine.program import (
    ADAPTIVE,
    BATCH,
    Add,
    AvgPool2d,
    Conv2d,
    Dequantize,
    Io,
    Lookup,
    MaxPool2d,
    Mul,
    Pad,
    Program,
    Quantize,
    Resize,
    Tensor,
    Unary,
)

torch = pytest.importorskip("torch")
functional = torch.nn.functional

BYTES = np.arange(256, dtype=np.uint8)


def run(tensors, ops, *inputs):
    """Quantized tensors in, u8 tensor out: ``tensors`` are the inputs' first, then others."""
    named = {tensor.name: tensor for tensor in tensors}
    steps_in, ios, floats = [], [], []
    for tensor, values in zip(tensors, inputs, strict=False):
        caller = replace(tensor, name=f"{tensor.name}.f", dtype="f32", scale=0.0, zero_point=0)
        named[caller.name] = caller
        steps_in.append(Quantize(f"quantize.{tensor.name}", caller.name, tensor.name))
        ios.append(Io(caller.name, (BATCH, caller.channels, caller.height, caller.width)))
        real = (values.astype(np.float32) - tensor.zero_point) * np.float32(tensor.scale)
        floats.append(real.transpose(0, 3, 1, 2))
    y = named[ops[-1].y]
    out = replace(
        y, name="out", dtype="f32", scale=0.0, zero_point=0, parent=None, channel_offset=0
    )
    named["out"] = out
    outputs = (Io("out", (BATCH, out.channels, out.height, out.width)),)
    program = Program(
        named, (*steps_in, *ops, Dequantize("dequantize", y.name, "out")), tuple(ios), outputs
    )
    values = ExactExecutor(program).run_all(*floats)
    for tensor, given_values in zip(tensors, inputs, strict=False):
        np.testing.assert_array_equal(values[tensor.name], given_values)
    return values


def picture(rng, tensor, batch=2):
    return rng.integers(0, 256, (batch, tensor.height, tensor.width, tensor.channels)).astype("u1")


def conv(rng, name, x, y, channels, inputs, **options):
    weight = rng.integers(-127, 128, (channels, 3, 3, inputs)).astype(np.int8)
    bias = rng.integers(-3000, 3000, channels).astype(np.int32)
    scale = rng.uniform(0.001, 0.01, channels).astype(np.float32)
    return Conv2d(name, x, y, weight, bias, scale, pads=(1, 1, 1, 1), **options)


# Several inputs.


def test_inputs_of_one_scale_are_their_concatenation():
    rng = np.random.default_rng(0)
    a, b = (Tensor(name, "u8", 5, 4, c, 0.5, 99) for name, c in (("a", 3), ("b", 5)))
    joined = replace(a, name="joined", channels=8)
    y = Tensor("y", "u8", 5, 4, 6, 1.5, 100)
    op = conv(rng, "conv", ("a", "b"), "y", 6, 8)
    xa, xb = picture(rng, a), picture(rng, b)
    apart = run([a, b, y], [op], xa, xb)["y"]
    together = run([joined, y], [replace(op, x="joined")], np.concatenate([xa, xb], 3))["y"]
    assert len(np.unique(apart)) > 50
    np.testing.assert_array_equal(apart, together)


@pytest.mark.parametrize("depthwise", [False, True])
def test_each_input_has_its_own_scale_and_zero_point(depthwise):
    """Against a float convolution of what the inputs, weights and biases stand for."""
    rng = np.random.default_rng(1)
    a, b = Tensor("a", "u8", 6, 5, 3, 0.02, 10), Tensor("b", "u8", 6, 5, 4, 0.07, 200)
    y = Tensor("y", "u8", 6, 5, 7, 0.04, 128)
    groups = 7 if depthwise else 1
    op = conv(rng, "conv", ("a", "b"), "y", 7, 7 // groups, groups=groups)
    xa, xb = picture(rng, a), picture(rng, b)
    values = run([a, b, y], [op], xa, xb)
    real = np.concatenate([(xa - 10.0) * 0.02, (xb - 200.0) * 0.07], 3)
    weight = op.weight * op.weight_scale.astype(np.float64)[:, None, None, None]
    unit = np.repeat([0.02, 0.07], [3, 4]) if depthwise else np.full(7, 0.02)
    if not depthwise:
        weight[..., 3:] *= 0.02 / 0.07  # weights stand for the first input's scale
    expected = functional.conv2d(
        torch.from_numpy(real.transpose(0, 3, 1, 2)),
        torch.from_numpy(weight.transpose(0, 3, 1, 2)),
        torch.from_numpy(op.bias * op.weight_scale.astype(np.float64) * unit),
        padding=1,
        groups=groups,
    )
    expected = np.clip(expected.numpy().transpose(0, 2, 3, 1) / 0.04 + 128, 0, 255)
    assert len(np.unique(values["y"])) > 50
    assert np.abs(values["y"] - expected).max() < 0.51


# Views.


def test_a_slice_is_a_part_of_its_parent_and_a_concatenation_its_parts():
    rng = np.random.default_rng(2)
    x = Tensor("x", "u8", 3, 4, 9, 0.5, 7)
    parent = Tensor("parent", "u8", 3, 4, 6, 0.25, 3)
    parts = [parent.view("left", 0, 2), parent.view("right", 2, 4)]
    slices = [x.view("tail", 7, 2), x.view("middle", 1, 4)]
    tables = [rng.permutation(256).astype(np.uint8) for _ in range(2)]
    ops = [
        Lookup(f"look_up.{part.name}", piece.name, part.name, table)
        for piece, part, table in zip(slices, parts, tables, strict=True)
    ]
    ops.append(Lookup("last", "parent", "y", BYTES))
    values = picture(rng, x)
    result = run([x, parent, *parts, *slices, replace(parent, name="y")], ops, values)
    np.testing.assert_array_equal(result["tail"], values[..., 7:])
    np.testing.assert_array_equal(result["middle"], values[..., 1:5])
    expected = np.concatenate([tables[0][values[..., 7:]], tables[1][values[..., 1:5]]], 3)
    np.testing.assert_array_equal(result["parent"], expected)
    np.testing.assert_array_equal(result["y"], expected)


# Tables.


def tabulated_ops(rng):
    table = rng.permutation(256).astype(np.uint8)
    scale = {"pre_scale": 0.75, "pre_zero_point": 90, "lo": 20, "hi": 240, "table": table}
    return [
        conv(rng, "op", "a", "y", 5, 5, residual="b", **scale),
        Add("op", "a", "b", "y", subtract=True, **scale),
        Mul("op", "a", "b", "y", **scale),
        AvgPool2d("op", "a", "y", (3, 3), (1, 1), (1, 1, 1, 1), **scale),
    ]


@pytest.mark.parametrize("index", range(4))
def test_a_table_is_a_look_up_after_the_rounding(index):
    rng = np.random.default_rng(3)
    op = tabulated_ops(rng)[index]
    a, b = Tensor("a", "u8", 6, 5, 5, 0.2, 90), Tensor("b", "u8", 6, 5, 5, 0.5, 140)
    y = Tensor("y", "u8", 6, 5, 5, 123.0, 45)
    inputs = [picture(rng, a)] + ([] if isinstance(op, AvgPool2d) else [picture(rng, b)])
    tensors = [a, b][: len(inputs)]
    fused = run([*tensors, y], [op], *inputs)["y"]
    plain = replace(op, y="pre", table=None, pre_scale=0.0, pre_zero_point=0)
    pre = Tensor("pre", "u8", 6, 5, 5, 0.75, 90)
    apart = run([*tensors, pre, y], [plain, Lookup("table", "pre", "y", op.table)], *inputs)
    assert apart["pre"].min() >= 20
    assert apart["pre"].max() <= 240
    assert len(np.unique(apart["pre"])) > 10
    np.testing.assert_array_equal(fused, apart["y"])


# Arithmetic.


@pytest.mark.parametrize("broadcast", [False, True])
def test_multiplication_and_subtraction_of_reals(broadcast):
    rng = np.random.default_rng(4)
    a = Tensor("a", "u8", 4, 5, 6, 0.05, 60)
    size = (1, 1) if broadcast else (4, 5)
    b = Tensor("b", "u8", *size, 6, 0.01, 30)
    xa, xb = picture(rng, a), picture(rng, b)
    real_a, real_b = (xa - 60.0) * 0.05, (xb - 30.0) * 0.01
    product = Tensor("y", "u8", 4, 5, 6, 0.09, 100)
    values = run([a, b, product], [Mul("mul", "a", "b", "y")], xa, xb)["y"]
    expected = np.clip(real_a * real_b / 0.09 + 100, 0, 255)
    assert np.abs(values - expected).max() < 0.51
    difference = Tensor("y", "u8", 4, 5, 6, 0.04, 90)
    values = run([a, b, difference], [Add("sub", "a", "b", "y", subtract=True)], xa, xb)["y"]
    expected = np.clip((real_a - real_b) / 0.04 + 90, 0, 255)
    assert np.abs(values - expected).max() < 0.51


# Resize and pad.


@cases(1)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 50), st.integers(1, 50))
def test_nearest_resize_is_pytorchs(height, width, out_height, out_width):
    x = Tensor("x", "u8", height, width, 2, 1.0, 0)
    y = Tensor("y", "u8", out_height, out_width, 2, 1.0, 0)
    values = picture(np.random.default_rng(5), x)
    result = run([x, y], [Resize("resize", "x", "y")], values)["y"]
    planar = torch.from_numpy(values.transpose(0, 3, 1, 2))
    expected = functional.interpolate(planar, (out_height, out_width), mode="nearest")
    np.testing.assert_array_equal(result, expected.numpy().transpose(0, 2, 3, 1))


@cases(1)
@given(
    st.integers(1, 20), st.integers(1, 20), st.integers(1, 50), st.integers(1, 50), st.booleans()
)
def test_bilinear_resize_is_pytorchs(height, width, out_height, out_width, align_corners):
    x = Tensor("x", "u8", height, width, 2, 0.5, 17)
    y = Tensor("y", "u8", out_height, out_width, 2, 0.5, 17)
    values = picture(np.random.default_rng(6), x)
    op = Resize("resize", "x", "y", "bilinear", align_corners)
    result = run([x, y], [op], values)["y"]
    planar = torch.from_numpy(values.transpose(0, 3, 1, 2).astype(np.float32))
    expected = functional.interpolate(
        planar, (out_height, out_width), mode="bilinear", align_corners=align_corners
    )
    assert np.abs(result - expected.numpy().transpose(0, 2, 3, 1)).max() < 0.501


# Adaptive pools.


@cases(1)
@given(*[st.integers(1, 20)] * 4)
def test_adaptive_pools_are_pytorchs(height, width, out_height, out_width):
    x = Tensor("x", "u8", height, width, 2, 0.5, 17)
    y = Tensor("y", "u8", out_height, out_width, 2, 0.5, 17)
    values = picture(np.random.default_rng(6), x)
    planar = torch.from_numpy(values.transpose(0, 3, 1, 2).astype(np.float32))
    size = (out_height, out_width)
    op = MaxPool2d("pool", "x", "y", ADAPTIVE, ADAPTIVE)
    expected = functional.adaptive_max_pool2d(planar, size).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(run([x, y], [op], values)["y"], expected)
    mean = AvgPool2d("pool", "x", "y", ADAPTIVE, ADAPTIVE)
    expected = functional.adaptive_avg_pool2d(planar, size).numpy().transpose(0, 2, 3, 1)
    assert np.abs(run([x, y], [mean], values)["y"] - expected).max() < 0.5001


def test_pad():
    x = Tensor("x", "u8", 2, 3, 1, 0.5, 17)
    values = picture(np.random.default_rng(7), x)
    for value, expected in ((None, 17), (0, 0), (255, 255)):
        y = replace(x, name="y", height=5, width=8)
        result = run([x, y], [Pad("pad", "x", "y", (1, 2, 2, 3), value)], values)["y"]
        inside = np.zeros((5, 8), bool)
        inside[1:3, 2:5] = True
        np.testing.assert_array_equal(result[:, 1:3, 2:5], values)
        assert (result[:, ~inside] == expected).all()


# Float functions.


TORCH_FUNCTIONS = {
    "relu": functional.relu,
    "relu6": functional.relu6,
    "leaky_relu": functional.leaky_relu,
    "hardswish": functional.hardswish,
    "hardsigmoid": functional.hardsigmoid,
    "silu": functional.silu,
    "sigmoid": torch.sigmoid,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "tanh": torch.tanh,
    "exp": torch.exp,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "reciprocal": torch.reciprocal,
    "neg": torch.neg,
    "abs": torch.abs,
    "clamp": torch.clamp,
    "affine": lambda x, scale, shift: x * scale + shift,
    "elu": functional.elu,
    "softplus": functional.softplus,
    "mish": functional.mish,
}
EXAMPLES = {
    "leaky_relu": (0.2,),
    "clamp": (-0.5, 1.5),
    "affine": (0.75, -2.0),
    "elu": (1.3,),
    "softplus": (1.7,),
}


@pytest.mark.parametrize("function", UNARY_FUNCTIONS)
def test_unary_functions_are_pytorchs(function):
    x = np.concatenate([np.linspace(-30, 30, 1201), np.linspace(-1, 1, 401)]).astype(np.float32)
    if function in ("sqrt", "rsqrt", "reciprocal"):
        x = np.abs(x) + np.float32(1e-3)
    parameters = EXAMPLES.get(function, ())
    actual = _exact_f32.unary(Unary("f", "x", "y", function, parameters), x)
    expected = TORCH_FUNCTIONS[function](torch.from_numpy(x).double(), *parameters)
    np.testing.assert_allclose(actual, expected.numpy(), rtol=1e-6, atol=1e-8)


# Everything that can be drawn.


@cases(1)
@given(st.data())
def test_pictures_do_not_depend_on_their_batch(data):
    strategies = [graphs(), float_programs(), st.sampled_from(STEPS).flatmap(steps)]
    program = data.draw(
        st.one_of(*strategies, st.sampled_from(FLOAT_STEPS).flatmap(float_programs))
    )
    quantized = {op.x for op in program.ops if isinstance(op, Quantize)}
    is_float = any(io.tensor not in quantized for io in program.inputs)
    inputs = data.draw((float_inputs_for if is_float else inputs_for)(program, 3))
    together = ExactExecutor(program).run(*inputs)
    for i in range(3):
        alone = ExactExecutor(program).run(*(array[i : i + 1] for array in inputs))
        for whole, part in zip(together, alone, strict=True):
            tolerance = 1e-4 * (1 + np.abs(part).max()) if is_float else 0
            np.testing.assert_allclose(part, whole[i : i + 1], rtol=0, atol=tolerance)
