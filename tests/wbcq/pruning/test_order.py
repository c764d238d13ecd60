"""Blocks in the engine's order: what is pruned in blocks is in blocks where it is computed."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import wbcq
from tests.wbcq.engine.strategies import cases
from wbcq import models
from wbcq.engine.program import Conv2d
from wbcq.pruning.order import input_blocks
from wbcq.pruning.patterns import Pattern


def _engine_blocks(program: Any) -> dict[str, list[Any]]:
    """For each dense convolution the weights of each of its blocks of four channels of an input."""
    found = {}
    for op in program.ops:
        if isinstance(op, Conv2d) and op.groups == 1:
            ends = np.cumsum([program.tensors[x].channels for x in op.xs]).tolist()
            found[op.name] = [
                op.weight[o, y, x, c : min(c + 4, end)]
                for start, end in zip([0, *ends], ends, strict=False)
                for c in range(start, end, 4)
                for o, y, x in np.ndindex(op.weight.shape[:3])
            ]
    return found


def _prune(model: nn.Module, sparsity: float, **options: Any) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wbcq.DenseLayersWarning)
        return wbcq.prune(model, sparsity, **options)


def _quantize(model: nn.Module, example: Tensor) -> Any:
    return wbcq.quantize(model, [example], progress=False).program


class Shuffled(nn.Module):
    """Two convolutions whose channels are split, joined, shuffled and read by a third."""

    def __init__(self, widths: tuple[int, int], groups: int, start: int) -> None:
        super().__init__()
        self.left = nn.Conv2d(4, widths[0], 1)
        self.right = nn.Conv2d(4, widths[1], 3, padding=1)
        self.shuffle = nn.ChannelShuffle(groups)
        self.start = start
        self.reader = nn.Conv2d(sum(widths) - start, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        joined = self.shuffle(torch.cat([self.left(x), self.right(x)], 1))
        read: Tensor = self.reader(joined[:, self.start :])
        return read


def _ones(model: nn.Module) -> nn.Module:
    """Weights that no rounding makes zero."""
    for name, parameter in model.named_parameters():
        if name.endswith("weight"):
            noise = torch.rand_like(parameter) * 0.01
            parameter.data = 1 + noise if parameter.dim() > 1 else parameter.data
    return model.eval()


@cases(0.2)
@given(st.data())
def test_pruned_blocks_are_blocks_of_the_engine(data):
    groups = data.draw(st.integers(1, 4))
    widths = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    widths = widths[0], widths[1] + (-sum(widths)) % groups
    start = data.draw(st.integers(0, sum(widths) - 4 if sum(widths) > 4 else 0))
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    model, x = _ones(Shuffled(widths, groups, start)), torch.rand(2, 4, 5, 5)
    if sum(widths) - start < 4:
        return  # too few channels for the pattern
    pruned = _prune(model, data.draw(st.sampled_from([0.3, 0.6])), pattern="1x4", example=x)
    assert (pruned.reader.weight == 0).any() or sum(widths) - start <= 6
    for name, blocks in _engine_blocks(_quantize(pruned, x)).items():
        for block in blocks:
            assert block.all() or not block.any(), (name, block)


@pytest.mark.parametrize("scope", ["local", "global"])
def test_shufflenet_keeps_its_blocks(scope):
    torch.manual_seed(0)
    model, x = models.create("shufflenet_v2_x0_5", num_classes=5).eval(), torch.rand(2, 3, 32, 32)
    shares = {}
    for example in (None, x):
        pruned = _prune(model, 0.75, pattern="1x4", scope=scope, example=example)
        found = _engine_blocks(_quantize(pruned, x))
        blocks = [block for name in found if name != "conv1.0" for block in found[name]]
        shares[example is not None] = np.mean([not block.any() for block in blocks])
    assert shares[True] > 0.73
    assert shares[False] < shares[True] - 0.05


def test_other_networks_need_no_example():
    torch.manual_seed(0)
    model, x = models.create("resnet18", num_classes=5).eval(), torch.rand(1, 3, 32, 32)
    for pattern in ("1x4", "4x4"):
        without = _prune(model, 0.5, pattern=pattern).state_dict()
        given_one = _prune(model, 0.5, pattern=pattern, example=x).state_dict()
        assert all(torch.equal(without[key], given_one[key]) for key in without)


def test_flattened_pictures_are_read_pixel_by_pixel():
    model = _ones(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Flatten(), nn.Linear(8 * 6, 5)))
    x = torch.rand(2, 3, 2, 3)
    columns = input_blocks(model, x, 4)["2"].reshape(8, 6)
    assert columns[:, 0].tolist() == [0] * 4 + [1] * 4
    assert columns[0].tolist() == [0, 2, 4, 6, 8, 10]
    pruned = _prune(model, 0.5, pattern="1x4", example=x, layers=("2",))
    blocks = _engine_blocks(_quantize(pruned, x))["2"]
    assert sum(not block.any() for block in blocks) == len(blocks) / 2


def test_layers_that_run_twice_and_depthwise_ones_are_left_out():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.same = nn.Conv2d(8, 8, 1)
            self.depthwise = nn.Conv2d(8, 8, 3, groups=8)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.depthwise(self.same(torch.relu(self.same(x))))
            return y

    x = torch.rand(1, 8, 6, 6)
    assert input_blocks(Twice(), x, 4) == {}
    assert float((_prune(Twice(), 0.5, pattern="1x4", example=x).same.weight == 0).float().mean())


def test_the_model_is_not_changed():
    model, x = Shuffled((4, 4), 2, 0).train(), torch.rand(1, 4, 5, 5)
    before = copy.deepcopy(model.state_dict())
    pruned = wbcq.prune(model, 0.5, pattern="1x4", example=x)
    assert pruned.training
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@cases(1)
@given(st.data())
def test_blocks_of_any_columns(data):
    outputs, inputs, taps = (data.draw(st.integers(1, 9)) for _ in range(3))
    pattern = Pattern.parse(data.draw(st.sampled_from(["1x4", "2x4", "4x4"])))
    order = torch.tensor(data.draw(st.permutations(range(inputs))))
    columns = torch.empty(inputs, dtype=torch.int64)
    columns[order] = torch.arange(inputs) // pattern.inputs
    values = torch.rand(outputs, inputs, taps, 1, dtype=torch.float64)
    sums = pattern.block_sums(values, columns)
    torch.testing.assert_close(sums, pattern.block_sums(values[:, order]))
    sizes = pattern.block_sizes(values.shape, columns)
    assert torch.equal(sizes, pattern.block_sizes(values.shape))
    spread = pattern.spread(sums, values.shape, columns)
    torch.testing.assert_close(spread[:, order], pattern.spread(sums, values.shape))
