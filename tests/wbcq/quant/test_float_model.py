"""wbcq.compile_float: a network in float32 on the engine computes what PyTorch computes."""

from __future__ import annotations

import copy
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import wbcq
from tests.wbcq.graph.helpers import Wraps, settle_norms
from wbcq import _core, models
from wbcq.engine.program import op_is_float

SLOW = pytest.mark.slow
BIG = ("mm_mimo3", "resnet34", "resnet50", "yolov3", "mobilenet_v3_large")


def outputs_of(result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def assert_close(ours: object, theirs: object) -> None:
    """Relative to the largest number, for each output."""
    for a, b in zip(outputs_of(ours), outputs_of(theirs), strict=True):  # type: ignore[arg-type]
        assert a.shape == b.shape
        assert float((a - b).abs().max()) <= 1e-4 * float(b.abs().max())


def zoo(name: str) -> nn.Module:
    torch.manual_seed(0)
    return settle_norms(models.create(name, num_classes=5)).eval()


def pictures(name: str, batch: int, size: int = 96) -> list[Tensor]:
    generator = torch.Generator().manual_seed(batch)
    count = 4 if name == "mm_mimo3" else 1
    return [torch.randn(batch, 3, size, size, generator=generator) for _ in range(count)]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=SLOW) if n in BIG else n for n in models.names()]
)
def test_zoo(name: str) -> None:
    model, inputs = zoo(name), pictures(name, 2)
    compiled = wbcq.compile_float(model, inputs)
    with torch.no_grad():
        expected = model(*inputs)
    assert_close(compiled(*inputs), expected)
    tensors = compiled.program.tensors
    assert all(op_is_float(op, tensors) for op in compiled.program.ops)
    assert {tensor.dtype for tensor in tensors.values()} == {"f32"}


