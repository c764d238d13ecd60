"""Capture's errors: the operator, the module, the user's line, the remedy."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wbcq.errors import CaptureError, UnsupportedOperatorError
from wbcq.graph.capture import capture

PICTURE = torch.zeros(1, 3, 8, 8)


def line_of(model: type[nn.Module], code: str) -> str:
    """``file:line`` of the line of a class that contains some code."""
    lines, start = inspect.getsourcelines(model)
    offset = next(index for index, line in enumerate(lines) if code in line)
    return f"{inspect.getsourcefile(model)}:{start + offset}"


class _Unsupported(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardshrink())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return F.relu(out)


def test_unsupported_operator_names_operator_module_and_line() -> None:
    with pytest.raises(UnsupportedOperatorError) as caught:
        capture(_Unsupported(), PICTURE)
    message = str(caught.value)
    assert "aten.hardshrink.default in block.1" in message
    assert line_of(_Unsupported, "self.block(x)") in message
    assert "wbcq/graph/translations" in message


class _Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.mean() > 0:
            return x
        return F.relu(x)


class _Item(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        repeats = int(x.max().item())
        for _ in range(repeats):
            x = F.relu(x)
        return x


class _Mask(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        chosen = x[x > 0]
        if chosen.shape[0] > 2:
            return F.relu(x)
        return x


@pytest.mark.parametrize(
    ("model", "code"),
    [(_Branch, "if x.mean()"), (_Item, "x.max().item()"), (_Mask, "if chosen.shape")],
)
def test_data_dependent_control_flow(
    model: type[nn.Module], code: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CaptureError, match="depends on the values of a tensor") as caught:
        capture(model(), PICTURE)
    assert line_of(model, code) in str(caught.value)
    assert "Remedy" in str(caught.value)
    assert caught.value.__cause__ is not None
    assert capfd.readouterr().err == ""


class _OnePicture(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(192, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(x.view(1, -1))
        return out


class _TwoPictures(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(192, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(x.view(2, -1))
        return out


@pytest.mark.parametrize(("model", "batch"), [(_OnePicture, 1), (_TwoPictures, 2)])
def test_fixed_batch_size(model: type[nn.Module], batch: int) -> None:
    with pytest.raises(CaptureError, match=r"fixed batch size.*x\.flatten\(1\)") as caught:
        capture(model(), PICTURE.repeat(batch, 1, 1, 1))
    assert line_of(model, "x.view(") in str(caught.value)


def test_view_that_mixes_the_batch() -> None:
    class Mixes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(1, -1)

    with pytest.raises(UnsupportedOperatorError, match="mixes the pictures of a batch"):
        capture(Mixes(), PICTURE)


class _Computed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * torch.rand(1)
        return F.conv2d(x, weight)


def test_random_weight() -> None:
    with pytest.raises(UnsupportedOperatorError, match=r"aten\.rand\.default") as caught:
        capture(_Computed(), PICTURE)
    assert line_of(_Computed, "self.weight * torch.rand") in str(caught.value)


def test_weight_that_depends_on_the_input() -> None:
    class Dynamic(nn.Module):
        def forward(self, x: Tensor, weight: Tensor) -> Tensor:
            return F.linear(x, weight)

    with pytest.raises(UnsupportedOperatorError, match="its weight is computed in forward"):
        capture(Dynamic(), (torch.zeros(2, 3), torch.zeros(2, 3)))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda x: x + x.mean(2, keepdim=True),
            r"\[N, 3, 8, 8\] and \[N, 3, 1, 8\].*broadcast",
        ),
        (lambda x: x + torch.ones(8), r"constant of shape \[8\] .*\[N, 3, 8, 8\]"),
        (lambda x: x + torch.ones(1, 3, 8, 8), r"constant of shape \[1, 3, 8, 8\]"),
        (lambda x: x * torch.rand(1), "aten.rand.default"),
        (lambda x: x.mean(0), "pictures must be independent"),
        (lambda x: x[0], "pictures must be independent"),
        (lambda x: x.flip(0), "pictures must be independent"),
        (lambda x: x.mean((1, 2)), r"over the dimensions \[1, 2\]"),
        (lambda x: x.amax(1), r"maximum over the dimensions \[1\]"),
        (lambda x: x.max(2)[1], "its result 1 is not supported"),
        (lambda x: torch.cat([x, x], 2), r"only of channels \(dim=1\)"),
        (lambda x: torch.cat([x, torch.ones_like(x)], 1), "ones_like"),
        (lambda x: F.softmax(x, 3), "softmax over rows or columns"),
        (lambda x: x**3, "exponent 3"),
        (lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), "bicubic"),
        (lambda x: F.pad(x, (1, 1), value=float("inf")), "pads with inf in mode 'constant'"),
        (lambda x: F.pad(x, (-1, 1), value=2.0), r"the pads \[-1, 1\] with 2"),
        (lambda x: F.softmax(x.view(x.size(0), 3, 64), 2), "softmax over rows or columns|2-D or"),
        (lambda x: F.softmax(x.view(x.size(0), 3, 1, 8, 8), 1), "only over two groups"),
        (
            lambda x: x.flatten(2) @ x.flatten(2).transpose(1, 2),
            r"product of \[N, 3, 64\] and \[N, 64, 3\].*one weight for each pixel",
        ),
        (lambda x: F.dropout(x, training=True), "dropout is active in evaluation mode"),
        (lambda x: F.max_pool3d(x.view(x.size(0), 3, 4, 4, 4), 2), "max_pool3d"),
        (lambda x: F.relu(x.half()), "float16"),
        (lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"), "in mode 'reflect'"),
        (lambda x: x.transpose(0, 1), "pictures must be independent"),
        (lambda x: x.permute(1, 0, 2, 3), "moves the batch"),
        (lambda x: F.batch_norm(x, None, None, training=True), "track_running_stats=True"),
    ],
)
def test_unsupported_uses(function: Any, message: str) -> None:
    class Model(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return function(x)

    with pytest.raises(UnsupportedOperatorError, match=message):
        capture(Model(), PICTURE)


@pytest.mark.parametrize(
    "write", [lambda y: y[:, :1].relu_(), lambda y: y[:, :1].fill_(7.0), lambda y: y.t_()]
)
def test_write_through_a_view_is_not_lost(write: Any) -> None:
    class Writes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = F.relu(x)
            write(y)
            return F.relu(y)

    with pytest.raises(UnsupportedOperatorError, match=r"aten\.(relu_|fill_|t_)"):
        capture(Writes(), torch.zeros(2, 3))


def test_computation_that_depends_on_the_batch_size() -> None:
    class Branches(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(x) if x.shape[0] == 1 else x

    with pytest.raises(CaptureError, match=r"output 0 of Branches differs .* batch of 1"):
        capture(Branches(), PICTURE)


@pytest.mark.parametrize(
    "context", [lambda: torch.autocast("cpu", torch.bfloat16), torch.enable_grad]
)
def test_blocks_inside_forward(context: Any) -> None:
    class Block(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with context():
                return F.relu(x)

    with pytest.raises(UnsupportedOperatorError, match=r"a block such as torch\.autocast"):
        capture(Block(), PICTURE)


def test_layer_that_is_not_float32() -> None:
    class Cast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 2, dtype=torch.float64)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.fc(x.double())
            return out.float()

    with pytest.raises(UnsupportedOperatorError, match="float64"):
        capture(Cast(), torch.zeros(1, 4))


def test_inputs_that_the_model_refuses() -> None:
    with pytest.raises(CaptureError, match=r"Sequential itself fails.*\[1, 3, 8, 8\].*channels"):
        capture(nn.Sequential(nn.Conv2d(4, 4, 1)), PICTURE)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((), "at least one example input"),
        ([[1.0]], "example input 0 of net is a list"),
        (PICTURE.byte(), "is torch.uint8, must be torch.float32"),
        (torch.zeros(3), r"has shape \[3\]"),
        (torch.zeros(0, 3), r"has shape \[0, 3\]"),
        ((torch.zeros(1, 3), torch.zeros(2, 3)), r"batch sizes \[1, 2\]"),
    ],
)
def test_bad_example_inputs(inputs: Any, message: str) -> None:
    with pytest.raises(CaptureError, match=message):
        capture(nn.ReLU(), inputs, name="net")


def test_output_that_is_a_parameter() -> None:
    class Returns(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return F.relu(x), self.scale

    with pytest.raises(CaptureError, match="output 1 of Returns does not depend on its inputs"):
        capture(Returns(), PICTURE)
