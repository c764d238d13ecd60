"""Arguments, budgets, scores and errors of channel pruning."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import wbcq
from tests.wbcq.graph.helpers import assert_close
from tests.wbcq.pruning.channels.helpers import outputs, pictures, without_readers
from tests.wbcq.pruning.channels.test_blocks import OldShuffle
from wbcq.errors import CalibrationError
from wbcq.pruning.channels import plan_channels, prune_channels

INPUTS = pictures((3, 12, 12))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 24, 3), nn.BatchNorm2d(24), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 4),
    )  # fmt: skip


def rows_kept(model: nn.Module, **options: Any) -> dict[str, list[int]]:
    """For the first two convolutions, the rows that stay."""
    plan = plan_channels(model, options.pop("sparsity", 0.5), INPUTS, **options)
    axes = plan.dependencies.axes
    return {n: np.flatnonzero(plan.kept[axes[f"{n}.weight", 0]]).tolist() for n in ("0", "3")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 1.0}, "sparsity is 1.0, must be at least 0 and below 1"),
        ({"sparsity": -0.1}, "sparsity is -0.1"),
        ({"sparsity": float("nan")}, "sparsity is nan"),
        ({"sparsity": None}, "give one of them"),
        ({"macs": 0.5}, "sparsity is 0.5 and macs is 0.5; give one of them"),
        ({"sparsity": None, "macs": 0.0}, "macs is 0.0, must be above 0"),
        ({"sparsity": None, "macs": 0.001}, "macs=0.001 cannot be reached for Sequential.*least"),
        ({"scope": "all"}, "scope is 'all', must be 'local' or 'global'"),
        ({"score": "random"}, "score is 'random', must be one of 'l1', 'l2', 'taylor'"),
        ({"score": "taylor"}, "score='taylor' needs data"),
        ({"score": "taylor", "data": [INPUTS[0]]}, "needs batches with labels"),
        ({"round_to": 0}, "round_to is 0, must be an integer of at least 1"),
        ({"round_to": 1.5}, "round_to is 1.5"),
        ({"least": 1.5}, "least is 1.5"),
        ({"sparsity": 0.9, "least": 0.5}, "sparsity=0.9 cannot be reached.*20 of 40 channels"),
        ({"skip": ["conv9"]}, "skip names 'conv9', but no layer is called so"),
        ({"skip": "0"}, r"skip is the string '0'; write \('0',\)"),
        ({"skip": ["Conv2d"]}, "no channel of Sequential can be removed"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prune_channels(network(), example=INPUTS, **{"sparsity": 0.5, **options})


def test_unusable_models_and_data() -> None:
    with pytest.raises(ValueError, match="float16, must be float32"):
        prune_channels(network().half(), 0.5, INPUTS)
    with pytest.raises(CalibrationError, match="is empty"):
        prune_channels(network(), 0.5, INPUTS, score="activation", data=[])
    computed = nn.Sequential(weight_norm(nn.Conv2d(3, 8, 3)), nn.Conv2d(8, 2, 3))
    with pytest.raises(ValueError, match=r"remove parametrizations"):
        prune_channels(computed, 0.5, INPUTS)


def test_the_model_is_left_alone() -> None:
    model = network().train()
    before = copy.deepcopy(model.state_dict())
    batches = [(INPUTS[0], torch.tensor([0, 1]))]
    for score in ("l1", "taylor", "activation"):
        assert prune_channels(model, 0.5, INPUTS, score=score, data=batches).training
    assert not prune_channels(model.eval(), 0.5, INPUTS).training
    assert all(torch.equal(x, before[key]) for key, x in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert model[0].out_channels == 16


def test_prune_with_the_pattern_channel() -> None:
    model = wbcq.prune(network(), 0.5, pattern="channel", example=INPUTS)
    assert (model[0].out_channels, model[3].out_channels) == (8, 12)
    batches = [(INPUTS[0], torch.tensor([0, 1]))]
    options = {"pattern": "channel", "scope": "global", "score": "taylor", "round_to": 4}
    model = wbcq.prune(network(), macs=0.5, data=batches, **options)
    assert model[0].out_channels % 4 == model[3].out_channels % 4 == 0


@pytest.mark.parametrize("build", [network, OldShuffle])
def test_zeros_of_other_patterns_stay(build: Callable[[], nn.Module]) -> None:
    sparse = wbcq.prune(build(), 0.5, skip=["Linear"])
    inputs = pictures((3, 16, 16))
    plan = plan_channels(sparse, 0.5, inputs)
    smaller = plan.apply()
    assert_close(outputs(smaller, inputs), outputs(without_readers(plan, sparse), inputs))
    for name, mask in wbcq.pruning.masks(smaller).items():
        layer = smaller.get_submodule(name)
        assert mask.shape == layer.weight.shape
        assert not layer.weight[~mask].any()
        assert not mask.all()
    assert wbcq.pruning.masks(smaller).keys() == wbcq.pruning.masks(sparse).keys()


def test_local_takes_the_same_share_everywhere_and_global_the_least_important() -> None:
    model = network()
    with torch.no_grad():
        model[0].weight[::2] *= 0.01  # Half of the first layer hardly matters.
    local = rows_kept(model, scope="local", sparsity=0.25)
    assert [len(rows) for rows in local.values()] == [12, 18]
    spread = rows_kept(model, scope="global", sparsity=0.2)
    assert spread == {"0": list(range(1, 16, 2)), "3": list(range(24))}


@pytest.mark.parametrize("score", ["l1", "l2", "taylor", "activation"])
def test_scores_find_the_channels_that_do_nothing(score: str) -> None:
    model = network()
    with torch.no_grad():
        model[0].weight[4:12] *= 1e-3
        model[0].bias[4:12] = 0
        model[8].weight[:, :12] *= 1e-3
        if score in ("l1", "l2"):
            model[3].weight[:12] *= 1e-3
    batches = [(x, torch.tensor([0, 1])) for x in pictures((3, 12, 12), (3, 12, 12), seed=1)]
    kept = rows_kept(model, score=score, data=batches)
    assert kept == {"0": [0, 1, 2, 3, 12, 13, 14, 15], "3": list(range(12, 24))}


def test_weights_count_by_what_normalization_makes_of_them() -> None:
    model = network()
    with torch.no_grad():
        model[0].weight[:8] *= 100
        model[1].running_var[:8] = 1e8
    assert rows_kept(model)["0"] == list(range(8, 16))


def test_own_loss() -> None:
    """Only what the loss sees has gradients."""
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    with torch.no_grad():
        model[2].weight[0, 4:] = 0
        model[2].weight[1, :4] = 0

    def first_output(results: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(results[:, 0], targets)

    data = [(INPUTS[0], torch.zeros(2, 12, 12))]
    plan = plan_channels(model, 0.5, INPUTS, score="taylor", data=data, loss=first_output)
    kept = plan.kept[plan.dependencies.axes["0.weight", 0]]
    assert kept.tolist() == [True] * 4 + [False] * 4


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("round_to", [4, 8])
def test_rounded_widths(scope: str, round_to: int) -> None:
    for sparsity in np.arange(0.0, 0.6, 0.1):
        model = prune_channels(network(), sparsity, INPUTS, scope=scope, round_to=round_to)
        widths = model[0].out_channels, model[3].out_channels
        assert all(width % round_to == 0 for width in widths)
        removed = 40 - sum(widths)
        assert 40 * sparsity - 1 <= removed <= 40 * sparsity + 2 * round_to


def test_skipped_layers_keep_their_outputs() -> None:
    model = prune_channels(network(), 0.5, INPUTS, skip=["3"])
    assert (model[0].out_channels, model[3].in_channels, model[3].out_channels) == (8, 8, 24)


def test_at_least_a_share_stays() -> None:
    model = network()
    with torch.no_grad():
        model[0].weight.zero_()
    smaller = prune_channels(model, 0.38, INPUTS, scope="global", least=0.25)
    assert smaller[0].out_channels == 4
    assert outputs(smaller, INPUTS)[0].shape == (2, 4)


def test_the_plan_tells_what_it_does() -> None:
    plan = plan_channels(network(), 0.5, INPUTS)
    assert plan.channels == {"0": (16, 8), "3": (24, 12), "8": (4, 4)}
    first, second, last = 27 * 100, 9 * 64, 1
    assert plan.macs == (
        first * 16 + second * 16 * 24 + last * 24 * 4,
        first * 8 + second * 8 * 12 + last * 12 * 4,
    )
