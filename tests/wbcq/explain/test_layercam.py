"""LayerCAM: networks with known maps, float against INT8, errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import wbcq
from wbcq.explain import agreement, last_spatial_layer, layer_cam


class Signs(nn.Module):
    """Two feature maps, bright and dark, and classes that weigh them: its map is known."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(inplace=True))
        self.head = nn.Linear(2, 3, bias=False)
        with torch.no_grad():
            self.features[0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
            self.head.weight.copy_(torch.tensor([[1.0, -2.0], [-2.0, 1.0], [3.0, 1.0]]))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.features(x).mean((2, 3)))
        return y


def signs() -> tuple[Signs, Tensor]:
    x = torch.rand(3, 1, 8, 8, generator=torch.manual_seed(0)) * 2 - 1
    return Signs().eval(), x


def expected(x: Tensor, bright: float, dark: float) -> np.ndarray:
    maps = bright * x.clamp(min=0) + dark * (-x).clamp(min=0)
    maps = maps / maps.amax((2, 3), keepdim=True)
    return maps[:, 0].numpy()


def test_the_map_of_a_known_network() -> None:
    model, x = signs()
    heat = layer_cam(model, x, targets=[0, 1, 2])
    assert heat.layers == ("features",)
    np.testing.assert_allclose(heat.maps[0], expected(x, 1, 0)[0], atol=1e-6)
    np.testing.assert_allclose(heat.maps[1], expected(x, 0, 1)[1], atol=1e-6)
    np.testing.assert_allclose(heat.maps[2], expected(x, 3, 1)[2], atol=1e-6)
    np.testing.assert_allclose(heat.scores, model(x).detach().numpy(), atol=1e-6)


def test_each_pixel_is_weighed_with_its_own_gradient() -> None:
    """A class that only looks at the left half has no heat on the right."""
    weight = torch.zeros(2, 8, 8)
    weight[0, :, :4] = torch.rand(8, 4, generator=torch.manual_seed(1))
    head = nn.Linear(128, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.stack([weight.flatten(), -weight.flatten()]))
    model = nn.Sequential(signs()[0].features, nn.Flatten(), head).eval()
    x = signs()[1]
    maps = layer_cam(model, x, layers="0", targets=[0, 0, 1]).maps
    heat = (weight[0] * x.clamp(min=0))[:, 0].numpy()
    np.testing.assert_allclose(maps[:2], heat[:2] / heat[:2].max((1, 2), keepdims=True), atol=1e-6)
    assert not maps[2].any()  # nothing speaks for the other class


def test_a_named_layer_is_seen_before_what_changes_it_in_place() -> None:
    model, x = signs()
    heat = layer_cam(model, x, layers="features.0", targets=[2, 2, 2])
    # Of the convolution's outputs only those that the ReLU lets through have a gradient.
    np.testing.assert_allclose(heat.maps, expected(x, 3, 1), atol=1e-6)


def test_targets_are_the_decisions_unless_given() -> None:
    model, x = signs()
    chosen = model(x).argmax(1).numpy()
    np.testing.assert_array_equal(layer_cam(model, x).targets, chosen)
    np.testing.assert_array_equal(
        layer_cam(model, x).maps, layer_cam(model, x, targets=chosen, batch=2).maps
    )


def test_layers_are_fused_by_their_largest() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, 2), nn.ReLU(), nn.Flatten(),
        nn.Linear(4 * 9, 2),
    ).eval()  # fmt: skip
    x = torch.rand(2, 1, 10, 10)
    shallow, deep = (layer_cam(model, x, layers=name).maps for name in ("1", "3"))
    fused = layer_cam(model, x, layers=["1", "3"])
    wanted = np.maximum(np.tanh(2 * shallow), deep)
    wanted /= wanted.max((1, 2), keepdims=True)
    np.testing.assert_allclose(fused.maps, wanted, atol=1e-6)
    assert fused.layers == ("1", "3")


def test_the_model_stays_as_it_was() -> None:
    model, x = signs()
    model.train()
    model.features.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    layer_cam(model, x)
    assert (model.training, model.features.training) == (True, False)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


