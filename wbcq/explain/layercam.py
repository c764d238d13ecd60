"""LayerCAM: which pixels speak for a class.

Jiang, Zhang, Hou, Cheng, Wei: "LayerCAM: Exploring Hierarchical Class Activation Maps for
Localization", IEEE Transactions on Image Processing 30, 2021. Each activation of a layer is weighed
with its own gradient where that is positive: M = relu(sum_k relu(dy/dA_k) A_k).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wbcq.explain.taps import Tap, open_tap

__all__ = ["HeatMaps", "layer_cam"]

Pictures: TypeAlias = Tensor | Sequence[Tensor]

_GAMMA = 2.0
"""By what the maps of shallow layers, which are weak, are raised before they are fused."""


@dataclass(frozen=True, eq=False)
class HeatMaps:
    """One map per picture.

    Attributes:
        maps: float32 [N, H, W], of the pictures' size; the largest value of each map is 1, or all
            are 0 where nothing speaks for the class.
        targets: int64 [N], the class that each map explains.
        scores: float32 [N, classes], logits of the computation that the maps come from, summed
            over the outputs of a network with several.
        layers: The layers that were looked at.
    """

    maps: npt.NDArray[np.float32]
    targets: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    layers: tuple[str, ...]


def layer_cam(
    model: nn.Module,
    pictures: Pictures,
    *,
    layers: str | Sequence[str] | None = None,
    targets: Sequence[int] | npt.NDArray[np.int64] | None = None,
    batch: int = 16,
) -> HeatMaps:
    """Explains a classifier's decisions by LayerCAM.

    An INT8 network is explained through what :func:`wbcq.prepare_qat` makes of the float network:
    the maps then come from the integers' values, with gradients that pass straight through the
    roundings, and the default class is the one that the engine decides for.

    Args:
        model: A float module, or a :class:`wbcq.QatModule`; it and its mode stay as they are.
        pictures: float32 [N, C, H, W] as the model takes them; several for a network with several
            inputs, whose first sets the maps' size.
        layers: Name of a module, as in ``named_modules``, whose output is looked at. By default
            the last with a spatial extent. Of several, from shallow to deep, the maps are fused:
            all but the last raised by tanh, then the largest value of each pixel.
        targets: Class of each picture; by default the model's decision.
        batch: Pictures at a time.

    Raises:
        ValueError: No such layer, a layer without spatial extent, or no classifier.

    Example:
        >>> import torch, wbcq
        >>> model = wbcq.models.create("resnet18", num_classes=5)
        >>> heat = layer_cam(model, torch.rand(2, 3, 96, 96))
        >>> heat.maps.shape, heat.layers
        ((2, 96, 96), ('layer4',))
    """
    inputs = (pictures,) if isinstance(pictures, Tensor) else tuple(pictures)
    count = len(inputs[0])
    if not count:
        raise ValueError("no pictures; pass at least one")
    if targets is not None and len(targets) != count:
        raise ValueError(f"{len(targets)} targets for {count} pictures; pass one for each")
    with open_tap(model) as tap:
        names = (layers,) if isinstance(layers, str) else tuple(layers or ())
        names = names or (tap.default_layer(tuple(x[:1] for x in inputs)),)
        parts = []
        for start in range(0, count, batch):
            chunk = tuple(x[start : start + batch] for x in inputs)
            wanted = None if targets is None else np.asarray(targets[start : start + batch])
            parts.append(_explain(tap, chunk, names, wanted))
    maps, chosen, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
    return HeatMaps(maps, chosen, scores, names)


def _explain(
    tap: Tap,
    inputs: tuple[Tensor, ...],
    layers: tuple[str, ...],
    targets: npt.NDArray[np.int64] | None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    if targets is None:
        with torch.no_grad():
            outputs = _checked(tap.decide(inputs), len(inputs[0]))
        chosen = torch.stack(outputs).softmax(-1).mean(0).argmax(1)
    else:
        chosen = torch.as_tensor(targets, dtype=torch.int64, device=inputs[0].device)
    with torch.enable_grad():
        # Gradients are wanted even of networks whose parameters are frozen.
        leaves = tuple(x.detach().requires_grad_() for x in inputs)
        outputs, activations = tap.run(leaves, layers)
        total = torch.stack(_checked(outputs, len(chosen))).sum(0)
        if targets is not None and not 0 <= int(chosen.min()) <= int(chosen.max()) < total.shape[1]:
            raise ValueError(
                f"targets span {int(chosen.min())}..{int(chosen.max())}; the model has "
                f"{total.shape[1]} classes, counted from 0"
            )
        score = total.gather(1, chosen[:, None]).sum()
        flat = [tensor for layer in activations for tensor in layer]
        gradients = iter(torch.autograd.grad(score, flat, allow_unused=True))
    size = inputs[0].shape[-2:]
    maps = []
    for layer in activations:
        heat = sum((_cam(tensor, next(gradients)) for tensor in layer), torch.zeros(()))
        maps.append(_scaled(F.interpolate(heat, size, mode="bilinear", align_corners=False)))
    fused = maps[-1]
    for heat in maps[:-1]:
        fused = torch.maximum(fused, torch.tanh(_GAMMA * heat))
    result: npt.NDArray[np.float32] = _scaled(fused)[:, 0].cpu().numpy()
    return result, chosen.cpu().numpy(), total.detach().cpu().numpy()


def _cam(activation: Tensor, gradient: Tensor | None) -> Tensor:
    """The sum over channels before the last relu, [N, 1, h, w]; of a part of a layer's channels."""
    activation = activation.detach()
    if gradient is None:
        return torch.zeros_like(activation[:, :1])
    return (F.relu(gradient) * activation).sum(1, keepdim=True)


def _scaled(heat: Tensor) -> Tensor:
    heat = F.relu(heat)
    highest = heat.amax((2, 3), keepdim=True)
    return heat / torch.where(highest > 0, highest, torch.ones_like(highest))


def _checked(outputs: tuple[Tensor, ...], count: int) -> tuple[Tensor, ...]:
    shapes = [tuple(y.shape) for y in outputs]
    if any(len(shape) != 2 or shape != shapes[0] or shape[0] != count for shape in shapes):
        raise ValueError(
            f"the model returns {', '.join(map(str, shapes))}; LayerCAM explains classifiers, "
            "which return logits [N, classes]"
        )
    return outputs
