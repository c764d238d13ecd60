"""QuantizedModel and load: running, describing, saving, and refusing."""

import copy
import gc
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import wbcq
from wbcq import _core
from wbcq.engine.program import Conv2d

NAMES = ("left", "right")


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3, padding=1)
        self.right = nn.Conv2d(1, 4, 3, padding=1)
        self.fc = nn.Linear(4, 2)

    def forward(self, left, right):
        features = torch.relu(self.left(left) + self.right(right))
        pooled = torch.nn.functional.adaptive_avg_pool2d(features, 1)
        return features, self.fc(pooled.flatten(1))


def picture(batch, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((batch, channels, 8, 8), np.float32)


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 8, 1),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 5),
    ).eval()


@pytest.fixture(scope="module")
def data(module):
    return wbcq.quantize(module, [picture(16)]).to_bytes()


@pytest.fixture
def model(data):
    return wbcq.QuantizedModel(data)


@pytest.fixture(scope="module")
def two_inputs():
    torch.manual_seed(0)
    return wbcq.quantize(TwoInputs(), [(picture(4), picture(4, 1))])


@pytest.fixture
def path(tmp_path, data):
    path = tmp_path / "model.wbcq"
    path.write_bytes(data)
    return path


# Running.


@pytest.mark.parametrize("batch", [1, 2, 7, 8, 9, 33])
def test_any_batch_gives_the_bits_of_the_oracle(model, batch):
    x = picture(batch, seed=batch)
    scores = model(x)
    assert isinstance(scores, np.ndarray)
    assert scores.dtype == np.float32
    assert scores.shape == (batch, 5)
    np.testing.assert_array_equal(scores, model.simulate(x))
    one_by_one = np.concatenate([model(x[i : i + 1]) for i in range(batch)])
    np.testing.assert_array_equal(scores, one_by_one)


def test_empty_batch(model):
    assert model(picture(0)).shape == (0, 5)


def test_results_have_the_kind_that_was_given(model, two_inputs):
    x = picture(3)
    from_numpy, from_torch = model(x), model(torch.from_numpy(x).requires_grad_())
    assert isinstance(from_torch, torch.Tensor)
    assert not from_torch.requires_grad
    np.testing.assert_array_equal(from_torch.numpy(), from_numpy)

    outputs = two_inputs(torch.from_numpy(x), picture(3, 1))
    assert isinstance(outputs, tuple)
    assert [type(y) for y in outputs] == [torch.Tensor] * 2
    assert [tuple(y.shape) for y in outputs] == [(3, 4, 8, 8), (3, 2)]
    for y, exact in zip(outputs, two_inputs.simulate(x, picture(3, 1)), strict=True):
        np.testing.assert_array_equal(y.numpy(), exact)


def test_memory_layout_of_inputs_does_not_matter(model):
    x = picture(4)
    expected = model(x)
    wide = np.zeros((4, 3, 8, 16), np.float32)
    wide[..., ::2] = x
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    read_only = x.copy()
    read_only.flags.writeable = False
    for same in (np.asfortranarray(x), wide[..., ::2], unaligned, read_only):
        np.testing.assert_array_equal(model(same), expected)
    channels_last = torch.from_numpy(x).to(memory_format=torch.channels_last)
    np.testing.assert_array_equal(model(channels_last).numpy(), expected)


def test_inputs_are_not_changed_and_outputs_not_shared(model):
    x = picture(2)
    before = x.copy()
    first = model(x)
    kept = first.copy()
    model(x + 1)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("isa", _core.available_isas())
def test_every_isa_and_thread_count_gives_the_same_bits(data, isa):
    x = picture(9)
    expected = wbcq.QuantizedModel(data).simulate(x)
    for threads in (1, 2, 3):
        model = wbcq.QuantizedModel(data, threads=threads, isa=isa)
        assert (model.isa, model.threads) == (isa, threads)
        np.testing.assert_array_equal(model(x), expected)


