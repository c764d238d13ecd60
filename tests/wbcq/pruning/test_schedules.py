"""Pruning while training: how much when, in any loop, and in wbcq.train."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from wbcq import pruning
from wbcq.data.pictures import ArrayPictures
from wbcq.errors import DenseLayersWarning, PruningError
from wbcq.pruning import PruneConfig, Pruner
from wbcq.train import TrainConfig, train_classifier


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 2),
    )


def _pictures(count: int, seed: int) -> ArrayPictures:
    generator = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 2
    pixels = generator.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    pixels[labels == 1, :, :, 0] //= 2
    return ArrayPictures(pixels, labels, ("a", "b"), tuple(map(str, range(count))))


@given(st.floats(0, 0.99), st.floats(0, 0.4), st.floats(0.5, 1), st.floats(0, 1))
def test_cubic_rises_fast_and_then_slowly(
    last: float, begin: float, end: float, share: float
) -> None:
    config = PruneConfig(last, schedule="cubic", begin=begin, end=end)
    assert config.sparsity_at(1) == config.sparsity_at(end) == last
    assert config.sparsity_at(begin) == 0
    middle = config.sparsity_at((begin + end) / 2)
    assert middle == pytest.approx(last * 0.875)
    assert 0 <= config.sparsity_at(share) <= config.sparsity_at(min(1.0, share + 0.1)) <= last


def test_a_pruner_follows_its_schedule_and_only_adds_zeros() -> None:
    model = _net()
    config = PruneConfig(0.8, "unstructured", schedule="cubic", begin=0.2, end=0.8, every=2)
    pruner = Pruner(model, config, steps=20)
    keys = set(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    before: dict[str, torch.Tensor] = pruning.masks(model)
    for step in range(1, 21):
        optimizer.zero_grad()
        model(torch.rand(4, 3, 16, 16)).square().mean().backward()
        optimizer.step()
        changed = pruner.step()
        assert changed == (4 < step <= 16 and step % 2 == 0), step
        if changed:
            assert pruning.model_sparsity(model) == pytest.approx(pruner.sparsity, abs=0.02)
        after = pruning.masks(model)
        assert all(not (after[name] & ~before[name]).any() for name in after)
        assert set(model.state_dict()) == keys
        before = after
    assert pruner.is_done
    assert pruning.model_sparsity(model) == pytest.approx(0.8, abs=0.01)


def test_one_shot_prunes_before_the_first_step() -> None:
    model = _net()
    with pytest.warns(DenseLayersWarning, match="1 layer stays"):
        pruner = Pruner(model, PruneConfig(0.5), steps=10)
    assert pruner.is_done
    assert pruning.layer_sparsity(model)[1].sparsity == 0.5
    assert not pruner.step()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": 1.0}, "sparsity is 1.0"),
        ({"sparsity": None}, "sparsity is None"),
        ({"pattern": "3y"}, "pattern is '3y'"),
        ({"schedule": "linear"}, "use 'oneshot' or 'cubic'"),
        ({"score": "l3"}, "use 'l1' or 'l2' or 'taylor'"),
        ({"score": "taylor"}, "needs gradients"),
        ({"begin": 0.5, "end": 0.2}, "begin is 0.5 and end 0.2"),
        ({"every": 0}, "every is 0"),
        ({"sparsity": 0.75, "pattern": "2:4"}, "which has 0.5"),
        ({"sparsity": None, "pattern": "2:4", "schedule": "cubic"}, "use schedule 'oneshot'"),
    ],
)
def test_bad_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(PruningError, match=message):
        PruneConfig(**settings)  # type: ignore[arg-type]
    with pytest.raises(PruningError, match="0 steps"):
        Pruner(_net(), PruneConfig(), steps=0)


_CONFIG = TrainConfig(
    epochs=4,
    batch=8,
    ema=0.9,
    prune=PruneConfig(0.5, "unstructured", schedule="cubic", end=0.6, every=1),
)


def test_taylor_scores_come_from_the_training_itself() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    with torch.no_grad():  # the second input is always zero: its weights are large and useless
        model[0].weight.copy_(torch.tensor([[0.1, 9.0], [-0.1, 9.0]]))
    config = PruneConfig(0.5, "unstructured", score="taylor", begin=0.5)
    pruner = Pruner(model, config, steps=4)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    for step in range(4):
        optimizer.zero_grad()
        model(torch.tensor([[1.0, 0.0], [2.0, 0.0]])).square().sum().backward()
        optimizer.step()
        assert pruner.step() == (step == 1)
    assert (model[0].weight != 0).tolist() == [[True, False], [True, False]]
    optimizer.zero_grad()
    again = Pruner(model, config, steps=4)
    with pytest.raises(PruningError, match="layer '0' has no gradient"):
        again.step()


def test_training_ends_at_the_sparsity_with_an_epoch_that_has_it() -> None:
    model = _net()
    result = train_classifier(model, _pictures(32, 0), _pictures(16, 1), _CONFIG)
    assert result.best_epoch >= 2, "pruning ends within the third epoch"
    for layer in pruning.layer_sparsity(model):
        assert layer.zeros == layer.weights // 2


@pytest.mark.parametrize("score", ["l1", "taylor"])
def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path, score: Any) -> None:
    assert _CONFIG.prune is not None
    config = replace(_CONFIG, prune=replace(_CONFIG.prune, score=score))
    whole, parts = _net(), _net()
    train_classifier(whole, _pictures(32, 0), _pictures(16, 1), config)

    def stop(epoch: int, _: object) -> None:
        if epoch == 1:
            raise KeyboardInterrupt

    checkpoint = tmp_path / "half.ckpt"
    with pytest.raises(KeyboardInterrupt):
        train_classifier(
            parts, _pictures(32, 0), _pictures(16, 1), config, checkpoint=checkpoint, on_epoch=stop
        )
    again = _net()
    train_classifier(again, _pictures(32, 0), _pictures(16, 1), config, checkpoint=checkpoint)
    for key, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


def test_masks_of_the_start_are_kept_without_a_schedule() -> None:
    model = pruning.prune(_net(), 0.5)
    train_classifier(
        model, _pictures(32, 0), _pictures(16, 1), TrainConfig(epochs=1, batch=8, keep_start=True)
    )
    assert all(layer.zeros == layer.weights // 2 for layer in pruning.layer_sparsity(model))
