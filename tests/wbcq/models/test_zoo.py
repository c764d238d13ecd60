"""All models: sizes as published, torchvision's parameter names, outputs."""

from __future__ import annotations

import hashlib
import importlib
from typing import Any

import pytest
import torch
from torch import nn

from wbcq import models
from wbcq.models.mm_mimo import mm_mimo3
from wbcq.models.yolov3 import yolov3, yolov3_tiny

# Number of parameters at 1000 classes, and the digest of torchvision's names and shapes.
CLASSIFIERS = {
    "mobilenet_v2": (3_504_872, "a18c560d82f6d01d"),
    "mobilenet_v3_large": (5_483_032, "a56c886e8c43a05b"),
    "mobilenet_v3_small": (2_542_856, "cb48f2feab283d8f"),
    "regnet_x_400mf": (5_495_976, "94627f7ea87b1457"),
    "resnet18": (11_689_512, "66b04efc1dfd4b80"),
    "resnet34": (21_797_672, "4aa3e2bbbdc5e2fd"),
    "resnet50": (25_557_032, "614cd53ddf849669"),
    "shufflenet_v2_x0_5": (1_366_792, "54a515f5b9e5104f"),
    "shufflenet_v2_x1_0": (2_278_604, "cb82a4e6fc1db15e"),
}


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def entries(model: nn.Module) -> list[str]:
    return [f"{name} {list(tensor.shape)}" for name, tensor in model.state_dict().items()]


def on_meta(name: str, **options: Any) -> nn.Module:
    """Without memory or random weights."""
    with torch.device("meta"):
        return models.create(name, **options)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_parameter_counts_of_classifiers(name: str) -> None:
    assert parameters(on_meta(name)) == CLASSIFIERS[name][0]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("mm_mimo3", 21_323_156),
        ("mobilenet_v3_small", 1_522_981),
        ("regnet_x_400mf", 5_096_981),
        ("shufflenet_v2_x0_5", 346_917),
        ("yolov3", 61_545_274),
        ("yolov3_tiny", 8_679_116),
    ],
)
def test_parameter_counts_at_five_classes(name: str, count: int) -> None:
    assert parameters(on_meta(name, num_classes=5)) == count


def test_yolov3_has_the_published_size_at_80_classes() -> None:
    # ultralytics/yolov3 prints 61,949,149 for yolov3 and 8,852,366 for yolov3-tiny.
    assert parameters(on_meta("yolov3", num_classes=80)) == 61_949_149
    assert parameters(on_meta("yolov3_tiny", num_classes=80)) == 8_852_366


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_names_shapes_and_order_are_torchvisions(name: str) -> None:
    digest = hashlib.sha256("\n".join(entries(on_meta(name))).encode()).hexdigest()
    assert digest.startswith(CLASSIFIERS[name][1])


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_torchvision_computes_the_same(name: str) -> None:
    torchvision = _torchvision()
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)(num_classes=5).eval()
    ours = models.create(name, num_classes=5).eval()
    assert entries(ours) == entries(theirs)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))


def _torchvision() -> Any:
    """torchvision, whose wheel declares operators of its extension that may not be there."""
    make_library: Any = torch.library.Library
    library = make_library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            library.define(f"{operator}(Tensor dets, Tensor scores, float threshold) -> Tensor")
    try:
        return importlib.import_module("torchvision")
    except ImportError:
        pytest.skip("torchvision is not installed")


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_run(name: str) -> None:
    model = models.create(name, num_classes=5, in_channels=4).eval()
    with torch.no_grad():
        y = model(torch.rand(2, 4, 64, 64))
    assert y.shape == (2, 5)
    assert bool(y.isfinite().all())
    assert not torch.equal(y[0], y[1])