@pytest.mark.parametrize("isa", _core.available_isas())
def test_small_memory_gives_the_same_bits(data, path, isa):
    x = picture(9)
    fast = wbcq.load(path, isa=isa)
    small = wbcq.load(path, isa=isa, memory="small")
    assert (fast.memory, small.memory) == ("speed", "small")
    np.testing.assert_array_equal(small(x), fast(x))
    assert small.memory_use(9)["arena"] == small.memory_use()["arena"]
    assert small.memory_use(9)["arena"] < fast.memory_use(9)["arena"]
    assert pickle.loads(pickle.dumps(small)).memory == "small"


def test_batches_run_in_parts_that_the_caches_hold():
    """Few pictures at a time where activations are large and weights are not."""
    torch.manual_seed(0)
    wide = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 3, 1, 1), torch.nn.Conv2d(32, 8, 1)).eval()
    arenas = {}
    for size in (16, 256):
        x = torch.rand(5, 3, size, size)
        model = wbcq.quantize(wide, [x], progress=False)
        model.threads = 1
        arenas[size] = [model.memory_use(batch)["arena"] for batch in (2, 4, 8, 16)]
        one_by_one = torch.cat([model(picture[None]) for picture in x])
        assert torch.equal(model(x), one_by_one)
    assert arenas[16][0] < arenas[16][1] < arenas[16][2] == arenas[16][3]
    assert len(set(arenas[256])) == 1


@pytest.mark.parametrize("memory", ["", "tiny"])
def test_wrong_memory(path, memory):
    with pytest.raises(ValueError, match=f'memory is "{memory}", must be "speed" or "small"'):
        wbcq.load(path, memory=memory)


def test_threads_may_call_one_model_at_once(model):
    inputs = [picture(1 + i % 5, seed=i) for i in range(40)]
    expected = [model.simulate(x) for x in inputs]
    start = threading.Barrier(4)

    def calls(first):
        start.wait(timeout=30)
        return [model(x) for x in inputs[first::4]]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(calls, range(4)))
    for first, ys in enumerate(results):
        for y, exact in zip(ys, expected[first::4], strict=True):
            np.testing.assert_array_equal(y, exact)
    assert 1 <= len(model._idle) <= 4


def test_threads_may_be_set_while_running(model):
    x = picture(2)
    expected = model(x)
    for threads in (1, 3, 1):
        model.threads = threads
        assert model.threads == threads
        np.testing.assert_array_equal(model(x), expected)
        assert [session.threads for session in model._idle] == [threads]


def test_a_forked_process_can_run_a_model_that_ran_before(model):
    x = picture(4)
    model.threads = 2
    expected = model(x)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(model(x)))
    process.start()
    assert receiver.poll(30), "the forked process hangs"
    np.testing.assert_array_equal(receiver.recv(), expected)
    process.join(10)
    assert process.exitcode == 0
    np.testing.assert_array_equal(model(x), expected)


# Refusing inputs.


@pytest.mark.parametrize(
    ("make_input", "words"),
    [
        (lambda x: [x.tolist()], "input '.*' is a list, must be a torch tensor or a numpy array"),
        (lambda x: [None], "is a NoneType"),
        (lambda x: [x.astype(np.float64)], r"is float64, must be float32: use x\.astype"),
        (lambda x: [torch.from_numpy(x).double()], r"is float64.*use x\.float\(\)"),
        (lambda x: [(x * 255).astype(np.uint8)], r"is uint8.*/ 255"),
        (lambda x: [torch.from_numpy(x).half()], "is float16"),
        (lambda x: [x[0]], r"shape \[3, 8, 8\], must be \[N, 3, 8, 8\]: x\[None\] adds the batch"),
        (lambda x: [x[:, :2]], r"shape \[2, 2, 8, 8\], must be \[N, 3, 8, 8\]"),
        (lambda x: [x[..., :7]], "resize or crop"),
        (lambda x: [x.transpose(0, 2, 3, 1)], "channels first"),
        (lambda x: [x.reshape(2, -1)], r"shape \[2, 192\]"),
        (lambda x: [], "0 inputs given, the model has 1: "),
        (lambda x: [x, x], "2 inputs given, the model has 1: "),
    ],
)
@pytest.mark.parametrize("call", ["__call__", "simulate", "profile"])
def test_wrong_inputs_are_refused_by_name(model, make_input, words, call):
    with pytest.raises(ValueError, match=words):
        getattr(model, call)(*make_input(picture(2)))
    assert model(picture(1)).shape == (1, 5)


