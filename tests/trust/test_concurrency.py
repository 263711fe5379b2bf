"""The exported module behind a service: many threads, clips of many sizes."""

import concurrent.futures
import os
import random

import numpy as np
import pytest
import tensorflow as tf
from mutations import resident
from tiny_network import build_tiny, fixed_weights

from perfnet_tf.config import ClipConfig, ExperimentConfig
from perfnet_tf.saved_model import export_saved_model

#: Batch, frames, height and width.
SIZES = [(1, 4, 32, 32), (1, 7, 24, 40), (2, 5, 33, 47), (3, 4, 32, 32), (1, 16, 56, 56)]


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    config = ExperimentConfig(clip=ClipConfig(4, 32, 32))
    model = build_tiny(config.model, 3)
    fixed_weights(model)
    path = tmp_path_factory.mktemp("model") / "model"
    export_saved_model(model, path, classes=["a", "b", "c"], config=config)
    return tf.saved_model.load(str(path))


@pytest.mark.parametrize("calls", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_eight_threads_get_the_answers_of_one(module, calls):
    draw = np.random.default_rng(0)
    clips = [
        tf.constant(draw.integers(0, 256, (*size, 3), np.uint8)) for size in SIZES for _ in range(4)
    ]
    alone = [module(clip).numpy() for clip in clips]
    assert np.ptp(np.concatenate(alone)) > 0.01
    order = [number % len(clips) for number in range(calls)]
    random.Random(1).shuffle(order)
    memory = []

    def ask(number):
        answer = module(clips[number]).numpy()
        memory.append(resident(os.getpid()))
        return answer

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, order))
    for number, answer in zip(order, answers, strict=True):
        np.testing.assert_array_equal(answer, alone[number])
    warm, end = memory[calls // 5], memory[-1]
    print(f"\n{calls} calls: warm {warm / 2**20:.1f} MiB, at the end {end / 2**20:.1f} MiB")
    assert end < 1.05 * warm
