"""What teachers cost: a distillation step against the student's step and the teachers' inferences.

    python tests/benchmarks/bench_distillation.py --clip=16x112x112 --batch=4

All networks have the same backbone; there is a flow and a pose teacher, whose batch norms are
folded as when runs teach. The four are timed in turns, in processor time, and the ratio is the
median over rounds: other work on the machine then disturbs all alike. With a GPU, processor time
says nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# As `import perfnet_tf` does, which must come before TensorFlow for it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import numpy as np
import tensorflow as tf
import tf_keras

from perfnet_tf.config import ClipConfig, PoseRenderConfig
from perfnet_tf.distill.distiller import Distiller
from perfnet_tf.input_pipeline.dataset import streams_of
from perfnet_tf.models.factory import build_model
from perfnet_tf.models.folding import fold_teacher
from perfnet_tf.models.precision import precision_policy

CLASSES = 8


def random_batch(clip: ClipConfig, batch: int) -> dict[str, tf.Tensor]:
    """Noise in the shapes and types of `build_dataset`'s batches of all streams."""
    random = np.random.default_rng(0)
    frames = (batch, clip.num_frames)
    pixels = (*frames, clip.height, clip.width)
    corners = np.sort(random.random((*frames, 5, 2, 2), np.float32), axis=-2)
    return {
        "rgb": tf.constant(random.integers(0, 256, (*pixels, 3), np.uint8)),
        "flow": tf.constant(random.normal(0, 3, (*pixels, 2)).astype(np.float32)),
        "keypoints": tf.constant(random.random((*frames, 5, 17, 3), np.float32)),
        "boxes": tf.constant(corners.reshape(*frames, 5, 4)),
        "label": tf.constant(random.integers(0, CLASSES, batch), tf.int32),
    }


def timed(function: Callable[[], object]) -> float:
    """Seconds of processor time until the result is there."""
    began = time.process_time()
    tf.nest.map_structure(lambda value: value.numpy(), function())
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="s3d_g")
    parser.add_argument("--width_multiplier", type=float, default=1.0)
    parser.add_argument("--clip", default="16x112x112")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--jit_compile", action="store_true")
    arguments = parser.parse_args()
    clip = ClipConfig.parse(arguments.clip)
    with precision_policy(arguments.precision):
        networks = {
            stream: build_model(
                arguments.backbone,
                CLASSES,
                stream,
                width_multiplier=arguments.width_multiplier,
            )
            for stream in ("rgb", "flow", "pose")
        }
        student = networks.pop("rgb")
        networks = {
            stream: fold_teacher(network, arguments.precision)
            for stream, network in networks.items()
        }
    batch, render = random_batch(clip, arguments.batch), PoseRenderConfig()

    def step(teachers: dict[str, tf_keras.Model]) -> Callable[[], object]:
        distiller = Distiller(student, teachers)
        distiller.compile(tf_keras.optimizers.SGD(1e-6, momentum=0.9))
        distiller.optimizer.build(student.trainable_variables)
        function = tf.function(distiller.train_step, jit_compile=arguments.jit_compile)
        return lambda: function(batch)

    def inference(stream: str) -> Callable[[], object]:
        def predict(batch: dict[str, tf.Tensor]) -> tf.Tensor:
            return networks[stream](streams_of(batch, [stream], render)[stream], training=False)

        function = tf.function(predict, jit_compile=arguments.jit_compile)
        return lambda: function(batch)

    functions = {
        "distillation": step(networks),
        "student": step({}),
        "flow": inference("flow"),
        "pose": inference("pose"),
    }
    for function in functions.values():
        timed(function)
    rounds = [
        {name: timed(function) for name, function in functions.items()}
        for _ in range(arguments.rounds)
    ]
    ratios = [
        times["distillation"] / (sum(times.values()) - times["distillation"]) for times in rounds
    ]
    print(
        json.dumps(
            {
                **vars(arguments),
                "median_ms": {
                    name: 1e3 * float(np.median([times[name] for times in rounds]))
                    for name in functions
                },
                "of_the_sum": float(np.median(ratios)),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
