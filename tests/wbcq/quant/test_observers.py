"""Observers against brute force, against torch.ao.quantization, and against their own promises."""

import copy
import itertools

import numpy as np
import pytest
import torch
import torch.ao.quantization as torch_quant
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wbcq.errors import CalibrationError
from wbcq.quant.observers import (
    MIN_SCALE,
    OBSERVERS,
    HistogramObserver,
    MinMaxObserver,
    MovingAverageMinMaxObserver,
)
from wbcq.quant.observers.base import integer_range

ALL = list(OBSERVERS.values())
KINDS = [
    (cls, symmetric, axis)
    for cls in ALL
    for symmetric, axis in itertools.product((False, True), (None, 1))
]

finite = st.floats(-1e6, 1e6, width=32)
batches = st.lists(
    arrays(np.float32, st.tuples(st.integers(1, 3), st.just(4)), elements=finite),
    min_size=1,
    max_size=4,
).map(lambda items: [torch.from_numpy(item) for item in items])


def quantized(x, observer):
    scale, zero_point = observer.calculate_qparams()
    if observer.axis is not None:
        shape = [1] * x.dim()
        shape[observer.axis] = -1
        scale, zero_point = scale.view(shape), zero_point.view(shape)
    q = torch.round(x / scale) + zero_point
    return (q.clamp(observer.qmin, observer.qmax) - zero_point) * scale


def mean_squared_error(x, observer):
    return float((x - quantized(x, observer)).double().square().mean())


# Every observer.


@pytest.mark.parametrize(("cls", "symmetric", "axis"), KINDS)
@pytest.mark.parametrize("bits", range(2, 9))
def test_zero_is_exact_and_qparams_are_well_formed(cls, symmetric, axis, bits):
    observer = cls(bits=bits, symmetric=symmetric, axis=axis)
    x = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(bits)) + 7
    assert observer(x) is x
    params = observer.qparams()
    assert params.scale.dtype == np.float32
    assert params.zero_point.dtype == np.int32
    assert params.scale.shape == params.zero_point.shape == (() if axis is None else (3,))
    assert (params.qmin, params.qmax) == integer_range(bits, symmetric)
    assert params.axis == axis
    assert np.all((params.zero_point >= params.qmin) & (params.zero_point <= params.qmax))
    if symmetric:
        assert not params.zero_point.any()
    zeros = torch.zeros(1, 3, 1)
    assert torch.equal(quantized(zeros, observer), zeros)


@pytest.mark.parametrize(("cls", "symmetric", "axis"), KINDS)
@pytest.mark.parametrize(
    "values",
    [
        [0.0, 0.0, 0.0, 0.0],
        [3.5, 3.5, 3.5, 3.5],
        [-2.0, -2.0, -2.0, -2.0],
        [1e-30, 2e-30, 0.0, 1e-31],
        [1e-45, -1e-45, 0.0, 1e-45],
        [-0.0, 0.0, -0.0, 0.0],
        [1e30, -1e30, 1.0, 0.0],
    ],
    ids=["zeros", "constant", "negative", "tiny", "subnormal", "signed zeros", "huge"],
)
def test_degenerate_ranges(cls, symmetric, axis, values):
    observer = cls(symmetric=symmetric, axis=axis)
    x = torch.tensor(values).reshape(2, 1, 2).expand(2, 3, 2)
    for _ in range(2):
        observer(x)
    scale, zero_point = observer.calculate_qparams()
    assert torch.isfinite(scale).all()
    assert (scale >= MIN_SCALE).all()
    assert ((zero_point >= observer.qmin) & (zero_point <= observer.qmax)).all()
    # Half a step is the most that a value inside the range may move.
    reach = float(scale.max()) * 0.5001 + float(x.abs().max()) * 0.01
    assert (x - quantized(x, observer)).abs().max() <= reach


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("axis", [None, 0])
def test_single_value(cls, axis):
    observer = cls(axis=axis)
    observer(torch.tensor([2.55]))
    scale, zero_point = observer.calculate_qparams()
    assert float(scale) == pytest.approx(0.01, rel=0.01)
    assert int(zero_point) == 0


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize(
    ("bad", "words"), [(float("nan"), "1 NaN"), (float("inf"), "1 inf"), (-float("inf"), "1 inf")]
)
def test_non_finite_values_are_refused_by_name(cls, bad, words):
    observer = cls(name="layer1.0.conv1")
    observer(torch.ones(3))
    before = {k: v.clone() for k, v in observer.state_dict().items()}
    with pytest.raises(CalibrationError, match=rf"'layer1\.0\.conv1'.*{words}"):
        observer(torch.tensor([1.0, bad, 2.0]))
    after = observer.state_dict()
    assert all(torch.equal(after[k], before[k]) for k in before)


