import json

import pytest

import wbcq
from wbcq.quant.config import QuantConfig, match_layers

LAYERS = {
    "conv1": ["conv1", "Conv2d"],
    "layer1.0.conv1": ["layer1.0.conv1", "layer1", "layer1.0", "Conv2d", "BasicBlock"],
    "layer1.0.conv2": ["layer1.0.conv2", "layer1", "layer1.0", "Conv2d", "BasicBlock"],
    "fc": ["fc", "Linear"],
}


def test_defaults_are_the_accurate_ones():
    config = QuantConfig()
    assert config.weights == "per_channel"
    assert config.activation_observer == "histogram"
    assert (config.weight_bits, config.activation_bits) == (8, 8)
    assert wbcq.QuantConfig is QuantConfig


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (
            "weights",
            "per_row",
            r"QuantConfig\.weights is 'per_row'; allowed are 'per_channel', 'per",
        ),
        ("activation_observer", "kl", "'kl'; allowed are 'histogram', 'minmax', 'moving_average'"),
        ("activation_observer", ["minmax"], "allowed are"),
        ("weight_observer", "moving_average", "allowed are 'minmax', 'histogram'"),
        ("weight_bits", 1, "QuantConfig.weight_bits is 1; allowed are integers 2 to 8"),
        ("activation_bits", 9, "activation_bits is 9"),
        ("activation_bits", "8", "activation_bits is '8'"),
        ("activation_bits", True, "activation_bits is True"),
        ("bias_correction", 1, "bias_correction is 1; allowed are True, False"),
        ("seed", -1, "seed is -1"),
        ("seed", 0.5, "seed is 0.5"),
        ("float_layers", "fc", r"is the string 'fc'; write \('fc',\)"),
        ("float_layers", (1,), "holds 1"),
        ("float_layers", ("",), "holds ''"),
        ("float_layers", 3, "is 3; allowed is a sequence"),
        ("class_names", "basophil", "class_names is the string"),
    ],
)
def test_errors_name_field_value_and_what_is_allowed(field, value, words):
    with pytest.raises(ValueError, match=words):
        QuantConfig(**{field: value})


def test_is_frozen_and_hashable():
    config = QuantConfig(float_layers=["fc"])
    with pytest.raises(AttributeError):
        config.seed = 1
    assert config.float_layers == ("fc",)
    assert hash(config) == hash(QuantConfig(float_layers=("fc",)))


def test_dict_round_trip_through_json():
    config = QuantConfig(
        weights="per_tensor",
        weight_observer="histogram",
        weight_bits=4,
        activation_observer="minmax",
        activation_bits=6,
        bias_correction=False,
        float_layers=("fc", "layer1.*"),
        seed=7,
        class_names=("a", "b"),
    )
    assert QuantConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert QuantConfig.from_dict({}) == QuantConfig()


def test_unknown_field_suggests_the_right_one():
    with pytest.raises(ValueError, match="no field 'weight_bit'; did you mean 'weight_bits'"):
        QuantConfig.from_dict({"weight_bit": 8})


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ((), set()),
        (("fc",), {"fc"}),
        (("layer1",), {"layer1.0.conv1", "layer1.0.conv2"}),
        (("*conv1",), {"conv1", "layer1.0.conv1"}),
        (("layer1.?.conv2", "Linear"), {"layer1.0.conv2", "fc"}),
        (("BasicBlock",), {"layer1.0.conv1", "layer1.0.conv2"}),
        (("Conv2d",), {"conv1", "layer1.0.conv1", "layer1.0.conv2"}),
    ],
)
def test_layers_match_by_name_pattern_and_type(patterns, expected):
    assert match_layers(patterns, LAYERS) == expected


def test_pattern_without_match_gives_close_names():
    with pytest.raises(ValueError, match=r"'layer1\.0\.conv3'.*did you mean 'layer1\.0\.conv"):
        match_layers(["fc", "layer1.0.conv3"], LAYERS)
    with pytest.raises(ValueError, match=r"'zzz', but no .* is called so; layers are conv1, "):
        match_layers(["zzz"], LAYERS)