class Everything(nn.Module):
    """Each float operator of the engine; two inputs, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 5, 2, 2)
        self.norm = nn.BatchNorm2d(24)
        self.deep = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.grouped = nn.Conv2d(24, 36, 3, padding=2, dilation=2, groups=3)
        self.narrow = nn.Conv2d(24, 24, 3, stride=2, padding=1, groups=12)
        self.gate = nn.Linear(36, 36)
        self.other = nn.Conv2d(1, 12, 3, 2, 1)
        self.head = nn.Linear(60, 7)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x = F.hardswish(self.norm(self.stem(x)))
        x = F.relu6(self.deep(x) + x)
        wide = F.silu(self.grouped(x))
        gate = torch.sigmoid(self.gate(F.adaptive_avg_pool2d(wide, 1).flatten(1)))
        wide = wide * gate[:, :, None, None]
        small = F.leaky_relu(self.narrow(F.avg_pool2d(x, 3, 1, 1)), 0.1)
        small = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
        other = F.max_pool2d(F.gelu(self.other(y)), 3, 1, 1)
        left, right = torch.cat([small, wide], 1).chunk(2, 1)
        mixed = F.channel_shuffle(torch.cat([right, left], 1), 4)
        mixed = mixed / (1.0 + mixed.abs())
        scores = self.head(mixed.mean((2, 3)))
        return torch.softmax(scores, 1), other - 0.5


@pytest.mark.parametrize("isa", _core.available_isas())
def test_every_operator_on_every_instruction_set(isa: str) -> None:
    torch.manual_seed(1)
    model = settle_norms(Everything()).eval()
    data = wbcq.compile_float(model, [torch.zeros(1, 3, 32, 24), torch.zeros(1, 1, 32, 24)])
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(8, 3, 32, 24, generator=generator)
    y = torch.randn(8, 1, 32, 24, generator=generator)
    with torch.no_grad():
        expected = model(x, y)
    whole = wbcq.QuantizedModel(data.to_bytes(), threads=1, isa=isa)(x, y)
    assert_close(whole, expected)
    for threads in (1, 2):
        compiled = wbcq.QuantizedModel(data.to_bytes(), threads=threads, isa=isa)
        for batch in (1, 3, 8):
            for part, bits in zip(compiled(x[:batch], y[:batch]), whole, strict=True):
                assert torch.equal(part, bits[:batch]), "one ISA, one result"


@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize("name", ["regnet_x_400mf", "shufflenet_v2_x0_5", "mobilenet_v3_small"])
def test_networks_on_every_instruction_set(name: str, isa: str) -> None:
    model, inputs = zoo(name), pictures(name, 3, size=64)
    data = wbcq.compile_float(model, inputs).to_bytes()
    with torch.no_grad():
        expected = model(*inputs)
    results = [wbcq.QuantizedModel(data, threads=n, isa=isa)(*inputs) for n in (1, 2)]
    assert_close(results[0], expected)
    assert torch.equal(*results)


GROUPS = [
    (channels, groups, channels * factor)
    for channels, groups in [(12, 12), (8, 4), (24, 3), (32, 2), (48, 3), (36, 9)]
    for factor in (1, 2, 3)
]


@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize(("channels", "groups", "outputs"), GROUPS)
def test_groups(channels: int, groups: int, outputs: int, isa: str) -> None:
    """One output channel a group and many, panels that groups fill exactly and not."""
    torch.manual_seed(channels + outputs)
    layer = nn.Conv2d(channels, outputs, 3, padding=1, groups=groups)
    model = nn.Sequential(layer, nn.ReLU()).eval()
    x = torch.randn(3, channels, 7, 5)
    data = wbcq.compile_float(model, x).to_bytes()
    with torch.no_grad():
        expected = model(x)
    for threads in (1, 2):
        assert_close(wbcq.QuantizedModel(data, threads=threads, isa=isa)(x), expected)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 12, 17])
@pytest.mark.parametrize(
    ("kernel", "stride", "pads", "dilation"),
    [(7, 2, 3, 1), (3, 1, 1, 1), ((3, 5), (2, 1), (0, 2), 1), (3, 1, 2, 2), (2, 2, 0, 1)],
)
def test_first_layers(channels: int, kernel: int, stride: int, pads: int, dilation: int) -> None:
    """Pictures that only convolutions read have their padding in memory."""
    torch.manual_seed(channels)
    layer = nn.Conv2d(channels, 20, kernel, stride, pads, dilation)
    x = torch.randn(3, channels, 13, 18)
    with torch.no_grad():
        expected = layer(x)
    for threads in (1, 2):
        compiled = wbcq.compile_float(layer, x, threads=threads)
        assert_close(compiled(x), expected)
        assert_close(compiled(x), expected)  # in memory that was used


@pytest.mark.parametrize("pool", [False, True])
def test_readers_with_different_paddings(pool: bool) -> None:
    torch.manual_seed(0)
    model = Wraps(
        lambda self, x: (
            self.wide(x), self.narrow(x), self.deep(x), F.max_pool2d(x, 2) if pool else self.last(x)
        ),
        wide=nn.Conv2d(3, 8, 5, 1, 2), narrow=nn.Conv2d(3, 8, 3, 2, 1),
        deep=nn.Conv2d(3, 3, 3, padding=1, groups=3), last=nn.Conv2d(3, 5, 1),
    ).eval()  # fmt: skip
    x = torch.randn(2, 3, 11, 14)
    with torch.no_grad():
        assert_close(wbcq.compile_float(model, x)(x), model(x))


def test_grouped_with_a_residual() -> None:
    torch.manual_seed(0)
    model = Wraps(
        lambda self, x: F.relu(self.conv(x) + x), conv=nn.Conv2d(24, 24, 3, 1, 1, groups=3)
    ).eval()
    x = torch.randn(2, 24, 9, 9)
    compiled = wbcq.compile_float(model, x)
    assert [type(op).__name__ for op in compiled.program.ops] == ["Conv2d"]
    with torch.no_grad():
        assert_close(compiled(x), model(x))


def test_model_stays_as_it_was() -> None:
    model = zoo("resnet18").train()
    before = copy.deepcopy(model.state_dict())
    wbcq.compile_float(model, torch.zeros(2, 3, 64, 64))
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_says_that_it_is_float_and_has_no_islands() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softmax(dim=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled = wbcq.compile_float(model, torch.zeros(1, 3, 8, 8), threads=1)
    assert compiled.metadata["precision"] == "float32"
    assert compiled.metadata["model"] == "Sequential"
    assert "float_operators" not in compiled.metadata
    assert compiled.num_parameters == sum(p.numel() for p in model.parameters())
    assert compiled.threads == 1
    assert "float32" in repr(compiled)
    assert "int8" not in compiled.summary()


def test_same_model_gives_the_same_bytes() -> None:
    model, x = zoo("mobilenet_v2"), torch.zeros(1, 3, 64, 64)
    assert wbcq.compile_float(model, x).to_bytes() == wbcq.compile_float(model, x).to_bytes()


SCRIPT = """
import sys
sys.modules["torch"] = None
import numpy as np
import wbcq

model, x = wbcq.load(sys.argv[1]), np.load(sys.argv[2])
np.save(sys.argv[3], model(x))
assert model.metadata["precision"] == "float32"
assert "conv2d" in model.summary()
assert "conv2d" in str(model.profile(x, repeats=1))
"""


def test_file_runs_without_torch(tmp_path: Path) -> None:
    model, inputs = zoo("shufflenet_v2_x0_5"), pictures("", 2, size=64)
    compiled = wbcq.compile_float(model, inputs)
    compiled.save(tmp_path / "float.wbcq")
    np.save(tmp_path / "x.npy", inputs[0].numpy())
    files = [str(tmp_path / name) for name in ("float.wbcq", "x.npy", "y.npy")]
    subprocess.run([sys.executable, "-c", SCRIPT, *files], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), compiled(inputs[0]).numpy())


def test_refuses() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match=r"'0\.weight' of the model is float64.*\.float\(\)"):
        wbcq.compile_float(copy.deepcopy(model).double(), torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="model is a function"):
        wbcq.compile_float(zoo, torch.zeros(1, 3, 8, 8))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="threads is 0"):
        wbcq.compile_float(model, torch.zeros(1, 3, 8, 8), threads=0)
    with pytest.raises(wbcq.CaptureError, match="example input"):
        wbcq.compile_float(model, torch.zeros(1, 3, 8, 8).double())
