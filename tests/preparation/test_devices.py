"""People and flow on a device of choice, in batches; a second logical CPU is the device here."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf

import perfnet_tf
from perfnet_tf import devices
from perfnet_tf.errors import InputError
from perfnet_tf.flow.tvl1 import _pairs_at_once, compute_tvl1
from perfnet_tf.preparation import worker

#: Where flow, fields and people were computed, and how far batches are from single frames.
_WORK = """
import json, pathlib, sys
import numpy as np
import perfnet_tf
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from pose_graph import random_layers, write_graph
from perfnet_tf.flow import tvl1
from perfnet_tf.pose.estimators.movenet import MoveNetEstimator
from perfnet_tf.pose.estimators.posenet import PoseNetEstimator, load_posenet

placed = {}


def noting(name, function):
    def call(*arguments):
        result = function(*arguments)
        tensors = tf.nest.flatten(result)
        placed.setdefault(name, set()).update(tensor.device[-5:] for tensor in tensors)
        return result

    return call


compiled = tvl1._compiled
tvl1._compiled = lambda *shape: noting("flow", compiled(*shape))
random = np.random.default_rng(0)
frames = tf.image.resize(random.integers(0, 256, (6, 9, 12, 3)), (36, 48)).numpy().astype(np.uint8)
few = tvl1.TVL1Params(nscales=2, warps=2)
flow = [
    tvl1.compute_tvl1(frames, few, engine="xla", pairs_at_once=number, device="CPU:1")
    for number in (1, 4)
]

write_graph(pathlib.Path(sys.argv[1]), random_layers(random), fused=True)
network = load_posenet(sys.argv[1])
fields = []
for number in (1, 4):
    estimator = PoseNetEstimator(network, short_side=65, batch_size=number, device="CPU:1")
    find = estimator._function(65, 81)
    estimator._functions[65, 81] = noting("pose", find)
    assert estimator.input_size(36, 48) == (65, 81)
    estimator(frames)
    batch = tf.constant(np.repeat(np.repeat(frames, 2, 1), 2, 2)[:, :65, :81])
    parts = [find(batch[start : start + number]) for start in range(0, 6, number)]
    fields.append({name: tf.concat([part[name] for part in parts], 0) for name in parts[0]})


class Network:
    def at(self, height, width):
        return lambda frames: tf.reduce_mean(tf.cast(frames, tf.float32)) * tf.ones([1, 6, 56])


estimator = MoveNetEstimator(Network(), long_side=64, device="CPU:1")
estimator._functions[64, 64] = noting("people", estimator._function(64, 64))
estimator(frames)
difference = {
    "flow": float(np.abs(flow[0] - flow[1]).max()),
    "moved": float(np.abs(flow[0]).max()),
    "fields": max(float(tf.reduce_max(abs(fields[0][n] - fields[1][n]))) for n in fields[0]),
    "largest": max(float(tf.reduce_max(abs(field))) for field in fields[0].values()),
}
print(json.dumps({"placed": {name: sorted(on) for name, on in placed.items()}, **difference}))
"""


@pytest.mark.slow
def test_flow_and_people_are_computed_on_the_device_and_batches_change_rounding_only(tmp_path):
    root = pathlib.Path(perfnet_tf.__file__).parents[1]
    result = subprocess.run(
        [sys.executable, "-c", _WORK, tmp_path],
        env=os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'tests' / 'reference'}"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["placed"] == dict.fromkeys(("flow", "pose", "people"), ["CPU:1"])
    assert found["moved"] > 1 and found["flow"] < 1e-3  # pixels
    assert found["fields"] < 1e-5 * found["largest"]


def test_a_batch_fits_the_memory_that_it_may_take():
    assert devices.frames_at_once(100, memory=1000) == 8
    assert devices.frames_at_once(300, memory=1000) == 2
    assert devices.frames_at_once(1001, memory=1000) == 1  # never none
    assert devices.frames_at_once(1, memory=1000) == 64  # more is of no use


@pytest.mark.parametrize(
    ("height", "width", "pairs"),
    [(256, 341, 16), (1080, 1920, 1), (64, 64, 64)],  # 512 MiB at 320 bytes per pixel
)
def test_larger_frames_make_smaller_batches_on_an_accelerator(height, width, pairs):
    assert _pairs_at_once(height, width, "/device:GPU:0") == pairs
    assert _pairs_at_once(height, width, "/device:CPU:0") == 1


@pytest.mark.parametrize(
    ("name", "accelerator"),
    [("GPU:0", True), ("/device:GPU:1", True), ("TPU:0", True), ("/device:CPU:0", False)],
)
def test_accelerators_are_told_from_cpus(name, accelerator):
    assert devices.is_accelerator(name) == accelerator


def test_the_first_accelerator_is_taken(monkeypatch):
    def list_devices(kind=None):
        names = {"GPU": ["/device:GPU:0", "/device:GPU:1"]}.get(kind, [])
        return [tf.config.LogicalDevice(name, kind) for name in names]

    monkeypatch.setattr(tf.config, "list_logical_devices", list_devices)
    assert devices.find_device() == "/device:GPU:0"


def test_an_unknown_device_is_refused():
    assert devices.check_device("CPU:0") == devices.check_device("/device:CPU:0")
    with pytest.raises(InputError, match="one that TensorFlow has: CPU:0.* Received: 'GPU:9'"):
        compute_tvl1([[[0.5]]], device="GPU:9")


def test_a_worker_takes_the_gpus_memory_as_it_needs_it(monkeypatch):
    gpus = [tf.config.PhysicalDevice(f"/physical_device:GPU:{n}", "GPU") for n in range(2)]
    growing = {}
    config = tf.config
    monkeypatch.setattr(config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(config.experimental, "set_memory_growth", growing.__setitem__)
    for kind in ("intra", "inter"):
        name = f"set_{kind}_op_parallelism_threads"
        monkeypatch.setattr(config.threading, name, lambda number: None)
    try:
        worker._share_machine(1)
    finally:
        worker.set_num_threads(None)
    assert growing == dict.fromkeys(gpus, True)