def test_wrong_number_of_pictures_in_one_input(two_inputs):
    with pytest.raises(ValueError, match="input 'right' has 2 pictures, input 'left' has 3"):
        two_inputs(picture(3), picture(2, 1))


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_wrong_threads(data, model, threads):
    with pytest.raises(ValueError, match="threads is"):
        wbcq.QuantizedModel(data, threads=threads)
    with pytest.raises(ValueError, match="threads is"):
        model.threads = threads


def test_environment(monkeypatch, data, path):
    monkeypatch.setenv("WBCQ_NUM_THREADS", "3")
    assert wbcq.load(path).threads == 3
    assert wbcq.load(path, threads=1).threads == 1
    monkeypatch.setenv("WBCQ_NUM_THREADS", "many")
    with pytest.raises(ValueError, match=r"WBCQ_NUM_THREADS.*many"):
        wbcq.load(path)
    monkeypatch.delenv("WBCQ_NUM_THREADS")
    assert wbcq.load(path).threads == _core.default_threads()

    isa = _core.available_isas()[0]
    monkeypatch.setenv("WBCQ_FORCE_ISA", isa)
    assert wbcq.load(path).isa == isa
    monkeypatch.setenv("WBCQ_FORCE_ISA", "mmx")
    with pytest.raises(ValueError, match=r"WBCQ_FORCE_ISA.*mmx.*use one of"):
        wbcq.load(path)
    assert wbcq.load(path, isa=isa).isa == isa
    with pytest.raises(ValueError, match=r"sse9.*use one of"):
        wbcq.load(path, isa="sse9")


# Describing.


def test_counts(model, module, data):
    assert model.num_parameters == sum(p.numel() for p in module.parameters())
    assert model.file_size == len(data)
    # Weights are a byte each; biases, scales and records are small beside them.
    assert len(data) < 1.5 * model.num_parameters + 4096
    assert model.input_shapes == ((-1, 3, 8, 8),)
    assert model.output_shapes == ((-1, 5),)
    assert "Sequential" in repr(model)
    assert model.isa in repr(model)


def test_summary(model):
    lines = model.summary().splitlines()
    assert len({len(line) for line in lines}) == 1, "columns are aligned"
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    titles = "layer kind dtype input output params MACs zeros bytes"
    assert cells[0] == titles.split()
    rows = {row[0]: row[1:] for row in cells[2:]}
    macs = 8 * 8 * 16 * 3 * 9
    conv = ["conv2d", "int8", "3x8x8", "16x8x8", "448", f"{macs:,}"]
    assert rows["0"][:6] == conv
    assert rows["5"][1] == "int8>float32", "the head"
    layers = [op.weight for op in model.program.ops if hasattr(op, "weight")]
    zeros = sum(np.count_nonzero(weight == 0) for weight in layers)
    assert rows["0"][6] == f"{np.mean(layers[0] == 0):.1%}"
    assert int(rows["0"][7]) == 432 + 16 * 4 + 16 * 4
    total = macs + 4 * 4 * 8 * 16 + 5 * 128
    assert rows["total"] == [
        "",
        "",
        "",
        "",
        f"{model.num_parameters:,}",
        f"{total:,}",
        f"{zeros / sum(weight.size for weight in layers):.1%}",
        rows["total"][7],
    ]
    assert int(rows["total"][7].replace(",", "")) < model.file_size


