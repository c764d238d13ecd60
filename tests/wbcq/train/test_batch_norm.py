"""Batch normalization in trainings of few steps."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from wbcq import models
from wbcq.train.batch_norm import follow_quickly


def test_running_means_follow_within_a_short_training() -> None:
    model = models.create("mobilenet_v3_small", num_classes=5)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert min(norm.momentum for norm in norms) < 0.1  # otherwise there is nothing to do
    follow_quickly(model)
    assert {norm.momentum for norm in norms} == {0.1}
    first = norms[0]
    first.train()
    x = torch.randn(8, first.num_features, 4, 4) + 3
    for _ in range(30):
        first(x)
    assert torch.allclose(first.running_mean, x.mean(dim=(0, 2, 3)), rtol=0.1)
