"""ShuffleNetV2 trunks in the layout of its authors' own code, read into ours.

There a block begins with the shuffle: even channels pass by, odd ones enter the block, and the
result is their concatenation. Here, as in torchvision, the first half passes by, the second enters
the block, and the shuffle comes last. Both compute the same functions of other orders of channels,
so weights can be moved over with their channels permuted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from wbcq.models.shufflenetv2 import InvertedResidual, ShuffleNetV2

__all__ = ["load_authors_trunk"]

_FOREVER = 64
"""Blocks that channel 0 passes by: all of them, in either layout."""


def load_authors_trunk(
    model: ShuffleNetV2, state: Mapping[str, Tensor], *, bgr: bool = False
) -> Tensor:
    """Puts a trunk (stem and three stages) into a network; ``conv5`` and ``fc`` stay as they are.

    Args:
        model: Of the same widths; changed in place.
        state: Keys ``first_conv.*``, ``stage{2,3,4}.{i}.branch_main.*`` and ``branch_proj.*``.
        bgr: The trunk was trained on blue, green, red; its first layer is turned over.

    Returns:
        Their channel for each of ours behind the last stage, int64 [C].

    Raises:
        ValueError: A weight is missing or of another shape.
    """
    loaded: dict[str, Tensor] = {}

    def move(target: str, source: str, outputs: Tensor | None, inputs: Tensor | None) -> None:
        """A convolution or a normalization with the given orders of channels."""
        for key, tensor in _pieces(state, source):
            if outputs is not None and tensor.dim():
                tensor = tensor[outputs]
            if inputs is not None and tensor.dim() == 4:
                tensor = tensor[:, inputs]
            loaded[f"{target}.{key}"] = tensor

    move("conv1.0", "first_conv.0", None, torch.tensor([2, 1, 0]) if bgr else None)
    move("conv1.1", "first_conv.1", None, None)
    order = torch.arange(_width(model.conv1[0]))
    for stage in ("stage2", "stage3", "stage4"):
        for index, block in enumerate(getattr(model, stage)):
            assert isinstance(block, InvertedResidual)
            name = f"{stage}.{index}"
            width = _width(block.branch2[5])
            if block.stride > 1:
                entering = order
                order = _matched(torch.arange(width), torch.arange(width, 2 * width))
                for place in (0, 1):  # depthwise: outputs follow inputs
                    move(f"{name}.branch1.{place}", f"{name}.branch_proj.{place}", entering, None)
                left, right = order[0::2], order[1::2] - width
                move(f"{name}.branch1.2", f"{name}.branch_proj.2", left, entering)
                move(f"{name}.branch1.3", f"{name}.branch_proj.3", left, None)
            else:
                passing, entering = order[:width] // 2, (order[width:] - 1) // 2
                order = _matched(passing, torch.arange(width, 2 * width))
                right = order[1::2] - width
            move(f"{name}.branch2.0", f"{name}.branch_main.0", None, entering)
            for place in (1, 3, 4):
                move(f"{name}.branch2.{place}", f"{name}.branch_main.{place}", None, None)
            move(f"{name}.branch2.5", f"{name}.branch_main.5", right, None)
            move(f"{name}.branch2.6", f"{name}.branch_main.6", right, None)
    _load(model, loaded)
    return order


def _width(layer: nn.Module) -> int:
    assert isinstance(layer, nn.Conv2d)
    return layer.out_channels


def _matched(left: Tensor, right: Tensor) -> Tensor:
    """Their channel for each of ours behind a shuffle.

    Which blocks a channel passes by before it enters one follows from its place alone. What a
    branch computes anew is put into places of ours whose channels live as long.

    Args:
        left: Their channels that our even places must take, in our order where it is given
            (channels that passed by), or in any (at the start of a stage).
        right: Their new channels, for our odd places, in any order.
    """
    count = 2 * len(left)
    order = torch.empty(count, dtype=torch.int64)
    for first, channels in ((0, left), (1, right)):
        waiting: dict[int, list[int]] = defaultdict(list)
        for channel in channels.tolist():
            waiting[_passes(channel)].append(channel)
        for place in range(first, count, 2):
            order[place] = waiting[_our_passes(place, count)].pop(0)
    return order


def _passes(channel: int) -> int:
    """Blocks that a channel of theirs passes by: while its number is even, it is halved."""
    return (channel & -channel).bit_length() - 1 if channel else _FOREVER


def _our_passes(place: int, count: int) -> int:
    """Blocks that a channel of ours passes by: while it is in the first half, it is doubled."""
    passes = 0
    while 0 < place < count // 2:
        place, passes = 2 * place, passes + 1
    return passes if place else _FOREVER


def _pieces(state: Mapping[str, Tensor], layer: str) -> list[tuple[str, Tensor]]:
    names = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    found = [(name, state[f"{layer}.{name}"]) for name in names if f"{layer}.{name}" in state]
    if not found:
        raise ValueError(
            f"the trunk has no layer {layer!r}; pass the state of a ShuffleNetV2 in its authors' "
            "layout (first_conv, stage2 to stage4)"
        )
    return found


def _load(model: ShuffleNetV2, loaded: Mapping[str, Tensor]) -> None:
    own = model.state_dict()
    for name, tensor in loaded.items():
        if name not in own or own[name].shape != tensor.shape:
            wanted = list(own[name].shape) if name in own else "nothing"
            raise ValueError(
                f"{name} is {list(tensor.shape)} in the trunk, the network has {wanted}; use a "
                "network of the trunk's widths"
            )
    model.load_state_dict({**own, **loaded})
