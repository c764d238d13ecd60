"""Every network of the zoo at half its multiplications."""

from __future__ import annotations

import copy
import functools
import pickle
from typing import Any

import pytest
import torch
from torch import nn

import wbcq
from tests.wbcq.graph.helpers import assert_close, settle_norms
from tests.wbcq.pruning.channels.helpers import (
    outputs,
    pictures,
    without_readers,
    without_writers,
)
from wbcq import models
from wbcq.pruning.channels import ChannelNetwork, ChannelPlan, plan_channels

NETWORKS = (
    "mm_mimo3",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "resnet18",
    "resnet50",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "yolov3_tiny",
)


@functools.cache
def halved(name: str, scope: str) -> tuple[nn.Module, list[torch.Tensor], ChannelPlan, nn.Module]:
    """A network, inputs, and the plan and result of pruning it."""
    torch.manual_seed(0)
    model = settle_norms(models.create(name, num_classes=5))
    inputs = pictures(*[(3, 32, 32)] * (4 if name == "mm_mimo3" else 1))
    plan = plan_channels(model, None, inputs, macs=0.5, scope=scope)  # type: ignore[arg-type]
    return model, inputs, plan, plan.apply()


def leaves(results: Any) -> tuple[torch.Tensor, ...]:
    return results if isinstance(results, tuple) else (results,)


def signal_to_noise(ours: torch.Tensor, reference: torch.Tensor) -> float:
    return float(10 * torch.log10(reference.square().sum() / (ours - reference).square().sum()))


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        *((name, "local") for name in NETWORKS),
        ("mobilenet_v3_small", "global"),
        ("shufflenet_v2_x0_5", "global"),
    ],
)
def test_half_of_the_multiplications(name: str, scope: str) -> None:
    model, inputs, plan, smaller = halved(name, scope)
    before, after = plan.macs
    assert 0.45 * before <= after <= 0.5 * before
    keeps_its_class = not name.startswith("shufflenet")
    assert type(smaller) is (type(model) if keeps_its_class else ChannelNetwork)
    sizes = {key: x.shape for key, x in smaller.state_dict().items()}
    assert sizes.keys() == model.state_dict().keys()
    for layer, (full, kept) in plan.channels.items():
        assert sizes[f"{layer}.weight"][0] == kept <= full
    results = outputs(smaller, inputs)
    assert_close(results, outputs(without_readers(plan, model), inputs))
    assert_close(results, outputs(without_writers(plan, model), inputs))


@pytest.mark.parametrize("name", NETWORKS)
def test_trains_copies_and_quantizes(name: str) -> None:
    _, inputs, _, smaller = halved(name, "local")
    smaller = copy.deepcopy(smaller).train()
    state = copy.deepcopy(smaller.state_dict())
    optimizer = torch.optim.SGD(smaller.parameters(), 1e-4)
    for seed in range(2):
        optimizer.zero_grad()
        batch = pictures(*[tuple(x.shape[1:]) for x in inputs], batch=4, seed=seed)
        results = smaller(*batch)
        loss = torch.stack([y.square().mean() for y in leaves(results)]).sum()
        loss.backward()
        assert all(p.grad is not None for p in smaller.parameters())
        optimizer.step()
    for key, x in smaller.state_dict().items():
        if "running" in key:
            assert not torch.equal(x, state[key]), key
    copied = pickle.loads(pickle.dumps(smaller))
    assert_close(outputs(copied, inputs), outputs(smaller, inputs))
    copied.load_state_dict(state)

    quantized = wbcq.quantize(smaller, [tuple(inputs)], progress=False)
    reference = outputs(smaller, inputs)
    results = leaves(quantized(*inputs))
    for ours, y in zip(results, reference, strict=True):
        assert signal_to_noise(ours, y) > 8
