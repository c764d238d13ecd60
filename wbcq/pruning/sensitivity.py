"""How much a network suffers when one of its layers is pruned."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.utils._pytree
from torch import Tensor, nn

from wbcq.errors import PruningError
from wbcq.pruning.allocation import check_sparsity, local_mask
from wbcq.pruning.choice import choose
from wbcq.pruning.layers import is_masked, mask_of, remove_mask, set_mask
from wbcq.pruning.patterns import Pattern
from wbcq.pruning.scores import Loss, labelled, weight_scores
from wbcq.quant.calibration_data import CalibrationData
from wbcq.quant.progress import track
from wbcq.report.files import write_text
from wbcq.report.tables import Column, Table

__all__ = ["SPARSITIES", "LayerScan", "Sensitivity", "scan_sensitivity"]

SPARSITIES = (0.25, 0.5, 0.75, 0.9)

Measure = Callable[[nn.Module], float]
"""How good a network is; larger is better."""


@dataclass(frozen=True)
class LayerScan:
    """One layer of a scan.

    Attributes:
        weights: How many it has.
        macs: Its multiplications for one picture.
        losses: What is lost at each sparsity of the scan.
    """

    weights: int
    macs: int
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Sensitivity:
    """What is lost when each layer alone is pruned.

    Attributes:
        measure: What losses are of: ``"error"``, ``"accuracy"`` or a measure's own name.
        pattern: Of the blocks.
        sparsities: Of each layer's scan, rising.
        layers: By name.
    """

    measure: str
    pattern: str
    sparsities: tuple[float, ...]
    layers: dict[str, LayerScan]

    def table(self) -> Table:
        """A row for each layer, for a terminal or as Markdown."""
        columns = [Column("layer"), Column("weights", ",d"), Column("MMACs", ".2f")]
        columns += [Column(f"{100 * sparsity:g} %", ".4f") for sparsity in self.sparsities]
        table = Table(columns, title=f"Loss of {self.measure} by sparsity, pattern {self.pattern}")
        for name, layer in self.layers.items():
            table.add(name, layer.weights, layer.macs / 1e6, *layer.losses)
        return table

    def plot(self, path: str | Path) -> None:
        """Draws layers by sparsities; the darker the more is lost."""
        from wbcq.report.charts import heat

        heat(
            path,
            list(self.layers),
            [f"{100 * sparsity:g}" for sparsity in self.sparsities],
            [layer.losses for layer in self.layers.values()],
            f"weights of the layer pruned, % ({self.pattern})",
            f"loss of {self.measure}",
        )

    def save(self, path: str | Path) -> None:
        """Writes it as JSON."""
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Sensitivity:
        """Reads what :meth:`save` or an unfinished scan wrote.

        Raises:
            PruningError: It is no such file.
        """
        try:
            record = json.loads(Path(path).read_text(encoding="utf-8"))
            layers = {
                name: LayerScan(layer["weights"], layer["macs"], tuple(layer["losses"]))
                for name, layer in record["layers"].items()
            }
            sparsities = tuple(record["sparsities"])
            return cls(record["measure"], record["pattern"], sparsities, layers)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PruningError(f"{path}: no scan of sensitivity ({error})") from error


def scan_sensitivity(
    model: nn.Module,
    data: Iterable[Any],
    *,
    measure: str | Measure = "error",
    sparsities: Sequence[float] = SPARSITIES,
    pattern: str = "unstructured",
    score: str = "l1",
    loss: Loss | None = None,
    layers: Iterable[str] | None = None,
    skip: Iterable[str] = (),
    file: str | Path | None = None,
    progress: bool = True,
) -> Sensitivity:
    """Prunes each layer alone, more and more, and measures what is lost.

    :func:`wbcq.pruning.allocate` makes sparsities of layers from it.

    Args:
        model: Is not changed.
        data: Batches to measure on, as for :func:`wbcq.quantize`; kept in memory.
        measure: ``"error"``: squared change of the outputs as a share of their squares, needs no
            labels; ``"accuracy"``: of the largest output, labels last in each batch; or a function
            of the pruned network whose result is better the larger it is. A loss is what the dense
            network has less what the pruned one has.
        sparsities: To measure at, in (0, 1).
        pattern: As for :func:`wbcq.prune`, of blocks.
        score: As for :func:`wbcq.prune`; batches come from ``data``.
        loss: For the score ``"taylor"``.
        layers: As for :func:`wbcq.prune`.
        skip: As for :func:`wbcq.prune`.
        file: Written after each layer; layers that are in it already, of the same network and
            settings, are not measured again.
        progress: Show a progress bar if stderr is a terminal.

    Raises:
        PruningError: A setting is out of range, or no layer is left.
        CalibrationError: The data are unusable.

    Example:
        >>> model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
        >>> scan = scan_sensitivity(model, [torch.rand(8, 16)], sparsities=(0.5, 0.9))
        >>> list(scan.layers), scan.layers["0"].macs
        (['0', '2'], 256)
    """
    wanted = Pattern.parse(pattern)
    if wanted.kept:
        raise PruningError(f"pattern {pattern} has one sparsity: there is nothing to scan")
    shares = tuple(sorted({check_sparsity(sparsity) for sparsity in sparsities} - {0.0}))
    if not shares:
        raise PruningError("sparsities holds none above 0; pass some in (0, 1)")
    work = copy.deepcopy(model).eval()
    choice = choose(work, wanted, layers, skip)
    batches = list(data)
    name = measure if isinstance(measure, str) else getattr(measure, "__name__", "measure")
    settings = [name, pattern, score, shares, _identity(work, batches)]
    found = _known(file, settings)
    scores = weight_scores(work, choice.layers, score, batches, loss)
    macs = _count_macs(work, choice.layers, batches)
    measured = _measure(measure, work, batches)
    steps = track(choice.layers.items(), len(choice.layers), "Scanning", enabled=progress)
    for layer_name, layer in steps:
        if layer_name in found:
            continue
        losses = _losses(work, layer, scores[layer_name], shares, wanted, measured)
        weights = scores[layer_name].numel()
        found[layer_name] = LayerScan(weights, macs[layer_name], losses)
        if file is not None:
            _record(file, settings, Sensitivity(name, pattern, shares, found))
    ordered = {layer_name: found[layer_name] for layer_name in choice.layers}
    return Sensitivity(name, pattern, shares, ordered)


def _losses(
    model: nn.Module,
    layer: nn.Module,
    scores: Tensor,
    shares: Sequence[float],
    pattern: Pattern,
    measure: Measure,
) -> tuple[float, ...]:
    """Measures with one layer pruned, which is as before afterwards."""
    parameter = layer._parameters["weight"]
    assert parameter is not None
    before, mask = parameter.detach().clone(), mask_of(layer)
    mask = None if mask is None else mask.clone()
    losses = []
    try:
        for share in shares:
            with torch.no_grad():
                parameter.copy_(before)
            pruned = local_mask(scores, share, pattern)
            set_mask(layer, pruned if mask is None else pruned & mask)
            losses.append(measure(model))
    finally:
        if mask is None and is_masked(layer):
            remove_mask(layer)
        elif mask is not None:
            set_mask(layer, mask)
        with torch.no_grad():
            parameter.copy_(before)
    return tuple(losses)


def _measure(measure: str | Measure, model: nn.Module, batches: list[Any]) -> Measure:
    """From a network to what it lost against the model as it is now."""
    if not isinstance(measure, str):
        first = float(measure(model))
        return lambda pruned: first - float(measure(pruned))
    if measure == "accuracy":
        pairs = [(inputs, torch.as_tensor(target)) for inputs, target in labelled(model, batches)]

        def accuracy(pruned: nn.Module) -> float:
            with torch.inference_mode():
                right = [(_scores(pruned(*x)).argmax(1) == y).sum() for x, y in pairs]
            return float(torch.stack(right).sum()) / sum(len(y) for _, y in pairs)

        dense = accuracy(model)
        return lambda pruned: dense - accuracy(pruned)
    if measure != "error":
        raise PruningError(f"measure is {measure!r}; use 'error', 'accuracy' or a function")
    inputs = _inputs(model, batches)
    with torch.inference_mode():
        expected = [_outputs(model(*x)) for x in inputs]
    power = float(sum((y.double() ** 2).sum() for y in expected)) or 1.0

    def error(pruned: nn.Module) -> float:
        with torch.inference_mode():
            parts = zip(inputs, expected, strict=True)
            return float(
                sum(((_outputs(pruned(*x)) - y).double() ** 2).sum() for x, y in parts)
            ) / (power)

    return error


def _inputs(model: nn.Module, batches: list[Any]) -> list[tuple[Tensor, ...]]:
    home = next((p.device for p in model.parameters()), torch.device("cpu"))
    return [tuple(x.to(home) for x in inputs) for inputs in CalibrationData(batches, model)]


def _outputs(outputs: Any) -> Tensor:
    """All tensors of a result as one row per picture."""
    leaves = [y for y in torch.utils._pytree.tree_leaves(outputs) if isinstance(y, Tensor)]
    return torch.cat([y.float().flatten(1) for y in leaves], dim=1)


def _scores(outputs: Any) -> Tensor:
    """Logits; of several heads their mean probability."""
    leaves = [y for y in torch.utils._pytree.tree_leaves(outputs) if isinstance(y, Tensor)]
    return leaves[0] if len(leaves) == 1 else torch.stack([y.softmax(1) for y in leaves]).mean(0)


def _count_macs(
    model: nn.Module, layers: dict[str, nn.Module], batches: list[Any]
) -> dict[str, int]:
    """Multiplications of layers for one picture, summed over the calls of a layer."""
    macs = dict.fromkeys(layers, 0)
    first = tuple(x[:1] for x in _inputs(model, batches[:1])[0])

    def watch(name: str, layer: nn.Module) -> Any:
        def hook(_: nn.Module, __: Any, y: Tensor) -> None:
            parameter = layer._parameters["weight"]
            assert parameter is not None
            macs[name] += parameter.numel() * (y.numel() // len(parameter))

        return layer.register_forward_hook(hook)

    hooks = [watch(name, layer) for name, layer in layers.items()]
    try:
        with torch.inference_mode():
            model(*first)
    finally:
        for hook in hooks:
            hook.remove()
    return macs


def _identity(model: nn.Module, batches: list[Any]) -> str:
    digest = hashlib.sha256()
    state = [*model.state_dict().items(), *enumerate(_inputs(model, batches))]
    for name, value in state:
        digest.update(str(name).encode())
        for tensor in (value,) if isinstance(value, Tensor) else value:
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _record(file: str | Path, settings: list[Any], scan: Sensitivity) -> None:
    write_text(file, json.dumps({"settings": settings, **asdict(scan)}, indent=1) + "\n")


def _known(file: str | Path | None, settings: list[Any]) -> dict[str, LayerScan]:
    """Layers of an earlier scan of the same network and settings."""
    if file is not None:
        with suppress(OSError, ValueError, KeyError, PruningError):
            record = json.loads(Path(file).read_text(encoding="utf-8"))
            if record["settings"] == json.loads(json.dumps(settings)):
                return Sensitivity.load(file).layers
    return {}
