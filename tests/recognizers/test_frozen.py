import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tiny_network import build_tiny

from perfnet_tf.config import ModelConfig
from perfnet_tf.errors import InputError
from perfnet_tf.recognizers.frozen import FrozenNetwork, InferenceModule, frozen_function
from perfnet_tf.recognizers.frozen_graph import OUTPUTS, FrozenGraph, exported_graph, frozen_graph
from perfnet_tf.recognizers.replay import replay
from perfnet_tf.streams import FEATURES, LOGITS

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


def equal_answers(one, other):
    for inputs in (PICTURES, PICTURES[:1, :3, :24] / np.float32(255)):
        np.testing.assert_array_equal(one(inputs), other(inputs))
        np.testing.assert_array_equal(one.features(inputs), other.features(inputs))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_frozen_network_answers_as_the_exported_module_does(model, precision, tmp_path):
    module = InferenceModule.from_model(model, precision=precision)
    tf.saved_model.save(module, str(tmp_path / "module"))
    equal_answers(FrozenNetwork(exported_graph(tmp_path / "module")), module)
    equal_answers(FrozenNetwork.from_model(model, precision=precision), module)


class EarlierModule(tf.Module):
    """What earlier versions exported: weights were constants, and outputs had no names."""

    def __init__(self, graph):
        super().__init__()
        network = frozen_function(graph)

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, None, 3], name="inputs")])
        def frozen(inputs):
            return replay(network, inputs, {})

        self.frozen = frozen.get_concrete_function()
        self.__call__.get_concrete_function(tf.TensorSpec([None] * 4 + [3], tf.float32))
        self.features.get_concrete_function(tf.TensorSpec([None] * 4 + [3], tf.float32))

    @tf.function
    def __call__(self, inputs):
        return self.frozen(inputs)[OUTPUTS.index(LOGITS)]

    @tf.function
    def features(self, inputs):
        return self.frozen(inputs)[OUTPUTS.index(FEATURES)]


def test_exports_of_earlier_versions_are_read(model, network, tmp_path):
    module = EarlierModule(frozen_graph(model, "float32").with_constants())
    tf.saved_model.save(module, str(tmp_path / "module"))
    clip = tf.constant(PICTURES / np.float32(255))
    read = FrozenNetwork(exported_graph(tmp_path / "module"))
    np.testing.assert_array_equal(read(clip), network(clip))
    np.testing.assert_array_equal(read.features(clip), network.features(clip))


def test_a_frozen_graph_is_saved_and_read(model, tmp_path):
    frozen = frozen_graph(model, "bfloat16")
    frozen.save(tmp_path)
    read = FrozenGraph.load(tmp_path)
    assert list(read.weights) == list(frozen.weights)
    equal_answers(FrozenNetwork(read), FrozenNetwork(frozen))


def test_an_export_holds_its_weights_once(model, tmp_path):
    module = InferenceModule.from_model(model)
    tf.saved_model.save(module, str(tmp_path / "module"))
    loaded = tf.saved_model.load(str(tmp_path / "module"))
    held = {
        id(value)
        for name in ("__call__", "features")
        for function in getattr(loaded, name).concrete_functions
        for value in function.captured_inputs
    }
    assert len(held) == len(loaded.weights) > 0


def test_it_answers_within_functions(network):
    inside = tf.function(lambda clips: network(clips), autograph=False)
    np.testing.assert_array_equal(inside(PICTURES), network(PICTURES))


def test_weights_are_no_part_of_the_graph(model, network):
    kernels = [kernel for kernel in model.variables if kernel.shape.num_elements() > 256]
    assert len(network._weights) == len(kernels) > 0
    for kernel, value in zip(kernels, network._weights.values(), strict=True):
        assert kernel.shape == value.shape
    assert max(node.ByteSize() for node in network._frozen.graph.node) < 1024


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
