"""The oracle and the engine against torch.ops.quantized on all four of PyTorch's engines.

docs/design/numerics.md, section "Against PyTorch", tells how each engine rounds. In short:

* scales that are powers of two and sums below 2^24 make every formula exact: all bits are equal
  (with onednn only if the zero point of y is even: it adds it before it rounds ties);
* any scales: fbgemm has our bits if biases lie on the int32 grid, qnnpack where its
  (s_x s_w) (1 / s_y) is our (s_x s_w) / s_y;
* elsewhere a result may be one step off if the exact value is next to the middle of two steps.

x86 is onednn for convolutions and fbgemm for linear layers. In the ``ci`` profile each operator is
tried 500 times on each engine.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.wbcq.engine.strategies import cases
from wbcq.engine.exact import ExactExecutor
from wbcq.engine.numerics import conv_multiplier
from wbcq.engine.program import BATCH, Conv2d, Dequantize, Io, Program, Quantize, Tensor
from wbcq.engine.program_file import program_bytes
from wbcq.engine.validate import window_count

torch = pytest.importorskip("torch")
try:
    from wbcq import _core
except ModuleNotFoundError:
    _core = None

pytestmark = pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
f32 = np.float32
ENGINES = [
    e
    for e in ("qnnpack", "fbgemm", "onednn", "x86")
    if e in torch.backends.quantized.supported_engines
]


def _has_vnni():
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


# Without VNNI, onednn and fbgemm add pairs of products in int16, which saturates beyond 64.
MAX_WEIGHT = 127 if _has_vnni() else 63


@pytest.fixture(autouse=True)
def one_thread():
    """The layers are small, and the engine is put back as it was."""
    threads, engine = torch.get_num_threads(), torch.backends.quantized.engine
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.backends.quantized.engine = engine


@dataclass(frozen=True)
class Layer:
    """A quantized layer. Arrays are in PyTorch's layout."""

    x: np.ndarray
    x_scale: np.float32
    x_zero_point: int
    weight: np.ndarray
    weight_scale: np.ndarray
    bias: np.ndarray  # float32
    y_scale: np.float32
    y_zero_point: int
    relu: bool
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def is_linear(self):
        return self.weight.ndim == 2

    @property
    def step(self):
        """One step of the accumulator, by channel: s_x s_w in float32."""
        return self.x_scale * self.weight_scale

    @property
    def int_bias(self):
        """The contract's: rounded in float64."""
        return np.rint(self.bias.astype(np.float64) / self.step.astype(np.float64)).astype(np.int32)

    def sums(self):
        """Exact accumulators without bias, float64, channels last."""
        x = torch.from_numpy(self.x.astype(np.float64) - self.x_zero_point)
        weight = torch.from_numpy(self.weight.astype(np.float64))
        if self.is_linear:
            return (x @ weight.T).numpy()
        y = torch.nn.functional.conv2d(
            x, weight, None, self.stride, self.padding, self.dilation, self.groups
        )
        return y.numpy().transpose(0, 2, 3, 1)

    def program(self):
        """A one-operator program between conversions."""
        weight, x = self.weight, self.x
        if self.is_linear:
            weight, x = weight[:, :, None, None], x[:, :, None, None]
        (height, width), (pad_h, pad_w) = x.shape[2:], self.padding
        out = [
            window_count(size, kernel, stride, pad, pad, dilation)
            for size, kernel, stride, pad, dilation in zip(
                (height, width),
                weight.shape[2:],
                self.stride,
                self.padding,
                self.dilation,
                strict=True,
            )
        ]
        channels = len(weight)
        tensors = [
            Tensor("input", "f32", height, width, x.shape[1]),
            Tensor("x", "u8", height, width, x.shape[1], float(self.x_scale), self.x_zero_point),
            Tensor("y", "u8", *out, channels, float(self.y_scale), self.y_zero_point),
            Tensor("output", "f32", *out, channels),
        ]
        layer = Conv2d(
            "layer",
            "x",
            "y",
            np.ascontiguousarray(weight.transpose(0, 2, 3, 1)),
            self.int_bias,
            self.weight_scale,
            stride=self.stride,
            pads=(pad_h, pad_w, pad_h, pad_w),
            dilation=self.dilation,
            groups=self.groups,
            lo=self.y_zero_point if self.relu else 0,
        )
        return Program(
            {tensor.name: tensor for tensor in tensors},
            (Quantize("quantize", "input", "x"), layer, Dequantize("dequantize", "y", "output")),
            (Io("input", (BATCH, x.shape[1], height, width)),),
            (Io("output", (BATCH, channels, *out)),),
        )

    def ours(self):
        """The oracle's result, checked against the engine's where there is one: channels last."""
        shape = self.x.shape if not self.is_linear else (*self.x.shape, 1, 1)
        pictures = (self.x.reshape(shape).astype(f32) - f32(self.x_zero_point)) * self.x_scale
        program = self.program()
        values = ExactExecutor(program).run_all(pictures)
        np.testing.assert_array_equal(values["x"].transpose(0, 3, 1, 2), self.x.reshape(shape))
        if _core is not None:
            model = _core.Model.from_bytes(program_bytes(program))
            (output,) = _core.Session(model, 1).run([pictures])
            np.testing.assert_array_equal(output, values["output"].transpose(0, 3, 1, 2))
        y = values["y"]
        return y[:, 0, 0] if self.is_linear else y

    def theirs(self, engine):
        """PyTorch's result on one of its engines: channels last."""
        torch.backends.quantized.engine = engine
        ops = torch.ops.quantized
        x = torch._make_per_tensor_quantized_tensor(
            torch.from_numpy(self.x), float(self.x_scale), self.x_zero_point
        )
        weight = torch._make_per_channel_quantized_tensor(
            torch.from_numpy(self.weight),
            torch.from_numpy(self.weight_scale.astype(np.float64)),
            torch.zeros(len(self.weight), dtype=torch.long),
            0,
        )
        bias, y = torch.from_numpy(self.bias), (float(self.y_scale), self.y_zero_point)
        if self.is_linear:
            run = ops.linear_relu if self.relu else ops.linear
            return run(x, ops.linear_prepack(weight, bias), *y).int_repr().numpy()
        geometry = [list(self.stride), list(self.padding), list(self.dilation), self.groups]
        run = ops.conv2d_relu if self.relu else ops.conv2d
        result = run(x, ops.conv2d_prepack(weight, bias, *geometry), *y)
        return result.int_repr().numpy().transpose(0, 2, 3, 1)


