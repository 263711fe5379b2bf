import json
import subprocess
import sys

import numpy as np
import pytest

from perfnet_tf.benchmark import comparison, entries, runtimes
from perfnet_tf.benchmark.comparison import format_table, make_rows, run_benchmark
from perfnet_tf.benchmark.config import BenchmarkConfig, default_clip
from perfnet_tf.benchmark.entries import Entry, list_entries
from perfnet_tf.benchmark.protocol import write_safetensors
from perfnet_tf.benchmark.scaling import Point, format_points, growth, plot_scaling
from perfnet_tf.benchmark.turns import Turn
from perfnet_tf.cli.main import main
from perfnet_tf.config import ClipConfig
from perfnet_tf.errors import InputError
from perfnet_tf.models.importers.tensors import read_torch

S3D = BenchmarkConfig("s3d_g", torch_python=sys.executable, runtimes=False)


@pytest.fixture
def installed(monkeypatch):
    """Makes the runtimes' packages look installed, but for those that the test adds to the set."""
    missing = set()
    monkeypatch.setattr(
        runtimes, "missing_modules", lambda *names: [name for name in names if name in missing]
    )
    return missing


def test_peers_come_first_and_share_their_weights(tmp_path):
    entries = list_entries(BenchmarkConfig("r3d50_g", runtimes=False), tmp_path)
    assert [entry.peer for entry in entries] == [True, True, False, False, False, False]
    assert len({entry.weights for entry in entries}) == 1
    assert len({entry.name for entry in entries}) == len(entries)
    specs = [json.loads(entry.command[-1]) for entry in entries]
    assert [spec["network"] for spec in specs[::2]] == ["model_garden", "keras", "folded"]
    assert [spec["precision"] for spec in specs] == ["float32", "bfloat16"] * 3
    assert len({spec["logits"] for spec in specs}) == len(entries)


def test_s3d_with_gates_has_its_own_weights(tmp_path):
    entries = list_entries(S3D, tmp_path)
    torch = [
        entry
        for entry in entries
        if entry.command[0] == sys.executable and "torch_contender" in entry.command[1]
    ]
    assert len(torch) == 4 and all(entry.peer for entry in torch)
    by_weights = {}
    for entry in entries:
        by_weights.setdefault(entry.weights, []).append(entry.name.split(",")[0])
    assert set(by_weights["s3d_g"]) == {"perfnet s3d_g"}
    (others,) = (names for weights, names in by_weights.items() if weights != "s3d_g")
    assert set(others) == {"torchvision s3d", "perfnet s3d"}
    without = list_entries(BenchmarkConfig("s3d_g", runtimes=False), tmp_path)
    assert not any(entry.peer for entry in without)


def test_what_torch_leaves_is_read_without_torch(tmp_path):
    entries = list_entries(S3D, tmp_path)
    specs = [json.loads(entry.command[-1]) for entry in entries]
    files = {spec["weights"] for spec in specs if spec["weights"]}
    assert files == {str(tmp_path / "s3d.safetensors")}
    rng = np.random.default_rng(0)
    written = {"conv": rng.normal(size=(2, 3, 5)).astype("f4"), "mean": np.float32([7])}
    write_safetensors(*files, written)
    read = read_torch(*files)
    assert set(read.shapes) == set(written)
    for name, value in written.items():
        np.testing.assert_array_equal(read[name], value)


def test_rows_compare_with_the_first_line_and_with_the_best_peer(tmp_path):
    def entry(name, peer, logits):
        np.save(tmp_path / f"{name}.npy", np.array(logits))
        return Entry(name, "float32", peer, "shared", (), tmp_path / f"{name}.npy")

    entries = [
        entry("slow peer", True, [[1.0, -4.0]]),
        entry("fast peer", True, [[1.0, -4.0]]),
        entry("ours", False, [[1.2, -4.0]]),
    ]
    times = {"slow peer": [8.0, 8.0, 80.0], "fast peer": [4.0, 4.0, 40.0], "ours": [2.0, 1.0, 10.0]}
    turns = {
        name: [Turn(wall, 2 * wall, 1000 + i) for i, wall in enumerate(walls)]
        for name, walls in times.items()
    }
    config = BenchmarkConfig(batch=3, rounds=3)
    slow, fast, ours = make_rows(config, entries, turns)
    assert (slow.speedup, fast.speedup, ours.speedup) == (1.0, 2.0, 4.0)
    assert (slow.speedup_over_best, ours.speedup_over_best) == (0.5, 2.0)
    assert ours.cpu_speedup == 4.0
    assert (slow.fastest, fast.fastest, ours.fastest) == (8.0, 4.0, 1.0)
    assert (ours.latency, ours.clips_per_second, ours.cpu) == (2.0, 1.5, 4.0)
    assert ours.peak_memory == 1002
    assert slow.difference is None and fast.difference == 0
    assert ours.difference == pytest.approx(0.05)
    text = format_table(config, [slow, fast, ours], {"torch": "it ended"})
    table, note = text.split("\n\nNot measured: ")
    assert note == "torch. it ended"
    table = table.splitlines()
    assert "3 x 16x112x112" in table[0]
    assert table[-1].startswith("| ours | 2000 [1000] ms | 1.50 | 4000 ms |")
    assert table[-1].endswith("| 4.00 | 2.00 | 4.00 | 5.0e-02 |")
    assert len({line.count("|") for line in table[2:]}) == 1


