"""Capture: what graph comes out, and that the module is left as it was."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wbcq import models
from wbcq.graph import ir
from wbcq.graph.capture import capture
from wbcq.graph.torch_executor import TorchExecutor


def run(graph: ir.Graph, *inputs: Tensor) -> tuple[Tensor, ...]:
    with torch.no_grad():
        outputs = TorchExecutor(graph)(*inputs)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def assert_same(model: nn.Module, *shape: int, batch: int = 3) -> ir.Graph:
    """Captures with one picture and compares with the model on several."""
    graph = capture(model, torch.zeros(1, *shape))
    x = torch.randn(batch, *shape)
    with torch.no_grad():
        expected = model.eval()(x.clone())
    expected = expected if isinstance(expected, tuple) else (expected,)
    for ours, theirs in zip(run(graph, x.clone()), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    return graph


def ops(graph: ir.Graph) -> list[str]:
    return [type(node.op).__name__ for node in graph]


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        pytest.param("resnet34", marks=pytest.mark.slow),
        pytest.param("resnet50", marks=pytest.mark.slow),
    ],
)
def test_resnets(name: str) -> None:
    torch.manual_seed(0)
    model = models.create(name, num_classes=5)
    graph = assert_same(model, 3, 64, 64, batch=2)
    state = model.state_dict()
    used = {k for k in state if not k.endswith("num_batches_tracked")}
    assert set(graph.params) == used
    for key in used:
        np.testing.assert_array_equal(graph.params[key], state[key].numpy())
    assert graph.values["layer3.1.bn1"].shape == (None, 256, 4, 4)
    assert graph.inputs == ("x",)
    assert graph.outputs == ("fc",)


def test_twice_gives_the_same() -> None:
    model = models.create("resnet18")
    first, second = (capture(model, torch.zeros(1, 3, 32, 32)) for _ in range(2))
    assert first.nodes == second.nodes
    assert first.values == second.values
    assert list(first.params) == list(second.params)


def test_source_names_module_and_line() -> None:
    graph = capture(models.create("resnet18"), torch.zeros(1, 3, 32, 32))
    node = graph.producer("layer1.0.conv1")
    assert node is not None
    assert node.source.module == "layer1.0.conv1"
    assert node.source.line.rpartition(":")[0].endswith("resnet.py")
    add = graph.producer("layer1.0.add")
    assert add is not None
    assert add.source.module == "layer1.0"


def test_training_flags_and_state_are_restored() -> None:
    model = models.create("resnet18").train()
    model.get_submodule("layer1").eval()
    model.get_parameter("bn1.weight").requires_grad_(False)
    flags = [module.training for module in model.modules()]
    state = copy.deepcopy(model.state_dict())
    capture(model, torch.randn(1, 3, 32, 32))
    assert [module.training for module in model.modules()] == flags
    assert len(set(flags)) == 2
    assert not model.get_parameter("bn1.weight").requires_grad
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[key])


def test_parameters_are_copied() -> None:
    model = nn.Linear(4, 2)
    graph = capture(model, torch.zeros(1, 4))
    before = graph.params["weight"].copy()
    with torch.no_grad():
        model.weight.zero_()
    np.testing.assert_array_equal(graph.params["weight"], before)


class _KeepsFeatures(nn.Module):
    def __init__(self, *, fail: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.history: list[Tensor] = []
        self.fail = fail

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        self.features = y
        self.history.append(x)
        if self.fail and bool(x.sum() > 0):
            return x
        return y


@pytest.mark.parametrize("fail", [False, True])
def test_attributes_that_forward_assigns_are_restored(fail: bool) -> None:
    model = _KeepsFeatures(fail=fail).train()
    if fail:
        with pytest.raises(Exception, match="depends on the values"):
            capture(model, torch.zeros(1, 3, 4, 4))
    else:
        capture(model, torch.zeros(1, 3, 4, 4))
    assert model.training
    assert not hasattr(model, "features")
    assert model.history == []


def test_buffers_and_random_state_are_restored() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = nn.Buffer(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.calls.add_(1)
            torch.rand(3)
            return F.relu(x)

    model = Counts()
    torch.manual_seed(5)
    graph = capture(model, torch.zeros(1, 2))
    assert model.calls.item() == 0
    assert ops(graph) == ["Clamp"]
    first = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(first, torch.rand(1))


def test_wrapped_models() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    compiled = capture(torch.compile(model), torch.zeros(1, 3))  # type: ignore[arg-type]
    assert sorted(compiled.params) == ["0.bias", "0.weight"]
    parallel = capture(nn.DataParallel(model), torch.zeros(1, 3))
    assert sorted(parallel.params) == ["module.0.bias", "module.0.weight"]


def test_autocast_around_capture_has_no_effect() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert ops(capture(nn.Linear(3, 2), torch.zeros(1, 3))) == ["Linear"]


def test_squeeze_keeps_the_batch() -> None:
    class Squeezes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.adaptive_avg_pool2d(x, 1).squeeze()

    graph = capture(Squeezes(), torch.zeros(1, 3, 4, 4))
    assert ops(graph) == ["AdaptiveAvgPool2d", "Flatten"]
    assert run(graph, torch.zeros(1, 3, 4, 4))[0].shape == (1, 3)


class _Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 3, 3, padding=1)
        self.b: nn.Module = self.a
        self.tied = nn.Conv2d(3, 3, 3, padding=1)
        self.tied.weight = self.a.weight
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.a(x))
        x = self.relu(self.b(x))
        out: Tensor = self.tied(self.a(x))
        return out


def test_shared_modules_and_tied_weights_have_one_name() -> None:
    graph = assert_same(_Shared(), 3, 6, 6)
    assert sorted(graph.params) == ["a.bias", "a.weight", "tied.bias"]
    assert [node.name for node in graph] == ["a", "relu", "b", "relu@2", "a@2", "tied"]


class _Awkward(nn.Module):
    """In-place updates whose results are read through other names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.dropout = nn.Dropout(0.5)
        self.identity = nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(x)
        alias = self.identity(self.dropout(y))
        copy = y.clone()
        F.relu_(y)  # also changes alias, but not copy
        alias += copy  # also changes y
        flat = y.flatten(1)
        y.clamp_(-1.0, 1.0)  # also changes flat
        return flat, y + copy


