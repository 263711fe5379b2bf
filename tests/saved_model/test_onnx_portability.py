import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.saved_model.onnx_portability import make_portable, widen_integers, write_pads

VIDEO = ["batch", "channels", "num_frames", "height", "width"]


def graph_of(helper, operation, inputs, initializers=(), **attributes):
    """A graph of one operation from the video `x` to the video `y`."""
    return helper.make_graph(
        [helper.make_node(operation, inputs, ["y"], **attributes)],
        "graph",
        [helper.make_tensor_value_info("x", 1, VIDEO)],
        [helper.make_tensor_value_info("y", 1, ["b", "c", "f", "h", "w"])],
        initializers,
    )


def run(graph, video):
    """ONNX Runtime's answer to a video in TensorFlow's order."""
    helper = pytest.importorskip("onnx").helper
    runtime = pytest.importorskip("onnxruntime")
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": video.transpose(0, 4, 1, 2, 3)})[0].transpose(0, 2, 3, 4, 1)


@pytest.mark.parametrize(
    ("kernel", "strides", "dilations", "pads"),
    [
        ([3, 1, 1], [1, 1, 1], [1, 1, 1], [1, 0, 0, 1, 0, 0]),
        ([2, 3, 4], [1, 1, 1], [1, 1, 1], [0, 1, 1, 1, 1, 2]),  # the odd one follows
        ([2, 3, 1], [1, 1, 1], [2, 3, 4], [1, 3, 0, 1, 3, 0]),
        ([1, 1, 1], [1, 2, 2], [1, 1, 1], [0] * 6),
    ],
)
def test_padding_is_in_numbers_where_it_does_not_depend_on_the_size(
    kernel, strides, dilations, pads
):
    helper = pytest.importorskip("onnx").helper
    sizes = {"kernel_shape": kernel, "strides": strides, "dilations": dilations}
    graph = graph_of(helper, "Conv", ["x", "w"], auto_pad="SAME_UPPER", **sizes)
    write_pads(graph)
    (node,) = graph.node
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    assert found == {**sizes, "pads": pads}


@pytest.mark.parametrize("operation", ["Conv", "MaxPool"])
@pytest.mark.parametrize(
    ("kernel", "strides"),
    [
        ([1, 3, 3], [1, 2, 2]),
        ([3, 7, 7], [2, 2, 2]),
        ([2, 4, 1], [2, 3, 2]),
        ([5, 3, 2], [3, 1, 4]),
    ],
)
def test_padding_that_depends_on_the_size_is_that_of_tensorflow(operation, kernel, strides):
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(*kernel, 3, 4)).astype(np.float32)
    constant = onnx.numpy_helper.from_array(
        np.ascontiguousarray(weights.transpose(4, 3, 0, 1, 2)), "weights"
    )
    inputs, initializers = ["x"], []
    if operation == "Conv":
        inputs, initializers = ["x", "weights"], [constant]
    attributes = {"auto_pad": "SAME_UPPER", "kernel_shape": kernel, "strides": strides}
    graph = graph_of(onnx.helper, operation, inputs, initializers, **attributes)
    make_portable(graph)
    assert not any(a.name == "auto_pad" for node in graph.node for a in node.attribute)
    for frames, height, width in ((7, 9, 11), (8, 10, 12), (4, 15, 14), (1, 2, 3)):
        video = rng.normal(size=(2, frames, height, width, 3)).astype(np.float32) - 3
        if operation == "Conv":
            expected = tf.nn.conv3d(video, weights, [1, *strides, 1], "SAME")
        else:
            expected = tf.nn.max_pool3d(video, kernel, strides, "SAME")
        found = run(graph, video)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("axes", [[1, 2, 3], [2, 3, 4], [4, 2, 1], [1, 2, 3, 4]])
def test_means_are_over_two_axes_at_most(axes):
    helper = pytest.importorskip("onnx").helper
    graph = graph_of(helper, "ReduceMean", ["x"], axes=axes)
    make_portable(graph)
    first, second = (helper.get_attribute_value(node.attribute[0]) for node in graph.node)
    assert sorted(first + second) == sorted(axes) and len(first) == 2
    video = np.random.default_rng(0).random((2, 3, 4, 5, 6), np.float32)
    channel_first = video.transpose(0, 4, 1, 2, 3)
    expected = channel_first.mean(tuple(axes), keepdims=True).transpose(0, 2, 3, 4, 1)
    np.testing.assert_allclose(run(graph, video), expected, rtol=1e-5)


def test_a_mean_that_drops_its_axes_still_does():
    onnx = pytest.importorskip("onnx")
    graph = graph_of(onnx.helper, "ReduceMean", ["x"], axes=[1, 2, 3], keepdims=0)
    graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", 1, ["batch", "width"]))
    make_portable(graph)
    runtime = pytest.importorskip("onnxruntime")
    opset = onnx.helper.make_opsetid("", 15)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    video = np.random.default_rng(0).random((2, 3, 4, 5, 6), np.float32)
    (found,) = session.run(None, {"x": video})
    np.testing.assert_allclose(found, video.mean((1, 2, 3)), rtol=1e-5)


def test_sizes_are_64_bit_integers():
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Cast", ["sizes"], ["y"], to=onnx.TensorProto.INT32)
    kept = onnx.helper.make_node("Cast", ["x"], ["z"], to=onnx.TensorProto.FLOAT)
    constant = onnx.numpy_helper.from_array(np.array([3, -1], np.int32), "constant")
    weights = onnx.numpy_helper.from_array(np.ones(2, np.float32), "weights")
    graph = onnx.helper.make_graph([node, kept], "graph", [], [], [constant, weights])
    widen_integers(graph)
    assert [a.i for node in graph.node for a in node.attribute] == [7, 1]
    wide, same = (onnx.numpy_helper.to_array(value) for value in graph.initializer)
    assert wide.dtype == np.int64 and wide.tolist() == [3, -1]
    assert same.dtype == np.float32
