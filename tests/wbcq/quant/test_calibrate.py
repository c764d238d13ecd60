"""Reading of loaders, and what calibration makes of them."""

import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from wbcq.errors import CalibrationError
from wbcq.graph.capture import capture
from wbcq.graph.passes.pipeline import prepare_for_quantization
from wbcq.quant.calibrate import activation_observers, calibrate
from wbcq.quant.calibration_data import CalibrationData
from wbcq.quant.config import QuantConfig
from wbcq.quant.observers import MinMaxObserver
from wbcq.quant.progress import track
from wbcq.quant.weights import weighted_nodes


class TwoInputs(nn.Module):
    def forward(self, left, right):
        return left + right


class OptionalInput(nn.Module):
    def forward(self, x, mask=None):
        return x if mask is None else x * mask


class AnyInputs(nn.Module):
    def forward(self, *xs):
        return sum(xs)


ONE, TWO = nn.Sequential(nn.ReLU()), TwoInputs()
A = torch.arange(24.0).reshape(2, 3, 2, 2)
B = A + 100
LABEL = torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("model", "batch", "expected"),
    [
        (ONE, A, [A]),
        (ONE, A.numpy(), [A]),
        (ONE, (A, LABEL), [A]),
        (ONE, [A, LABEL], [A]),
        (ONE, (A.numpy(), LABEL.numpy(), "name"), [A]),
        (ONE, (A,), [A]),
        (ONE, ((A,), LABEL), [A]),
        (ONE, ({"input": A}, LABEL), [A]),
        (ONE, {"label": LABEL, "input": A}, [A]),
        (ONE, {"image": A, "label": LABEL}, [A]),
        (OptionalInput(), (A, B), [A]),
        (TWO, (A, B), [A, B]),
        (TWO, [A, B, LABEL], [A, B]),
        (TWO, ((A, B), LABEL), [A, B]),
        (TWO, {"right": B, "left": A, "label": LABEL}, [A, B]),
        (TWO, {"green": A, "purple": B, "label": LABEL}, [A, B]),
        (AnyInputs(), (A, B, A, LABEL), [A, B, A]),
        (AnyInputs(), A, [A]),
    ],
)
def test_batches_are_read_by_the_rule(model, batch, expected):
    for loader in ([batch, batch], iter([batch, batch]), (b for b in [batch, batch])):
        batches = list(CalibrationData(loader, model))
        assert len(batches) == 2
        for inputs in batches:
            assert len(inputs) == len(expected)
            for x, y in zip(inputs, expected, strict=True):
                assert x.dtype == torch.float32
                assert torch.equal(x, y)


def test_first_batch_is_not_lost():
    data = CalibrationData((torch.full((1, 2), float(i)) for i in range(4)), ONE)
    assert float(data.first[0][0, 0]) == 0
    assert [float(x[0, 0]) for (x,) in data] == [0, 1, 2, 3]


def test_length_is_known_where_the_loader_knows():
    class Stream(IterableDataset):
        def __iter__(self):
            yield from torch.ones(6, 3, 2, 2)

    assert len(CalibrationData([A] * 3, ONE)) == 3
    assert len(CalibrationData((A for _ in range(3)), ONE)) == 0
    assert len(CalibrationData(DataLoader(TensorDataset(A, LABEL), batch_size=1), ONE)) == 2
    stream = CalibrationData(DataLoader(Stream(), batch_size=2), ONE)
    assert len(list(stream)) == 3


def good_then(bad):
    return [(A, LABEL), bad]


@pytest.mark.parametrize(
    ("model", "loader", "words"),
    [
        (ONE, [], "empty"),
        (ONE, iter(()), "empty"),
        (ONE, 3, "calib_loader is a int"),
        (ONE, A, r"calib_loader is a Tensor.*or \[batch\]"),
        (ONE, {"x": A}, "calib_loader is a dict"),
        (ONE, ["picture.png"], "batch 0 is a str"),
        (ONE, [None], "batch 0 is a NoneType"),
        (ONE, [()], "batch 0 has 0 entries, the model takes 1 inputs"),
        (TWO, [A], r"batch 0 has 1 entries, the model takes 2 inputs \(left, right\)"),
        (TWO, [(A, LABEL)], "input 'right' is int64, must be float32"),
        (TWO, [(A, B[:1])], r"have \[2, 1\] pictures"),
        (ONE, good_then(None), "batch 1 is a NoneType"),
        (ONE, good_then((A.byte(), LABEL)), r"batch 1: input 'input' is uint8.*x\.float\(\) / 255"),
        (ONE, good_then(A.byte().numpy()), r"batch 1: input 'input' is uint8.*x\.float\(\) / 255"),
        (ONE, good_then(A.double().numpy()), r"is float64, must be float32. Remedy: x\.float\(\)"),
        (ONE, good_then(A.half()), "is float16"),
        (ONE, good_then((object(), LABEL)), "is a object, must be a tensor"),
        (ONE, good_then(np.array([["a"]])), "array of <U1"),
        (ONE, [A[0]], r"shape \[3, 2, 2\], must be \[N, C, H, W\].*unsqueeze"),
        (ONE, [A[:0]], "at least one picture"),
        (
            ONE,
            good_then(torch.ones(2, 3, 2, 3)),
            r"\[2, 3, 2, 3\], the first batch had \[2, 3, 2, 2\]",
        ),
        (ONE, good_then(torch.ones(2, 12)), "the first batch had"),
    ],
)
def test_unusable_data_are_refused(model, loader, words):
    with pytest.raises(CalibrationError, match=words):
        list(CalibrationData(loader, model))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("position", [0, 2])
