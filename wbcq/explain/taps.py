"""Taps: the output of named layers while a network runs, in float modules and in simulations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from wbcq.engine.exact import ExactExecutor
from wbcq.engine.model import QuantizedModel
from wbcq.graph.ir import Graph, Node
from wbcq.quant.qat import QatModule, convert

__all__ = ["Tap", "engine_values", "last_spatial_layer", "open_tap"]


class Tap(Protocol):
    """A network whose layers can be looked at."""

    def default_layer(self, inputs: tuple[Tensor, ...], side: int = 1) -> str:
        """The last layer with a spatial extent, and with at least so many pixels each way."""

    def decide(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What the network answers where it is used."""

    def run(
        self, inputs: tuple[Tensor, ...], layers: tuple[str, ...]
    ) -> tuple[tuple[Tensor, ...], list[list[Tensor]]]:
        """Outputs, and each layer's output: one tensor [N, C, H, W], or one for each part of it."""


@contextmanager
def open_tap(model: nn.Module) -> Iterator[Tap]:
    """A tap on a model, which is in evaluation mode meanwhile.

    Raises:
        ValueError: ``model`` is no module.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"a {type(model).__name__} has no gradients. Remedy for a quantized network: pass "
            "wbcq.prepare_qat(model, batches), which computes with the same integers"
        )
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield _SimulationTap(model) if isinstance(model, QatModule) else _ModuleTap(model)
    finally:
        for module, mode in modes.items():
            module.training = mode


def last_spatial_layer(model: nn.Module, *inputs: Tensor, side: int = 1) -> str:
    """Name of the last layer whose output has more than one pixel.

    Args:
        model: A float module or a :class:`wbcq.QatModule`; it and its mode stay as they are.
        *inputs: As the model takes them.
        side: Least height and width of the output.

    Returns:
        A module's name; of modules that end together, the outermost. For a QatModule, a node's.

    Raises:
        ValueError: There is none.

    Example:
        >>> import torch, wbcq
        >>> model = wbcq.models.create("shufflenet_v2_x0_5", num_classes=5)
        >>> last_spatial_layer(model, torch.rand(1, 3, 64, 64))
        'conv5'
    """
    with open_tap(model) as tap:
        return tap.default_layer(inputs, side)


class _ModuleTap:
    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def default_layer(self, inputs: tuple[Tensor, ...], side: int = 1) -> str:
        sizes: dict[str, tuple[int, ...]] = {}  # in the order in which modules end

        def look(name: str, output: Any) -> None:
            sizes.pop(name, None)
            sizes[name] = tuple(output.shape) if isinstance(output, Tensor) else ()

        with ExitStack() as hooks:
            for name, module in self._model.named_modules():
                if name:
                    handle = module.register_forward_hook(lambda _m, _x, y, n=name: look(n, y))
                    hooks.callback(handle.remove)
            with torch.no_grad():
                self.decide(inputs)
        found = [name for name, shape in sizes.items() if _is_spatial(shape, side)]
        # Inside a block a layer may see a part of the channels only: better what all flows through.
        whole = [name for name in found if self._is_on_the_road(name, sizes)]
        last = (whole or found or [""])[-1]
        if not last:
            raise ValueError(_no_map(self._model, inputs, side))
        return last

    def _is_on_the_road(self, name: str, sizes: Mapping[str, tuple[int, ...]]) -> bool:
        """Whether a module is in no block: only in sequences, and in what gives no map itself."""
        parts = name.split(".")
        around = [".".join(parts[:k]) for k in range(1, len(parts))]
        return all(
            isinstance(self._model.get_submodule(outer), nn.Sequential)
            or not _is_spatial(sizes.get(outer, ()))
            for outer in around
        )

    def decide(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return _tuple(self._model(*inputs))

    def run(
        self, inputs: tuple[Tensor, ...], layers: tuple[str, ...]
    ) -> tuple[tuple[Tensor, ...], list[list[Tensor]]]:
        modules = dict(self._model.named_modules())
        seen: dict[str, Tensor] = {}

        def keep(name: str, output: Any) -> Tensor:
            if not isinstance(output, Tensor) or not _is_spatial(output.shape):
                shown = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise ValueError(f"layer {name!r} gives {shown}, not a map [N, C, H, W]")
            seen[name] = output
            # A copy goes on: what follows may change it in place.
            return output.clone()

        with ExitStack() as hooks:
            for name in layers:
                if name not in modules or not name:
                    raise ValueError(_unknown(name, [n for n in modules if n]))
                handle = modules[name].register_forward_hook(lambda _m, _x, y, n=name: keep(n, y))
                hooks.callback(handle.remove)
            outputs = self.decide(inputs)
        if missing := [name for name in layers if name not in seen]:
            raise ValueError(f"layer {missing[0]!r} does not run; choose one that does")
        return outputs, [[seen[name]] for name in layers]


class _SimulationTap:
    """The engine's integers, with straight-through gradients.

    A simulation in float32 rounds a few values to the other side, and later layers can make much of
    these. So every value is the engine's, and the simulation gives the gradients alone.

    Layers were fused since the network was a module, and its shuffles and concatenations may be
    gone. The output of a module is what nodes outside of it read of what nodes inside compute.
    """

    def __init__(self, model: QatModule) -> None:
        self._model = model
        self._executor = model.executor
        self._engine = convert(model)

    def default_layer(self, inputs: tuple[Tensor, ...], side: int = 1) -> str:
        graph = self._executor.graph
        spatial = [n for n in graph if _is_spatial(graph.values[n.output].shape, side)]
        if not spatial:
            raise ValueError(_no_map(self._model, inputs, side))
        return spatial[-1].name

    def decide(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return _tuple(self._engine(*(x.detach() for x in inputs)))

    def run(
        self, inputs: tuple[Tensor, ...], layers: tuple[str, ...]
    ) -> tuple[tuple[Tensor, ...], list[list[Tensor]]]:
        graph = self._executor.graph
        inside = {layer: _nodes_of(graph, layer) for layer in layers}
        exact = engine_values(self._engine, inputs)
        seen: dict[str, dict[str, Tensor]] = {layer: {} for layer in layers}

        def read(node: Node | None, name: str, x: Tensor) -> Tensor:
            for layer in layers:
                producers = inside[layer]
                if name in producers and (node is None or node.output not in producers):
                    if name not in seen[layer]:
                        # All readers outside share one copy, whose gradient is theirs together.
                        seen[layer][name] = x.view_as(x)
                    x = seen[layer][name]
            return x

        def replace(name: str, x: Tensor) -> Tensor:
            if name not in exact or not x.requires_grad:
                return x
            value = exact[name].reshape(x.shape).to(x.device)
            result: Tensor = _InPlaceOf.apply(x, value)  # type: ignore[no-untyped-call]
            return result

        outputs = self._executor.run(inputs, on_value=replace, on_read=read)
        for layer, parts in seen.items():
            if not parts or any(not _is_spatial(x.shape) for x in parts.values()):
                shapes = ", ".join(str(list(x.shape)) for x in parts.values()) or "nothing"
                raise ValueError(f"layer {layer!r} gives {shapes}, not a map [N, C, H, W]")
        return outputs, [list(seen[layer].values()) for layer in layers]


class _InPlaceOf(torch.autograd.Function):
    """Another value with the same gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def engine_values(model: QuantizedModel, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """What each tensor of a quantized network stands for, in PyTorch's layout, by name.

    The integers are those of the engine; operators that are float32 are close to it.
    """
    tensors = model.program.tensors
    arrays = [x.detach().cpu().numpy() for x in inputs]
    found = {}
    for name, stored in ExactExecutor(model.program).run_all(*arrays).items():
        values = stored.astype(np.float32)
        if tensors[name].dtype == "u8":
            values = (values - np.float32(tensors[name].zero_point)) * np.float32(
                tensors[name].scale
            )
        found[name] = torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))
    return found