def test_profile(model):
    profile = model.profile(picture(4), repeats=3)
    assert [row.name for row in profile.rows] == [op.name for op in model.program.ops]
    assert sum(row.share for row in profile.rows) == pytest.approx(1)
    assert all(row.seconds >= 0 and row.bytes > 0 for row in profile.rows)
    by_name = {row.name: row for row in profile.rows}
    for op in model.program.ops:
        if isinstance(op, Conv2d):
            y = model.program.tensors[op.y]
            most = 4 * op.weight.size * y.height * y.width
            assert 0.6 * most < by_name[op.name].macs <= most
            assert by_name[op.name].gmacs_per_second > 0
            assert by_name[op.name].zeros == np.mean(op.weight == 0)
        else:
            assert by_name[op.name].zeros is None
            assert by_name[op.name].macs == 0
    total = sum(row.macs for row in profile.rows)
    assert profile.floor == pytest.approx(total / profile.limits.peak_gmacs / 1e9)
    for row in profile.rows:
        assert row.share_of_bandwidth > 0
        assert (row.share_of_peak is not None) == (row.macs > 0)
        if row.share_of_peak is not None:
            peak = profile.limits.peak_gmacs
            assert row.share_of_peak == pytest.approx(row.gmacs_per_second / peak)
    values = json.loads(json.dumps(profile.to_dict()))
    assert values["floor"] == profile.floor
    assert values["batch"] == 4
    assert values["repeats"] == 3
    assert values["threads"] == model.threads
    assert values["isa"] == model.isa
    assert values["rows"][1]["gmacs_per_second"] == pytest.approx(profile.rows[1].gmacs_per_second)
    text = str(profile)
    assert all(row.name in text and row.kernel in text for row in profile.rows)
    assert "100.0%" in text
    assert f"time / floor {profile.seconds / profile.floor:.2f}" in text
    assert [row.dtype for row in profile.rows] == ["float32>int8", *["int8"] * 3, "int8>float32"]
    assert not any(row.why_float for row in profile.rows)
    assert values["island_share"] == 0
    assert "although" not in text


@pytest.mark.parametrize("repeats", [0, -1, 1.5, True])
def test_profile_refuses(model, repeats):
    with pytest.raises(ValueError, match="repeats is"):
        model.profile(picture(1), repeats=repeats)
    with pytest.raises(ValueError, match="without pictures"):
        model.profile(picture(0))


# Copies and files.


def test_copies_and_pickles_give_the_same_bits(data):
    model = wbcq.QuantizedModel(data, threads=1, isa=_core.available_isas()[0])
    x = picture(3)
    expected = model(x)
    for twin in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin is not model
        assert (twin.threads, twin.isa) == (model.threads, model.isa)
        assert twin.to_bytes() == data
        np.testing.assert_array_equal(twin(x), expected)


def test_save_and_load(tmp_path, model, data):
    path = tmp_path / "a b.wbcq"
    model.save(path)
    model.save(str(path))
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_bytes() == data
    loaded = wbcq.load(path, threads=1)
    assert loaded.metadata == model.metadata
    np.testing.assert_array_equal(loaded(picture(2)), model(picture(2)))


def test_a_loaded_model_outlives_its_file(path, data, model, tmp_path):
    loaded = wbcq.load(path)
    (tmp_path / "other").write_bytes(b"something else")
    os.replace(tmp_path / "other", path)
    assert loaded.to_bytes() == data
    path.unlink()
    twin = pickle.loads(pickle.dumps(loaded))
    assert loaded.file_size == len(data)
    assert twin.to_bytes() == data
    assert loaded.summary() == model.summary()
    np.testing.assert_array_equal(loaded(picture(2)), model(picture(2)))