@pytest.mark.parametrize("cls", ALL)
def test_no_data_and_empty_batches(cls):
    observer = cls(name="stem")
    observer(torch.empty(0, 3))
    assert not observer.has_data
    with pytest.raises(CalibrationError, match="'stem' was never observed"):
        observer.calculate_qparams()


def test_range_beyond_float32_is_refused():
    observer = MinMaxObserver(name="stem")
    observer(torch.tensor([-3e38, 3e38]))
    with pytest.raises(CalibrationError, match="'stem' spans"):
        observer.calculate_qparams()


@pytest.mark.parametrize("cls", ALL)
def test_wrong_channels(cls):
    observer = cls(axis=1, name="stem")
    observer(torch.ones(2, 3))
    with pytest.raises(ValueError, match="4 channels along axis 1; earlier batches had 3"):
        observer(torch.ones(2, 4))
    with pytest.raises(ValueError, match="has no axis 1"):
        observer(torch.ones(2))


@pytest.mark.parametrize("bits", [1, 9, 0, -8, 8.0, True, "8"])
def test_bits_out_of_range(bits):
    with pytest.raises(ValueError, match="2 to 8 bits"):
        MinMaxObserver(bits=bits)


def test_bad_settings():
    with pytest.raises(ValueError, match="averaging_constant is 0"):
        MovingAverageMinMaxObserver(averaging_constant=0)
    with pytest.raises(ValueError, match="bins is 4"):
        HistogramObserver(bins=4)
    for clip_weight in (0.5, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="clip_weight is"):
            HistogramObserver(clip_weight=clip_weight)
    with pytest.raises(ValueError, match="min_scale"):
        MinMaxObserver(min_scale=0.0)


@pytest.mark.parametrize(("cls", "symmetric", "axis"), KINDS)
def test_interrupted_run_equals_uninterrupted(cls, symmetric, axis):
    def make():
        return cls(symmetric=symmetric, axis=axis)

    generator = torch.Generator().manual_seed(1)
    data = [torch.randn(4, 3, 2, generator=generator) * 2**i for i in range(6)]
    whole = make()
    for x in data:
        whole(x)

    first = make()
    for x in data[:3]:
        first(x)
    copied = copy.deepcopy(first)
    restored = make()
    restored.load_state_dict(first.state_dict())
    for observer in (copied, restored):
        for x in data[3:]:
            observer(x)
        for key, value in whole.state_dict().items():
            assert torch.equal(observer.state_dict()[key], value), key
        for ours, theirs in zip(
            observer.calculate_qparams(), whole.calculate_qparams(), strict=True
        ):
            assert torch.equal(ours, theirs)
    assert not torch.equal(first.min_val, whole.min_val) or not torch.equal(
        first.max_val, whole.max_val
    )


@pytest.mark.parametrize("cls", ALL)
def test_reset_and_move(cls):
    observer = cls().to("cpu")
    observer(torch.tensor([100.0]))
    observer.reset()
    assert not observer.has_data
    observer(torch.tensor([1.0]))
    assert float(observer.calculate_qparams()[0]) == pytest.approx(1 / 255, rel=0.01)
    assert {b.device.type for b in cls().to("meta").buffers()} == {"meta"}


@pytest.mark.parametrize("cls", ALL)
def test_half_precision_and_gradients_pass_through(cls):
    observer = cls()
    x = torch.tensor([0.5, 2.0], dtype=torch.bfloat16, requires_grad=True)
    assert observer(x) is x
    assert not any(b.requires_grad for b in observer.buffers())


# Minimum and maximum.


