"""wbcq.prune: what is pruned, what stays zero through what, and what is refused."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import wbcq
from wbcq import models, pruning
from wbcq.errors import DenseLayersWarning, PruningError
from wbcq.pruning.layers import is_masked


class Net(nn.Module):
    """A first layer, a depthwise one, one of groups, a residual sum and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point = nn.Conv2d(8, 8, 1)
        self.grouped = nn.Conv2d(8, 12, 3, groups=2)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = (x + self.point(self.depthwise(x))).relu()
        scores: Tensor = self.head(self.grouped(x).relu().mean((2, 3)))
        return scores


def _net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


def _batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(10, 3, 12, 12, generator=generator), torch.arange(10) % 5


def _prune(model: nn.Module, sparsity: float | None = 0.5, **options: object) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DenseLayersWarning)
        return wbcq.prune(model, sparsity, **options)  # type: ignore[arg-type]


def _zeros(model: nn.Module) -> dict[str, int]:
    return {layer.name: layer.zeros for layer in pruning.layer_sparsity(model)}


def test_prunes_a_copy_and_counts_as_asked() -> None:
    model = _net()
    before = copy.deepcopy(model.state_dict())
    pruned = _prune(model, 0.75)
    for name, layer in model.named_modules():
        assert not is_masked(layer), name
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    for layer in pruning.layer_sparsity(pruned):
        assert layer.zeros == int(0.75 * layer.weights)
        assert layer.masked
    kept = pruned.point.weight != 0
    assert torch.equal(pruned.point.weight[kept], model.point.weight[kept])
    assert not pruned.training


def test_layers_that_do_not_fit_stay_dense_and_are_told() -> None:
    with pytest.warns(DenseLayersWarning, match="2 layers stay dense") as caught:
        pruned = wbcq.prune(_net(), 0.5, pattern="1x4")
    assert "stem: 3 input channels of an output" in str(caught[0].message)
    assert "depthwise: 1 input channel of an output" in str(caught[0].message)
    zeros = _zeros(pruned)
    assert zeros["stem"] == zeros["depthwise"] == 0
    assert zeros["point"] == 32
    assert zeros["grouped"] == 12 * 4 * 9 // 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wbcq.prune(_net(), 0.5, pattern="1x4", skip=("stem", "depthwise"))


def test_layers_by_name_pattern_and_type() -> None:
    assert set(pruning.masks(_prune(_net(), layers=["head", "po*"]))) == {"head", "point"}
    assert set(pruning.masks(_prune(_net(), layers=["Linear"]))) == {"head"}
    assert "head" not in pruning.masks(_prune(_net(), skip=["Linear"]))
    assert _zeros(_prune(_net(), {"point": 0.25, "head": 0.0})) == {
        "stem": 0, "depthwise": 0, "point": 16, "grouped": 0, "head": 0,
    }  # fmt: skip


