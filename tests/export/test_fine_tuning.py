"""An export learns in each of the three worlds that TensorFlow users live in."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras

STEPS = 5


def train_by_hand(path, clips, labels):
    """`hub.load` and a loop of one's own: losses, and the module."""
    module = hub.load(path)
    optimizer = tf_keras.optimizers.SGD(0.05, momentum=0.9)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            logits = module(clips, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses) + tf.add_n([f() for f in module.regularization_losses])
        variables = module.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return [float(step()) for _ in range(STEPS)], module


def train_by_tf_keras(path, clips, labels):
    """`hub.KerasLayer` under `fit` of tf_keras: losses, and the module."""
    layer = hub.KerasLayer(path, trainable=True)
    model = tf_keras.Sequential([layer])
    model.compile(
        tf_keras.optimizers.SGD(0.05, momentum=0.9),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    history = model.fit(clips, labels, batch_size=len(clips), epochs=STEPS, verbose=0)
    return history.history["loss"], layer.resolved_object


@pytest.fixture(scope="session")
def train_by_keras3(keras3_layer):
    """The layer of `export/keras3_layer.py` under `fit` of Keras 3: losses, and the module."""

    def train(path, clips, labels):
        layer = keras3_layer(path)
        model = keras.Sequential([layer])
        model.compile(
            keras.optimizers.SGD(0.05, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        history = model.fit(clips, labels, batch_size=len(clips), epochs=STEPS, verbose=0)
        return history.history["loss"], layer._module

    return train


def loss_and_gradients(model, decay, clips, labels):
    @tf.function
    def compute():
        with tf.GradientTape() as tape:
            logits = model(clips, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses) + tf.add_n(decay())
        return loss, tape.gradient(loss, model.trainable_variables)

    loss, gradients = compute()
    return float(loss), [gradient.numpy() for gradient in gradients]


@pytest.mark.data
def test_gradients_are_those_of_the_keras_model(network_name, exported, fresh_model, real_clips):
    """What the steps of all three worlds are made of. From there on, rounding takes over."""
    if network_name == "i3d":
        pytest.skip("clips changed by a part in 10^7 change its gradients by 10^-4 to 0.3")
    module = hub.load(exported[1])
    loss, gradients = loss_and_gradients(
        module, lambda: [f() for f in module.regularization_losses], *real_clips
    )
    expected_loss, expected = loss_and_gradients(
        fresh_model, lambda: fresh_model.losses, *real_clips
    )
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    for variable, ours, theirs in zip(
        fresh_model.trainable_variables, gradients, expected, strict=True
    ):
        largest = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * largest, err_msg=variable.name)


@pytest.mark.data
@pytest.mark.parametrize("world", ["hub.load", "hub.KerasLayer", "Keras 3"])
def test_fine_tuning_on_real_clips_lowers_the_loss_and_changes_every_weight(
    exported, fresh_model, real_clips, train_by_keras3, world
):
    worlds = {
        "hub.load": train_by_hand,
        "hub.KerasLayer": train_by_tf_keras,
        "Keras 3": train_by_keras3,
    }
    model, path = exported
    losses, module = worlds[world](path, *real_clips)
    clips, labels = real_clips
    logits = fresh_model(clips, training=True)
    first = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
    assert losses[0] == pytest.approx(float(first + tf.add_n(fresh_model.losses)), rel=1e-5)
    assert losses[-1] < losses[0]
    for ours, original in zip(module.variables, model.variables, strict=True):
        assert ours.name == original.name
        assert not np.array_equal(ours, original), ours.name


def test_weight_decay_is_the_models_in_every_world(exported, keras3_layer):
    model, path = exported
    decay = tf.add_n(model.losses).numpy()
    module = hub.load(path)
    np.testing.assert_allclose(sum(f() for f in module.regularization_losses), decay, rtol=1e-6)
    np.testing.assert_allclose(sum(hub.KerasLayer(module, trainable=True).losses), decay, rtol=1e-6)
    layer = keras3_layer(path)
    layer(np.zeros([1, 8, 48, 64, 3], np.float32))
    np.testing.assert_allclose(sum(layer.losses), decay, rtol=1e-6)


# Every axis has another size; 41 and 57 are odd, and so are the maps after each stride.
@pytest.mark.parametrize(
    "shape", [(1, 8, 48, 64), (3, 16, 41, 57), (1, 37, 64, 40), (3, 64, 33, 48)]
)
def test_one_module_takes_every_length_size_and_batch(loaded, shape):
    model, module = loaded
    clips = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    expected = model(clips, training=False).numpy()
    difference = np.abs(module(clips) - expected).max()
    assert difference <= 1e-5 * np.abs(expected).max()


@pytest.fixture(scope="session")
def loaded(exported):
    model, path = exported
    return model, hub.load(path)