def test_mimo_predicts_the_mean_of_its_heads() -> None:
    torch.manual_seed(0)
    model = mm_mimo3(num_classes=3).eval()
    pictures = [torch.rand(2, 3, 64, 64) for _ in range(4)]
    with torch.no_grad():
        logits = model(*pictures)
    assert [tuple(y.shape) for y in logits] == [(2, 3)] * 4
    probabilities = model.predict(*pictures)
    expected = sum(y.softmax(1) for y in logits) / 4
    torch.testing.assert_close(probabilities, expected)
    first = model.get_parameter("trunk.conv1.weight")
    assert first.shape == (64, 12, 7, 7)
    swapped = model.predict(*reversed(pictures))
    assert not torch.allclose(swapped, probabilities)


@pytest.mark.parametrize("activation", ["leaky_relu", "relu"])
def test_yolov3_heads(activation: str) -> None:
    with torch.device("meta"):
        model = yolov3(num_classes=5, activation=activation).eval()
        heads = model(torch.zeros(2, 3, 64, 96))
    assert [tuple(y.shape) for y in heads] == [(2, 30, 2, 3), (2, 30, 4, 6), (2, 30, 8, 12)]
    wanted = nn.ReLU if activation == "relu" else nn.LeakyReLU
    assert sum(isinstance(module, wanted) for module in model.modules()) == 72


def test_yolov3_tiny_of_any_width() -> None:
    assert parameters(yolov3_tiny(num_classes=5, width=0.25)) == 548_500
    narrow = yolov3_tiny(num_classes=2, width=0.1).eval()
    small, large = narrow(torch.rand(1, 3, 64, 96))
    assert small.shape == (1, 21, 2, 3)
    assert large.shape == (1, 21, 4, 6)
    with pytest.raises(ValueError, match="width is 0"):
        yolov3_tiny(width=0)


def test_yolov3_tiny_heads() -> None:
    model = yolov3_tiny(num_classes=2).eval()
    with torch.no_grad():
        heads = model(torch.rand(1, 3, 64, 64))
    assert [tuple(y.shape) for y in heads] == [(1, 21, 2, 2), (1, 21, 4, 4)]
    assert all(bool(y.isfinite().all()) for y in heads)


def test_unknown_activation() -> None:
    with pytest.raises(ValueError, match="'swish', must be"):
        yolov3(activation="swish")


class Streams(nn.Module):
    """In place of a trunk: keeps one number of each stream, as many as the heads read."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        marks = x[:, ::3, 0, 0]
        return torch.cat([marks, marks.new_zeros(len(x), 512 - marks.shape[1])], dim=1)


def test_mm_mimo3_learns_four_shuffled_streams() -> None:
    """Each head is given the labels of its own stream, in the stream's own order."""
    torch.manual_seed(0)
    cells, classes = 6, 6
    model = mm_mimo3(num_classes=classes)
    model.trunk = Streams()  # type: ignore[assignment]
    labels = torch.arange(cells)
    pictures = [labels.float()[:, None, None, None].expand(-1, 3, 4, 4) for _ in range(4)]
    # Head i reads stream i and is sure of the class k that its mark x names: 2kx - k^2 is largest.
    steps = torch.arange(classes, dtype=torch.float32)
    with torch.no_grad():
        for index, head in enumerate(model.heads):
            assert isinstance(head, nn.Linear)
            head.weight.zero_()
            head.weight[:, index] = 100 * steps
            head.bias.copy_(-50 * steps**2)
    seen: list[torch.Tensor] = []
    model.trunk.register_forward_hook(lambda module, inputs, output: seen.append(output[:, :4]))
    loss = model.training_loss(pictures, labels, generator=torch.Generator().manual_seed(1))
    assert loss.item() < 1e-6
    orders = seen[0].T
    assert all(sorted(order.tolist()) == labels.tolist() for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 4
    wrong = model.training_loss(pictures, labels.roll(1))
    assert wrong.item() > 4 * 10  # a sum over the heads, each of which is sure and wrong
    with pytest.raises(ValueError, match="3 batches of pictures, must be 4"):
        model.training_loss(pictures[:3], labels)