def test_global_scope_prunes_the_least_weights_of_all_layers() -> None:
    model = _net()
    with torch.no_grad():
        model.point.weight *= 1e-3
        model.head.weight *= 1e3
    pruned = _prune(model, 0.5, scope="global", floor=0.125)
    zeros, total = _zeros(pruned), sum(p.weights for p in pruning.layer_sparsity(pruned))
    assert sum(zeros.values()) == total // 2
    assert zeros["point"] == 64 - 8, "the floor"
    assert zeros["head"] == 0


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan"), "half", None, True])
def test_sparsity_out_of_range(sparsity: object) -> None:
    with pytest.raises(PruningError, match=r"use a share of the weights in \[0, 1\)"):
        wbcq.prune(_net(), sparsity)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": "1x4", "layers": ["depthwise"]}, "does not fit layer 'depthwise'"),
        ({"pattern": "5"}, "pattern is '5'"),
        ({"scope": "all"}, "scope is 'all'"),
        ({"score": "l3"}, "score is 'l3'"),
        ({"score": "taylor"}, "needs data"),
        ({"pattern": "2:4", "sparsity": 0.75}, "which has 0.5"),
        ({"pattern": "2:4", "sparsity": None, "scope": "global"}, "nothing to share out"),
        ({"scope": "global", "sparsity": 0.999}, "Remedy: a smaller sparsity or floor"),
        ({"layers": "head"}, "write"),
        ({"sparsity": {"head": 1.0}}, "sparsity of layer 'head' is 1.0"),
        ({"pattern": "channel"}, "pass example"),
    ],
)
def test_bad_arguments_are_explained(options: dict[str, object], message: str) -> None:
    sparsity = options.pop("sparsity", 0.5)
    with pytest.raises(PruningError, match=message):
        _prune(_net(), sparsity, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no layer is called so; did you mean 'head'"):
        _prune(_net(), 0.5, layers=["heat"])
    with pytest.raises(PruningError, match="has no layer to prune"):
        wbcq.prune(nn.Sequential(nn.ReLU()), 0.5)
    with pytest.raises(TypeError, match="no argument 'round_to'"):
        wbcq.prune(_net(), 0.5, round_to=8)


def test_n_of_m() -> None:
    pruned = _prune(_net(), None, pattern="2:4")
    assert _zeros(pruned)["point"] == 32
    assert _zeros(pruned)["head"] == 30


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_pruned_weights_stay_zero_in_training_and_others_move(optimizer: str) -> None:
    pruned = _prune(_net(), 0.75).train()
    before, held = _zeros(pruned), pruning.masks(pruned)
    weights = {name: pruned.get_submodule(name).weight.clone() for name in held}
    average = AveragedModel(
        pruned,
        multi_avg_fn=get_ema_multi_avg_fn(0.9),
        use_buffers=True,  # type: ignore[no-untyped-call]
    )
    make = {
        "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
        "adam": lambda p: torch.optim.Adam(p, 1e-2, weight_decay=0.1),
        "adamw": lambda p: torch.optim.AdamW(p, 1e-2, weight_decay=0.1),
    }[optimizer]
    steps = make(pruned.parameters())
    x, labels = _batch()
    for _ in range(3):
        steps.zero_grad()
        F.cross_entropy(pruned(x), labels).backward()
        steps.step()
        average.update_parameters(pruned)
    for model in (pruned, average.module):
        assert _zeros(model) == before
        for name, mask in held.items():
            trained = model.get_submodule(name).weight
            assert not trained[~mask].any()
            assert (trained[mask] != weights[name][mask]).all()


def test_momentum_from_before_pruning_revives_nothing() -> None:
    model = _net().train()
    steps = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    x, labels = _batch()
    F.cross_entropy(model(x), labels).backward()
    steps.step()
    mask = torch.rand(model.point.weight.shape) > 0.5
    pruning.apply_masks(model, {"point": mask})
    steps.step()
    assert not model.point.weight[~mask].any()
    assert not model.state_dict()["point.weight"][~mask].any()


def test_copies_pickles_and_state_dicts(tmp_path: Path) -> None:
    pruned = _prune(_net(), 0.75)
    x, _ = _batch()
    expected = pruned(x)
    copies = [copy.deepcopy(pruned), pickle.loads(pickle.dumps(pruned))]
    file = io.BytesIO()
    torch.save(pruned, file)
    file.seek(0)
    copies.append(torch.load(file, weights_only=False))
    for other in copies:
        assert torch.equal(other(x), expected)
        assert is_masked(other.point)
        assert other.point.weight_mask is not pruned.point.weight_mask
        F.cross_entropy(other(x), torch.arange(10) % 5).backward()
        assert other.point._parameters["weight"].grad[~pruned.point.weight_mask].eq(0).all()
    state = pruned.state_dict()
    fresh = pruning.adopt_masks(_net(), state)
    fresh.load_state_dict(state)
    assert torch.equal(fresh(x), expected)
    # The weights alone serve the dense network.
    dense = _net()
    found = dense.load_state_dict(state, strict=False)
    assert not found.missing_keys
    assert all(key.endswith("weight_mask") for key in found.unexpected_keys)
    assert torch.equal(dense(x), expected)
    # Dense weights do not undo the pruning.
    pruned.load_state_dict(_net().state_dict())
    assert torch.equal(pruned(x), expected)


def test_pruning_again_only_adds_zeros() -> None:
    first = _prune(_net(), 0.5, score="l2")
    second = _prune(first, 0.75, pattern="1x4", scope="global")
    for name, mask in pruning.masks(first).items():
        assert not second.get_submodule(name).weight[~mask].any()


def test_masks_in_and_out_and_permanent() -> None:
    model, pruned = _net(), _prune(_net(), 0.75)
    pruning.apply_masks(model, {k: v.numpy() for k, v in pruning.masks(pruned).items()})
    x, _ = _batch()
    assert torch.equal(model(x), pruned(x))
    assert pruning.make_permanent(model) is model
    assert type(model.point) is nn.Conv2d
    assert not pruning.masks(model)
    assert torch.equal(model(x), pruned(x))
    assert set(model.state_dict()) == set(_net().state_dict())
    for bad, message in (
        ({"point": torch.ones(8, 8)}, r"has shape \[8, 8\], its weight \[8, 8, 1, 1\]"),
        ({"point": torch.zeros(8, 8, 1, 1)}, "leaves none of its 64 weights"),
        ({"norm": torch.ones(8)}, "'norm', which is no layer to prune"),
    ):
        with pytest.raises(PruningError, match=message):
            pruning.apply_masks(model, {"head": torch.ones(5, 12), **bad})
        assert not pruning.masks(model)


def test_layers_that_share_a_weight_share_its_mask() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    pruned = _prune(model, 0.5)
    assert torch.equal(pruned[0].weight_mask, pruned[1].weight_mask)
    assert pruned[0]._parameters["weight"] is pruned[1]._parameters["weight"]


def test_computed_weights_are_left_alone() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 4))
    assert set(pruning.masks(_prune(model, 0.5))) == {"1"}


