"""Layers in training on a CPU: our ways to compute them beside TensorFlow's own, in turns.

    python tests/benchmarks/bench_cpu_training.py --rounds=9

Shapes are those of R3D50-G and S3D-G on four clips of 16x112x112, float32. Each line is a layer's
outputs and all of its gradients: the medians of both, and TensorFlow's time over ours, the median
over rounds. TensorFlow's batch norm adds up in another order, so only its time compares.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# As `import perfnet_tf` does, which must come before TensorFlow for it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import numpy as np
import tensorflow as tf

from perfnet_tf.models.batch_moments import exact_normalization
from perfnet_tf.models.filter_gradient import conv2d
from perfnet_tf.models.layers import VideoMaxPool

Function = Callable[..., tf.Tensor]
#: What is computed, TensorFlow's way, ours, and the arguments that gradients are taken of.
Case = tuple[str, Function, Function, list[tf.Tensor]]

#: Images, then kernel, then stride. A kernel in time sees frames as rows and pixels as columns.
CONVOLUTIONS = [
    ((64, 28, 28, 64), (1, 1, 256), 1),
    ((64, 14, 14, 128), (1, 1, 512), 1),
    ((64, 7, 7, 256), (1, 1, 1024), 1),
    ((64, 7, 7, 1024), (1, 1, 256), 1),
    ((64, 14, 14, 512), (1, 1, 1024), 2),
    ((4, 16, 784, 64), (3, 1, 64), 1),
    ((4, 16, 784, 256), (3, 1, 128), 1),
    ((4, 16, 196, 512), (3, 1, 256), 1),
    ((4, 8, 784, 192), (3, 1, 192), 1),
    ((4, 8, 196, 208), (3, 1, 208), 1),
    ((64, 14, 14, 128), (3, 3, 128), 1),
    ((64, 7, 7, 256), (3, 3, 256), 1),
    ((64, 14, 14, 256), (3, 3, 256), 2),
    ((64, 14, 14, 512), (3, 3, 512), 2),
]
NORMS = [
    (64, 56, 56, 64),
    (64, 28, 28, 64),
    (64, 28, 28, 256),
    (64, 14, 14, 512),
    (64, 7, 7, 1024),
    (32, 56, 56, 16),
    (32, 28, 28, 192),
]
POOLS = [
    ((4, 8, 56, 56, 64), (1, 3, 3), (1, 2, 2)),
    ((4, 8, 14, 14, 192), (3, 3, 3), (1, 1, 1)),
    ((4, 8, 14, 14, 480), (3, 3, 3), (2, 2, 2)),
    ((4, 4, 7, 7, 512), (3, 3, 3), (1, 1, 1)),
]


def convolution_cases() -> Iterator[Case]:
    for shape, (rows, columns, filters), stride in CONVOLUTIONS:
        kernel = tf.random.normal([rows, columns, shape[-1], filters])
        strides = [stride, stride]
        yield (
            f"convolution {shape}, {tuple(kernel.shape)}, stride {stride}",
            lambda x, k, strides=strides: tf.nn.conv2d(x, k, strides, "SAME"),
            lambda x, k, strides=strides: conv2d(x, k, strides, "SAME"),
            [tf.random.normal(shape), kernel],
        )


def norm_cases() -> Iterator[Case]:
    for shape in NORMS:
        zeros, ones = tf.zeros(shape[-1]), tf.ones(shape[-1])

        def exact(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, averages=(zeros, ones)):
            return exact_normalization(1e-3, 0.9)(x, scale, offset, *averages)[0]

        def fused(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor):
            return tf.compat.v1.nn.fused_batch_norm(x, scale, offset)[0]

        yield f"batch norm {shape}", fused, exact, [tf.random.normal(shape), ones, zeros]


def pool_cases() -> Iterator[Case]:
    for shape, window, strides in POOLS:
        pool = VideoMaxPool(window, strides)
        yield (
            f"max pool {shape}, {window}, strides {strides}",
            lambda x, pool=pool: tf.nn.max_pool3d(x, pool.pool_size, pool.strides, "SAME"),
            pool,
            [tf.nn.relu(tf.random.normal(shape))],
        )


def step_of(function: Function, arguments: list[tf.Tensor]) -> Callable[[], float]:
    """Seconds of processor time for outputs and gradients."""
    upstream = tf.random.normal(tf.shape(function(*arguments)))

    @tf.function(autograph=False)
    def step() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            outputs = function(*arguments)
        return [outputs, *tape.gradient(outputs, arguments, upstream)]

    def timed() -> float:
        began = time.process_time()
        tf.nest.map_structure(lambda value: value.numpy(), step())
        return time.process_time() - began

    timed()
    return timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    for name, *functions, arguments in [*convolution_cases(), *norm_cases(), *pool_cases()]:
        steps = [step_of(function, arguments) for function in functions]
        times = np.array([[step() for step in steps] for _ in range(rounds)])
        tensorflow, perfnet = 1e3 * np.median(times, axis=0)
        ratio = np.median(times[:, 0] / times[:, 1])
        print(
            f"{name}: {tensorflow:.1f} ms, perfnet {perfnet:.1f} ms, {ratio:.2f} times", flush=True
        )


if __name__ == "__main__":
    main()
