import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tiny_network import build_tiny

from perfnet_tf.config import ModelConfig
from perfnet_tf.errors import InputError
from perfnet_tf.recognizers import frozen
from perfnet_tf.recognizers.frozen import FrozenNetwork, InferenceModule, exported_graph

PICTURES = np.random.default_rng(0).integers(0, 256, (2, 5, 32, 40, 3), np.uint8)


@pytest.fixture(scope="module")
def model():
    tf_keras.utils.set_random_seed(0)
    model = build_tiny(ModelConfig("s3d_g"), 3)
    model.unit.norm.moving_variance.assign(np.linspace(0.5, 2, 8))
    return model


@pytest.fixture(scope="module")
def network(model):
    return FrozenNetwork.from_model(model)


@pytest.mark.parametrize("named", [True, False])
def test_a_frozen_network_answers_as_the_exported_module_does(
    model, network, named, tmp_path, monkeypatch
):
    if not named:  # as in exports of earlier versions
        monkeypatch.setattr(frozen, "_output", "earlier_{}".format)
    module = InferenceModule(model)
    monkeypatch.undo()
    tf.saved_model.save(module, str(tmp_path / "module"))
    read = FrozenNetwork(exported_graph(tmp_path / "module"))
    for inputs in (PICTURES, PICTURES[:1, :3, :24] / np.float32(255)):
        for one in (network, read):
            np.testing.assert_array_equal(one(inputs), module(inputs))
            np.testing.assert_array_equal(one.features(inputs), module.features(inputs))


def test_it_answers_within_functions(network):
    inside = tf.function(lambda clips: network(clips), autograph=False)
    np.testing.assert_array_equal(inside(PICTURES), network(PICTURES))


def test_weights_are_no_part_of_the_graph(model, network):
    kernels = [variable for variable in model.variables if variable.shape.num_elements() > 256]
    assert len(network._weights) == len(kernels) > 0
    for kernel, value in zip(kernels, network._weights.values(), strict=True):
        assert kernel.shape == value.shape
    assert max(node.ByteSize() for node in network._graph.node) < 1024


def test_a_type_of_input_is_traced_once(network):
    traced = {id(network._traced(tf.uint8)) for _ in range(2)}
    network(PICTURES), network.features(PICTURES[:, :4])
    assert traced == {id(network._traced(tf.uint8))}


def test_a_frozen_network_refuses_training(network):
    with pytest.raises(InputError, match="training=True"):
        network(PICTURES, training=True)


def test_other_savedmodels_hold_no_frozen_network(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(ValueError, match="holds 0 frozen networks"):
        exported_graph(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff no graph")
    with pytest.raises(ValueError, match="holds no SavedModel"):
        exported_graph(tmp_path)
