"""One training of a small student with two teachers, on devices that the command line says.

    python distributed_training.py FOLDER NAME DEVICES [--sync=0] [--remat=1] [--kill_at=STEP]
                                       [--term_at=STEP] [--epochs=N] [--pause=SECONDS]
                                       [--tuned=1] [--unlabelled=1] [--accumulate=N]
                                       [--clip_norm=X] [--mixup=X] [--optimizer=NAME]
                                       [--feature_weight=X]

DEVICES is 1, 2 or 4 logical CPU devices, or `multiworker` (TF_CONFIG). FOLDER holds `data` and is
shared by all; NAME is the run's. `--kill_at` and `--term_at` send this
process SIGKILL and SIGTERM when that many steps are done. With `--pause` every step waits, and
prints its number first. `--tuned=1` trains by the options of fine-tuning. `--unlabelled=1` adds
the clips of FOLDER/unlabelled, four to each batch, without their labels. With `--feature_weight`
the teachers are the runs FOLDER/flow and FOLDER/pose. The others are of `TrainConfig`.
"""

from __future__ import annotations

import os
import pathlib
import signal
import sys
import time
from typing import Any

import numpy as np
import tensorflow as tf

#: Options of the command line that are of `TrainConfig`, and their types.
OPTIONS = {
    "accumulate": int,
    "class_weights": str,
    "clip_norm": float,
    "mixup": float,
    "optimizer": str,
}


def make_strategy(devices: str):
    """The strategy; before TensorFlow does anything else."""
    if devices == "multiworker":
        from perfnet_tf.training.strategy import make_strategy

        return make_strategy("multiworker")
    count = int(devices)
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * count
    )
    if count == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(count)])


def teachers():
    """A flow and a pose teacher: linear functions of what they see, the same everywhere."""
    from perfnet_tf.recognizers.recognizer import Teacher

    def linear(channels: int, seed: int):
        matrix = tf.constant(np.random.default_rng(seed).normal(0, 1, (channels, 3)), tf.float32)

        def predict(frames):
            values = tf.cast(frames, tf.float32) / (255.0 if frames.dtype == tf.uint8 else 1.0)
            return tf.reduce_mean(values, axis=[1, 2, 3]) @ matrix

        return predict

    return {"flow": Teacher(linear(2, 1), "flow"), "pose": Teacher(linear(3, 2), "pose")}


def config(
    *,
    synchronize: bool = True,
    rematerialize: bool = False,
    epochs: int = 10,
    tuned: bool = False,
    unlabelled_batch: int | None = None,
    feature_weight: float = 0.0,
    **options: Any,
):
    """Epochs of 2 batches of 8 from 15 clips."""
    tuning: dict[str, Any] = {}
    if tuned:
        tuning = {
            "optimizer": "adam",
            "head_learning_rate_scale": 4.0,
            "freeze": ("batch_norm",),
            "class_weights": "balanced",
            "sampling": "balanced",
            "validate_every_epochs": 1,
            "keep": "best",
        }
    from perfnet_tf.config import (
        ClipConfig,
        DistillConfig,
        ExperimentConfig,
        ModelConfig,
        TrainConfig,
    )

    return ExperimentConfig(
        clip=ClipConfig(6, 24, 32, short_side=28),
        model=ModelConfig("tiny", dropout_rate=0.0, weight_decay=0.01),
        distill=DistillConfig(
            "separate",
            {"flow": 0.5, "pose": 2.0},
            unlabelled_batch=unlabelled_batch,
            feature_weight=feature_weight,
        ),
        train=TrainConfig(
            epochs=epochs,
            batch_size=8,
            learning_rate=0.02,
            warmup_epochs=1,
            checkpoint_every_steps=3,
            synchronize_batch_norm=synchronize,
            rematerialize=rematerialize,
            **{**tuning, **options},
        ),
    )


def main(folder: pathlib.Path, name: str, devices: str, *options: str) -> None:
    """Trains."""
    strategy = make_strategy(devices)
    import tiny_network  # noqa: F401  (registers the backbone `tiny`)

    from perfnet_tf.training import trainer
    from perfnet_tf.training.callbacks import KeepCheckpoints

    values = dict(option.removeprefix("--").split("=") for option in options)
    unlabelled = values.get("unlabelled") == "1"
    feature_weight = float(values.get("feature_weight", 0))
    runs = {stream: folder / stream for stream in ("flow", "pose")}
    for option, number in (("kill_at", signal.SIGKILL), ("term_at", signal.SIGTERM)):
        if option in values:
            KeepCheckpoints.on_train_batch_begin = _sender(number, int(values[option]))
    if "pause" in values:
        KeepCheckpoints.on_train_batch_begin = _pauser(float(values["pause"]))
    trainer.train(
        config(
            synchronize=values.get("sync", "1") == "1",
            rematerialize=values.get("remat") == "1",
            epochs=int(values.get("epochs", 10)),
            tuned=values.get("tuned") == "1",
            unlabelled_batch=4 if unlabelled else None,
            feature_weight=feature_weight,
            **{name: kind(values[name]) for name, kind in OPTIONS.items() if name in values},
        ),
        folder / "data",
        folder / name,
        teachers=runs if feature_weight else teachers(),
        unlabelled=folder / "unlabelled" if unlabelled else None,
        strategy=strategy,
    )


def _sender(number: int, step: int):
    def send(keeper, batch, logs=None):
        if int(keeper.model.optimizer.iterations.numpy()) == step:
            os.kill(os.getpid(), number)

    return send


def _pauser(seconds: float):
    def pause(keeper, batch, logs=None):
        print("step", int(keeper.model.optimizer.iterations.numpy()), flush=True)
        time.sleep(seconds)

    return pause


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), *sys.argv[2:])
