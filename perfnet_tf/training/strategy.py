"""Which devices train together."""

from __future__ import annotations

import json
import os
from typing import Any

import tensorflow as tf

from perfnet_tf.errors import InputError, check_choice, first_line
from perfnet_tf.input_pipeline.dataset import clips_per_replica
from perfnet_tf.training.model_garden import get_distribution_strategy

STRATEGIES = ("auto", "one_device", "mirrored", "multiworker", "tpu")


def make_strategy(name: str = "auto", *, tpu: str = "local") -> tf.distribute.Strategy:
    """A distribution strategy by name. TensorFlow must set up several workers or a TPU first.

    Args:
        name: `auto`: several workers if `TF_CONFIG` names them, else all GPUs if there are
            several, else one device; `one_device`: the first GPU, or the CPU; `mirrored`: all GPUs
            of this machine; `multiworker`: the machines that `TF_CONFIG` names, with all GPUs of
            each, or the CPU; `tpu`.
        tpu: name or address of the TPU; `local` is that of this machine.

    Raises:
        InputError: an unknown name, or devices that are not there.
    """
    check_choice("strategy", name, STRATEGIES)
    if name == "tpu":
        return _tpu(tpu)
    workers = _num_workers()
    if name == "multiworker" or (name == "auto" and workers > 1):
        return _multiworker(workers)
    gpus = len(tf.config.list_physical_devices("GPU"))
    if name == "auto":
        name = "mirrored" if gpus > 1 else "one_device"
    if name == "one_device":
        # The default strategy: OneDeviceStrategy adds nothing but indirection.
        return tf.distribute.get_strategy()
    if gpus < 1:
        raise InputError(
            "A mirrored `strategy` needs GPUs, and TensorFlow sees none. Choose one_device."
        )
    return get_distribution_strategy(name, num_gpus=gpus)


def describe_batch(
    strategy: tf.distribute.Strategy,
    batch_size: int,
    accumulate: int = 1,
    *,
    name: str = "batch_size",
) -> str:
    """Which devices share a batch, in words.

    Args:
        strategy: the devices.
        batch_size: clips, over all replicas.
        accumulate: micro-batches of a replica's clips.
        name: of the argument that `batch_size` is, for the error.

    Raises:
        InputError: the replicas, or their micro-batches, cannot share the batch evenly.
    """
    replicas = strategy.num_replicas_in_sync
    share = clips_per_replica(batch_size, replicas, name=name)
    if share % accumulate:
        raise InputError(
            "The micro-batches of all replicas share a batch evenly. Received: "
            f"`{name}`={batch_size} for {replicas} replicas with `accumulate`={accumulate}. "
            f"Take a multiple of {replicas * accumulate}."
        )
    devices = "1 device" if replicas == 1 else f"{replicas} devices ({_kind(strategy)})"
    parts = f" in {accumulate} micro-batches of {share // accumulate}" if accumulate > 1 else ""
    return f"{devices}, {share} clips each{parts}: a global batch of {batch_size} clips"


def _kind(strategy: tf.distribute.Strategy) -> str:
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return "tpu"
    several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    return "multiworker" if several else "mirrored"


def _tpu(address: str) -> tf.distribute.Strategy:
    try:
        return get_distribution_strategy("tpu", tpu_address=address)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise InputError(f"No TPU at {address!r}: {first_line(error)}") from error


def _multiworker(workers: int) -> tf.distribute.Strategy:
    if not workers:
        raise InputError(
            "strategy=multiworker needs the environment variable TF_CONFIG on every worker: "
            '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, '
            '"task": {"type": "worker", "index": 0}}. It is not set.'
        )
    try:
        return get_distribution_strategy("multi_worker_mirrored")
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise InputError(f"The workers of TF_CONFIG did not meet: {first_line(error)}") from error


def _num_workers() -> int:
    """Machines that `TF_CONFIG` names; 0 without one.

    Raises:
        InputError: it is not what TensorFlow reads.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        return 0
    try:
        values: Any = json.loads(text)
        cluster, task = values["cluster"], values["task"]
        workers = [*cluster.get("chief", []), *cluster["worker"]]
        if not 0 <= int(task["index"]) < len(cluster[task["type"]]):
            raise KeyError(f"no {task['type']} {task['index']}")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"TF_CONFIG names a cluster with its workers and this task: {error}. Received: {text}."
        ) from error
    return len(workers)