def test_in_place_updates_reach_every_alias() -> None:
    graph = assert_same(_Awkward(), 3, 5, 5)
    assert ops(graph) == ["Conv2d", "Clamp", "Add", "Clamp", "Add", "Flatten"]


class _InPlaceOnInput(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x.relu_()
        return x + x


def test_in_place_update_of_the_input() -> None:
    graph = assert_same(_InPlaceOnInput(), 3, 4, 4)
    assert ops(graph) == ["Clamp", "Add"]


class _TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3, padding=1)
        self.right = nn.Conv2d(1, 4, 1)

    def forward(self, picture: Tensor, mask: Tensor, unused: Tensor) -> dict[str, Any]:
        y = self.left(picture) + self.right(mask)
        return {"sum": y, "rest": [mask, None, y.mean((2, 3))]}


def test_several_inputs_and_nested_outputs() -> None:
    model = _TwoInputs().eval()
    graph = capture(model, (torch.zeros(1, 3, 6, 6), torch.zeros(1, 1, 6, 6), torch.zeros(1, 2)))
    assert graph.inputs == ("picture", "mask", "unused")
    assert len(graph.outputs) == 3
    assert graph.outputs[1] == "mask"
    inputs = (torch.randn(4, 3, 6, 6), torch.randn(4, 1, 6, 6), torch.randn(4, 2))
    total, mask, mean = run(graph, *inputs)
    expected = model(*inputs)
    torch.testing.assert_close(total, expected["sum"], rtol=0, atol=1e-6)
    assert torch.equal(mask, inputs[1])
    torch.testing.assert_close(mean, expected["rest"][2], rtol=0, atol=1e-6)


class _Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.bias = nn.Buffer(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.weight.detach(), self.bias, stride=2, dilation=(2, 1), padding=(1, 2))
        return F.avg_pool2d(F.relu6(x), 2).squeeze(-1).squeeze(-1)


def test_functional_layers() -> None:
    graph = assert_same(_Functional(), 3, 5, 3)
    assert [node.name for node in graph] == ["conv2d", "relu6", "avg_pool2d", "squeeze"]
    assert sorted(graph.params) == ["bias", "weight"]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (4, 3), (2, 5)])
@pytest.mark.parametrize("dilation", [1, 3])
def test_same_padding(kernel: tuple[int, int], dilation: int) -> None:
    model = nn.Conv2d(2, 3, kernel, padding="same", dilation=dilation)
    graph = assert_same(nn.Sequential(model), 2, 12, 13)
    op = graph.nodes[0].op
    assert isinstance(op, ir.Conv2d)
    total = (dilation * (kernel[0] - 1), dilation * (kernel[1] - 1))
    assert (op.pads[0] + op.pads[2], op.pads[1] + op.pads[3]) == total
    assert op.pads[2] - op.pads[0] == total[0] % 2


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.ReLU(inplace=True), ir.Clamp(ir.RELU)),
        (nn.ReLU6(), ir.Clamp(ir.RELU6)),
        (nn.Hardtanh(-2.0, 3.0, inplace=True), ir.Clamp(ir.Activation(-2.0, 3.0))),
        (
            nn.MaxPool2d(3, 2, 1, ceil_mode=True),
            ir.MaxPool2d((3, 3), (2, 2), (1, 1, 1, 1), (1, 1), True),
        ),
        (nn.MaxPool2d((2, 3), dilation=2), ir.MaxPool2d((2, 3), (2, 3), dilation=(2, 2))),
        (
            nn.AvgPool2d(3, 2, (1, 0), count_include_pad=False),
            ir.AvgPool2d((3, 3), (2, 2), (1, 0, 1, 0), count_include_pad=False),
        ),
        (
            nn.AvgPool2d((3, 2), divisor_override=5, ceil_mode=True),
            ir.AvgPool2d((3, 2), (3, 2), ceil_mode=True, divisor=5),
        ),
        (nn.AdaptiveAvgPool2d((3, None)), ir.AdaptiveAvgPool2d((3, 9))),
        (nn.BatchNorm2d(4, eps=1e-3, affine=False), ir.BatchNorm(1e-3)),
        (
            nn.Conv2d(4, 6, (3, 1), (2, 1), (1, 0), groups=2),
            ir.Conv2d((2, 1), (1, 0, 1, 0), groups=2),
        ),
        (nn.Flatten(), ir.Flatten()),
    ],
    ids=lambda x: type(x).__name__,
)
def test_layers(layer: nn.Module, expected: ir.Op) -> None:
    graph = assert_same(nn.Sequential(layer), 4, 9, 9)
    assert [node.op for node in graph] == [expected]
    assert graph.nodes[0].name == "0"


def test_unsupported_code_that_nothing_uses_is_no_error() -> None:
    class Logs(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            self.loudness = torch.fft.fft(x).abs().sum()
            return F.relu(x)

    assert ops(assert_same(Logs(), 2, 4, 4)) == ["Clamp"]


def test_a_model_may_return_its_input() -> None:
    graph = assert_same(nn.Sequential(nn.Identity()), 3, 4, 4)
    assert graph.nodes == ()
    assert graph.outputs == graph.inputs
