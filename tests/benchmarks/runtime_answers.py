"""Opens an exported file in one runtime and writes its logits. Needs NumPy and that runtime alone.

    PYTHON runtime_answers.py '{"runtime": "onnxruntime", "file": "model.onnx", ...}'

What `runtimes.py` starts for each row of its table. The specification: `runtime`: of `OPEN`;
`file`: to open; `clips`: folder of `NAME.npy`, float32 clips `[clips, frames, height, width, 3]`;
`one_at_a_time`: for files of one clip; `answers`: folder for `NAME.npy`, float32 logits, or
`NAME.txt`, the reason why there are none; `packages` and `version`: see `versions_of`, whose result
is `versions.json`.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np

#: float32 clips to float32 logits `[clips, classes]`.
Run = Callable[[np.ndarray], Any]


def open_hub_load(file: str) -> Run:
    """`hub.load`, called."""
    import tensorflow_hub as hub

    model = hub.load(file)
    return lambda clips: model(clips, training=False)


def open_saved_model(file: str) -> Run:
    """`tf.saved_model.load`, called."""
    import tensorflow as tf

    model = tf.saved_model.load(file)
    return lambda clips: model(clips, training=False)


def open_signature(file: str) -> Run:
    """The signature `serving_default`."""
    import tensorflow as tf

    model = tf.saved_model.load(file)
    serve = model.signatures["serving_default"]
    serve.keep = model  # variables live as long as the object that was loaded
    return lambda clips: serve(frames=tf.constant(clips))["logits"]


def open_hub_layer(file: str) -> Run:
    """`hub.KerasLayer` in a network of tf_keras."""
    import tensorflow_hub as hub
    import tf_keras

    model = tf_keras.Sequential([hub.KerasLayer(file, trainable=True)])
    return lambda clips: model.predict(clips, batch_size=len(clips), verbose=0)


def open_keras3_layer(file: str) -> Run:
    """The layer of `export/keras3_layer.py` in a network of Keras 3."""
    sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "export"))
    import keras
    from keras3_layer import RecognizerLayer

    model = keras.Sequential([RecognizerLayer(file)])
    return lambda clips: model.predict(clips, batch_size=len(clips), verbose=0)


def open_tfsm_layer(file: str) -> Run:
    """`keras.layers.TFSMLayer` of Keras 3, on the signature."""
    import keras

    layer = keras.layers.TFSMLayer(file, call_endpoint="serving_default")
    return lambda clips: layer(clips)["logits"]


def open_onnxruntime(file: str) -> Run:
    """ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda clips: session.run(["logits"], {"frames": clips})[0]


def open_openvino(file: str) -> Run:
    """OpenVINO on the CPU, in float32 where the processor would take bfloat16."""
    import openvino

    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda clips: compiled([clips])["logits"]


def open_opencv(file: str) -> Run:
    """OpenCV's dnn."""
    import cv2

    network = cv2.dnn.readNetFromONNX(file)

    def run(clips: np.ndarray) -> Any:
        network.setInput(clips, "frames")
        return network.forward("logits")

    return run


def open_onnx2torch(file: str) -> Run:
    """torch on the CPU, converted by onnx2torch."""
    import onnx
    import onnx2torch
    import torch

    names = [output.name for output in onnx.load(file).graph.output]
    model = onnx2torch.convert(file).eval()

    def run(clips: np.ndarray) -> Any:
        with torch.inference_mode():
            return model(torch.from_numpy(clips))[names.index("logits")].numpy()

    return run


def _runner_of_shape(signatures: dict[tuple[int, ...], Run]) -> Run:
    def run(clips: np.ndarray) -> Any:
        if clips.shape not in signatures:
            raise ValueError("the file takes clips of other sizes")
        return signatures[clips.shape](clips)

    return run


def _open_interpreter(interpreter: Any) -> Run:
    def call(runner: Any) -> Run:
        return lambda clips: runner(frames=clips)["logits"]

    runners = [interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()]
    return _runner_of_shape(
        {tuple(one.get_input_details()["frames"]["shape"]): call(one) for one in runners}
    )


def open_litert(file: str) -> Run:
    """The `Interpreter` of ai-edge-litert."""
    from ai_edge_litert.interpreter import Interpreter

    return _open_interpreter(Interpreter(file))


def open_tf_lite(file: str) -> Run:
    """TensorFlow's own `tf.lite.Interpreter`."""
    import tensorflow as tf

    return _open_interpreter(tf.lite.Interpreter(file))


def open_compiled_model(file: str) -> Run:
    """The `CompiledModel` of ai-edge-litert, on the CPU."""
    from ai_edge_litert.compiled_model import CompiledModel

    model = CompiledModel.from_file(file)

    def call(name: str) -> Run:
        shape = model.get_output_tensor_details(name)["logits"]["shape"]
        outputs = model.get_signature_list()[name]["outputs"]

        def run(clips: np.ndarray) -> Any:
            taken = model.create_input_buffer_by_name(name, "frames")
            given = {one: model.create_output_buffer_by_name(name, one) for one in outputs}
            taken.write(clips)
            model.run_by_name(name, {"frames": taken}, given)
            return given["logits"].read(int(np.prod(shape)), np.float32).reshape(shape)

        return run

    return _runner_of_shape(
        {
            tuple(model.get_input_tensor_details(name)["frames"]["shape"]): call(name)
            for name in model.get_signature_list()
        }
    )


#: What `runtime` names.
OPEN: dict[str, Callable[[str], Run]] = {
    "hub_load": open_hub_load,
    "saved_model": open_saved_model,
    "signature": open_signature,
    "hub_layer": open_hub_layer,
    "keras3_layer": open_keras3_layer,
    "tfsm_layer": open_tfsm_layer,
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
    "opencv": open_opencv,
    "onnx2torch": open_onnx2torch,
    "litert": open_litert,
    "tf_lite": open_tf_lite,
    "compiled_model": open_compiled_model,
}


def versions_of(packages: list[str], beginning: str) -> dict[str, str]:
    """Imported name -> version; `missing` where one is not installed, or the first has another."""
    distributions = importlib.metadata.packages_distributions()
    versions = {}
    for package in packages:
        if package not in distributions:
            return {"missing": package}
        versions[package] = importlib.metadata.version(distributions[package][0])
    first = versions[packages[0]]
    return versions if first.startswith(beginning) else {"missing": f"{packages[0]} {beginning}"}


def main(spec: dict[str, Any]) -> None:
    """Answers all clips, file by file, so that a process that ends leaves what it finished."""
    answers = pathlib.Path(spec["answers"])
    versions = versions_of(spec["packages"], spec["version"])
    (answers / "versions.json").write_text(json.dumps(versions))
    if "missing" in versions:
        return
    run = OPEN[spec["runtime"]](spec["file"])
    for path in sorted(pathlib.Path(spec["clips"]).glob("*.npy")):
        clips = np.load(path)
        parts = np.split(clips, len(clips)) if spec["one_at_a_time"] else [clips]
        try:
            logits = np.concatenate([np.asarray(run(part), np.float32) for part in parts])
            np.save(answers / path.name, logits)
        except Exception as error:  # whatever it is, the table names it
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            (answers / f"{path.stem}.txt").write_text(reason[:300])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
