"""Convolutions and linear layers that train with rounded weights and batch normalization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from wbcq.graph.ops import Conv2d, Linear
from wbcq.graph.torch_operators import finished, weighted_sum
from wbcq.quant.qat.ranges import ActivationRange, WeightRange

__all__ = ["FoldedNorm", "QatLayer"]


class FoldedNorm(nn.Module):
    """Batch normalization behind a layer whose weights are rounded *after* folding.

    The rounded weights are those that will run: w gamma / sigma, with the running sigma. Their
    outputs are divided by the same factor and normalized with the statistics of the batch, so that
    training sees what batch normalization sees (Krishnamoorthi 2018, "Quantizing deep
    convolutional networks for efficient inference", section 3.2.2, in the form of
    ``torch.ao.nn.intrinsic.qat``). Once frozen, the running statistics are used and the layer is a
    convolution with a bias, as it will run.

    A folded network has no gamma and no statistics left. They are set from a batch such that
    nothing changes: gamma is the batch's standard deviation, and its mean is added again.

    Args:
        channels: Of the layer's output.
        momentum: Share of a batch in the running statistics.
        eps: Added to the variance.
    """

    running_mean: Tensor
    running_var: Tensor
    offset: Tensor
    is_set: Tensor
    frozen: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels) - eps)
        self.register_buffer("offset", torch.zeros(channels))
        self.register_buffer("is_set", torch.tensor(False))
        self.register_buffer("frozen", torch.tensor(False))
        self.momentum = momentum
        self.eps = eps

    def factor(self) -> Tensor:
        """What each output channel's weights are multiplied by, [O]."""
        return self.gamma / torch.sqrt(self.running_var + self.eps)

    def folded_bias(self, bias: Tensor) -> Tensor:
        """The bias of the convolution that the frozen layer is, [O]."""
        return bias + (self.offset - self.factor() * self.running_mean)

    def forward(self, y: Tensor, factor: Tensor, bias: Tensor) -> Tensor:
        """Normalizes sums of products with folded weights, [N, O, ...].

        Args:
            y: Without a bias.
            factor: What :meth:`factor` gave for their weights.
            bias: [O].
        """
        if self.training and not self.frozen:
            axes = [axis for axis in range(y.dim()) if axis != 1]
            # A factor near zero belongs to a dead channel, whose outputs carry nothing.
            safe = torch.where(factor.abs() < 1e-6, torch.ones_like(factor), factor)
            x = y.float() / _channels(safe, y)
            variance, mean = torch.var_mean(x, dim=axes, correction=0)
            self._record(mean.detach(), variance.detach())
            deviation = torch.sqrt(variance + self.eps)
            normalized = (x - _channels(mean, y)) / _channels(deviation, y)
            return normalized * _channels(self.gamma, y) + _channels(bias + self.offset, y)
        return y + _channels(self.folded_bias(bias), y)

    @torch.no_grad()
    def set_from(self, y: Tensor) -> None:
        """Takes statistics of sums of products, [N, O, ...], that leave the layer as it is."""
        axes = [axis for axis in range(y.dim()) if axis != 1]
        variance, mean = torch.var_mean(y.float(), dim=axes, correction=0)
        self.running_mean.copy_(mean)
        self.running_var.copy_(variance)
        self.offset.copy_(mean)
        self.gamma.copy_(torch.sqrt(self.running_var + self.eps))
        self.is_set.fill_(True)

    def _record(self, mean: Tensor, variance: Tensor) -> None:
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


class QatLayer(nn.Module):
    """A convolution or linear layer in training, up to its fused functions.

    Args:
        op: What it computes.
        weights: Rounds its weights; None for a layer that computes in float.
        norm: Of its outputs, if the network had batch normalization there.
        slices: Range and channels of each slice that a dense layer reads, in order; empty if the
            input is one value. Their scales go into the weights.
        mask: Of the weight's shape, False where it was pruned and stays zero.
    """

    mask: Tensor | None

    def __init__(
        self,
        op: Conv2d | Linear,
        weights: WeightRange | None,
        norm: FoldedNorm | None = None,
        slices: Sequence[tuple[ActivationRange, int]] = (),
        mask: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.op = op
        self.weights = weights
        self.norm = norm
        self._slices = tuple(slices)  # registered where the activations are
        self.register_buffer("mask", mask)

    def forward(self, inputs: Sequence[Tensor], params: Mapping[str, Tensor]) -> Tensor:
        """Computes the layer from its inputs and its parameters by role."""
        weight, bias = self._masked(params["weight"]), params.get("bias")
        if self.norm is None:
            y = weighted_sum(self.op, inputs, self._rounded(weight), bias)
        else:
            factor = self.norm.factor()
            y = weighted_sum(self.op, inputs, self._rounded(weight * _outputs(factor, weight)))
            if not self.norm.is_set:
                self.norm.set_from(y)
            assert bias is not None
            y = self.norm(y, factor, bias)
        return finished(self.op, y, inputs)

    def folded(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the layer that will run, not yet rounded."""
        weight = self._masked(weight)
        if self.norm is None or bias is None:
            return weight, bias
        return weight * _outputs(self.norm.factor(), weight), self.norm.folded_bias(bias)

    def _masked(self, weight: Tensor) -> Tensor:
        return weight if self.mask is None else torch.where(self.mask, weight, 0.0)

    def _rounded(self, weight: Tensor) -> Tensor:
        if self.weights is None:
            return weight
        ratio = None
        if self._slices:
            scales = torch.cat([part.scale.expand(channels) for part, channels in self._slices])
            ratio = _channels(scales / scales[0], weight)
        rounded: Tensor = self.weights(weight, ratio)
        return rounded


def _channels(values: Tensor, like: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (like.dim() - 2))


def _outputs(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.dim() - 1))
