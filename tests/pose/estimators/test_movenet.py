import base64

import cv2
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import json_format
from pose_graph import write_graph_def

from perfnet_tf.errors import InputError
from perfnet_tf.pose.estimators import make_estimator
from perfnet_tf.pose.estimators.graph_function import graph_function
from perfnet_tf.pose.estimators.graph_model import read_graph_model
from perfnet_tf.pose.estimators.movenet import GraphMoveNet, MoveNetEstimator
from perfnet_tf.pose.estimators.posenet import load_posenet


def fused_graph(activation):
    """A fused convolution and a fused depthwise one, as the converter writes them."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 2, 4)).astype(np.float32)
    depthwise = rng.normal(size=(3, 3, 4, 1)).astype(np.float32)
    bias = rng.normal(size=4).astype(np.float32)
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.float32, [1, 9, 9, 2], name="image")
        first = tf.nn.conv2d(image, tf.constant(kernel, name="k"), 2, "SAME", name="first")
        tf.identity(tf.constant(bias, name="b"))
        tf.nn.depthwise_conv2d(
            first, tf.constant(depthwise, name="d"), [1] * 4, "SAME", name="last"
        )
        definition = graph.as_graph_def()

    def text(*values):
        return {"list": {"s": [base64.b64encode(v.encode()).decode() for v in values]}}

    content = json_format.MessageToDict(definition)
    for node in content["node"]:
        if node["name"] in ("first", "last"):
            fused = {"first": ("BiasAdd", activation), "last": ("BiasAdd",)}[node["name"]]
            node["op"] = {"first": "_FusedConv2D", "last": "FusedDepthwiseConv2dNative"}[
                node["name"]
            ]
            node["input"].append("b")
            node["attr"]["fused_ops"] = text(*fused)
            node["attr"]["num_args"] = {"i": "1"}
    return json_format.ParseDict(content, tf.compat.v1.GraphDef()), (kernel, depthwise, bias)


def test_fused_nodes_compute_convolution_bias_and_activation(tmp_path):
    definition, (kernel, depthwise, bias) = fused_graph("Relu6")
    graph = write_graph_def(tmp_path, definition)
    run = graph_function(graph, "image", {"out": "last"}, [None, 11, 7, 2])
    images = np.random.default_rng(1).normal(size=(2, 11, 7, 2)).astype(np.float32)
    features = tf.nn.relu6(tf.nn.conv2d(images, kernel, 2, "SAME") + bias)
    expected = tf.nn.depthwise_conv2d(features, depthwise, [1] * 4, "SAME") + bias
    np.testing.assert_allclose(run(tf.constant(images))["out"], expected, rtol=1e-5, atol=1e-5)


def test_an_unknown_fused_activation_is_refused(tmp_path):
    graph = write_graph_def(tmp_path, fused_graph("Prelu")[0])
    with pytest.raises(InputError, match="fused Prelu"):
        graph_function(graph, "image", {"out": "last"}, [1, 9, 9, 2])


def movenet_stub(folder, people):
    """A graph with MoveNet's ends that gives `people` `[6, 56]` plus the picture's last column."""
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.int32, [1, 256, 256, 3], name="input")
        edge = tf.cast(tf.reduce_max(image[:, :, -1:]), tf.float32)
        tf.add(tf.constant(people[None].astype(np.float32), name="p"), edge, name="Identity")
        definition = graph.as_graph_def()
    shape = {"dim": [{"size": "1"}, {"size": "6"}, {"size": "56"}]}
    signature = {
        "inputs": {"input": {"name": "input:0", "dtype": "DT_INT32"}},
        "outputs": {"output_0": {"name": "Identity:0", "tensorShape": shape}},
    }
    return write_graph_def(folder, definition, signature)


def test_places_are_shares_of_the_frame_without_its_padding(tmp_path):
    people = np.zeros((6, 56))
    people[0, :3], people[0, -1] = (0.5, 0.25, 0.9), 0.3
    people[1, :3], people[1, -1] = (0.1, 0.2, 0.7), 0.8
    people[2, -1] = 0.01
    estimator = MoveNetEstimator(
        GraphMoveNet(movenet_stub(tmp_path, people)), max_people=3, min_pose_score=0.1, batch_size=1
    )
    # 160 x 100 becomes 256 x 160; 100 x 55 becomes 256 x 141, padded to 256 x 160.
    wide = estimator(np.full((2, 100, 160, 3), 0, np.uint8))
    np.testing.assert_allclose(wide.keypoints[1, 0, 0], [0.2, 0.1, 0.7], rtol=1e-6)  # best first
    np.testing.assert_allclose(wide.keypoints[1, 1, 0], [0.25, 0.5, 0.9], rtol=1e-6)
    assert not wide.keypoints[:, 2].any() and wide.keypoints.shape == (2, 3, 17, 3)
    tall = estimator(np.full((1, 100, 55, 3), 200, np.uint8))  # the padded columns are black
    np.testing.assert_allclose(tall.keypoints[0, 0, 0], [0.2 * 160 / 141, 0.1, 0.7], rtol=1e-6)


def saved_stub(folder, *, dtype=tf.int32, channels=56):
    """A SavedModel with MoveNet's signature that tells the picture's size and first pixel."""

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], dtype, name="input")])
    def find(frames):
        size = tf.cast(tf.shape(frames)[1:3], tf.float32)
        pixel = tf.cast(frames[0, 0, 0, 0], tf.float32)
        person = tf.concat([[pixel / 255, 0.5, 0.9], size / 1000, tf.fill([channels - 5], 0.6)], 0)
        return {"output_0": tf.stack([person] + [tf.zeros([channels])] * 5)[None]}

    module = tf.Module()
    tf.saved_model.save(module, str(folder), {"serving_default": find.get_concrete_function()})
    return folder


def test_the_saved_model_is_taken_and_a_batch_is_frame_after_frame(tmp_path):
    estimator = make_estimator("movenet", saved_stub(tmp_path / "saved"))
    frames = np.zeros((19, 64, 128, 3), np.uint8)
    frames += np.arange(19, dtype=np.uint8)[:, None, None, None] * 10
    people = estimator(frames).keypoints
    np.testing.assert_allclose(people[:, 0, 0, 1], np.arange(19) * 10 / 255, atol=1e-6)
    np.testing.assert_allclose(people[:, 0, 1, 1], 0.128)  # 128 x 256 pixels
    assert not people[:, 1:].any()
    with pytest.raises(InputError, match="must take one int32 picture"):
        make_estimator("movenet", saved_stub(tmp_path / "other", channels=57))
    with pytest.raises(InputError, match="must take one int32 picture"):
        make_estimator("movenet", saved_stub(tmp_path / "float", dtype=tf.float32))


def test_frames_of_many_sizes_raise_no_warning(tmp_path, caplog):
    estimator = make_estimator("movenet", saved_stub(tmp_path))
    for height in range(32, 257, 32):
        people = estimator(np.zeros((3, height, 256, 3), np.uint8)).keypoints
        np.testing.assert_allclose(people[:, 0, 1, 1], height / 1000, rtol=1e-6)
    assert "retracing" not in caplog.text


def test_bad_weights_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PERFNET_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="pose-weights --model=movenet_multipose.*`pose_weights`"):
        make_estimator("movenet")
    definition, _ = fused_graph("Relu")
    write_graph_def(tmp_path, definition)
    with pytest.raises(InputError, match="not MoveNet MultiPose"):
        make_estimator("movenet", tmp_path)
    graph = movenet_stub(tmp_path / "stub", np.zeros((6, 56)))
    with pytest.raises(InputError, match="multiple of 32"):
        MoveNetEstimator(GraphMoveNet(graph), long_side=250)


@pytest.mark.data
def test_movenet_finds_the_couple(real_data):
    """Two people, where Coral's PoseNet has them: about 2 % of a person's height apart."""
    path = real_data / "reference" / "pose" / "test_data" / "test_couple.jpg"
    estimator = make_estimator("movenet", real_data / "weights" / "movenet_multipose")
    image = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
    keypoints = estimator(image[None]).keypoints[0]
    assert [bool(person.any()) for person in keypoints] == [True, True, False, False, False]
    noses = sorted((keypoints[:2, 0, :2] * [481, 353]).tolist())
    np.testing.assert_allclose(noses, [[203.6, 97.6], [257.9, 105.1]], atol=4)


@pytest.mark.data
def test_the_keras_posenet_is_the_published_graph(real_data):
    graph = read_graph_model(real_data / "weights" / "posenet_mobilenet_v1_075")
    names = {n: f"MobilenetV1/{n}_2/BiasAdd" for n in ("heatmap", "offset", "displacement_fwd")}
    run = graph_function(graph, "image", names, [1, 129, 161, 3])
    image = np.random.default_rng(0).uniform(-1, 1, (1, 129, 161, 3)).astype(np.float32)
    expected, outputs = run(tf.constant(image)), load_posenet(graph.path)(image)
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, atol=1e-4 * np.abs(value).max())
