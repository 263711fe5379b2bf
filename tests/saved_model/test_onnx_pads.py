import pytest

from perfnet_tf.saved_model.onnx_file import write_pads


@pytest.mark.parametrize(
    ("kernel", "strides", "pads"),
    [
        ([3, 1, 1], [1, 1, 1], [1, 0, 0, 1, 0, 0]),
        ([2, 3, 4], [1, 1, 1], [0, 1, 1, 1, 1, 2]),  # the odd one follows, as in TensorFlow
        ([1, 1, 1], [1, 2, 2], [0] * 6),
        ([1, 3, 3], [1, 2, 2], None),  # depends on whether the size is even
    ],
)
def test_padding_is_in_numbers_where_it_does_not_depend_on_the_size(kernel, strides, pads):
    helper = pytest.importorskip("onnx").helper
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER", kernel_shape=kernel, strides=strides
    )
    graph = helper.make_graph([node], "graph", [], [])
    write_pads(graph)
    found = {a.name: helper.get_attribute_value(a) for a in graph.node[0].attribute}
    assert found["kernel_shape"] == kernel and found["strides"] == strides
    assert found.get("pads") == pads
    assert ("auto_pad" in found) == (pads is None)
