"""The comparison with other engines: what is kept, what is compared, and the page."""

import json
import math

import pytest
from interleave import Timing, interleave
from peer_engines import Network, available
from peers_page import page
from peers_results import MemoryRow, Results, Row


def row(network="resnet18", batch=1, threads=1, **ratios):
    ratios = ratios or {"OpenVINO int8": 1.5, "MNN int8": 3.0, "OpenVINO bf16": 1.2}
    ours = 2.0 / threads
    ratio = {"wbcq int8": 1.0, "wbcq fp32": 4.0, "ONNX Runtime fp32": 5.0, **ratios}
    median = {name: ours * value for name, value in ratio.items()}
    minimum = {name: value * 0.9 for name, value in median.items()}
    return Row(network, batch, threads, 1.0, median, minimum, ratio, {"ncnn fp32": "no such layer"})


def test_rows_survive_the_file_and_replace_older_ones(tmp_path):
    results = Results.read(tmp_path / "peers.json")
    results.versions["openvino"] = "1"
    results.put(row())
    results.put(row(threads=2))
    newer = row(**{"OpenVINO int8": 1.25})
    results.put(newer)
    results.put_memory(MemoryRow("resnet18", 1, "wbcq int8", 1, 2, 3, {"arena": 4}))
    read = Results.read(tmp_path / "peers.json")
    assert read == results
    assert [r.key for r in read.rows] == [("resnet18", 1, 2), ("resnet18", 1, 1)]
    assert read.find("resnet18", 1, 1) == newer
    assert read.find("resnet18", 8, 1) is None
    assert read.find_memory("resnet18", 1, "wbcq int8").planned == {"arena": 4}
    json.loads((tmp_path / "peers.json").read_text())


def test_only_int8_peers_compete():
    assert row().best_int8_peer == "OpenVINO int8"
    assert row(**{"wbcq int8 avx2": 0.5, "OpenVINO bf16": 0.7}).best_int8_peer is None
    assert "ncnn fp32" in row().engines


def test_page(tmp_path):
    rows = [row(), row(threads=2), row(batch=8), row(batch=8, threads=2, **{"MNN int8": 6.0})]
    memory = [
        MemoryRow("resnet18", 1, "wbcq int8", 0, 1_000_000, 2_000_000, {"arena": 1_500_000}),
        MemoryRow("resnet18", 1, "wbcq int8 small", 0, 1_000_000, 1_000_000, {"arena": 500_000}),
        MemoryRow("resnet18", 1, "MNN int8", 0, 2_000_000, 4_000_000),
        MemoryRow("resnet18", 1, "OpenVINO int8", failure="more than 60 s"),
    ]
    text = page(Results(tmp_path / "x", rows, memory, {"openvino": "7.7"}, "a CPU", 2))
    assert "a CPU, 2 cores. openvino 7.7" in text
    summary = next(line for line in text.splitlines() if line.startswith("| resnet18 "))
    cells = [cell.strip() for cell in summary.strip("|").split("|")]
    assert float(cells[1]) == pytest.approx(math.prod([1.5, 1.5, 1.5, 6.0]) ** 0.25, abs=0.01)
    assert cells[2:4] == ["1.50", "OpenVINO int8, MNN int8"]
    assert [float(cell) for cell in cells[5:]] == [2.0, 2.0, 2.0, 1.25]
    in_memory = [line for line in text.splitlines() if "1.0 / 2.0" in line]
    assert len(in_memory) == 1
    assert [cell.strip() for cell in in_memory[0].strip("|").split("|")][-2:] == ["0.50", "0.25"]
    assert "- ncnn fp32: resnet18: no such layer" in text
    assert "- OpenVINO int8: resnet18: more than 60 s" in text


def test_slow_candidates_sit_out_rounds():
    taken = {"fast": 0, "slow": 0}
    clock = {"fast": 1e-5, "slow": 4e-3}

    def call(name):
        def spin():
            import time

            taken[name] += 1
            end = time.perf_counter() + clock[name]
            while time.perf_counter() < end:
                pass

        return spin

    timings = interleave(
        {name: call(name) for name in clock},
        rounds=9,
        seconds_per_round=1e-4,
        seconds_in_all=2e-2,
    )
    took_part = [value is not None for value in timings["slow"].rounds]
    assert 2 <= sum(took_part) <= 3
    assert took_part[0]
    assert took_part[-1]
    assert all(timings["fast"].rounds)
    assert timings["fast"].ratio_to(timings["slow"]) > 50
    assert timings["fast"].ratio_to(timings["fast"]) == 1


def test_ratios_are_taken_where_both_took_part():
    a, b = Timing.of([1.0, 2.0, 4.0]), Timing.of([3.0, None, 8.0])
    assert a.ratio_to(b) == pytest.approx(2.5)
    assert (b.minimum, b.median, b.maximum) == (3.0, 5.5, 8.0)


def test_networks_have_the_same_first_pictures_in_every_batch(tmp_path):
    one, eight = (Network("mm_mimo3", batch, tmp_path) for batch in (1, 8))
    assert one.shapes == [(1, 3, 224, 224)] * 4
    for x, y in zip(one.arrays, eight.arrays, strict=True):
        assert (x[0] == y[0]).all()
    assert not (one.arrays[0] == one.arrays[1]).all()


def test_files_are_made_once_and_whole(tmp_path):
    network = Network("resnet18", 1, tmp_path)
    made = []

    def build(path):
        made.append(path)
        path.write_text("part")
        if len(made) == 1:
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        network.file("a.bin", build)
    path = network.file("a.bin", build)
    assert network.file("a.bin", build) == path == tmp_path / "resnet18" / "1" / "a.bin"
    assert len(made) == 2


def test_our_engines_come_first():
    names = list(available())
    assert names[:3] == ["wbcq int8", "wbcq int8 small", "wbcq int8 avx2"]
    assert "PyTorch int8" in names
