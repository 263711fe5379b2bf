"""Writes small PoseNets as TensorFlow.js graph models, in the styles that converters produce."""

from __future__ import annotations

import base64
import json
import pathlib

import numpy as np
import tensorflow as tf
from google.protobuf import json_format

from perfnet_tf.pose.estimators.graph_model import read_graph_model

HEADS = {"heatmap": 17, "offset": 34, "displacement_fwd": 32, "displacement_bwd": 32}
STRIDES = {"Conv2d_0": 2, "Conv2d_2_depthwise": 2, "Conv2d_4_depthwise": 2, "Conv2d_6_depthwise": 2}


def random_layers(rng: np.random.Generator) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Kernel and bias of each layer of a narrow MobileNetV1 PoseNet, in order."""
    layers = {}

    def add(name, shape):
        fan_in = shape[0] * shape[1] * (1 if name.endswith("depthwise") else shape[2])
        outputs = shape[2] if name.endswith("depthwise") else shape[3]
        kernel = rng.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32)
        layers[name] = kernel, rng.normal(0, 0.3, outputs).astype(np.float32)

    widths = [4, 6, 8, 8, 10, 10, 12, 12, 12, 12, 12, 12, 14, 14]
    add("Conv2d_0", (3, 3, 3, widths[0]))
    for block in range(1, 14):
        add(f"Conv2d_{block}_depthwise", (3, 3, widths[block - 1], 1))
        add(f"Conv2d_{block}_pointwise", (1, 1, widths[block - 1], widths[block]))
    for head, channels in HEADS.items():
        add(f"{head}_2", (1, 1, widths[-1], channels))
    return layers


def reference_outputs(layers, images: np.ndarray) -> dict[str, np.ndarray]:
    """The network written down op by op."""
    features = tf.constant(images)
    outputs = {}
    for name, (kernel, bias) in layers.items():
        stride = STRIDES.get(name, 1)
        if name.endswith("depthwise"):
            result = tf.nn.depthwise_conv2d(features, kernel, [1, stride, stride, 1], "SAME")
        else:
            result = tf.nn.conv2d(features, kernel, stride, "SAME")
        if name.endswith("_2") and not name.startswith("Conv2d"):
            outputs[name[:-2]] = (result + bias).numpy()
        else:
            features = tf.minimum(tf.maximum(result + bias, 0.0), 6.0)
    return outputs


def write_graph(folder: pathlib.Path, layers, *, fused: bool, stored: str = "float32") -> None:
    """Writes `posenet.json` and its weights.

    Args:
        folder: made if need be.
        layers: of `random_layers`.
        fused: constants without names that feed fused nodes, one .bin file; else weights named by
            layer behind Identity nodes, separate BiasAdd nodes, and two .bin files.
        stored: `float32`, `float16` or `uint8`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number = {"type": "DT_FLOAT"}
    nodes = [{"name": "image", "op": "Placeholder", "attr": {"dtype": number}}]
    entries, data = [], b""

    def constant(name, value):
        nonlocal data
        entry = {"name": name, "shape": list(value.shape), "dtype": "float32"}
        if stored == "float16":
            entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
            value = value.astype("<f2")
        elif stored == "uint8":
            low, scale = float(value.min()), float(np.ptp(value)) / 255
            entry["quantization"] = {"dtype": "uint8", "scale": scale, "min": low}
            value = np.rint((value - low) / scale).astype(np.uint8)
        entries.append(entry)
        data += value.tobytes()
        nodes.append({"name": name, "op": "Const"})
        return name

    def text(value):
        return base64.b64encode(value.encode()).decode()

    source = "image"
    for index, (name, (kernel, bias)) in enumerate(reversed(list(layers.items()))):
        if fused:
            constant(f"Const_{2 * index}", kernel)
            constant(f"Const_{2 * index + 1}", bias)
        else:
            for kind, value in (("weights", kernel), ("biases", bias)):
                at = constant(f"MobilenetV1/{name}/{kind}", value)
                read = {"name": f"{at}/read", "op": "Identity", "input": [at]}
                nodes.append(read | {"attr": {"T": number}})
    for index, name in enumerate(layers):
        depthwise, head = name.endswith("depthwise"), name.removesuffix("_2") in HEADS
        stride = str(STRIDES.get(name, 1))
        attributes = {
            "T": number,
            "strides": {"list": {"i": ["1", stride, stride, "1"]}},
            "padding": {"s": text("SAME")},
        }
        prefix = f"MobilenetV1/{name}"
        if fused:
            at = 2 * (len(layers) - 1 - index)
            operations = ["BiasAdd"] if head else ["BiasAdd", "Relu6"]
            attributes["fused_ops"] = {"list": {"s": [text(op) for op in operations]}}
            output = f"{prefix}/{operations[-1]}"
            op = "FusedDepthwiseConv2dNative" if depthwise else "_FusedConv2D"
            inputs = [source, f"Const_{at}", f"Const_{at + 1}"]
            nodes.append({"name": output, "op": op, "input": inputs, "attr": attributes})
        else:
            op = "DepthwiseConv2dNative" if depthwise else "Conv2D"
            inputs = [source, f"{prefix}/weights/read"]
            convolution = {"name": f"{prefix}/{op}", "op": op, "input": inputs}
            nodes.append(convolution | {"attr": attributes})
            inputs = [f"{prefix}/{op}", f"{prefix}/biases/read"]
            bias_add = {"name": f"{prefix}/BiasAdd", "op": "BiasAdd", "input": inputs}
            nodes.append(bias_add | {"attr": {"T": number}})
            output = f"{prefix}/BiasAdd"
            if not head:
                output = f"{prefix}/Relu6"
                activation = {"name": output, "op": "Relu6", "input": [f"{prefix}/BiasAdd"]}
                nodes.append(activation | {"attr": {"T": number}})
        source = source if head else output
    cut = len(data) // 2
    parts = {"posenet.bin": data} if fused else {"part1.bin": data[:cut], "part2.bin": data[cut:]}
    for file, content in parts.items():
        (folder / file).write_bytes(content)
    manifest = [{"paths": list(parts), "weights": entries}]
    content = {"modelTopology": {"node": nodes}, "weightsManifest": manifest}
    (folder / "posenet.json").write_text(json.dumps(content))


