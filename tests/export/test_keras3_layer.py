"""The layer that users of Keras 3 copy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

CLIPS = np.random.default_rng(0).random((2, 8, 48, 64, 3), np.float32)


@pytest.fixture(scope="module")
def layer(exported, keras3_layer):
    return keras3_layer(exported[1])


def statistics(layer):
    return [v.numpy() for v in layer.non_trainable_weights]


def test_its_logits_and_weights_are_the_models(exported, layer):
    model, _ = exported
    expected = model(CLIPS, training=False).numpy()
    tolerance = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(layer(CLIPS), expected, rtol=0, atol=tolerance)
    pixels = (CLIPS * 255).astype(np.uint8)
    np.testing.assert_allclose(layer(pixels), model(pixels, training=False), rtol=0, atol=tolerance)
    assert len(layer.trainable_weights) == len(model.trainable_weights)
    assert len(layer.non_trainable_weights) == len(model.non_trainable_weights)


def test_statistics_move_in_training_only(layer):
    before = statistics(layer)
    assert len(before) >= 2
    layer(CLIPS)
    layer(CLIPS, training=False)
    keras.Sequential([layer]).predict(CLIPS, verbose=0)
    for value, old in zip(statistics(layer), before, strict=True):
        np.testing.assert_array_equal(value, old)
    layer(CLIPS, training=True)
    assert not any(map(np.array_equal, statistics(layer), before))


def test_a_frozen_layer_rests_while_the_head_trains(exported, keras3_layer):
    layer = keras3_layer(exported[1], part="feature_extractor", trainable=False)
    model = keras.Sequential([layer, keras.layers.Dense(5)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = [v.numpy() for v in layer.weights]
    model.fit(CLIPS, np.array([0, 4]), verbose=0)
    assert len(model.trainable_weights) == 2  # kernel and bias of the head
    assert model.losses == []
    for variable, old in zip(layer.weights, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), old)
    layer.trainable = True
    assert len(layer.trainable_weights) == len(layer._module.trainable_variables)
    assert len(model.trainable_weights) == 2 + len(layer.trainable_weights)


def test_trained_weights_survive_a_keras_file(exported, keras3_layer, tmp_path):
    model = keras.Sequential([keras3_layer(exported[1])])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(CLIPS, np.array([0, 2]), verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(
        tmp_path / "model.keras", custom_objects={"RecognizerLayer": keras3_layer}
    )
    np.testing.assert_array_equal(again.predict(CLIPS, verbose=0), model.predict(CLIPS, verbose=0))


def test_it_works_in_a_functional_model_of_half_precision(exported, keras3_layer):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        layer = keras3_layer(exported[1])
        inputs = keras.Input((None, None, None, 3))
        model = keras.Model(inputs, layer(inputs))
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.output_shape == (None, 3)
    assert model(CLIPS).dtype == tf.float32


def test_what_is_no_part_is_refused(exported, keras3_layer):
    with pytest.raises(ValueError, match="'head'"):
        keras3_layer(exported[1], part="head")
