"""TorchExecutor: gradients, transforms, parameters, and operators beyond what capture emits."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wbcq.graph import ir
from wbcq.graph.capture import capture
from wbcq.graph.passes.pipeline import prepare_for_quantization
from wbcq.graph.torch_executor import TorchExecutor


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)
    )


class _Record(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return x


class _Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def test_gradients_are_those_of_the_module() -> None:
    model = small_model().eval()
    x = torch.randn(5, 3, 6, 6)
    executor = TorchExecutor(capture(model, x))
    model(x).square().sum().backward()
    output = executor(x)
    assert isinstance(output, Tensor)
    torch.autograd.backward(output.square().sum())
    gradients = {
        key.replace("/", "."): parameter.grad
        for key, parameter in executor.params.named_parameters()
    }
    assert set(gradients) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-5)


def test_parameters_come_back_under_their_names() -> None:
    model = small_model()
    executor = TorchExecutor(capture(model, torch.zeros(1, 3, 6, 6)))
    exported = executor.export_params()
    state = model.state_dict()
    del state["1.num_batches_tracked"]
    assert set(exported) == set(state)
    for name, tensor in state.items():
        assert torch.equal(exported[name], tensor)
    with torch.no_grad():
        for parameter in executor.parameters():
            parameter.zero_()
    assert executor.export_params()["4.weight"].eq(0).all()
    assert not exported["4.weight"].eq(0).all(), "export_params must copy"
    assert {name for name, _ in executor.named_buffers()} == {
        "params.1/running_mean",
        "params.1/running_var",
    }


def test_the_graph_is_not_aliased() -> None:
    graph = capture(small_model(), torch.zeros(1, 3, 6, 6))
    before = {name: array.copy() for name, array in graph.params.items()}
    executor = TorchExecutor(graph)
    with torch.no_grad():
        for parameter in executor.parameters():
            parameter.add_(1)
    for name, array in graph.params.items():
        np.testing.assert_array_equal(array, before[name])


def test_activation_transforms_see_and_replace_values() -> None:
    model = small_model().eval()
    x = torch.randn(2, 3, 6, 6)
    graph = prepare_for_quantization(capture(model, x))
    record = {name: _Record() for name in graph.values}
    output = TorchExecutor(graph, activation_transforms=record)(x)
    assert isinstance(output, Tensor)
    assert all(len(r.seen) == 1 for r in record.values())
    assert torch.equal(record["input"].seen[0], x)
    torch.testing.assert_close(record["2"].seen[0], model[:3](x))  # type: ignore[index]
    assert torch.equal(record[graph.outputs[0]].seen[0], output)

    doubled = TorchExecutor(graph, activation_transforms={"input": _Scale(2.0)})(x)
    torch.testing.assert_close(doubled, model(2 * x))
    halved = TorchExecutor(graph, activation_transforms={graph.outputs[0]: _Scale(0.5)})(x)
    torch.testing.assert_close(halved, model(x) / 2)


def test_one_transform_may_serve_several_values() -> None:
    graph = capture(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), torch.zeros(1, 1, 4, 4))
    shared = _Record()
    executor = TorchExecutor(graph, activation_transforms={"0": shared, "1": shared})
    executor(torch.zeros(1, 1, 4, 4))
    assert len(shared.seen) == 2
    assert executor.activation_transform("0") is executor.activation_transform("1") is shared
    assert executor.activation_transform("x") is None


def test_weight_transforms_run_once_per_forward() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.conv(self.conv(x))
            return out

    model = Twice()
    x = torch.randn(2, 2, 3, 3)
    graph = capture(model, x)
    record = _Record()
    executor = TorchExecutor(graph, weight_transforms={"conv.weight": record})
    executor(x)
    assert len(record.seen) == 1
    scaled = TorchExecutor(graph, weight_transforms={"conv.weight": _Scale(3.0)})
    torch.testing.assert_close(scaled(x), 9 * model(x))
    assert scaled.weight_transform("conv.weight") is not None
    torch.testing.assert_close(scaled.export_params()["conv.weight"], model.conv.weight)


@pytest.mark.parametrize("argument", ["activation_transforms", "weight_transforms"])
def test_unknown_transform_names_are_refused(argument: str) -> None:
    graph = capture(nn.Linear(2, 2), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="'nothing', which the graph lacks"):
        TorchExecutor(graph, **{argument: {"nothing": _Record()}})


def test_wrong_inputs() -> None:
    executor = TorchExecutor(capture(nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 4, 4)))
    with pytest.raises(ValueError, match=r"has 1 inputs \['input'\], got 2"):
        executor(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(
        ValueError, match=r"'input' has shape \[1, 3, 5, 4\], must be \[batch, 3, 4, 4\]"
    ):
        executor(torch.zeros(1, 3, 5, 4))


def test_copies_and_state_dicts() -> None:
    graph = capture(small_model(), torch.zeros(1, 3, 6, 6))
    executor, other = TorchExecutor(graph), TorchExecutor(graph)
    with torch.no_grad():
        for parameter in executor.parameters():
            parameter.add_(1)
    other.load_state_dict(executor.state_dict())
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(executor(x), other(x))
    assert torch.equal(executor(x), copy.deepcopy(executor)(x))


def single(op: ir.Op, shape: tuple[int, ...], out: tuple[int, ...]) -> TorchExecutor:
    values = {"x": ir.Value("x", (None, *shape)), "y": ir.Value("y", (None, *out))}
    return TorchExecutor(ir.Graph(values, (ir.Node("op", op, ("x",), "y"),), ("x",), ("y",), {}))


def test_asymmetric_max_pool() -> None:
    x = -1 - torch.rand(2, 3, 5, 6)
    op = ir.MaxPool2d((2, 3), (2, 1), pads=(0, 1, 1, 0))
    padded = F.pad(x, (1, 0, 0, 1), value=float("-inf"))
    assert torch.equal(single(op, (3, 5, 6), (3, 3, 5))(x), F.max_pool2d(padded, (2, 3), (2, 1)))


@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize("divisor", [0, 3])
def test_asymmetric_average_pool(count_include_pad: bool, divisor: int) -> None:
    x = torch.rand(2, 3, 5, 6, dtype=torch.float64)
    op = ir.AvgPool2d(
        (2, 3),
        (2, 1),
        (0, 1, 1, 0),
        count_include_pad=count_include_pad,
        divisor=divisor,
        activation=ir.Activation(0.2, 0.7),
    )
    ours = single(op, (3, 5, 6), (3, 3, 5))(x)
    expected = torch.zeros(2, 3, 3, 5, dtype=torch.float64)
    for row in range(3):
        for column in range(5):
            window = x[:, :, 2 * row : 2 * row + 2, max(column - 1, 0) : column + 2]
            count = window.shape[2] * window.shape[3]
            expected[:, :, row, column] = window.sum((2, 3)) / (
                divisor or (6 if count_include_pad else count)
            )
    torch.testing.assert_close(ours, expected.clamp(0.2, 0.7))
