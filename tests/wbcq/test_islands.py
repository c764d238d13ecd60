"""Float islands are told: when a model is quantized, in its tables, and wherever its file goes."""

import json
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import wbcq
from wbcq import QuantConfig
from wbcq.engine.islands import FloatOperator, describe_islands, islands_from_metadata

ASKED = "asked for in float_layers"
NO_FORM = "has no integer form"
BETWEEN = "its input and what reads it are float32"


class Net(nn.Module):
    """Attention that divides, and a softmax at the end."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.act = nn.Hardswish()
        self.middle = nn.Conv2d(16, 16, 3, padding=1)
        self.last = nn.Conv2d(16, 8, 1)
        self.softmax = nn.Softmax(dim=1)

    def forward(self, x):
        x = self.middle(self.act(self.stem(x)))
        x = x / (1.5 + torch.sigmoid(x))
        return self.softmax(self.last(x))


@pytest.fixture(scope="module")
def x():
    return torch.rand(8, 3, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model(x):
    torch.manual_seed(0)
    with pytest.warns(wbcq.FloatFallbackWarning):
        return wbcq.quantize(Net(), [x], config=QuantConfig(float_layers=("stem",)))


def cells(table):
    rows = [line for line in table.splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in rows]
    return [dict(zip(split[0], row, strict=True)) for row in split[2:]]


def test_one_warning_lists_layer_operator_and_reason(x):
    torch.manual_seed(0)
    with pytest.warns() as caught:
        wbcq.quantize(Net(), [x], config=QuantConfig(float_layers=("stem",)))
    (warning,) = (w for w in caught if issubclass(w.category, wbcq.FloatFallbackWarning))
    assert warning.filename == __file__, "points at the caller"
    first, *listed, last = str(warning.message).splitlines()
    assert first == "4 operators of Net run in float32 although the network is INT8:"
    assert listed[0] == f"  stem (Conv2d): {ASKED}"
    assert listed[1].endswith(f" (Unary): {BETWEEN}")
    assert listed[2].endswith(f" (Div): {NO_FORM}")
    assert listed[3] == f"  softmax (Softmax): {NO_FORM}"
    assert "profile()" in last


def test_integer_networks_with_float_heads_do_not_warn(x):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = wbcq.quantize(network, [x], progress=False)
    assert model.float_operators == ()
    assert "why float32" not in model.summary()


def test_reasons_survive_the_file(model, tmp_path):
    model.save(tmp_path / "islands.wbcq")
    loaded = wbcq.load(tmp_path / "islands.wbcq")
    assert loaded.float_operators == model.float_operators
    assert [(o.operator, o.reason) for o in loaded.float_operators] == [
        ("Conv2d", ASKED), ("Unary", BETWEEN), ("Div", NO_FORM), ("Softmax", NO_FORM),
    ]  # fmt: skip
    assert loaded.summary() == model.summary()


def test_summary_shows_dtype_and_reason_of_each_operator(model):
    rows = {row["layer"]: row for row in cells(model.summary())}
    assert (rows["stem"]["dtype"], rows["stem"]["why float32"]) == ("float32", ASKED)
    assert rows["stem.hardswish"]["why float32"] == ASKED, "all that the layer became"
    assert (rows["middle"]["dtype"], rows["middle"]["why float32"]) in (
        ("int8", ""), ("int8>float32", ""),
    )  # fmt: skip
    assert (rows["softmax"]["dtype"], rows["softmax"]["why float32"]) == ("float32", NO_FORM)
    floats = {name for name, row in rows.items() if row["dtype"] == "float32"}
    assert floats == {name for name, row in rows.items() if row["why float32"]}
    assert floats == {name for layer in model.float_operators for name in layer.ops}
    assert any(row["dtype"] == "float32>int8" and not row["why float32"] for row in rows.values())


def test_profile_shows_their_share(model, x):
    profile = model.profile(x, repeats=3)
    rows = {row.name: row for row in profile.rows if "planar" not in row.kind}
    assert rows["stem"].dtype == "float32"
    assert rows["stem"].why_float == ASKED
    assert rows["stem"].seconds > 0
    islands = [row for row in profile.rows if row.why_float]
    assert profile.island_share == pytest.approx(sum(row.share for row in islands))
    assert 0 < profile.island_share < 1
    text = str(profile)
    assert f"float32 although the network is INT8: {profile.island_share:.1%} of the time" in text
    assert f"  softmax (softmax): {rows['softmax'].share:.1%}, {NO_FORM}" in text
    assert json.loads(json.dumps(profile.to_dict()))["island_share"] == profile.island_share


def test_a_whole_float_network_has_no_islands(x):
    compiled = wbcq.compile_float(Net(), x)
    assert compiled.float_operators == ()
    profile = compiled.profile(x, repeats=1)
    assert profile.island_share == 0
    assert {row.dtype for row in profile.rows} == {"float32"}


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"float_operators": None},
        {"float_operators": {"name": "a"}},
        {"float_operators": [1, "a", None, [], {"name": "a"}]},
        {"float_operators": [{"name": 1, "operator": "Conv2d", "reason": "x"}]},
        {"float_operators": [{"name": "a", "operator": "Conv2d", "reason": "x", "ops": "a"}]},
    ],
)
def test_malformed_metadata_is_ignored(metadata):
    assert islands_from_metadata(metadata) == ()


def test_metadata_of_files_that_name_no_operators_of_the_program():
    record = {"name": "fc", "operator": "Linear", "reason": ASKED}
    (island,) = islands_from_metadata({"float_operators": [record]})
    assert island.ops == ("fc",)


def test_long_lists_are_cut():
    islands = tuple(FloatOperator(f"layer{i}", "Conv2d", ASKED) for i in range(25))
    lines = describe_islands(islands).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "  ... and 5 more"


def test_islands_compute_what_the_network_does(model, x):
    torch.manual_seed(0)
    with torch.no_grad():
        expected = Net().eval()(x).numpy()
    np.testing.assert_allclose(model(x).numpy(), expected, atol=0.02)
