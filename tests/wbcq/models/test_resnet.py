"""ResNets: torchvision's parameter names, counts and shapes."""

from __future__ import annotations

import pytest
import torch

from wbcq import models
from wbcq.models.resnet import resnet18, resnet50


@pytest.mark.parametrize(
    ("name", "count"),
    [("resnet18", 11_689_512), ("resnet34", 21_797_672), ("resnet50", 25_557_032)],
)
def test_parameter_counts(name: str, count: int) -> None:
    assert sum(p.numel() for p in models.create(name).parameters()) == count


def test_state_dict_has_torchvision_names() -> None:
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    expected = ["conv1.weight", *(f"bn1.{n}" for n in norm)]
    for stage in range(1, 5):
        for block in range(2):
            base = f"layer{stage}.{block}"
            for index in (1, 2):
                expected.append(f"{base}.conv{index}.weight")
                expected += [f"{base}.bn{index}.{n}" for n in norm]
            if stage > 1 and block == 0:
                expected.append(f"{base}.downsample.0.weight")
                expected += [f"{base}.downsample.1.{n}" for n in norm]
    expected += ["fc.weight", "fc.bias"]
    assert list(resnet18().state_dict()) == expected


def test_bottleneck_names_and_shapes() -> None:
    state = resnet50().state_dict()
    assert state["layer1.0.downsample.0.weight"].shape == (256, 64, 1, 1)
    assert state["layer2.0.conv2.weight"].shape == (128, 128, 3, 3)
    assert state["layer4.2.conv3.weight"].shape == (2048, 512, 1, 1)
    assert state["fc.weight"].shape == (1000, 2048)


def test_bottleneck_strides_in_its_3x3() -> None:
    block = resnet50().get_submodule("layer2.0")
    assert block.conv1.stride == (1, 1)
    assert block.conv2.stride == (2, 2)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_forward_shape(name: str) -> None:
    model = models.create(name, num_classes=5, in_channels=4).eval()
    with torch.no_grad():
        assert model(torch.zeros(2, 4, 64, 64)).shape == (2, 5)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown model 'resnet19'.*resnet18, resnet34, resnet50"):
        models.create("resnet19")
