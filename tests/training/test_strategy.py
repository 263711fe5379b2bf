import csv
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.config import ExperimentConfig, ModelConfig
from perfnet_tf.errors import InputError
from perfnet_tf.recognizers.run_directory import save_run
from perfnet_tf.records.folder import read_dataset_info
from perfnet_tf.training.strategy import describe_batch, make_strategy

REFERENCE = pathlib.Path(__file__).parent.parent / "reference"


def start(folder, name, devices, *options, tf_config=None):
    """Begins a training of `distributed_training`; its devices last as long as its process."""
    paths = [str(REFERENCE), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    environment.pop("TF_CONFIG", None)
    if tf_config:
        environment["TF_CONFIG"] = json.dumps(tf_config)
    return subprocess.Popen(
        [sys.executable, str(REFERENCE / "distributed_training.py"), str(folder), name, devices]
        + list(options),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(processes, status=0):
    """The output of each process."""
    outputs = [process.communicate(timeout=900)[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == status, output[-3000:]
    return outputs


def start_workers(folder, name, *options, count=2, shared=()):
    """Workers on the loopback; `options` go to the last, `shared` ones to all."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    cluster = {"worker": [f"localhost:{one.getsockname()[1]}" for one in sockets]}
    for one in sockets:
        one.close()
    return [
        start(
            folder,
            name,
            "multiworker",
            *shared,
            *(options if index == count - 1 else ()),
            tf_config={"cluster": cluster, "task": {"type": "worker", "index": index}},
        )
        for index in range(count)
    ]


def results(folder, name):
    """Weights by name, and the losses of each epoch."""
    run = folder / name
    reader = tf.train.load_checkpoint(str(run / "weights"))
    weights = {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()}
    weights = {key: value for key, value in weights.items() if isinstance(value, np.ndarray)}
    lines = [line.split(",") for line in (run / "history.csv").read_text().splitlines()]
    wanted = ["loss", "cross_entropy", "mse_flow", "mse_pose"]
    wanted += [name for name in lines[0] if name == "feature_mse_flow"]
    columns = [lines[0].index(name) for name in wanted]
    return weights, np.array([[float(line[c]) for c in columns] for line in lines[1:]])


def validation(folder, name):
    """Cross-entropy and accuracies of the validation clips, epoch by epoch."""
    with open(folder / name / "history.csv") as file:
        rows = list(csv.DictReader(file))
    return [[float(row[f"val_{key}"]) for key in ("cross_entropy", "top1", "top5")] for row in rows]


def assert_equal_runs(folder, one, other):
    (weights, losses), (theirs, their_losses) = results(folder, one), results(folder, other)
    assert weights.keys() == theirs.keys() and len(weights) > 5
    for key, value in weights.items():
        np.testing.assert_allclose(theirs[key], value, atol=1e-5, err_msg=f"{other}: {key}")
    np.testing.assert_allclose(their_losses, losses, atol=1e-5, err_msg=other)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from prepared_clips import write_tiny_dataset

    folder = tmp_path_factory.mktemp("runs")
    write_tiny_dataset(folder / "data")
    finish([start(folder, "one", "1")])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("devices", ["2", "4"])
def test_several_devices_train_as_one_does(folder, devices):
    """20 steps of distillation from two teachers, with synchronised batch norm."""
    output = finish([start(folder, devices, devices)])[0]
    each = 8 // int(devices)
    assert f"{devices} devices (mirrored), {each} clips each: a global batch of 8 clips" in output
    assert_equal_runs(folder, "one", devices)


@pytest.mark.slow
def test_two_workers_train_as_one_device_does(folder):
    chief, other = finish(start_workers(folder, "workers"))
    assert "2 devices (multiworker), 4 clips each: a global batch of 8 clips" in chief
    assert "epoch" not in other
    assert_equal_runs(folder, "one", "workers")
    assert not (folder / "workers" / "checkpoints").exists()


@pytest.mark.slow
def test_a_signal_to_one_worker_saves_and_stops_all_and_they_go_on(folder):
    outputs = finish(start_workers(folder, "stopped", "--term_at=7"), status=143)
    assert "stopped after step 8 of 20" in outputs[0]
    assert (folder / "stopped" / "checkpoints" / "ckpt-8.index").exists()
    finish(start_workers(folder, "stopped"))
    assert_equal_runs(folder, "one", "stopped")


@pytest.mark.slow
def test_two_devices_killed_and_resumed_arrive_where_one_arrives(folder):
    finish([start(folder, "killed", "2", "--kill_at=8")], status=-signal.SIGKILL)
    assert "resuming after step 6 of 20" in finish([start(folder, "killed", "2")])[0]
    assert_equal_runs(folder, "one", "killed")


@pytest.mark.slow
def test_each_device_normalising_by_its_own_clips_is_something_else(folder):
    finish([start(folder, "alone", "2", "--sync=0")])
    weights, theirs = results(folder, "one")[0], results(folder, "alone")[0]
    assert max(np.abs(theirs[key] - value).max() for key, value in weights.items()) > 1e-3


@pytest.mark.slow
def test_recomputing_changes_nothing_on_several_devices(folder):
    finish([start(folder, "remat", "2", "--remat=1")])
    assert_equal_runs(folder, "one", "remat")


@pytest.mark.slow
def test_two_devices_and_two_workers_fine_tune_as_one_does(tmp_path):
    """Adam, the classifier at its own rate, frozen batch norm, uneven classes, the best weights."""
    from prepared_clips import make_clip, write_dataset

    labels = [0] * 9 + [1] * 4 + [2] * 2
    clips = [make_clip(i, c, frames=9, height=48, width=64) for i, c in enumerate(labels)]
    splits = {"train": clips, "val": clips[5:12], "test": clips[:2]}
    write_dataset(tmp_path / "data", splits, num_classes=3)
    options = ["--tuned=1", "--epochs=4"]
    finish([start(tmp_path, "one", "1", *options)])
    finish([start(tmp_path, "two", "2", *options)])
    finish(start_workers(tmp_path, "workers", shared=options))
    expected = json.loads((tmp_path / "one" / "run.json").read_text())["kept_epoch"]
    for name in ("two", "workers"):
        assert_equal_runs(tmp_path, "one", name)
        assert json.loads((tmp_path / name / "run.json").read_text())["kept_epoch"] == expected
        np.testing.assert_allclose(
            validation(tmp_path, name), validation(tmp_path, "one"), atol=1e-5
        )


@pytest.mark.slow
def test_two_devices_learn_from_clips_without_labels_as_one_does(tmp_path):
    from prepared_clips import write_tiny_dataset

    write_tiny_dataset(tmp_path / "data")
    write_tiny_dataset(tmp_path / "unlabelled", num_classes=2)
    for name, devices in (("one", "1"), ("two", "2")):
        finish([start(tmp_path, name, devices, "--unlabelled=1", "--epochs=5")])
    assert_equal_runs(tmp_path, "one", "two")


@pytest.mark.slow
def test_two_devices_match_features_as_one_does(tmp_path):
    """With clips without labels and class weights, which the term takes and leaves alone."""
    from prepared_clips import write_tiny_dataset
    from tiny_network import build_tiny, fixed_weights

    write_tiny_dataset(tmp_path / "data")
    write_tiny_dataset(tmp_path / "unlabelled", num_classes=2)
    classes = read_dataset_info(tmp_path / "data").classes
    for seed, stream in ((1, "flow"), (2, "pose")):
        config = ExperimentConfig(stream=stream, model=ModelConfig("tiny"))
        teacher = build_tiny(config.model, len(classes), stream)
        fixed_weights(teacher, seed)
        save_run(tmp_path / stream, config, classes, teacher)
    options = ["--feature_weight=1", "--unlabelled=1", "--epochs=5", "--class_weights=balanced"]
    finish([start(tmp_path, "one", "1", *options)])
    losses = results(tmp_path, "one")[1]
    assert losses.shape == (5, 5) and losses[:, -1].min() > 1e-3
    finish([start(tmp_path, "two", "2", *options)])
    assert_equal_runs(tmp_path, "one", "two")


@pytest.mark.slow
def test_two_devices_accumulate_as_one_device_steps_at_once(tmp_path):
    """AdamW, clipped gradients, frozen batch norm."""
    from prepared_clips import make_clip, write_dataset

    clips = [make_clip(i, i % 3, frames=9, height=48, width=64) for i in range(15)]
    splits = {"train": clips, "val": clips[5:12]}
    write_dataset(tmp_path / "data", splits, num_classes=3)
    options = ["--tuned=1", "--optimizer=adamw", "--clip_norm=0.5", "--epochs=4"]
    finish([start(tmp_path, "one", "1", *options)])
    output = finish([start(tmp_path, "two", "2", *options, "--accumulate=2")])[0]
    assert "4 clips each in 2 micro-batches of 2: a global batch of 8 clips" in output
    assert_equal_runs(tmp_path, "one", "two")


@pytest.mark.slow
def test_several_devices_accumulate_with_synchronized_batch_norm_as_one_does(folder):
    """Each micro-batch has the clips that it has on one device, and their moments."""
    options = ["--accumulate=2", "--optimizer=adamw", "--clip_norm=0.5", "--epochs=5"]
    finish([start(folder, "parts", "1", *options)])
    finish([start(folder, "parts_of_2", "2", *options)])
    assert_equal_runs(folder, "parts", "parts_of_2")
    finish(start_workers(folder, "parts_of_workers", shared=options))
    assert_equal_runs(folder, "parts", "parts_of_workers")


@pytest.mark.slow
def test_devices_mix_in_micro_batches_and_a_killed_run_is_the_same(folder):
    options = ["--mixup=0.8", "--accumulate=2", "--sync=0", "--epochs=5"]
    finish([start(folder, "mixed", "2", *options)])
    finish([start(folder, "resumed", "2", *options, "--kill_at=5")], status=-signal.SIGKILL)
    assert "resuming after step 3 of 10" in finish([start(folder, "resumed", "2", *options)])[0]
    assert_equal_runs(folder, "mixed", "resumed")


def test_an_unknown_strategy_or_devices_that_are_not_there_are_refused(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(InputError, match="Did you mean 'mirrored'"):
        make_strategy("mirored")
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: [])
    with pytest.raises(InputError, match="needs GPUs"):
        make_strategy("mirrored")
    with pytest.raises(InputError, match="needs the environment variable TF_CONFIG"):
        make_strategy("multiworker")
    assert make_strategy("auto").num_replicas_in_sync == 1


@pytest.mark.parametrize(
    "text",
    [
        "host0:2222",
        "{}",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_a_cluster_that_cannot_be_read_is_refused(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match="TF_CONFIG names a cluster"):
        make_strategy("auto")


def test_the_shares_of_a_batch_are_printed_and_must_be_even():
    class Two(tf.distribute.MirroredStrategy):
        num_replicas_in_sync = 2

    assert describe_batch(tf.distribute.get_strategy(), 7) == (
        "1 device, 7 clips each: a global batch of 7 clips"
    )
    two = Two(["CPU:0"])
    assert describe_batch(two, 6) == (
        "2 devices (mirrored), 3 clips each: a global batch of 6 clips"
    )
    with pytest.raises(InputError, match="`batch_size`=7 for 2 replicas. Take a multiple of 2"):
        describe_batch(two, 7)
    with pytest.raises(InputError, match="`unlabelled_batch`=3 for 2 replicas"):
        describe_batch(two, 3, name="unlabelled_batch")
    assert describe_batch(two, 12, 3) == (
        "2 devices (mirrored), 6 clips each in 3 micro-batches of 2: a global batch of 12 clips"
    )
    with pytest.raises(InputError, match="2 replicas with `accumulate`=4. Take a multiple of 8"):
        describe_batch(two, 12, 4)