def write_graph_def(folder, definition, signature=None):
    """Stores a GraphDef as a TensorFlow.js graph model, its constants in a binary file."""
    content = json_format.MessageToDict(definition)
    entries, data = [], b""
    for node in content["node"]:
        if node["op"] == "Const":
            proto = next(n for n in definition.node if n.name == node["name"]).attr["value"].tensor
            value = tf.make_ndarray(proto)
            dtype = str(value.dtype)
            entries.append({"name": node["name"], "shape": list(value.shape), "dtype": dtype})
            data += value.tobytes()
            del node["attr"]["value"]
    folder.mkdir(exist_ok=True)
    (folder / "w.bin").write_bytes(data)
    manifest = [{"paths": ["w.bin"], "weights": entries}]
    model = {"modelTopology": content, "weightsManifest": manifest, "signature": signature or {}}
    (folder / "model.json").write_text(json.dumps(model))
    return read_graph_model(folder)


def resnet_graph(stride: int, channels: int = 17) -> tuple[tf.compat.v1.GraphDef, list[np.ndarray]]:
    """A narrow ResNet with PoseNet's heads under the names of the published graph, and its kernels.

    Its last stage is strided at `stride` 32 and dilated at 16, as TF-slim does it.
    """
    rng = np.random.default_rng(stride)
    shapes = [(7, 7, 3, 4), (3, 3, 4, 6), (3, 3, 6, 6), (3, 3, 6, 8), (3, 3, 8, 8)]
    shapes += [(1, 1, 8, outputs) for outputs in (channels, 34, 32, 32)]
    kernels = [rng.normal(0, 0.2, shape).astype(np.float32) for shape in shapes]
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.float32, [1, None, None, 3], name="sub_2")
        run_resnet(image, stride, [tf.constant(kernel) for kernel in kernels])
        return graph.as_graph_def(), kernels


def run_resnet(image, stride: int, kernels) -> dict[str, tf.Tensor]:
    """The network of `resnet_graph`, op by op."""
    padded = tf.pad(image, [[0, 0], [3, 3], [3, 3], [0, 0]])
    features = tf.nn.relu(tf.nn.conv2d(padded, kernels[0], 2, "VALID"), "resnet_v1_50/conv1/Relu")
    features = tf.nn.max_pool2d(features, 3, 2, "SAME")
    for kernel in kernels[1:4]:
        strides = 1 if kernel.shape[2] == kernel.shape[3] else 2
        features = tf.nn.relu(tf.nn.conv2d(features, kernel, strides, "SAME"))
    last = {"strides": 2} if stride == 32 else {"strides": 1, "dilations": 2}
    features = tf.nn.relu(tf.nn.conv2d(features, kernels[4], padding="SAME", **last))
    names = {
        "heatmap": "float_heatmaps",
        "offset": "float_short_offsets",
        "displacement_fwd": "resnet_v1_50/displacement_fwd_2/BiasAdd",
        "displacement_bwd": "resnet_v1_50/displacement_bwd_2/BiasAdd",
    }
    return {
        head: tf.nn.bias_add(
            tf.nn.conv2d(features, kernel, 1, "SAME"), tf.ones(kernel.shape[3]), name=name
        )
        for (head, name), kernel in zip(names.items(), kernels[5:], strict=True)
    }
