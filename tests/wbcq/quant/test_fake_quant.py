"""Fake quantization against PyTorch's own operators, forward and backward."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wbcq.errors import CalibrationError
from wbcq.quant.fake_quant import FakeQuantize, fake_quantize
from wbcq.quant.observers import HistogramObserver, MinMaxObserver, MovingAverageMinMaxObserver

ranges = st.sampled_from([(0, 255), (-127, 127), (-128, 127), (0, 15), (-1, 1)])
scales = st.floats(2.0**-20, 2.0**20, width=32)


@st.composite
def tensors_and_scales(draw, channels):
    """Values among which many are ties between two levels, at the ends of the range, or extreme."""
    qmin, qmax = draw(ranges)
    scale = np.array(draw(st.lists(scales, min_size=channels, max_size=channels)), np.float32)
    zero_point = np.array(
        draw(st.lists(st.integers(qmin, qmax), min_size=channels, max_size=channels)), np.int32
    )
    steps = draw(
        arrays(
            np.float32,
            (channels, draw(st.integers(1, 12))),
            elements=st.one_of(
                st.integers(-600, 600).map(lambda n: n / 2),
                st.floats(-400, 400, width=32),
                st.floats(-(2.0**31), 2.0**31, width=32),
                st.sampled_from([0.0, -0.0, 1e-45, -1e-45]),
            ),
        )
    )
    x = (steps * scale[:, None]).astype(np.float32)
    return (*map(torch.from_numpy, (x, scale, zero_point)), qmin, qmax)


def forward_and_gradient(function, x):
    x = x.clone().requires_grad_()
    y = function(x)
    weights = torch.arange(1.0, y.numel() + 1).reshape(y.shape)
    (y * weights).sum().backward()
    return y.detach(), x.grad


@settings(max_examples=300, deadline=None)
@given(case=tensors_and_scales(1))
def test_equals_torch_per_tensor(case):
    x, scale, zero_point, qmin, qmax = case
    scale, zero_point = scale[0], zero_point[0]
    ours = forward_and_gradient(lambda t: fake_quantize(t, scale, zero_point, qmin, qmax), x)
    theirs = forward_and_gradient(
        lambda t: torch.fake_quantize_per_tensor_affine(t, scale, zero_point, qmin, qmax), x
    )
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)


@settings(max_examples=300, deadline=None)
@given(case=tensors_and_scales(3), axis=st.sampled_from([0, 1, -1]))
def test_equals_torch_per_channel(case, axis):
    x, scale, zero_point, qmin, qmax = case
    x = x.movedim(0, axis)
    ours = forward_and_gradient(lambda t: fake_quantize(t, scale, zero_point, qmin, qmax, axis), x)
    theirs = forward_and_gradient(
        lambda t: torch.fake_quantize_per_channel_affine(
            t, scale, zero_point, axis % x.dim(), qmin, qmax
        ),
        x,
    )
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)


def test_extremes_saturate():
    x = torch.tensor([3e38, -3e38, float("inf"), -float("inf"), float("nan")])
    scale, zero_point = torch.tensor(0.5), torch.tensor(10)
    y, gradient = forward_and_gradient(lambda t: fake_quantize(t, scale, zero_point, 0, 255), x)
    # The engine's conversion gives q = 0 for NaN.
    assert y.tolist() == [122.5, -5.0, 122.5, -5.0, -5.0]
    assert not gradient.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_types_keep_their_dtype(dtype):
    x = torch.tensor([0.3, 1.0, 9.0], dtype=dtype, requires_grad=True)
    y = fake_quantize(x, torch.tensor(0.5), torch.tensor(0), 0, 15)
    assert y.dtype == dtype
    assert y.tolist() == [0.5, 1.0, 7.5]
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 0.0]


def test_module_observes_and_quantizes_as_switched():
    module = FakeQuantize(MinMaxObserver(bits=4))
    x = torch.tensor([0.0, 0.33, 1.5])

    module.enable_fake_quant(False)
    assert module(x) is x
    assert float(module.scale) == pytest.approx(0.1)

    module.enable_fake_quant()
    torch.testing.assert_close(module(x), torch.tensor([0.0, 0.3, 1.5]))

    module.freeze()
    torch.testing.assert_close(module(2 * x), torch.tensor([0.0, 0.7, 1.5]))
    assert float(module.scale) == pytest.approx(0.1)
    module(torch.tensor([float("inf")]))  # a frozen module does not observe

    module.enable_observer()
    module(2 * x)
    assert float(module.scale) == pytest.approx(0.2)
    with pytest.raises(CalibrationError):
        module(torch.tensor([float("inf")]))


@pytest.mark.parametrize("axis", [None, 0])
@pytest.mark.parametrize("cls", [MinMaxObserver, MovingAverageMinMaxObserver, HistogramObserver])
def test_module_state_round_trip(cls, axis):
    def make():
        return FakeQuantize(cls(symmetric=True, axis=axis))

    module = make()
    x = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    module(x)
    module.freeze()
    restored = make()
    restored.load_state_dict(module.state_dict())
    for other in (restored, copy.deepcopy(module)):
        assert not other.observer_enabled
        assert torch.equal(other(2 * x), module(2 * x))
        params = other.qparams()
        assert params.axis == axis
        assert np.array_equal(params.scale, module.qparams().scale)
    # The copy stands on its own.
    restored.enable_observer()(10 * x)
    assert not torch.equal(restored.scale, module.scale)


def test_gradient_reaches_parameters_only_inside_the_range():
    weight = torch.nn.Parameter(torch.tensor([-3.0, -0.5, 0.5, 3.0]))
    module = FakeQuantize(MinMaxObserver(symmetric=True)).enable_fake_quant(False)
    module(torch.tensor([-1.0, 1.0]))
    module.freeze()(weight).sum().backward()
    assert weight.grad.tolist() == [0.0, 1.0, 1.0, 0.0]
