import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from perfnet_tf.training.head_rate import scale_learning_rate

RATE, SCALE, STEPS = 0.125, 8.0, 4
OPTIMIZERS = {
    "sgd": lambda rate: tf_keras.optimizers.SGD(rate, momentum=0.9),
    "nesterov": lambda rate: tf_keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
    "adam": lambda rate: tf_keras.optimizers.Adam(rate),
    "adamw": lambda rate: tf_keras.optimizers.AdamW(rate, weight_decay=0.25),
    "rmsprop": lambda rate: tf_keras.optimizers.RMSprop(rate, momentum=0.5),
}


def gradients(step):
    random = np.random.default_rng(step)
    return [tf.constant(random.normal(size=(3, 2)), tf.float32) for _ in range(2)]


def variables():
    return [tf.Variable(np.full((3, 2), value), dtype=tf.float32) for value in (1.5, -0.5)]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_scaled_variables_move_as_under_an_optimizer_of_that_rate(name):
    backbone, head = variables()
    both = OPTIMIZERS[name](RATE)
    both.build([backbone, head])
    scale_learning_rate(both, [head], SCALE)
    lone = variables()
    alone = [OPTIMIZERS[name](rate) for rate in (RATE, RATE * SCALE)]
    step = tf.function(lambda a, b: both.apply_gradients([(a, backbone), (b, head)]))
    for number in range(STEPS):
        pair = gradients(number)
        step(*pair)
        for optimizer, gradient, variable in zip(alone, pair, lone, strict=True):
            optimizer.apply_gradients([(gradient, variable)])
    np.testing.assert_allclose(backbone, lone[0], rtol=1e-6)
    np.testing.assert_allclose(head, lone[1], rtol=1e-6)
    assert float(both.learning_rate) == RATE
    assert type(both).__name__ == type(alone[0]).__name__


def test_a_step_of_momentum_sgd_by_hand():
    backbone, head = variables()
    schedule = tf_keras.optimizers.schedules.PolynomialDecay(0.5, 2, 0.25)  # 0.5, then 0.375
    optimizer = tf_keras.optimizers.SGD(schedule, momentum=0.5)
    optimizer.build([backbone, head])
    scale_learning_rate(optimizer, [head], 4.0)
    for _ in range(2):
        ones = tf.ones([3, 2])
        optimizer.apply_gradients([(ones, backbone), (ones, head)])
    # The second step adds half of the first: 0.5 + (0.375 + 0.25), and four times that.
    np.testing.assert_allclose(backbone, np.full((3, 2), 1.5 - 1.125))
    np.testing.assert_allclose(head, np.full((3, 2), -0.5 - 4.5))
