"""The oracle against independent definitions: scalar loops, and PyTorch's float operators."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wbcq.engine.strategies import cases, inputs_for, single_op_programs
from wbcq.engine.exact import ExactExecutor
from wbcq.engine.numerics import conv_multiplier, round_clamp, scale_ratio
from wbcq.engine.program import Add, AvgPool2d, Conv2d, Dequantize, Io, Program, Quantize, Tensor

f32 = np.float32


def scalar_round_clamp(value, zero_point, lo, hi):
    """``round_clamp`` of csrc/quant/requant.h for one value, by Python's own rounding."""
    if math.isnan(value):
        return lo
    low, high = lo - zero_point, hi - zero_point
    bounded = min(max(float(value), low), high)
    return round(bounded) + zero_point  # ties to even


@given(
    st.floats(width=32),
    st.integers(0, 255),
    st.tuples(st.integers(0, 255), st.integers(0, 255)).map(sorted),
)
def test_round_clamp(value, zero_point, bounds):
    lo, hi = bounds
    actual = round_clamp(np.array([value], f32), zero_point, lo, hi)
    assert actual.dtype == np.uint8
    assert actual[0] == scalar_round_clamp(value, zero_point, lo, hi)


def test_ties_go_to_even():
    values = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], f32)
    np.testing.assert_array_equal(round_clamp(values, 10), [8, 8, 10, 10, 12, 12])


def test_multipliers_round_after_each_operation():
    x, w, y = f32(0.1), f32(0.7), f32(0.3)
    expected = f32(f32(float(x) * float(w)) / y)
    assert conv_multiplier(0.1, np.array([0.7], f32), 0.3)[0] == expected
    assert scale_ratio(0.1, 0.3) == f32(float(x) / float(y))


def test_the_order_of_a_multiplier_matters():
    """s_x (s_w / s_y) and (s_x s_w) / s_y differ, so the contract has to name one."""
    rng = np.random.default_rng(0)
    x, w, y = rng.uniform(0.001, 1, (3, 100)).astype(f32)
    assert any(
        conv_multiplier(a, np.array([b]), c)[0] != f32(a * f32(b / c))
        for a, b, c in zip(x, w, y, strict=True)
    )


# Whole operators against scalar loops that follow numerics.md word by word.


def scalar_conv2d(op, x, tensors, residual):
    """[N, H, W, O] by loops over pixels and channels; sums are Python integers."""
    tx, ty = tensors[op.x], tensors[op.y]
    out_channels, kernel_h, kernel_w, width = op.weight.shape
    result = np.zeros((len(x), ty.height, ty.width, out_channels), np.float32)
    for n, oy, ox, o in np.ndindex(result.shape):
        group = o // (out_channels // op.groups)
        acc = 0 if ty.dtype == "f32" else int(op.bias[o])
        for ky, kx in np.ndindex(kernel_h, kernel_w):
            iy = oy * op.stride[0] - op.pads[0] + ky * op.dilation[0]
            ix = ox * op.stride[1] - op.pads[1] + kx * op.dilation[1]
            if not (0 <= iy < tx.height and 0 <= ix < tx.width):
                continue  # padding is z_x, whose distance from z_x is 0
            pixel = x[n, iy, ix, group * width : (group + 1) * width].astype(int) - tx.zero_point
            acc += int(np.dot(pixel, op.weight[o, ky, kx].astype(int)))
        w_scale = op.weight_scale[o if len(op.weight_scale) > 1 else 0]
        product = f32(f32(tx.scale) * w_scale)
        if ty.dtype == "f32":
            result[n, oy, ox, o] = f32(f32(f32(acc) * product) + op.bias[o])
            continue
        value = f32(f32(acc) * f32(product / f32(ty.scale)))
        if residual is not None:
            tr = tensors[op.residual]
            shortcut = f32(int(residual[n, oy, ox, o]) - tr.zero_point)
            value = f32(value + f32(shortcut * f32(f32(tr.scale) / f32(ty.scale))))
        result[n, oy, ox, o] = scalar_round_clamp(value, ty.zero_point, op.lo, op.hi)
    return result


def scalar_avg_pool2d(op, x, tensors):
    tx, ty = tensors[op.x], tensors[op.y]
    result = np.zeros((len(x), ty.height, ty.width, ty.channels), np.float32)
    for n, oy, ox, c in np.ndindex(result.shape):
        total, inside, padded = 0, 0, 0
        for ky, kx in np.ndindex(op.kernel):
            iy = oy * op.stride[0] - op.pads[0] + ky
            ix = ox * op.stride[1] - op.pads[1] + kx
            if iy < tx.height + op.pads[2] and ix < tx.width + op.pads[3]:
                padded += 1
            if 0 <= iy < tx.height and 0 <= ix < tx.width:
                inside += 1
                total += int(x[n, iy, ix, c])
        divisor = op.divisor or (padded if op.count_include_pad else inside)
        multiplier = f32(f32(f32(tx.scale) / f32(ty.scale)) / f32(divisor))
        value = f32(f32(total - inside * tx.zero_point) * multiplier)
        result[n, oy, ox, c] = scalar_round_clamp(value, ty.zero_point, op.lo, op.hi)
    return result


