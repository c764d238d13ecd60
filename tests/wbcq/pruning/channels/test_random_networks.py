"""Networks that Hypothesis draws, pruned: what the large one computes with zero columns."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import fx, nn

from tests.wbcq.engine.strategies import cases
from tests.wbcq.graph.helpers import assert_close
from tests.wbcq.graph.test_random_graphs import SIZE, Drawn, networks
from tests.wbcq.pruning.channels.helpers import outputs, pictures, without_readers
from wbcq.graph.capture import capture
from wbcq.pruning.channels import ChannelPlan, plan_channels
from wbcq.pruning.channels.groups import Costs
from wbcq.pruning.channels.rewrite import is_same, shrunk_graph


def planned(net: nn.Module, inputs: list[torch.Tensor], **options: object) -> ChannelPlan:
    try:
        return plan_channels(net, example=inputs[0], **options)  # type: ignore[arg-type]
    except ValueError as error:
        assume("no channel of" not in str(error) and "cannot be reached" not in str(error))
        raise


@cases(2)
@given(networks(), st.floats(0.1, 0.9), st.sampled_from(["local", "global"]), st.integers(1, 4))
def test_equals_the_large_network_with_zero_columns(
    net: Drawn, sparsity: float, scope: str, round_to: int
) -> None:
    inputs = pictures((net.channels[0], SIZE, SIZE))
    traced = fx.symbolic_trace(net)  # Its layers are its own, so that a copy computes with copies.
    options = {"sparsity": sparsity, "scope": scope, "round_to": round_to, "least": 0.0}
    plan = planned(traced, inputs, **options)
    smaller = plan.apply()
    assert_close(outputs(smaller, inputs), outputs(without_readers(plan, traced), inputs))
    graph = shrunk_graph(plan.dependencies, plan.kept)
    recaptured = capture(smaller, inputs)
    assert all(graph.values[n].shape[1] for n in graph.values)
    if type(smaller) is not type(traced):
        assert not any(m is layer for m in smaller.modules() for layer in traced.modules())
        assert [type(n.op) for n in recaptured if n.params] == [
            type(n.op) for n in graph if n.params
        ]
    else:
        assert is_same(recaptured, graph)
    everything = torch.ones(len(plan.kept), dtype=torch.bool).numpy()
    assert Costs(plan.dependencies).macs(everything) == plan.macs[0] >= plan.macs[1]


@cases(1)
@given(networks(), st.floats(0.3, 0.95))
def test_multiplications_are_counted(net: Drawn, macs: float) -> None:
    inputs = pictures((net.channels[0], SIZE, SIZE))
    plan = planned(net, inputs, sparsity=None, macs=macs, least=0.0)
    counted = 0

    def count(layer: nn.Module, _: object, y: torch.Tensor) -> None:
        nonlocal counted
        assert isinstance(layer, (nn.Conv2d, nn.Linear))
        counted += layer.weight[0].numel() * y[0].numel()

    smaller = plan.apply()
    for layer in smaller.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(count)
    outputs(smaller, inputs)
    assert counted == plan.macs[1] <= macs * plan.macs[0]


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_removed_at_zero(seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1))
    inputs = pictures((3, 8, 8), seed=seed)
    plan = plan_channels(model, 0.0, inputs)
    assert plan.kept.all()
    assert_close(outputs(plan.apply(), inputs), outputs(model, inputs))