def pairs():
    eps = torch.finfo(torch.float32).eps
    affine, symmetric = (torch.quint8, 0, 255), (torch.qint8, -127, 127)
    for (dtype, qmin, qmax), sym in ((affine, False), (symmetric, True)):
        settings_ = {"dtype": dtype, "quant_min": qmin, "quant_max": qmax, "eps": eps}
        tensor = torch.per_tensor_symmetric if sym else torch.per_tensor_affine
        channel = torch.per_channel_symmetric if sym else torch.per_channel_affine
        ours = {"symmetric": sym, "min_scale": eps}
        yield (
            lambda o=ours: MinMaxObserver(**o),
            lambda s=settings_, q=tensor: torch_quant.MinMaxObserver(qscheme=q, **s),
        )
        yield (
            lambda o=ours: MinMaxObserver(axis=1, **o),
            lambda s=settings_, q=channel: torch_quant.PerChannelMinMaxObserver(
                ch_axis=1, qscheme=q, **s
            ),
        )
        yield (
            lambda o=ours: MovingAverageMinMaxObserver(averaging_constant=0.1, **o),
            lambda s=settings_, q=tensor: torch_quant.MovingAverageMinMaxObserver(
                averaging_constant=0.1, qscheme=q, **s
            ),
        )
        yield (
            lambda o=ours: MovingAverageMinMaxObserver(averaging_constant=0.1, axis=1, **o),
            lambda s=settings_, q=channel: torch_quant.MovingAveragePerChannelMinMaxObserver(
                averaging_constant=0.1, ch_axis=1, qscheme=q, **s
            ),
        )


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(("make_ours", "make_torch"), list(pairs()))
@settings(max_examples=60, deadline=None)
@given(data=batches)
def test_equals_torch(make_ours, make_torch, data):
    ours, theirs = make_ours(), make_torch()
    for x in data:
        ours(x)
        theirs(x)
    scale, zero_point = ours.calculate_qparams()
    torch_scale, torch_zero_point = theirs.calculate_qparams()
    assert torch.equal(scale.reshape(-1), torch_scale.reshape(-1))
    assert torch.equal(zero_point.reshape(-1).long(), torch_zero_point.reshape(-1).long())


def test_tiny_weights_keep_their_levels():
    w = torch.linspace(-1e-7, 1e-7, 255).reshape(1, -1)
    observer = MinMaxObserver(symmetric=True, axis=0)
    observer(w)
    assert (w - quantized(w, observer)).abs().max() < 1e-9


# Histogram.

DISTRIBUTIONS = {
    "relu": lambda g: torch.randn(40000, generator=g).relu(),
    "normal": lambda g: torch.randn(40000, generator=g),
    "uniform": lambda g: torch.rand(40000, generator=g),
    "silu": lambda g: torch.nn.functional.silu(3 * torch.randn(40000, generator=g)),
    "heavy tails": lambda g: torch.randn(40000, generator=g) / torch.rand(40000, generator=g),
    "outlier": lambda g: torch.cat([torch.randn(39999, generator=g), torch.tensor([300.0])]),
    "negative": lambda g: -torch.randn(40000, generator=g).exp(),
    "two clusters": lambda g: torch.cat(
        [torch.randn(20000, generator=g) - 40, torch.randn(20000, generator=g) + 90]
    ),
}


def best_by_brute_force(x, bits, symmetric):
    """The least squared error over a grid of ranges, measured on the data themselves, in numpy."""
    qmin, qmax = integer_range(bits, symmetric)
    x = x.double().numpy()
    low, high = min(x.min(), 0.0), max(x.max(), 0.0)
    ratios = np.logspace(0, -9, 28, base=2.0)
    pairs_ = (
        itertools.product(ratios, ratios) if low < 0 < high else zip(ratios, ratios, strict=True)
    )
    best = np.inf
    for a, b in zip(ratios, ratios, strict=True) if symmetric else pairs_:
        if symmetric:
            scale, zero_point = max(-a * low, b * high) / qmax, 0
        else:
            scale = (b * high - a * low) / (qmax - qmin)
            zero_point = np.clip(np.rint(-a * low / scale), qmin, qmax)
        q = np.clip(np.rint(x / scale) + zero_point, qmin, qmax)
        best = min(best, np.mean((x - (q - zero_point) * scale) ** 2))
    return best


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_histogram_finds_the_least_error(name, bits, symmetric):
    x = DISTRIBUTIONS[name](torch.Generator().manual_seed(0))[3::8]
    observer = HistogramObserver(bits=bits, symmetric=symmetric)
    observer(x)
    minmax = MinMaxObserver(bits=bits, symmetric=symmetric)
    minmax(x)
    error = mean_squared_error(x, observer)
    # 3 %: the histogram does not know where in a bin its values lie.
    assert error <= 1.03 * mean_squared_error(x, minmax)
    assert error <= 1.03 * best_by_brute_force(x, bits, symmetric)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_histogram_is_no_worse_than_torchs(name):
    x = DISTRIBUTIONS[name](torch.Generator().manual_seed(0))
    ours = HistogramObserver()
    theirs = torch_quant.HistogramObserver(dtype=torch.quint8, quant_min=0, quant_max=255)
    for batch in x.chunk(8):
        ours(batch)
        theirs(batch)
    scale, zero_point = theirs.calculate_qparams()
    torch_error = x - torch.fake_quantize_per_tensor_affine(x, scale, zero_point.int(), 0, 255)
    assert mean_squared_error(x, ours) <= 1.03 * float(torch_error.double().square().mean())