# Drawing.

ZERO_POINTS = st.one_of(st.sampled_from([0, 255, 128]), st.integers(0, 255))
POWERS = st.integers(-6, 2).map(lambda e: f32(2.0**e))
ANY_SCALES = st.floats(2.0**-10, 0.5, width=32).map(f32)


@st.composite
def geometries(draw):
    """Shapes of x and weight, and the arguments of a convolution."""
    groups, inputs, outputs = draw(
        st.one_of(
            st.tuples(st.just(1), st.integers(1, 40), st.integers(1, 40)),
            st.tuples(st.integers(1, 4), st.integers(1, 12), st.integers(1, 24)),
            st.tuples(st.integers(1, 40), st.just(1), st.integers(1, 2)),
        )
    )
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    for axis in range(2):
        assume(size[axis] + 2 * padding[axis] > dilation[axis] * (kernel[axis] - 1))
    x_shape = (draw(st.integers(1, 3)), groups * inputs, *size)
    weight_shape = (groups * outputs, inputs, *kernel)
    arguments = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return x_shape, weight_shape, arguments


@st.composite
def linear_shapes(draw):
    batch, inputs, outputs = draw(
        st.tuples(st.integers(1, 9), st.integers(1, 300), st.integers(1, 80))
    )
    return (batch, inputs), (outputs, inputs), {}


