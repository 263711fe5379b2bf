"""Files of weights in the formats of TF1 and safetensors, written as published."""

import json

import tensorflow as tf


def write_tf1(path, tensors):
    """As `tf.compat.v1.train.Saver` does."""
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        for name, value in tensors.items():
            tf.compat.v1.Variable(value, name=name, use_resource=False)
        session.run(tf.compat.v1.global_variables_initializer())
        return tf.compat.v1.train.Saver().save(session, str(path), write_meta_graph=False)


def write_safetensors(path, tensors):
    """The published layout: length of the table, table, bytes."""
    kinds = {"float32": "F32", "int64": "I64", "float16": "F16"}
    table, blob = {"__metadata__": {"format": "pt"}}, b""
    for name, value in tensors.items():
        begin, blob = len(blob), blob + value.tobytes()
        table[name] = {
            "dtype": kinds[value.dtype.name],
            "shape": list(value.shape),
            "data_offsets": [begin, len(blob)],
        }
    header = json.dumps(table).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + blob)
    return path