@settings(max_examples=200, deadline=None)
@given(
    data=batches,
    scales=st.lists(st.integers(-120, 100), min_size=4, max_size=4),
    axis=st.sampled_from([None, 1]),
)
def test_histogram_does_not_depend_on_batches_or_their_order(data, scales, axis):
    # Each batch in a range of its own, so that the grid grows by any number of doublings.
    data = [
        (x.clamp(-1000, 1000).double() * 2.0**s).float() for x, s in zip(data, scales, strict=False)
    ]
    forward, backward, whole = (HistogramObserver(bins=64, axis=axis) for _ in range(3))
    for x in data:
        forward(x)
    for x in reversed(data):
        backward(x)
    whole(torch.cat(data))
    for key, value in whole.state_dict().items():
        assert torch.equal(forward.state_dict()[key], value), key
        assert torch.equal(backward.state_dict()[key], value), key
    nonzero = sum(int((x != 0).sum()) for x in data)
    assert int(whole.counts.sum()) == nonzero
    assert int(whole.counts.min()) >= 0


@settings(max_examples=100, deadline=None)
@given(
    x=arrays(
        np.float32,
        st.integers(1, 50),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_histogram_bins_hold_what_they_say(x):
    observer = HistogramObserver(bins=64)
    observer(torch.from_numpy(x))
    width = 2.0 ** int(observer.exponent)
    edges = (int(observer.start) + np.arange(65)) * width
    expected, _ = np.histogram(x[x != 0].astype(np.float64), edges)
    # numpy closes the last bin on the right; ours is open, and no value lies on its end.
    np.testing.assert_array_equal(observer.counts[0].numpy(), expected)
    assert float(x.min(initial=0)) >= edges[0]
    assert float(x.max(initial=0)) < edges[-1]


def weighted_error(x, observer, clip_weight):
    error = (x - quantized(x, observer)).double().square()
    scale, zero_point = (p.double() for p in observer.calculate_qparams())
    low, high = (observer.qmin - zero_point) * scale, (observer.qmax - zero_point) * scale
    beyond = (x.double() - x.double().clamp(low, high)).square()
    return float((error + (clip_weight - 1) * beyond).mean())


@pytest.mark.parametrize("name", ["relu", "silu", "heavy tails"])
def test_clip_weight_is_what_it_says(name):
    """Each observer is best by its own measure, and a larger weight never clips more."""
    x = DISTRIBUTIONS[name](torch.Generator().manual_seed(0))
    weights = (1.0, 8.0, 64.0, 1e9)
    observers = {w: HistogramObserver(bits=4, clip_weight=w) for w in weights}
    for observer in observers.values():
        observer(x)
    for weight in weights[:-1]:
        own = weighted_error(x, observers[weight], weight)
        for other in weights:
            assert own <= 1.03 * weighted_error(x, observers[other], weight)
    scales = [float(observers[w].calculate_qparams()[0]) for w in weights]
    assert scales == sorted(scales)
    assert scales[0] < scales[1] < scales[2]
    # With nearly infinite weight nothing is clipped, but for what the bins do not resolve.
    scale, zero_point = observers[1e9].calculate_qparams()
    tolerance = 2.0 ** int(observers[1e9].exponent)
    assert float(x.min()) >= float((0 - zero_point) * scale) - tolerance
    assert float(x.max()) <= float((15 - zero_point) * scale) + tolerance


def test_histogram_uses_at_least_half_its_bins():
    for high in np.linspace(1.0, 4.0, 50):
        observer = HistogramObserver(bins=256)
        observer(torch.tensor([0.0, float(high)]))
        used = high / 2.0 ** int(observer.exponent)
        assert 127 <= used <= 256


def test_histogram_memory_is_bounded():
    observer = HistogramObserver(axis=0, bins=128)
    generator = torch.Generator().manual_seed(0)
    for i in range(50):
        observer(torch.randn(3, 100, generator=generator) * 1.5**i)
    assert sum(b.numel() for b in observer.buffers()) == 3 * (128 + 4)
    assert int(observer.counts.sum()) == 50 * 3 * 100


@pytest.mark.parametrize("symmetric", [False, True])
def test_channels_are_independent(symmetric):
    x = torch.randn(6, 500, generator=torch.Generator().manual_seed(0))
    x = x * torch.tensor([1e-6, 1e-3, 1.0, 30.0, 1e4, 0.0]).unsqueeze(1)
    together = HistogramObserver(axis=0, symmetric=symmetric, bits=4)
    together(x)
    scales, zero_points = together.calculate_qparams()
    for row, scale, zero_point in zip(x, scales, zero_points, strict=True):
        alone = HistogramObserver(symmetric=symmetric, bits=4)
        alone(row)
        expected_scale, expected_zero_point = alone.calculate_qparams()
        torch.testing.assert_close(scale, expected_scale, rtol=1e-6, atol=0)
        assert zero_point == expected_zero_point
