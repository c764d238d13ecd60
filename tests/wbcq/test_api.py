"""wbcq.quantize from module to engine: what it promises, and how it refuses what it cannot do."""

import copy
import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import wbcq
from wbcq import QuantConfig
from wbcq.engine.exact import ExactExecutor


class Block(nn.Module):
    """A residual block with a shortcut that changes the shape."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6())
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.block1 = Block(8, 16, 2)
        self.block2 = Block(16, 16, 1)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        x = self.block2(self.block1(self.pool(self.stem(x))))
        return self.fc(self.drop(F.adaptive_avg_pool2d(x, 1).flatten(1)))


class Fused(nn.Module):
    """Two inputs, two outputs."""

    def __init__(self):
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3)
        self.right = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, left, right):
        features = F.relu(self.left(left) + self.right(right))
        return features, self.fc(F.adaptive_avg_pool2d(features, 1).flatten(1))


def make(cls=Net, seed=0):
    """A module with the statistics of one that was trained."""
    torch.manual_seed(seed)
    model = cls()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.3, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return model.eval()


def pictures(count=8, seed=1, size=32):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def signal_to_noise(reference, approximation):
    """Decibels."""
    noise = (reference - approximation).double().square().mean()
    return float(10 * torch.log10(reference.double().square().mean() / noise))


# Accuracy and exactness.


@pytest.mark.parametrize("weights", ["per_channel", "per_tensor"])
@pytest.mark.parametrize("observer", ["histogram", "minmax", "moving_average"])
def test_close_to_float_and_equal_to_the_oracle(weights, observer):
    model = make()
    x = pictures(32)
    config = QuantConfig(weights=weights, activation_observer=observer)
    quantized = wbcq.quantize(model, x.split(8), config=config)
    test = pictures(16, seed=2)
    with torch.no_grad():
        expected = model(test)
    scores = quantized(test)
    assert scores.shape == (16, 5)
    assert scores.dtype == torch.float32
    assert signal_to_noise(expected, scores) > (25 if weights == "per_channel" else 18)
    assert torch.equal(scores, quantized.simulate(test))


def test_per_channel_weights_survive_a_channel_of_another_size():
    """What one scale per tensor loses; ReLU6 keeps the activations in range."""
    model = make()
    with torch.no_grad():
        model.stem[1].weight[0] = 50.0
    x, test = pictures(32), pictures(16, seed=2)
    with torch.no_grad():
        expected = model(test)
    noise = {
        weights: signal_to_noise(
            expected, wbcq.quantize(model, [x], config=QuantConfig(weights=weights))(test)
        )
        for weights in ("per_channel", "per_tensor")
    }
    assert noise["per_channel"] > noise["per_tensor"] + 3


@pytest.mark.parametrize("bits", [6, 4, 2])
def test_fewer_bits_run_too(bits):
    model, x = make(), pictures(16)
    config = QuantConfig(weight_bits=bits, activation_bits=bits, weight_observer="histogram")
    quantized = wbcq.quantize(model, [x], config=config)
    assert torch.equal(quantized(x), quantized.simulate(x))
    with torch.no_grad():
        quality = signal_to_noise(model(x), quantized(x))
    assert quality > {6: 15, 4: 3, 2: -3}[bits]
    limit = 2 ** (bits - 1) - 1
    for op in quantized.program.ops:
        if hasattr(op, "weight"):
            assert np.abs(op.weight).max() <= limit


def test_several_inputs_and_outputs():
    model = make(Fused)
    left, right = pictures(4, size=8), pictures(4, seed=3, size=8)[:, :1]
    quantized = wbcq.quantize(model, [((left, right), torch.zeros(4))])
    features, scores = quantized(left, right)
    with torch.no_grad():
        expected_features, expected_scores = model(left, right)
    assert features.shape == expected_features.shape
    assert signal_to_noise(expected_features, features) > 30
    assert signal_to_noise(expected_scores, scores) > 30


def test_inputs_are_told_apart_by_name_in_dicts():
    model = make(Fused)
    left, right = pictures(4, size=8), pictures(4, seed=3, size=8)[:, :1]
    named = wbcq.quantize(model, [{"label": 0, "right": right, "left": left}])
    assert named.to_bytes() == wbcq.quantize(model, [(left, right)]).to_bytes()


# The user's model.


def deep_state(model):
    """Everything that quantization could disturb."""
    return [
        (
            name,
            module.training,
            {k: v.clone() for k, v in module._parameters.items() if v is not None},
            {k: v.clone() for k, v in module._buffers.items() if v is not None},
            [id(p) for p in module.parameters(recurse=False)],
            [p.requires_grad for p in module.parameters(recurse=False)],
            [p.grad for p in module.parameters(recurse=False)],
            {k: dict(v) for k, v in vars(module).items() if "hooks" in k and v is not None},
            sorted(vars(module)),
        )
        for name, module in model.named_modules()
    ]


def same(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.parametrize("fails", [False, True])
def test_model_is_left_as_it_was(fails):
    model = make().train()
    model.block1.eval()
    model.fc.weight.requires_grad_(False)
    calls = []
    model.stem.register_forward_hook(lambda *_: calls.append(1))
    before = deep_state(model)
    batches = [pictures(), pictures() * (float("nan") if fails else 1)]
    if fails:
        with pytest.raises(wbcq.CalibrationError):
            wbcq.quantize(model, batches)
    else:
        wbcq.quantize(model, batches)
    assert same(before, deep_state(model))
    assert torch.is_grad_enabled()


def test_training_mode_is_quantized_as_evaluation():
    model, x = make(), pictures()
    expected = wbcq.quantize(model, [x]).to_bytes()
    assert wbcq.quantize(model.train(), [x]).to_bytes() == expected
    assert model.training


# Reproducibility and metadata.


def test_same_model_and_data_give_the_same_bytes():
    first = wbcq.quantize(make(), pictures(16).split(4)).to_bytes()
    second = wbcq.quantize(copy.deepcopy(make()), (b for b in pictures(16).split(4))).to_bytes()
    assert first == second
    assert wbcq.quantize(make(), [pictures(16, seed=9)]).to_bytes() != first


def test_seed_decides_what_a_shuffling_loader_gives():
    loader = DataLoader(TensorDataset(pictures(64)), batch_size=8, shuffle=True)
    few = [next(iter(loader))[0].sum() for _ in range(2)]
    assert few[0] != few[1]
    config = QuantConfig(activation_observer="moving_average", seed=5)  # depends on the order
    results, model = [], make()
    for state in (1, 2):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        results.append(wbcq.quantize(model, loader, config=config).to_bytes())
        assert torch.equal(torch.get_rng_state(), before)
    assert results[0] == results[1]
    other = wbcq.quantize(model, loader, config=dataclasses.replace(config, seed=6))
    assert other.to_bytes() != results[0]


def test_metadata_records_the_calibration():
    config = QuantConfig(activation_observer="minmax", class_names=("basophil", "eosinophil"))
    metadata = wbcq.quantize(make(), pictures(10).split(4), config=config).metadata
    assert metadata["calibration"] == {"observer": "minmax", "pictures": 10, "batches": 3}
    assert QuantConfig.from_dict(metadata["config"]) == config
    assert metadata["classes"] == ["basophil", "eosinophil"]
    assert metadata["wbcq"] == wbcq.__version__
    assert metadata["torch"] == torch.__version__
    assert metadata["model"] == "Net"
    assert "classes" not in wbcq.quantize(make(), [pictures()]).metadata
    # Nothing of the moment or the machine.
    assert set(metadata) == {"calibration", "config", "classes", "wbcq", "torch", "model"}
    json.dumps(metadata)


# Refusals.


class Sine(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.wave = Wave()

    def forward(self, x):
        return self.wave(self.conv(x))


class Wave(nn.Module):
    def forward(self, x):
        return torch.sin(x)  # the line that the error names


class Branch(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x
        return -x


def test_unsupported_operator_is_named_with_module_and_line():
    with pytest.raises(wbcq.UnsupportedOperatorError, match="sin") as caught:
        wbcq.quantize(Sine(), [pictures()])
    text = str(caught.value)
    line = Wave.forward.__code__.co_firstlineno + 1
    assert "wave" in text
    assert f"{__file__}:{line}" in text


def test_data_dependent_control_flow_is_named_with_line():
    with pytest.raises(wbcq.CaptureError, match="depends on the values") as caught:
        wbcq.quantize(Branch(), [pictures()])
    assert f"{__file__}:{Branch.forward.__code__.co_firstlineno + 1}" in str(caught.value)


@pytest.mark.parametrize(
    ("loader", "words"),
    [
        ([], "empty"),
        ([pictures().byte()], r"uint8.*Remedy"),
        ([pictures(), pictures(size=16)], r"batch 1: input 'x' has shape \[8, 3, 16, 16\]"),
        ([(pictures() * float("nan"), 0)], "batch 0: input 'x' holds"),
        ([pictures()[0]], "unsqueeze"),
    ],
)
def test_bad_calibration_data(loader, words):
    with pytest.raises(wbcq.CalibrationError, match=words):
        wbcq.quantize(make(), loader)


def test_inputs_that_the_model_does_not_accept():
    with pytest.raises(wbcq.CaptureError, match=r"Net itself fails.*8, 4, 32, 32"):
        wbcq.quantize(make(), [torch.rand(8, 4, 32, 32)])


def test_bad_models():
    with pytest.raises(ValueError, match=r"model is a function, must be a torch\.nn\.Module"):
        wbcq.quantize(make, [pictures()])
    with pytest.raises(ValueError, match=r"'stem\.0\.weight' of the model is float64.*\.float\(\)"):
        wbcq.quantize(make().double(), [pictures()])


def test_float_layers_that_do_not_exist():
    config = QuantConfig(float_layers=("block1.conv3",))
    with pytest.raises(ValueError, match=r"'block1\.conv3'.*did you mean 'block1\.conv"):
        wbcq.quantize(make(), [pictures()], config=config)


@pytest.mark.parametrize("name", ["block1.conv1", "Block", "*.conv1"])
def test_float_layers_stay_float_and_are_listed(name):
    model, x = make(), pictures()
    with pytest.warns(wbcq.FloatFallbackWarning, match=r"block1\.conv1 \(Conv2d\): asked for in"):
        quantized = wbcq.quantize(model, [x], config=QuantConfig(float_layers=(name,)))
    listed = {layer.name: layer.reason for layer in quantized.float_operators}
    assert listed["block1.conv1"] == "asked for in float_layers"
    convs = {op.name: op for op in quantized.program.ops if type(op).__name__ == "Conv2d"}
    assert convs["block1.conv1"].weight.dtype == np.float32
    (expected,) = ExactExecutor(quantized.program).run(x.numpy())
    # A value that lies at a rounding's border may fall to either side of it.
    difference = np.abs(quantized(x).numpy() - expected)
    assert np.mean(difference) < 0.02 * expected.std()
    with torch.no_grad():
        assert (
            np.corrcoef(quantized(x).numpy().ravel(), model.eval()(x).numpy().ravel())[0, 1] > 0.99
        )


def test_public_names():
    assert set(wbcq.__all__) <= set(dir(wbcq))
    for name in wbcq.__all__:
        assert getattr(wbcq, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'quantise'"):
        _ = wbcq.quantise


def test_progress_and_warnings_leave_stdout_and_stderr_alone():
    code = (
        "import torch, wbcq; m = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU());"
        "wbcq.quantize(m, [torch.rand(2, 3, 8, 8)])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == result.stderr == ""


def test_packages_are_attributes():
    assert wbcq.models.names()
    assert {"data", "models", "quantize"} <= set(dir(wbcq))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = wbcq.nothing