def test_the_table_lists_layers_and_blocks() -> None:
    pruned = _prune(_net(), 0.5, pattern="1x4")
    text = pruning.sparsity_table(pruned).to_markdown()
    assert "| point     | Conv2d | 8x8x1x1  |      64 |    50.0 |" in text
    assert "| all " in text
    point = next(row for row in pruning.layer_sparsity(pruned) if row.name == "point")
    assert (point.sparsity, point.blocks, point.masked) == (0.5, 0.5, True)


def test_programs_hold_the_zeros() -> None:
    pruned = _prune(_net(), 0.75, pattern="1x4")
    x, _ = _batch()
    asked = sum(_zeros(pruned).values())
    quantized = wbcq.quantize(pruned, [x], progress=False)
    assert pruning.check_zeros(pruned, quantized) == asked
    assert pruning.check_zeros(pruned, wbcq.compile_float(pruned, x)) == asked
    with pytest.raises(PruningError, match=r"layer 'point': .* not zero in the program"):
        pruning.check_zeros(pruned, wbcq.quantize(_net(), [x], progress=False))
    other = nn.Sequential(nn.Conv2d(3, 8, 3))
    with pytest.raises(PruningError, match="is not in the program"):
        pruning.check_zeros(pruned, wbcq.quantize(other, [x], progress=False))


@pytest.mark.parametrize("arch", ["shufflenet_v2_x0_5", "mobilenet_v3_small", "regnet_x_400mf"])
def test_networks_of_the_zoo_keep_their_zeros(arch: str) -> None:
    torch.manual_seed(0)
    pruned = _prune(models.create(arch, num_classes=5).eval(), 0.75, pattern="1x4")
    quantized = wbcq.quantize(pruned, [torch.rand(2, 3, 32, 32)], progress=False)
    assert pruning.check_zeros(pruned, quantized) == sum(_zeros(pruned).values())