@st.composite
def layers(draw, shapes, relu, *, powers):
    """A layer whose results spread over 0..255 and whose biases lie on the int32 grid.

    ``powers`` makes all scales powers of two.
    """
    scales = POWERS if powers else ANY_SCALES
    x_shape, weight_shape, arguments = draw(shapes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.integers(0, 256, x_shape).astype(np.uint8)
    weight = rng.integers(-MAX_WEIGHT, MAX_WEIGHT + 1, weight_shape).astype(np.int8)
    if draw(st.integers(0, 4)) == 0:  # the largest sums
        x = rng.choice(np.array([0, 255], np.uint8), x_shape)
        weight = rng.choice(np.array([-MAX_WEIGHT, MAX_WEIGHT], np.int8), weight_shape)
    channels = weight_shape[0]
    x_scale = draw(scales)
    factors = 2.0 ** rng.integers(-1, 2, channels)
    if not powers:
        factors *= rng.uniform(0.7, 1.4, channels)
    weight_scale = (draw(scales) * factors).astype(f32)
    typical = 75.0 * float(np.sqrt((weight.astype(float) ** 2).sum() / channels + 1))
    ratio = typical / 60 * draw(st.floats(0.5, 2.0))
    y_scale = float(x_scale) * float(weight_scale.mean()) * ratio
    if powers:
        y_scale = 2.0 ** round(np.log2(y_scale))
    step = x_scale * weight_scale
    int_bias = rng.integers(-int(typical), int(typical) + 1, channels)
    bias = (int_bias * step).astype(f32)
    bias[bias / step != int_bias] = 0
    return Layer(
        x,
        x_scale,
        draw(ZERO_POINTS),
        weight,
        weight_scale,
        bias,
        f32(y_scale),
        draw(ZERO_POINTS),
        relu,
        **arguments,
    )


CONV, LINEAR = geometries(), linear_shapes()
OPERATORS = [
    pytest.param(CONV, False, id="conv2d"),
    pytest.param(CONV, True, id="conv2d_relu"),
    pytest.param(LINEAR, False, id="linear"),
    pytest.param(LINEAR, True, id="linear_relu"),
]


def uses_onednn(layer, engine):
    return engine == "onednn" or (engine == "x86" and not layer.is_linear)


def runs_right(layer, engine):
    """False for what onednn in PyTorch 2.13 computes wrongly by many steps, or crashes on.

    Both concern a zero point that is not 0: windows that lie wholly in the padding, and groups of
    one input and several outputs.
    """
    if not uses_onednn(layer, engine) or layer.is_linear:
        return True
    outputs, inputs = layer.weight.shape[:2]
    if layer.groups > 1 and inputs == 1 and outputs > layer.groups:
        return False
    return all(_windows_meet_picture(layer, axis) for axis in range(2))


def _windows_meet_picture(layer, axis):
    size, kernel = layer.x.shape[2 + axis], layer.weight.shape[2 + axis]
    stride, pad, dilation = layer.stride[axis], layer.padding[axis], layer.dilation[axis]
    starts = stride * np.arange(window_count(size, kernel, stride, pad, pad, dilation)) - pad
    taps = starts[:, None] + dilation * np.arange(kernel)
    return bool(((taps >= 0) & (taps < size)).any(axis=1).all())


def assert_near_ties(layer, actual, expected, engine):
    """Different by one step, and only where the exact value is next to k + 1/2."""
    different = actual != expected
    if not different.any():
        return
    sums = layer.sums() + layer.int_bias
    value = sums * (layer.step.astype(np.float64) / layer.y_scale)
    distance = np.abs(value - np.floor(value) - 0.5)
    tolerance = 1e-6 * (np.abs(value) + 256)
    steps = np.abs(actual.astype(int) - expected)
    assert (steps[different] == 1).all(), engine
    assert (distance[different] < tolerance[different]).all(), engine


@pytest.mark.parametrize(("shapes", "relu"), OPERATORS)
def test_powers_of_two_give_the_same_bits_on_every_engine(shapes, relu):
    """Many sums are exact ties here."""

    @cases(2.5)
    @given(layers(shapes, relu, powers=True))
    def check(layer):
        expected = layer.ours()
        for engine in ENGINES:
            if not runs_right(layer, engine):
                continue
            actual = layer.theirs(engine)
            if uses_onednn(layer, engine) and layer.y_zero_point % 2:
                assert_near_ties(layer, actual, expected, engine)
            else:
                np.testing.assert_array_equal(actual, expected, err_msg=engine)

    check()


@pytest.mark.parametrize(("shapes", "relu"), OPERATORS)
def test_any_scales(shapes, relu):
    @cases(2.5)
    @given(layers(shapes, relu, powers=False))
    def check(layer):
        expected = layer.ours()
        multiplier = conv_multiplier(layer.x_scale, layer.weight_scale, layer.y_scale)
        for engine in ENGINES:
            if not runs_right(layer, engine):
                continue
            actual = layer.theirs(engine)
            same = np.zeros(len(multiplier), bool)
            if engine == "qnnpack":
                same = layer.step * (f32(1) / layer.y_scale) == multiplier
            elif not uses_onednn(layer, engine):
                same[:] = True
            np.testing.assert_array_equal(actual[..., same], expected[..., same], err_msg=engine)
            assert_near_ties(layer, actual, expected, engine)

    check()


@given(layers(CONV, False, powers=False), st.integers(0, 2**32 - 1))
def test_qnnpack_rounds_any_bias_to_the_grid(layer, seed):
    """The other engines keep it in float."""
    rng = np.random.default_rng(seed)
    bias = (rng.uniform(-1, 1, len(layer.bias)) * 1e4 * layer.step).astype(f32)
    layer = Layer(**{**vars(layer), "bias": bias})
    # qnnpack divides in float32, which may cross the middle of two integers.
    same_bias = np.rint(layer.bias / layer.step) == layer.int_bias
    multiplier = conv_multiplier(layer.x_scale, layer.weight_scale, layer.y_scale)
    same = same_bias & (layer.step * (f32(1) / layer.y_scale) == multiplier)
    actual = layer.theirs("qnnpack")
    np.testing.assert_array_equal(actual[..., same], layer.ours()[..., same])
