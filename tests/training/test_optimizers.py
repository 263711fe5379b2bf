import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny_network

from perfnet_tf.backbones import BACKBONES
from perfnet_tf.config import OPTIMIZERS, ClipConfig, ExperimentConfig, ModelConfig, TrainConfig
from perfnet_tf.errors import InputError
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.training.optimizers import build_optimizer, make_optimizer
from perfnet_tf.training.trainer import train

RATE = 0.1


def settings(**changes):
    return TrainConfig(learning_rate=RATE, warmup_epochs=0, **changes)


class Small(tf_keras.Model):
    """A kernel [1, 2], a bias [2] and a scale [2], all 1."""

    def __init__(self):
        super().__init__()
        self.dense = tf_keras.layers.Dense(2, kernel_initializer="ones", bias_initializer="ones")
        self.norm = tf_keras.layers.BatchNormalization(center=False)
        self.dense.build((None, 1))
        self.norm.build((None, 2))


def test_the_optimizer_is_sgd_with_momentum():
    optimizer = build_optimizer(settings(momentum=0.8), 64)
    assert optimizer.momentum == 0.8
    assert not optimizer.nesterov
    assert float(optimizer.learning_rate) == pytest.approx(RATE)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_name_makes_an_optimizer_that_clips(name):
    optimizer = build_optimizer(settings(optimizer=name, clip_norm=0.5), 64)
    assert type(optimizer).__name__.lower() == name
    assert optimizer.global_clipnorm == 0.5


def test_two_steps_of_adamw_by_hand():
    model = Small()
    # Over a million steps the cosine hardly moves in two.
    config = settings(optimizer="adamw", batch_size=16, epochs=10**6)
    optimizer = build_optimizer(config, 16, model=model, weight_decay=0.25)
    optimizer.build(model.trainable_variables)
    # Gradients 1, then 1: both moments, without their bias, are 1, so Adam moves by the rate.
    # A kernel is decayed first: 1 * (1 - 0.1 * 0.25) - 0.1 = 0.875; then 0.875 * 0.975 - 0.1.
    for kernel, other in ((0.875, 0.9), (0.753125, 0.8)):
        gradients = [tf.ones_like(v) for v in model.trainable_variables]
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        np.testing.assert_allclose(model.dense.kernel, [[kernel] * 2], rtol=1e-5)
        np.testing.assert_allclose(model.dense.bias, [other] * 2, rtol=1e-5)
        np.testing.assert_allclose(model.norm.gamma, [other] * 2, rtol=1e-5)


def test_gradients_are_clipped_by_their_norm_over_all_variables():
    model = Small()
    optimizer = build_optimizer(settings(clip_norm=1.5, momentum=0.0), 64)
    kernel, bias, scale = model.trainable_variables
    gradients = [tf.constant([[3.0, 0.0]]), tf.constant([0.0, 4.0]), tf.constant([12.0, 0.0])]
    optimizer.apply_gradients(zip(gradients, (kernel, bias, scale), strict=True))
    # The norm of (3, 4, 12) is 13: all shrink by 1.5 / 13.
    for variable, change in ((kernel, [[3, 0]]), (bias, [0, 4]), (scale, [12, 0])):
        expected = 1 - RATE * 1.5 / 13 * np.array(change)
        np.testing.assert_allclose(variable, expected, rtol=1e-6)


@pytest.mark.parametrize("backbone", ["r3d50_g", "s3d_g", "i3d_g", "tiny"])
def test_adamw_decays_the_variables_that_the_loss_decays_otherwise(backbone):
    assert backbone in BACKBONES
    model = build_from_config(ModelConfig(backbone, width_multiplier=0.25), 5, "rgb")
    optimizer = build_optimizer(settings(optimizer="adamw"), 64, model=model, weight_decay=0.1)
    decayed = {v.name for v in model.trainable_variables if optimizer._use_weight_decay(v)}
    with tf.GradientTape() as tape:
        loss = tf.add_n(model.losses)
    gradients = tape.gradient(loss, model.trainable_variables)
    by_loss = {
        v.name
        for v, gradient in zip(model.trainable_variables, gradients, strict=True)
        if gradient is not None
    }
    assert decayed == by_loss and 0 < len(decayed) < len(model.trainable_variables)


def test_a_run_under_adamw_has_no_decay_in_its_loss_and_shrinks_kernels(data, tmp_path):
    config = ExperimentConfig(
        clip=ClipConfig(6, 24, 32, short_side=28),
        model=dataclasses.replace(tiny_network.TINY, dropout_rate=0.0, weight_decay=0.0),
        train=TrainConfig(
            epochs=1, batch_size=15, optimizer="adamw", learning_rate=0.125, warmup_epochs=0
        ),
    )
    plain = train(config, data, tmp_path / "plain", progress=False)
    model = dataclasses.replace(config.model, weight_decay=0.5)
    decayed = train(config.replace(model=model), data, tmp_path / "decayed", progress=False)
    header, row = (decayed.path / "history.csv").read_text().splitlines()
    values = dict(zip(header.split(","), row.split(","), strict=True))
    assert float(values["weight_decay"]) == 0
    assert values["loss"] == values["cross_entropy"]
    # One step: the rate's 1/8 of the decay's 1/2 of the first kernel, which both began with.
    first = build_first(config)
    kernels = [run.model.unit.conv.kernel.numpy() for run in (plain, decayed)]
    np.testing.assert_allclose(kernels[0] - kernels[1], first / 16, atol=1e-6)
    np.testing.assert_array_equal(plain.model.unit.norm.gamma, decayed.model.unit.norm.gamma)


def build_first(config):
    """The first kernel of a run before its first step."""
    tf_keras.utils.set_random_seed(config.train.seed)
    return build_from_config(config.model, 3, config.stream).unit.conv.kernel.numpy()


def test_a_custom_optimizer_clips_by_itself():
    with pytest.raises(InputError, match="clip_norm=2 and a custom `optimizer`. Give that its own"):
        make_optimizer(tf_keras.optimizers.SGD(0.1), settings(clip_norm=2.0), 64)
