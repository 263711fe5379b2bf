import numpy as np
import pytest
import tensorflow as tf
from tiny_network import TinyNetwork

from perfnet_tf.errors import InputError
from perfnet_tf.models import batch_norm
from perfnet_tf.models.batch_norm import VideoBatchNormalization
from perfnet_tf.models.factory import build_model
from perfnet_tf.models.freezing import find_frozen_layers, freeze_layers

#: Backbone, options, a name, and the layers that it freezes.
CASES = [
    ("r3d50_g", {}, "res2", ["conv1", "res2"]),
    ("s3d", {"separable_stem": True}, "stem", ["Conv2d_1a_7x7"]),
    ("s3d_g", {}, "MaxPool_3a_3x3", ["Conv2d_1a_7x7", "Conv2d_2b_1x1", "Conv2d_2c_3x3"]),
]


def build(backbone, options=None):
    return build_model(backbone, 5, width_multiplier=0.1, **(options or {}))


def ids(variables):
    return {id(variable) for variable in variables}


def freeze(model, *names):
    """Freezes; returns the ids of the variables that were trained before."""
    before = ids(model.trainable_variables)
    freeze_layers(model, find_frozen_layers(model, names))
    return before - ids(model.trainable_variables)


def within(model, names):
    """Ids of the trainable variables of layers."""
    layers = {part.name: part for part in model.submodules if part.name in names}
    return {key for name in names for key in ids(layers[name].trainable_variables)}


@pytest.mark.parametrize(("backbone", "options", "name", "expected"), CASES)
def test_stem_and_endpoints_freeze_what_they_are_computed_from(backbone, options, name, expected):
    model = build(backbone, options)
    variables = within(model, expected)
    assert 3 <= len(variables) < len(model.trainable_variables)
    assert freeze(model, name) == variables


def test_all_but_the_head_leaves_the_classifier():
    model = build("s3d_g")
    freeze(model, "all_but_head")
    assert ids(model.trainable_variables) == ids(model.classifier.variables)


def test_batch_norms_are_frozen_alone_and_with_others():
    model = build("s3d_g")
    norms = [part for part in model.submodules if isinstance(part, VideoBatchNormalization)]
    of_norms = {key for norm in norms for key in ids(norm.trainable_variables)}
    assert freeze(model, "batch_norm") == of_norms and len(of_norms) > 10
    assert not any(norm.trainable for norm in norms)
    model = TinyNetwork(3).build_for_stream()
    expected = within(model, [model.unit.name])
    assert freeze(model, "batch_norm", "unit") == expected


def test_an_unknown_name_lists_all():
    with pytest.raises(InputError, match="batch_norm, stem, all_but_head, unit. Received: 'unti'"):
        find_frozen_layers(TinyNetwork(3).build_for_stream(), ["unti"])


def test_weights_of_the_network_itself_cannot_be_frozen():
    class Scaled(TinyNetwork):
        def build(self, shape):
            self.scale = self.add_weight(name="scale", shape=())
            super().build(shape)

        def feature_maps(self, inputs, training):
            return super().feature_maps(inputs * self.scale, training)

    with pytest.raises(InputError, match="weights that the network Scaled"):
        find_frozen_layers(Scaled(3).build_for_stream(), ["stem"])


@pytest.mark.parametrize("synchronized", [False, True])
def test_a_frozen_batch_norm_takes_its_moving_averages_in_training(monkeypatch, synchronized):
    monkeypatch.setattr(batch_norm, "is_synchronized", lambda: synchronized)
    layer = VideoBatchNormalization()
    inputs = tf.constant(np.random.default_rng(0).normal(3, 2, (2, 3, 4, 5, 6)), tf.float32)
    layer.build(inputs.shape)
    layer.moving_mean.assign(np.arange(6.0))
    layer.moving_variance.assign(np.arange(1.0, 7.0))
    expected = layer(inputs, training=False)
    layer.trainable = False
    before = [v.numpy() for v in layer.variables]
    np.testing.assert_array_equal(layer(inputs, training=True), expected)
    for variable, value in zip(layer.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_frozen_kernels_do_not_decay():
    model = TinyNetwork(3, weight_decay=0.5).build_for_stream()
    freeze_layers(model, find_frozen_layers(model, ["stem"]))
    expected = 0.25 * np.sum(model.classifier.kernel.numpy() ** 2)
    np.testing.assert_allclose(sum(float(loss) for loss in model.losses), expected, rtol=1e-5)