def scalar_max_pool2d(op, x, tensors):
    tx, ty = tensors[op.x], tensors[op.y]
    result = np.zeros((len(x), ty.height, ty.width, ty.channels), np.uint8)
    for n, oy, ox in np.ndindex(result.shape[:3]):
        rows = [oy * op.stride[0] - op.pads[0] + k * op.dilation[0] for k in range(op.kernel[0])]
        columns = [ox * op.stride[1] - op.pads[1] + k * op.dilation[1] for k in range(op.kernel[1])]
        taps = [
            x[n, iy, ix]
            for iy in rows
            for ix in columns
            if 0 <= iy < tx.height and 0 <= ix < tx.width
        ]
        result[n, oy, ox] = np.max(taps, axis=0)
    return result


def scalar_add(op, a, b, tensors):
    ta, tb, ty = tensors[op.a], tensors[op.b], tensors[op.y]
    result = np.zeros(a.shape, np.uint8)
    for index in np.ndindex(a.shape):
        left = f32(f32(int(a[index]) - ta.zero_point) * f32(f32(ta.scale) / f32(ty.scale)))
        right = f32(f32(int(b[index]) - tb.zero_point) * f32(f32(tb.scale) / f32(ty.scale)))
        value = f32(left + right)
        result[index] = scalar_round_clamp(value, ty.zero_point, op.lo, op.hi)
    return result


def reference(op, values, tensors):
    if isinstance(op, Conv2d):
        residual = values[op.residual] if op.residual else None
        return scalar_conv2d(op, values[op.x], tensors, residual)
    if isinstance(op, AvgPool2d):
        return scalar_avg_pool2d(op, values[op.x], tensors)
    if isinstance(op, Add):
        return scalar_add(op, values[op.a], values[op.b], tensors)
    if isinstance(op, Quantize):
        y = tensors[op.y]
        inverse = f32(f32(1) / f32(y.scale))
        with np.errstate(over="ignore"):
            flat = [
                scalar_round_clamp(f32(v * inverse), y.zero_point, 0, 255)
                for v in values[op.x].ravel()
            ]
        return np.array(flat, np.uint8).reshape(values[op.x].shape)
    if isinstance(op, Dequantize):
        x = tensors[op.x]
        return np.array(
            [f32(f32(int(q) - x.zero_point) * f32(x.scale)) for q in values[op.x].ravel()], f32
        ).reshape(values[op.x].shape)
    return scalar_max_pool2d(op, values[op.x], tensors)


@pytest.mark.parametrize(
    "kind", ["conv2d", "depthwise", "head", "residual", "max_pool2d", "avg_pool2d", "add"]
)
def test_operators_are_what_the_contract_says(kind):
    @cases(1)
    @given(st.data())
    def check(data):
        program = data.draw(single_op_programs(kind).filter(is_small))
        values = ExactExecutor(program).run_all(*data.draw(inputs_for(program, 1)))
        for op in program.ops:
            expected = reference(op, values, program.tensors)
            np.testing.assert_array_equal(values[op.y], expected, err_msg=op.name)

    check()


def is_small(program):
    """Loops over pixels take a while."""
    work = 0
    for op in program.ops:
        y = program.tensors[op.y]
        pixels = y.height * y.width
        work += pixels * (op.weight.size if isinstance(op, Conv2d) else y.channels)
    return work < 60_000


# Against PyTorch's float operators, which know nothing of scales.