NETWORKS = {
    "resnet18": ("layer3", "layer4"),
    "shufflenet_v2_x0_5": ("stage3", "stage4", "conv5"),
    "mobilenet_v3_small": ("features.8", "features"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_int8_maps_are_the_engines_and_like_float(name: str) -> None:
    """Also of stages whose shuffles and concatenations are gone from the integer program."""
    torch.manual_seed(0)
    model, x = wbcq.models.create(name, num_classes=5).train(), torch.rand(4, 3, 96, 96)
    with torch.no_grad():
        for _ in range(8):  # statistics
            model(x)
    model.eval()
    qat = wbcq.prepare_qat(model, x, progress=False)
    assert last_spatial_layer(model, x) == NETWORKS[name][-1]
    for layer in NETWORKS[name]:
        full = layer_cam(model, x, layers=layer, targets=[0, 1, 2, 3])
        integer = layer_cam(qat, x, layers=layer, targets=[0, 1, 2, 3])
        np.testing.assert_array_equal(integer.scores, wbcq.convert(qat)(x).numpy())
        assert agreement(full.maps, integer.maps).correlation.mean() > 0.9
    assert qat.training
    default = layer_cam(qat, x, targets=[0, 1, 2, 3])
    np.testing.assert_array_equal(default.maps, integer.maps)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet18", ["layer4", "layer3", "layer2"]),
        ("shufflenet_v2_x0_5", ["conv5", "stage3", "stage2"]),
        ("mobilenet_v2", ["features", "features.13", "features.6"]),
    ],
)
def test_the_last_layer_of_a_size(name: str, layers: list[str]) -> None:
    """Of whole blocks, none of their inner layers that still have the size of the one before."""
    model, x = wbcq.models.create(name, num_classes=5), torch.rand(2, 3, 96, 96)
    assert [last_spatial_layer(model, x, side=side) for side in (1, 4, 7)] == layers
    with pytest.raises(ValueError, match="gives a map of at least 97x97 pixels"):
        last_spatial_layer(model, x, side=97)


def test_several_inputs_and_outputs() -> None:
    torch.manual_seed(0)
    model = wbcq.models.create("mm_mimo3", num_classes=5).eval()
    x = [torch.rand(2, 3, 64, 64) for _ in range(4)]
    qat = wbcq.prepare_qat(model, [tuple(x)], progress=False)
    full, integer = layer_cam(model, x), layer_cam(qat, x, layers="trunk.layer4")
    assert full.layers == ("trunk.layer4",)
    assert full.maps.shape == integer.maps.shape == (2, 64, 64)
    np.testing.assert_array_equal(full.targets, model.predict(*x).argmax(1).numpy())
    total = torch.stack(wbcq.convert(qat)(*x)).sum(0)
    np.testing.assert_array_equal(integer.scores, total.numpy())


def test_errors() -> None:
    model, x = signs()
    with pytest.raises(ValueError, match=r"no layer 'features.7'; choose one of features, "):
        layer_cam(model, x, layers="features.7")
    with pytest.raises(ValueError, match=r"layer 'head' gives \[3, 3\], not a map"):
        layer_cam(model, x, layers="head")
    with pytest.raises(ValueError, match=r"targets span 0..3; the model has 3 classes"):
        layer_cam(model, x, targets=[0, 3, 1])
    with pytest.raises(ValueError, match="2 targets for 3 pictures"):
        layer_cam(model, x, targets=[0, 1])
    with pytest.raises(ValueError, match="no pictures"):
        layer_cam(model, x[:0])
    with pytest.raises(ValueError, match="explains classifiers"):
        layer_cam(model.features, x, layers="0")
    with pytest.raises(ValueError, match="larger pictures"):
        layer_cam(model, x[..., :1, :1])
    quantized = wbcq.quantize(model, [x], progress=False)
    with pytest.raises(ValueError, match=r"no gradients. Remedy .* wbcq.prepare_qat"):
        layer_cam(quantized, x)  # type: ignore[arg-type]
    qat = wbcq.prepare_qat(model, x, progress=False)
    with pytest.raises(ValueError, match=r"no layer 'tail'; choose one of features"):
        layer_cam(qat, x, layers="tail")
    with pytest.raises(ValueError, match=r"layer 'head' gives \[3, 3\], not a map"):
        layer_cam(qat, x, layers="head")
