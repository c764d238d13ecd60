"""The scan of layers, and sparsities of layers under a budget."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import wbcq
from wbcq import pruning
from wbcq.errors import PruningError
from wbcq.pruning import Sensitivity, allocate, scan_sensitivity
from wbcq.pruning.sensitivity import LayerScan


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2),
        nn.Flatten(),
        nn.Linear(72, 3),
    )


_BATCHES = [
    (torch.rand(6, 4, 8, 8, generator=torch.Generator().manual_seed(n)), torch.arange(6) % 3)
    for n in range(2)
]


def test_a_scan_is_what_pruning_that_layer_gives() -> None:
    model = _net()
    before = copy.deepcopy(model.state_dict())
    scan = scan_sensitivity(model, _BATCHES, sparsities=(0.5, 0.9), pattern="1x4")
    assert list(scan.layers) == ["0", "2", "4"]
    assert [layer.macs for layer in scan.layers.values()] == [288 * 64, 576 * 9, 216]
    for name, sparsity in itertools.product(scan.layers, (0.5, 0.9)):
        pruned = wbcq.prune(model, sparsity, pattern="1x4", layers=[name])
        with torch.no_grad():
            squares = [
                ((pruned(x) - model(x)).square().sum(), model(x).square().sum())
                for x, _ in _BATCHES
            ]
        expected = sum(float(a) for a, _ in squares) / sum(float(b) for _, b in squares)
        found = scan.layers[name].losses[scan.sparsities.index(sparsity)]
        assert found == pytest.approx(expected, rel=1e-4)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_accuracy_and_own_measures() -> None:
    model = _net()
    scan = scan_sensitivity(model, _BATCHES, measure="accuracy", sparsities=(0.95,), layers=["4"])
    pruned = wbcq.prune(model, 0.95, layers=["4"])

    def accuracy(net: nn.Module) -> float:
        with torch.no_grad():
            right = sum(int((net(x).argmax(1) == y).sum()) for x, y in _BATCHES)
        return right / 12

    assert scan.layers["4"].losses == (pytest.approx(accuracy(model) - accuracy(pruned)),)
    own = scan_sensitivity(model, _BATCHES, measure=accuracy, sparsities=(0.95,), layers=["4"])
    assert own.layers == scan.layers
    assert own.measure == "accuracy"


def test_masks_that_are_there_stay_as_they_are() -> None:
    model = wbcq.prune(_net(), 0.5)
    scan = scan_sensitivity(model, _BATCHES, sparsities=(0.25, 0.5, 0.75))
    for layer in scan.layers.values():
        assert layer.losses[0] == layer.losses[1] == 0
        assert layer.losses[2] > 0


def test_a_scan_goes_on_from_its_file(tmp_path: Path) -> None:
    file, model = tmp_path / "scan.json", _net()
    calls = 0

    def counted(net: nn.Module) -> float:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return float(net(_BATCHES[0][0]).abs().sum().detach())

    def scan(of: nn.Module) -> Sensitivity:
        return scan_sensitivity(of, _BATCHES, measure=counted, sparsities=(0.5, 0.9), file=file)

    with pytest.raises(KeyboardInterrupt):
        scan(model)
    assert list(Sensitivity.load(file).layers) == ["0"]
    whole = scan(model)
    assert calls == 4 + 1 + 4, "the first layer is not measured again"
    assert Sensitivity.load(file) == whole
    with torch.no_grad():
        model[0].bias += 1
    calls = 10
    scan(model)
    assert calls == 10 + 1 + 6, "another network: measured anew"


def test_table_plot_and_file(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    scan = scan_sensitivity(_net(), _BATCHES, sparsities=(0.5,))
    assert "| 0     |     288 |  0.02 |" in scan.table().to_markdown()
    scan.plot(tmp_path / "scan.png")
    assert (tmp_path / "scan.png").read_bytes().startswith(b"\x89PNG")
    scan.save(tmp_path / "scan.json")
    assert Sensitivity.load(tmp_path / "scan.json") == scan
    (tmp_path / "scan.json").write_text("[]")
    with pytest.raises(PruningError, match=r"scan\.json: no scan"):
        Sensitivity.load(tmp_path / "scan.json")


def test_bad_arguments() -> None:
    for options, message in (
        ({"measure": "f1"}, "measure is 'f1'"),
        ({"sparsities": (1.0,)}, "sparsity is 1.0"),
        ({"sparsities": (0.0,)}, "none above 0"),
        ({"pattern": "2:4"}, "nothing to scan"),
    ):
        with pytest.raises(PruningError, match=message):
            scan_sensitivity(_net(), _BATCHES, **options)  # type: ignore[arg-type]


_scans = st.lists(
    st.tuples(
        st.integers(1, 1000),
        st.integers(1, 1000),
        st.tuples(*[st.floats(0, 1)] * 3),
    ),
    min_size=1,
    max_size=5,
).map(
    lambda layers: Sensitivity(
        "error",
        "1x4",
        (0.25, 0.5, 0.9),
        {str(n): LayerScan(*layer) for n, layer in enumerate(layers)},
    )
)


def _loss(scan: Sensitivity, found: dict[str, float]) -> float:
    """By straight lines between the scan's points."""
    total = 0.0
    for name, layer in scan.layers.items():
        x, y = (0.0, *scan.sparsities), (0.0, *layer.losses)
        k = next(k for k in range(3) if found[name] <= x[k + 1])
        total += y[k] + (y[k + 1] - y[k]) * (found[name] - x[k]) / (x[k + 1] - x[k])
    return total


@given(_scans, st.floats(0, 0.9), st.booleans())
def test_budgets_are_met(scan: Sensitivity, share: float, by_macs: bool) -> None:
    found = allocate(scan, macs=1 - share) if by_macs else allocate(scan, share)
    costs = {n: x.macs if by_macs else x.weights for n, x in scan.layers.items()}
    pruned = sum(costs[name] * found[name] for name in costs)
    assert pruned == pytest.approx(share * sum(costs.values()), abs=1e-5 * sum(costs.values()))
    assert all(0 <= value <= 0.9 for value in found.values())


@given(_scans, st.sampled_from([0.25, 0.5, 0.9]))
def test_convex_losses_are_shared_out_better_than_alike(scan: Sensitivity, share: float) -> None:
    convex = {
        name: LayerScan(x.weights, x.macs, tuple(max(x.losses) * s**2 for s in scan.sparsities))
        for name, x in scan.layers.items()
    }
    scan = Sensitivity(scan.measure, scan.pattern, scan.sparsities, convex)
    alike = _loss(scan, dict.fromkeys(convex, share))
    assert _loss(scan, allocate(scan, share)) <= alike + 1e-6


def test_budgets_out_of_reach() -> None:
    scan = Sensitivity("error", "1x4", (0.5,), {"a": LayerScan(8, 8, (0.1,))})
    for arguments, message in (
        ({}, "pass one budget"),
        ({"sparsity": 0.5, "macs": 0.5}, "pass one budget"),
        ({"sparsity": 1.0}, "sparsity is 1.0"),
        ({"macs": 0.0}, "macs is 0.0"),
        ({"sparsity": 0.75}, "the scan ends at 0.5"),
    ):
        with pytest.raises(PruningError, match=message):
            allocate(scan, **arguments)  # type: ignore[arg-type]


def test_from_the_scan_to_the_pruned_network() -> None:
    model = _net()
    shares = allocate(scan_sensitivity(model, _BATCHES, pattern="1x4"), 0.6)
    pruned = wbcq.prune(model, shares, pattern="1x4")
    assert pruning.model_sparsity(pruned) == pytest.approx(0.6, abs=0.02)
