"""What networks and pictures can be but seldom are: the right result or a clear error."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import wbcq
from wbcq.errors import CalibrationError, UnsupportedOperatorError

Forward = Callable[..., Tensor]


class Net(nn.Module):
    """Layers ``a`` to ``e`` and what is done with them."""

    def __init__(self, forward: Forward, *layers: nn.Module) -> None:
        super().__init__()
        self.function = forward
        for name, layer in zip("abcde", layers, strict=False):
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)


def shared_norm() -> Net:
    """One convolution and one normalization, each in three places."""
    net = Net(
        lambda m, x: m.b(m.c(m.b(m.c(m.b(m.a(x))).relu())).relu()),
        conv(3, 4),
        nn.BatchNorm2d(4),
        conv(4, 4),
    )
    net.b.running_mean = torch.tensor([0.1, -0.2, 0.0, 0.3])
    net.b.running_var = torch.tensor([0.5, 1.0, 2.0, 0.2])
    return net


def classifier(m: Net, x: Tensor) -> Tensor:
    y = F.max_pool2d(m.b(m.a(x).relu()).relu(), 3, 2, 1, ceil_mode=True)
    return m.c(F.adaptive_avg_pool2d(y, 1).flatten(1))


def written_in_place(m: Net, x: Tensor) -> Tensor:
    y = m.a(x)
    alias = y.view(y.size(0), 4, -1)
    F.relu_(y).add_(1.0)
    return m.b(alias.view(y.shape) * 0.5)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "one pixel": (
        lambda: Net(classifier, conv(3, 8), conv(8, 8, 3, 2), nn.Linear(8, 5)),
        (3, 1, 1),
    ),
    "one pixel enlarged": (
        lambda: Net(
            lambda m, x: m.b(F.interpolate(m.a(x), scale_factor=2)), conv(3, 8), conv(8, 4)
        ),
        (3, 1, 1),
    ),
    "one pixel interpolated": (
        lambda: Net(
            lambda m, x: m.b(F.interpolate(m.a(x), size=(3, 2), mode="bilinear")),
            conv(3, 8),
            conv(8, 4),
        ),
        (3, 1, 1),
    ),
    "odd sizes": (
        lambda: Net(classifier, conv(3, 9), conv(9, 7, 5, 2), nn.Linear(7, 5)),
        (3, 17, 23),
    ),
    "one row": (
        lambda: Net(
            lambda m, x: m.b(m.a(x).relu()),
            nn.Conv2d(3, 5, (1, 3), padding=(0, 1)),
            nn.Conv2d(5, 3, (1, 5)),
        ),
        (3, 1, 5),
    ),
    "kernel larger than the picture": (lambda: Net(lambda m, x: m.a(x), conv(3, 5, 7)), (3, 2, 2)),
    "one channel": (
        lambda: Net(lambda m, x: m.b(m.a(x).relu()), conv(1, 1), conv(1, 1)),
        (1, 6, 6),
    ),
    "shared modules": (shared_norm, (3, 6, 6)),
    "tied weights": (
        lambda: Net(lambda m, x: F.conv2d(m.a(x).relu(), m.a.weight, padding=1), conv(4, 4)),
        (4, 6, 6),
    ),
    "tied and transposed": (
        lambda: Net(
            lambda m, x: F.linear(m.a(x.mean((2, 3))).relu(), m.a.weight.t()), nn.Linear(4, 6)
        ),
        (4, 6, 6),
    ),
    "written in place": (lambda: Net(written_in_place, conv(3, 4), conv(4, 4)), (3, 6, 6)),
    "a value twice": (
        lambda: Net(lambda m, x: (m.a(x) + m.a(x)) * m.a(x), conv(3, 4)),
        (3, 6, 6),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_right_result(name: str) -> None:
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    model, x = make().eval(), torch.randn(6, *shape)
    quantized = wbcq.quantize(model, [x])
    with torch.no_grad():
        expected = model(x.clone())
    actual = quantized(x)
    assert actual.shape == expected.shape
    assert 10 * torch.log10(expected.square().sum() / (expected - actual).square().sum()) > 30
    np.testing.assert_array_equal(actual, quantized.simulate(x))


def test_dead_channels_give_the_constant_that_is_left() -> None:
    torch.manual_seed(0)
    model = Net(lambda m, x: m.b(F.relu(m.a(x) - 1e6)), conv(3, 4), conv(4, 4)).eval()
    x = torch.randn(2, 3, 6, 6)
    quantized = wbcq.quantize(model, [x])
    torch.testing.assert_close(quantized(x), model(x).detach())
    np.testing.assert_array_equal(quantized(x), quantized.simulate(x))


def test_batch_of_no_pictures_gives_no_results() -> None:
    model = Net(classifier, conv(3, 8), conv(8, 8, 3, 2), nn.Linear(8, 5))
    quantized = wbcq.quantize(model, [torch.randn(2, 3, 8, 8)])
    none = torch.zeros(0, 3, 8, 8)
    assert quantized(none).shape == (0, 5)
    assert quantized.simulate(none).shape == (0, 5)


@pytest.mark.parametrize("sizes", [(0,), (0, 2), (2, 0)])
def test_calibration_needs_pictures(sizes: tuple[int, ...]) -> None:
    batches = [torch.randn(size, 3, 6, 6) for size in sizes]
    with pytest.raises(CalibrationError, match="at least one picture"):
        wbcq.quantize(Net(lambda m, x: m.a(x), conv(3, 4)), batches)


@pytest.mark.parametrize(
    ("forward", "shape"),
    [
        (lambda m, x: m.a(x)[:, 4:], r"\[N, 0, 8, 8\]"),
        (lambda m, x: torch.cat((m.a(x), x[:, 3:]), 1), r"\[N, 0, 8, 8\]"),
        (lambda m, x: m.a(x)[:, :, 8:], r"\[N, 4, 0, 8\]"),
        (lambda m, x: m.b(m.a(x).flatten(1)), r"\[N, 0\]"),
    ],
)
def test_values_that_hold_nothing(forward: Forward, shape: str) -> None:
    model = Net(forward, conv(3, 4), nn.Linear(256, 0))
    with pytest.raises(UnsupportedOperatorError, match=shape + ", which holds nothing.*Remedy"):
        wbcq.quantize(model, [torch.randn(2, 3, 8, 8)])


def test_input_without_channels() -> None:
    with pytest.raises(CalibrationError, match=r"\[2, 0, 8, 8\]"):
        wbcq.quantize(Net(lambda m, x: m.a(x), conv(1, 4)), [torch.randn(2, 0, 8, 8)])


def test_write_to_a_part() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.a(x)
        y[:, :2].mul_(2.0)
        return y

    with pytest.raises(UnsupportedOperatorError, match="writes to a part of a tensor"):
        wbcq.quantize(Net(forward, conv(3, 4)), [torch.randn(2, 3, 8, 8)])


def test_infinite_padding_without_a_maximum() -> None:
    """No integer stands for it, and the value that holds it is named."""

    def forward(m: Net, x: Tensor) -> Tensor:
        return m.b(F.pad(m.a(x), (0, 1, 0, 1), value=-float("inf")).relu())

    with pytest.raises((CalibrationError, UnsupportedOperatorError), match=r"infinite|-inf"):
        wbcq.quantize(Net(forward, conv(3, 4), conv(4, 4)), [torch.randn(2, 3, 8, 8)])


@pytest.mark.parametrize("value", [0.0, 1.5, -3.0])
def test_constant_padding_before_a_pool(value: float) -> None:
    torch.manual_seed(0)
    model = Net(
        lambda m, x: m.b(F.max_pool2d(F.pad(m.a(x), (0, 1, 1, 0), value=value), 3, 2)),
        conv(3, 8),
        conv(8, 4),
    ).eval()
    x = torch.randn(4, 3, 15, 16)
    quantized = wbcq.quantize(model, [x])
    assert [type(op).__name__ for op in quantized.program.ops].count("Pad") == 1
    with torch.no_grad():
        expected = model(x)
    actual = quantized(x)
    assert 10 * torch.log10(expected.square().sum() / (expected - actual).square().sum()) > 30
    np.testing.assert_array_equal(actual, quantized.simulate(x))


def test_infinite_padding_before_a_maximum_costs_nothing() -> None:
    torch.manual_seed(0)
    model = Net(
        lambda m, x: F.max_pool2d(F.pad(m.a(x), (0, 1, 0, 1), value=-float("inf")), 3, 2),
        conv(3, 8),
    ).eval()
    x = torch.randn(4, 3, 15, 16)
    quantized = wbcq.quantize(model, [x])
    kinds = [type(op).__name__ for op in quantized.program.ops]
    assert kinds == ["Quantize", "Conv2d", "MaxPool2d", "Dequantize"]
    np.testing.assert_array_equal(quantized(x), quantized.simulate(x))
