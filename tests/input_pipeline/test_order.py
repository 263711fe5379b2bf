import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.input_pipeline.order import training_order

LABELS = np.array([0, 2, 0, 0, 5, 2, 0, 2, 0, 0])  # six, three and one clip


def positions(seed=3, count=54):
    order = training_order(LABELS, seed, "balanced")
    return [int(order(tf.constant(element, tf.int64))) for element in range(count)]


def test_balanced_elements_hold_each_class_once_in_every_three():
    labels = LABELS[positions()].reshape(-1, 3)
    assert {tuple(sorted(turn)) for turn in labels.tolist()} == {(0, 2, 5)}
    assert len({tuple(turn) for turn in labels.tolist()}) > 3, "in random order"


@pytest.mark.parametrize(("label", "size"), [(0, 6), (2, 3), (5, 1)])
def test_a_class_takes_each_of_its_clips_before_any_again(label, size):
    own = [position for position in positions() if LABELS[position] == label]
    passes = [tuple(own[i : i + size]) for i in range(0, len(own), size)]
    assert all(len(set(one)) == size for one in passes if len(one) == size)
    if size > 1:
        assert len(set(passes)) > 1, "in another order each time"


def test_the_seed_decides_the_order():
    assert positions() == positions()
    assert positions() != positions(seed=4)


def test_an_unknown_sampling_is_refused():
    with pytest.raises(InputError, match="every_clip, balanced"):
        training_order(LABELS, 0, "balance")