def _nodes_of(graph: Graph, layer: str) -> frozenset[str]:
    """Names of the values that a module computes."""

    def belongs(name: str) -> bool:
        return name == layer or name.startswith(f"{layer}.")

    found = {n.output for n in graph if belongs(n.source.module) or belongs(n.name)}
    if not found or not layer:
        raise ValueError(_unknown(layer, [n.source.module or n.name for n in graph]))
    return frozenset(found)


def _unknown(name: str, known: list[str]) -> str:
    tops = dict.fromkeys(part for full in known for part in (full.partition(".")[0], full))
    listed = ", ".join(list(tops)[:30]) + (", ..." if len(tops) > 30 else "")
    return f"no layer {name!r}; choose one of {listed}"


def _tuple(outputs: Any) -> tuple[Tensor, ...]:
    return tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)


def _no_map(model: nn.Module, inputs: tuple[Tensor, ...], side: int) -> str:
    wanted = "more than one pixel" if side < 2 else f"at least {side}x{side} pixels"
    return (
        f"no layer of {type(model).__name__} gives a map of {wanted} for pictures of "
        f"{tuple(inputs[0].shape[-2:])}; pass larger pictures"
    )


def _is_spatial(shape: tuple[int | None, ...], side: int = 1) -> bool:
    height, width = (shape[2] or 0, shape[3] or 0) if len(shape) == 4 else (0, 0)
    return height * width > 1 and min(height, width) >= side
