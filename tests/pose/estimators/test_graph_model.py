import json

import numpy as np
import pytest
from pose_graph import random_layers, write_graph

from perfnet_tf.errors import InputError
from perfnet_tf.pose.estimators.graph_model import read_graph_model, string_list_attribute


@pytest.fixture
def layers():
    return random_layers(np.random.default_rng(0))


@pytest.mark.parametrize(
    ("stored", "steps"), [("float32", 0), ("float16", 2**-11), ("uint8", 1 / 255)]
)
def test_weights_are_read_as_stored(tmp_path, layers, stored, steps):
    write_graph(tmp_path, layers, fused=False, stored=stored)
    graph = read_graph_model(tmp_path)
    kernel, bias = layers["Conv2d_3_pointwise"]
    read = graph.weights["MobilenetV1/Conv2d_3_pointwise/weights"]
    assert read.dtype == np.float32 and read.shape == kernel.shape
    np.testing.assert_allclose(read, kernel, atol=steps * np.ptp(kernel))
    assert "image" not in graph.weights


def test_attributes_are_decoded(tmp_path, layers):
    write_graph(tmp_path, layers, fused=True)
    node = read_graph_model(tmp_path).nodes["MobilenetV1/Conv2d_0/Relu6"]
    assert string_list_attribute(node, "fused_ops") == ["BiasAdd", "Relu6"]
    assert string_list_attribute(node, "absent") == []


def test_a_folder_with_other_json_files_is_searched(tmp_path, layers):
    write_graph(tmp_path, layers, fused=True)
    (tmp_path / "package.json").write_text("{}")
    assert read_graph_model(tmp_path).path.name == "posenet.json"
    (tmp_path / "other.json").write_text((tmp_path / "posenet.json").read_text())
    with pytest.raises(InputError, match="Found: other.json, posenet.json. Name the .json file"):
        read_graph_model(tmp_path)
    assert read_graph_model(tmp_path, preferred=["other.json"]).path.name == "other.json"


def test_missing_and_cut_files_are_named(tmp_path, layers):
    with pytest.raises(InputError, match="no folder or file"):
        read_graph_model(tmp_path / "nowhere")
    with pytest.raises(InputError, match="must hold one TensorFlow.js graph model"):
        read_graph_model(tmp_path)
    write_graph(tmp_path, layers, fused=False)
    data = (tmp_path / "part2.bin").read_bytes()
    (tmp_path / "part2.bin").write_bytes(data[:-1])
    with pytest.raises(InputError, match="part1.bin, part2.bin must hold .* bytes .* Received"):
        read_graph_model(tmp_path)
    (tmp_path / "part2.bin").write_bytes(data + b"more")
    with pytest.raises(InputError, match="must hold"):
        read_graph_model(tmp_path)
    (tmp_path / "part2.bin").unlink()
    with pytest.raises(InputError, match="needs part2.bin in the same folder"):
        read_graph_model(tmp_path)


def test_other_formats_are_refused(tmp_path, layers):
    path = tmp_path / "model.json"
    path.write_text("not json")
    with pytest.raises(InputError, match="not valid JSON"):
        read_graph_model(path)
    path.write_text(json.dumps({"modelTopology": {"model_config": {}}, "weightsManifest": []}))
    with pytest.raises(InputError, match="not a TensorFlow.js graph model"):
        read_graph_model(path)
    entry = {"name": "a", "shape": [1], "dtype": "complex64"}
    manifest = [{"paths": [], "weights": [entry]}]
    content = {"modelTopology": {"node": []}, "weightsManifest": manifest}
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="dtype 'complex64'"):
        read_graph_model(path)
    path.write_text(json.dumps({"modelTopology": {"node": []}, "weightsManifest": [{}]}))
    with pytest.raises(InputError, match="malformed"):
        read_graph_model(path)