@pytest.mark.parametrize("kind", ["conv2d", "depthwise"])
def test_accumulators_equal_a_float64_convolution(kind):
    torch = pytest.importorskip("torch")

    @cases(0.5)
    @given(st.data())
    def check(data):
        program = data.draw(single_op_programs(kind))
        op = program.ops[1]
        x = program.tensors[op.x]
        # As a head with scale 1 the program shows its accumulator: exact while below 2^24.
        weight = (op.weight % 3 - 1).astype(np.int8)
        head = replace(
            op,
            weight=weight,
            weight_scale=np.ones(1, f32),
            bias=np.zeros(len(op.bias), f32),
            lo=0,
            hi=255,
        )
        tensors = dict(program.tensors)
        tensors[op.x] = replace(x, scale=1.0)
        tensors[op.y] = replace(tensors[op.y], dtype="f32", scale=0.0, zero_point=0)
        y = tensors[op.y]
        shown = Program(
            {name: tensors[name] for name in (program.ops[0].x, op.x, op.y)},
            (program.ops[0], head),
            program.inputs,
            (Io(op.y, (-1, y.channels, y.height, y.width)),),
        )
        rng = np.random.default_rng(0)
        shape = (2, x.channels, x.height, x.width)
        q = rng.integers(0, 256, shape).astype(f32) - x.zero_point
        (actual,) = ExactExecutor(shown).run(q)
        top, left, bottom, right = op.pads
        padded = torch.nn.functional.pad(torch.from_numpy(q).double(), (left, right, top, bottom))
        expected = torch.nn.functional.conv2d(
            padded,
            torch.from_numpy(weight.transpose(0, 3, 1, 2).astype(np.float64)),
            stride=op.stride,
            dilation=op.dilation,
            groups=op.groups,
        )
        np.testing.assert_array_equal(actual, expected.numpy())

    check()


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize("size", [5, 6, 7, 8])
def test_average_pool_counts_as_pytorch_does(size, ceil_mode, count_include_pad):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(size)
    x = rng.integers(0, 256, (1, 2, size, size)).astype(f32)
    expected = torch.nn.functional.avg_pool2d(
        torch.from_numpy(x).double(), 3, 2, 1, ceil_mode, count_include_pad
    ).numpy()
    out = expected.shape[2]
    tensors = [
        Tensor("x", "f32", size, size, 2),
        Tensor("q", "u8", size, size, 2, 1.0, 0),
        Tensor("p", "u8", out, out, 2, 1.0, 0),
        Tensor("y", "f32", out, out, 2),
    ]
    program = Program(
        {tensor.name: tensor for tensor in tensors},
        (
            Quantize("quantize", "x", "q"),
            AvgPool2d("pool", "q", "p", (3, 3), (2, 2), (1, 1, 1, 1), count_include_pad),
            Dequantize("dequantize", "p", "y"),
        ),
        (Io("x", (-1, 2, size, size)),),
        (Io("y", (-1, 2, out, out)),),
    )
    (actual,) = ExactExecutor(program).run(x)
    # float32 may decide a tie that a division by 9 or 6 only comes close to.
    assert np.abs(actual - expected).max() <= 0.5 + 1e-4


# Inputs and outputs.


def reshape_program(shape):
    tensors = [
        Tensor("x", "f32", 2, 3, 4),
        Tensor("q", "u8", 2, 3, 4, 1.0, 0),
        Tensor("y", "f32", 2, 3, 4),
    ]
    return Program(
        {tensor.name: tensor for tensor in tensors},
        (Quantize("quantize", "x", "q"), Dequantize("dequantize", "q", "y")),
        (Io("x", (-1, 4, 2, 3)),),
        (Io("y", (-1, *shape)),),
    )


@pytest.mark.parametrize("shape", [(4, 2, 3), (24,), (4, 6), (8, 3)])
def test_outputs_are_in_the_callers_order(shape):
    x = np.arange(48, dtype=f32).reshape(2, 4, 2, 3)
    (y,) = ExactExecutor(reshape_program(shape)).run(x)
    np.testing.assert_array_equal(y, x.reshape(2, *shape))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((), "0 inputs given, must be 1"),
        ((np.zeros((1, 4, 2, 3), np.float64),), r"input 'x' is float64 \[1, 4, 2, 3\]"),
        ((np.zeros((1, 4, 3, 2), f32),), r"must be float32 \['N', 4, 2, 3\]"),
        ((np.zeros((), f32),), r"input 'x' is float32 \[\]"),
    ],
)
def test_inputs_that_do_not_fit(inputs, message):
    with pytest.raises(ValueError, match=message):
        ExactExecutor(reshape_program((24,))).run(*inputs)


def test_special_values_are_quantized():
    """NaN becomes 0, infinities and what overflows go to the ends."""
    program = reshape_program((24,))
    tensors = dict(program.tensors)
    tensors["q"] = replace(tensors["q"], scale=1e-6, zero_point=7)
    x = np.zeros((1, 4, 2, 3), f32)
    x.flat[:6] = [np.nan, np.inf, -np.inf, 3e38, -3e38, -0.0]
    values = ExactExecutor(replace(program, tensors=tensors)).run_all(x)
    planar = values["q"].transpose(0, 3, 1, 2).ravel()
    np.testing.assert_array_equal(planar[:7], [0, 255, 0, 255, 0, 7, 7])