def test_non_finite_pictures_are_named(bad, position):
    batches = [(A.clone(), B.clone()) for _ in range(3)]
    batches[position][1][1, 2, 0, 1] = bad
    with pytest.raises(CalibrationError, match=f"batch {position}: input 'right' holds"):
        list(CalibrationData(batches, TWO))


class Net(nn.Module):
    """A residual block, a pool that only moves bytes, and a float head."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(2)
        self.block = nn.Conv2d(4, 4, 1)
        self.fc = nn.Linear(4 * 4 * 4, 5)

    def forward(self, x):
        x = self.pool(torch.relu(self.norm(self.conv(x))))
        x = torch.relu(self.block(x) + x)
        return self.fc(x.flatten(1))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 3, 8, 8, generator=generator) for _ in range(3)]


def prepared(net, batches):
    data = CalibrationData(batches, net)
    return prepare_for_quantization(capture(net, data.first)), data


@pytest.mark.parametrize("observer", ["minmax", "moving_average", "histogram"])
def test_every_rounded_value_gets_qparams(net, batches, observer):
    graph, data = prepared(net, batches)
    result = calibrate(graph, data, QuantConfig(activation_observer=observer))
    assert (result.pictures, result.batches) == (6, 3)
    # x, conv+bn+relu, pool, block+residual+relu, flatten; the head stays float.
    assert len(result.activations) == 5
    for name in graph.outputs:
        assert name not in result.activations
    for params in result.activations.values():
        assert (params.qmin, params.qmax, params.axis) == (0, 255, None)
        assert params.scale.shape == ()


def test_values_are_observed_where_they_are_rounded(net, batches):
    graph, data = prepared(net, batches)
    result = calibrate(graph, data, QuantConfig(activation_observer="minmax"))
    with torch.no_grad():
        x = torch.cat(batches)
        stem = torch.relu(net.norm(net.conv(x)))
        pooled = net.pool(stem)
        block = torch.relu(net.block(pooled) + pooled)
    expected = {}
    for value, node in zip([x, stem, pooled, block, block], [None, *list(graph)[:-1]], strict=True):
        observer = MinMaxObserver()
        observer(stem if value is pooled else value)  # a pool's values have its input's range
        expected[graph.inputs[0] if node is None else node.output] = observer.qparams()
    assert set(expected) == set(result.activations)
    for name, params in result.activations.items():
        np.testing.assert_allclose(params.scale, expected[name].scale, rtol=1e-5)
        assert params.zero_point == expected[name].zero_point
        # Behind a ReLU nothing is negative, so all levels serve what is positive.
        assert name == graph.inputs[0] or params.zero_point == 0


def test_moved_values_share_one_observer(net, batches):
    graph, _ = prepared(net, batches)
    observers = activation_observers(graph, QuantConfig())
    by_kind = {type(node.op).__name__: node for node in graph}
    pool, flatten = by_kind["MaxPool2d"], by_kind["Flatten"]
    assert observers[pool.output] is observers[pool.inputs[0]]
    assert observers[flatten.output] is observers[flatten.inputs[0]]
    assert len({id(o) for o in observers.values()}) == 3


def test_means_of_layer_inputs(net, batches):
    graph, data = prepared(net, batches)
    means = calibrate(graph, data, QuantConfig()).means
    with torch.no_grad():
        x = torch.cat(batches)
        pooled = net.pool(torch.relu(net.norm(net.conv(x))))
        flat = torch.relu(net.block(pooled) + pooled).flatten(1)
    expected = [x.mean((0, 2, 3)), pooled.mean((0, 2, 3)), flat.mean(0)]
    assert list(means) == [node.inputs[0] for node in weighted_nodes(graph)]
    for mean, reference in zip(means.values(), expected, strict=True):
        np.testing.assert_allclose(mean, reference.numpy(), rtol=1e-4, atol=1e-6)


def test_bits_reach_the_observers(net, batches):
    graph, data = prepared(net, batches)
    result = calibrate(graph, data, QuantConfig(activation_bits=4))
    assert {params.qmax for params in result.activations.values()} == {15}


def test_overflow_inside_the_network_names_value_and_batch(net, batches):
    with torch.no_grad():
        net.block.weight.fill_(3e38)
    graph, data = prepared(net, batches)
    with pytest.raises(CalibrationError, match=r"batch 0: the value of 'block' holds .* infinite"):
        calibrate(graph, data, QuantConfig())


def test_calibration_is_deterministic(net, batches):
    graph, data = prepared(net, batches)
    first = calibrate(graph, data, QuantConfig())
    second = calibrate(graph, CalibrationData(batches, net), QuantConfig())
    for name, params in first.activations.items():
        assert params.scale == second.activations[name].scale
        assert params.zero_point == second.activations[name].zero_point


class Terminal:
    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def write(self, text):
        self.text += text
        return len(text)

    def flush(self):
        pass


def test_progress_is_shown_on_terminals_only(monkeypatch, capsys):
    assert list(track(range(3), 3, "Calibrating", enabled=True)) == [0, 1, 2]
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(track(range(3), 3, "Calibrating", enabled=False)) == [0, 1, 2]
    assert terminal.text == ""
    assert list(track(range(3), 3, "Calibrating", enabled=True)) == [0, 1, 2]
    assert "Calibrating" in terminal.text
    assert "3/3" in terminal.text
    assert capsys.readouterr().out == ""


def test_progress_works_without_rich(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert list(track(range(3), 0, "Calibrating", enabled=True)) == [0, 1, 2]
