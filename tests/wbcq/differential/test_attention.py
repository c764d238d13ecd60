"""Heat maps without torch: exact for a network that can be computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

import wbcq
from tests.wbcq.detection.toy import COLOURS, spot_model
from tests.wbcq.differential.test_counter import colour_classifier
from wbcq.differential import CellClassifier
from wbcq.differential.attention import Attention, _without_mean


def test_the_mean_of_the_map_is_the_logit() -> None:
    classifier = CellClassifier(wbcq.example_model(threads=1))
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (4, 8, 8, 3), np.uint8)
    smooth = np.repeat(np.repeat(pictures, classifier.size // 8, 1), classifier.size // 8, 2)
    x = classifier.inputs(smooth)
    evidence = _without_mean(classifier.model)(x)
    logits = classifier.model(x)
    assert evidence.shape == (4, 5, 4, 4)
    error = np.abs(evidence.mean((2, 3)) - logits).max()
    assert error < 0.02 * np.abs(logits).max()  # the mean is rounded to 8 bits in the model


@pytest.fixture(scope="module")
def half() -> tuple[np.ndarray, np.ndarray]:
    """A red half and a blue half, and a box of all of it."""
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, :32] = COLOURS["basophil"]
    picture[:, 32:] = COLOURS["lymphocyte"]
    return picture, np.array([[8, 8, 56, 56]], np.float32)


def test_it_shows_where_the_class_is(half: tuple[np.ndarray, np.ndarray]) -> None:
    picture, box = half
    classifier = CellClassifier(wbcq.example_model(threads=1))
    attention = Attention(classifier)
    heat = attention.maps(picture, np.repeat(box, 2, 0), np.array([0, 2]))
    assert heat.shape == (2, 16, 16)
    assert heat.min() >= 0
    assert set(heat.max((1, 2))) <= {0.0, 1.0}
    assert not np.array_equal(heat[0], heat[1])
    assert attention.maps(picture, box[:0], np.zeros(0, np.int64)).shape == (0, 16, 16)


def test_places_are_those_of_the_picture(half: tuple[np.ndarray, np.ndarray]) -> None:
    """A network without any receptive field beyond a pixel has an exact map."""
    picture, box = half
    names = tuple(COLOURS)
    attention = Attention(pixel_classifier(names))
    heat = attention.maps(picture, np.repeat(box, 2, 0), np.array([0, 1]))
    middle = heat.shape[2] // 2  # a feature is as wide as four pixels of the map
    np.testing.assert_allclose(heat[0, :, : middle - 2], 1, atol=0.05)
    np.testing.assert_allclose(heat[0, :, middle + 2 :], 0, atol=0.05)
    np.testing.assert_allclose(heat[0], heat[1][:, ::-1], atol=0.1)


def pixel_classifier(names: tuple[str, ...]) -> CellClassifier:
    """Features at a quarter of the resolution, a mean and a linear layer."""
    import torch

    from tests.wbcq.differential.test_counter import named

    net = torch.nn.Sequential(
        torch.nn.AvgPool2d(4),
        torch.nn.Conv2d(3, 3, 1, bias=False),
        torch.nn.ReLU(),
        torch.nn.AvgPool2d(6),
        torch.nn.Flatten(),
        torch.nn.Linear(3, 3, bias=False),
    )
    with torch.no_grad():
        net[1].weight[:] = torch.eye(3)[:, :, None, None]
        net[5].weight[:] = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 1, 0]])
    return CellClassifier(named(net, names, 24), view=48)


def test_other_networks_have_none() -> None:
    with pytest.raises(ValueError, match="does not end in a mean"):
        _without_mean(spot_model())
    with pytest.raises(ValueError, match="does not end in a mean"):
        Attention(CellClassifier(colour_classifier(tuple(COLOURS))))