@pytest.mark.parametrize("floats", [(), ("Linear", "grouped")])
def test_quantization_aware_training_keeps_the_zeros(floats: tuple[str, ...]) -> None:
    pruned = _prune(_net(), 0.75, pattern="1x4")
    x, labels = _batch()
    config = wbcq.QuantConfig(float_layers=floats)

    def trained(keep: bool | None) -> wbcq.QuantizedModel:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wbcq.FloatFallbackWarning)
            qat = wbcq.prepare_qat(pruned, x, config=config, keep_zeros=keep, progress=False)
        steps = torch.optim.AdamW(qat.parameters(), 1e-2, weight_decay=0.1)
        for _ in range(3):
            steps.zero_grad()
            F.cross_entropy(qat(x), labels).backward()
            steps.step()
        return wbcq.convert(qat)

    asked = sum(_zeros(pruned).values())
    assert pruning.check_zeros(pruned, trained(None)) == asked
    with pytest.raises(PruningError, match="not zero in the program"):
        pruning.check_zeros(pruned, trained(False))


class TestScores:
    def test_taylor_prunes_what_changes_the_loss_least(self) -> None:
        # The second input is always zero: its weights are large and useless.
        model = nn.Sequential(nn.Linear(2, 2, bias=False))
        with torch.no_grad():
            model[0].weight.copy_(torch.tensor([[0.1, 9.0], [-0.1, 9.0]]))
        x = torch.tensor([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0]])
        data = [(x, torch.tensor([0, 0, 1]))]
        for score in ("taylor", "activation"):
            pruned = wbcq.prune(model, 0.5, score=score, data=data)
            assert (pruned[0].weight != 0).tolist() == [[True, False], [True, False]]
        assert (wbcq.prune(model, 0.5)[0].weight != 0).tolist() == [[False, True], [False, True]]
        with pytest.raises(PruningError, match="needs batches with labels"):
            wbcq.prune(model, 0.5, score="taylor", data=[x])

    def test_activation_reads_the_channels_of_its_group(self) -> None:
        model = nn.Sequential(nn.Conv2d(4, 4, 1, groups=2, bias=False))
        with torch.no_grad():
            model[0].weight.fill_(1.0)
        x = torch.tensor([1.0, 4.0, 3.0, 2.0]).reshape(1, 4, 1, 1).expand(2, 4, 3, 3)
        pruned = wbcq.prune(model, 0.5, score="activation", data=[x])
        kept = (pruned[0].weight != 0).reshape(4, 2).tolist()
        assert kept == [[False, True], [False, True], [True, False], [True, False]]

    def test_scoring_changes_nothing(self) -> None:
        model = _net().train()
        model.norm.eval()
        before = copy.deepcopy(model.state_dict())
        x, labels = _batch()
        _prune(model, 0.5, score="taylor", data=[{"x": x, "label": labels}])
        assert model.training
        assert not model.norm.training
        assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
        assert all(p.grad is None for p in model.parameters())

    def test_scores_that_are_not_finite_name_the_layer(self) -> None:
        model = _net()
        with torch.no_grad():
            model.point.weight[0] = torch.nan
        with pytest.raises(PruningError, match="layer 'point' is not finite"):
            _prune(model, 0.5)


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(["unstructured", "1x4", "2x4", "4x4", "2:4"]),
    st.floats(0, 0.95),
    st.integers(4, 13),
    st.integers(4, 13),
    st.integers(0, 2**16),
)
def test_drawn_layers_run_with_their_zeros(
    pattern: str, sparsity: float, inputs: int, outputs: int, seed: int
) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(inputs, outputs, 3), nn.BatchNorm2d(outputs), nn.ReLU()).eval()
    pruned = _prune(model, None if ":" in pattern else sparsity, pattern=pattern)
    x = torch.rand(2, inputs, 6, 6)
    compiled = wbcq.quantize(pruned, [x], progress=False)
    assert pruning.check_zeros(pruned, compiled) == sum(_zeros(pruned).values())
    y, reference = wbcq.compile_float(pruned, x)(x), pruned(x)
    assert torch.allclose(y, reference, atol=1e-4)