@pytest.mark.parametrize("change", [b"", b"shorter", 0, -1, None])
def test_a_file_written_in_place_is_noticed(path, data, model, change):
    loaded = wbcq.load(path)
    if change is None:
        written = data + b"\0"
    else:
        written = change if isinstance(change, bytes) else damaged(data, change, data[change] ^ 1)
    with open(path, "r+b") as file:
        file.truncate()
        file.write(written)
        file.truncate()
    for act in (loaded.to_bytes, loaded.simulate, lambda: loaded.save(path)):
        with pytest.raises(wbcq.ModelFileError, match=r"model\.wbcq.*load it again"):
            act(*([picture(1)] if act == loaded.simulate else []))
    np.testing.assert_array_equal(loaded(picture(2)), model(picture(2)))


def test_a_file_is_closed_with_its_model(path):
    def opened():
        links = Path("/proc/self/fd")
        return sum(os.path.realpath(link) == os.path.realpath(path) for link in links.iterdir())

    loaded = wbcq.load(path)
    assert opened() == 1
    del loaded
    gc.collect()
    assert opened() == 0


def test_pipes_are_read(tmp_path, data, model):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    loaded = wbcq.load(pipe)
    writer.join()
    np.testing.assert_array_equal(loaded(picture(2)), model(picture(2)))


def test_file_and_packed_weights_are_not_in_memory_together(tmp_path):
    layers = [nn.Conv2d(512, 512, 3, padding=1) for _ in range(8)]
    model = wbcq.quantize(nn.Sequential(nn.Conv2d(3, 512, 1), *layers), [picture(1)])
    model.save(tmp_path / "model.wbcq")
    code = """
import sys, wbcq
from pathlib import Path

def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))

load = wbcq.load
before = resident("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
model = load(sys.argv[1], memory="small")
print(resident("VmHWM") - before, model.memory_use()["packed_weights"], model.file_size)
"""
    output = subprocess.check_output([sys.executable, "-c", code, tmp_path / "model.wbcq"])
    peak, packed, file = map(int, output.split())
    assert min(packed, file) > 8e6
    # While the first large layer is packed the whole file may be there.
    assert peak < packed + file / 2


def test_unwritable_path_leaves_nothing(tmp_path, model):
    with pytest.raises(FileNotFoundError, match=r"missing/model\.wbcq"):
        model.save(tmp_path / "missing" / "model.wbcq")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        model.save(tmp_path / "folder")
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(tmp_path / "folder") == []


def test_full_disk_leaves_the_old_file(tmp_path, model, monkeypatch):
    path = tmp_path / "model.wbcq"
    path.write_bytes(b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*model\.wbcq"):
        model.save(path)
    assert os.listdir(tmp_path) == ["model.wbcq"]
    assert path.read_bytes() == b"old"


def damaged(data, position, value):
    return data[:position] + bytes([value]) + data[position + 1 :]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: b"", "empty|bytes"),
        (lambda data: data[:63], "bytes"),
        (lambda data: data[: len(data) // 2], "truncated|bytes"),
        (lambda data: data[:-1], "truncated|bytes"),
        (lambda data: data + b"\0", "bytes"),
        (lambda data: b"\x89PNG\r\n\x1a\n" + data[8:], "magic|not a"),
        (lambda data: damaged(data, len(data) - 1, data[-1] ^ 1), "checksum|CRC|crc"),
        (lambda data: damaged(data, 30, data[30] ^ 128), "checksum|CRC|crc|header"),
        (lambda data: damaged(data, 8, 2), "version|checksum|CRC|crc"),
    ],
)
def test_damaged_files_are_refused_by_name(path, data, damage, words):
    path.write_bytes(damage(data))
    with pytest.raises(wbcq.ModelFileError, match=rf"model\.wbcq: .*({words})"):
        wbcq.load(path)


def test_every_single_bit_matters(data):
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(data), 300):
        broken = damaged(data, position, data[position] ^ (1 << rng.integers(8)))
        with pytest.raises(wbcq.ModelFileError):
            wbcq.QuantizedModel(broken)


def test_paths_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.wbcq"):
        wbcq.load(tmp_path / "absent.wbcq")
    with pytest.raises(IsADirectoryError):
        wbcq.load(tmp_path)
