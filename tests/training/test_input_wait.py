import time

import pytest
import tensorflow as tf

from perfnet_tf.training.input_wait import InputWait


def slow_dataset(seconds):
    def work(number):
        time.sleep(seconds)
        return number

    dataset = tf.data.Dataset.range(50)
    dataset = dataset.map(lambda n: tf.ensure_shape(tf.py_function(work, [n], tf.int64), []))
    return dataset.map(lambda n: {"rgb": n, "label": -n}).prefetch(2)


def consume(wait, seconds_to_read, seconds_to_train, steps=12):
    batches = iter(wait.watch(slow_dataset(seconds_to_read)))
    next(batches)
    wait.restart()
    began = time.monotonic()
    for step in range(steps):
        batch = next(batches)
        assert (int(batch["rgb"]), int(batch["label"])) == (step + 1, -step - 1)
        time.sleep(seconds_to_train)
    return wait.seconds / (time.monotonic() - began)


def test_a_slow_reader_is_waited_for_and_a_fast_one_is_not():
    slow = consume(InputWait(), 0.2, 0.02)
    fast = consume(InputWait(), 0.02, 0.2)
    assert slow > 0.5
    assert fast < 0.2
    assert slow > 3 * fast


def test_the_hint_comes_once_and_only_where_waiting_is_felt():
    wait = InputWait()
    assert wait.hint(0.19) == ""
    assert "waited for them 43% of the time" in wait.hint(0.43)
    assert wait.hint(0.43) == ""


def test_counting_restarts():
    wait = InputWait()
    consume(wait, 0.05, 0.0, steps=3)
    assert wait.seconds > 0
    wait.restart()
    assert wait.seconds == pytest.approx(0.0)