def test_runtimes_that_are_installed_run_one_set_of_files(tmp_path, installed, monkeypatch):
    installed |= {"torch", "nncf"}
    listed = list_entries(BenchmarkConfig("r3d50_g"), tmp_path)
    ran = [entry for entry in listed if " in " in entry.name]
    assert [entry.name for entry in ran] == [
        "perfnet r3d50_g in LiteRT, float32",
        "perfnet r3d50_g in LiteRT, int8",
        "perfnet r3d50_g in onnxruntime, float32",
        "perfnet r3d50_g in OpenVINO, float32",
        "perfnet r3d50_g in OpenVINO, bfloat16",
    ]
    assert {entry.weights for entry in ran} == {listed[0].weights}
    only = list_entries(BenchmarkConfig("r3d50_g", precisions=("int8",)), tmp_path)
    assert [entry.name for entry in only] == ["perfnet r3d50_g in LiteRT, int8"]
    assert not [
        entry
        for entry in list_entries(BenchmarkConfig("r3d50_g", training=True), tmp_path)
        if entry.precision == "int8"
    ]

    calls = []

    def write(command, **_):
        calls.append(json.loads(command[-1]))
        (tmp_path / "failures.json").write_text('{"model.onnx": "no memory"}')
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(entries.subprocess, "run", write)
    ran[0].prepare()
    ran[1].prepare()
    for entry in ran[2:]:
        with pytest.raises(InputError, match=r"model\.onnx could not be written: no memory"):
            entry.prepare()
    (spec,) = calls
    assert spec["formats"] == ["tflite", "int8", "onnx"]
    assert spec["shape"] == [1, 16, 112, 112]


def test_torchvisions_s3d_gets_pictures_that_it_takes():
    assert str(default_clip("s3d_g")) == "16x224x224"
    assert str(default_clip("r3d50_g")) == "16x112x112"


def test_no_contender_at_all_is_refused(monkeypatch):
    monkeypatch.setattr(comparison, "list_entries", lambda config, folder: [])
    with pytest.raises(InputError, match="At least one network must run"):
        run_benchmark(BenchmarkConfig())


def test_linear_growth_is_one_and_is_drawn(tmp_path):
    points = [Point(1, n, 0.1 * n, 0.2 * n, 10**9) for n in (8, 16, 64)]
    points.append(Point(2, 16, 3.2, 6.4, 10**9))
    assert growth(points[:3]) == pytest.approx(1)
    config = BenchmarkConfig(clip=ClipConfig(16, 56, 56))
    text = format_points(config, points)
    assert "frames to the power of 1.00" in text
    assert "| 1 | 64 | 6400 ms | 200.00 ms |" in text
    plot_scaling(config, points, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backbones=resnet"], "backbone"),
        (["--precisions=half"], "precision"),
        (["--rounds=0"], "rounds must be"),
        (["--clips=16"], "16"),
        (["--scaling", "--training"], "--scaling"),
        (["--training", "--backbones=s3d_g", "--torch_python=x"], "Model Garden only"),
        (["--backbones=s3d_g", "--torch_python=/no/python"], "interpreter was expected"),
    ],
)
def test_bad_flags_print_one_error_line(arguments, message, capsys):
    assert main(["bench", *arguments]) == 2
    captured = capsys.readouterr().err.splitlines()[-1]
    assert captured.startswith("perfnet bench: ") and message in captured


def test_no_precision_is_refused():
    with pytest.raises(InputError, match="At least one"):
        BenchmarkConfig(precisions=())


@pytest.mark.slow
def test_networks_agree_with_model_gardens_while_they_are_timed():
    config = BenchmarkConfig(clip=ClipConfig(4, 32, 40), rounds=1)
    found = run_benchmark(config)
    assert not found.failures
    rows = {row.name: row for row in found.rows}
    assert rows["perfnet r3d50_g in LiteRT, float32"].difference < 1e-4
    assert 1e-4 < rows["perfnet r3d50_g in LiteRT, int8"].difference < 0.2
    kept = ["LiteRT, int8", "folded, float32"]
    least, most = (
        rows[f"perfnet r3d50_g{sep}{name}"].peak_memory
        for sep, name in zip((" in ", ", "), kept, strict=True)
    )
    assert least < most / 2
    assert rows["perfnet r3d50_g, keras, float32"].difference < 1e-4
    assert rows["perfnet r3d50_g, folded, float32"].difference < 1e-4
    assert rows["perfnet r3d50_g, folded, bfloat16"].difference < 0.1
    assert all(row.latency > 0 and row.peak_memory > 1e8 for row in rows.values())
