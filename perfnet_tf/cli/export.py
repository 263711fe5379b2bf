"""`perfnet export`: a run as a SavedModel."""

from __future__ import annotations

from absl import flags

from perfnet_tf.cli.command import Command
from perfnet_tf.config import INFERENCE_PRECISIONS

_SNIPPET = """\
import tensorflow as tf
model = tf.saved_model.load({path!r})
logits = model(clips)  # {inputs}"""

_FINE_TUNING = """\
# fine-tuning, in a tf_keras model: hub.KerasLayer({path!r}, trainable=True)"""

_INPUTS = {
    "rgb": "[batch, frames, height, width, 3] RGB: float32 in [0, 1] or uint8",
    "pose": "[batch, frames, height, width, 3] RGB with limbs drawn: float32 in [0, 1] or uint8",
    "flow": "[batch, frames, height, width, 2] float32 (dx, dy) in pixels a frame",
}


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Writes a run as a SavedModel that TensorFlow and TF Hub load without this package.

    Any number of frames and any size may be fed. --metrics puts what perfnet evaluate measured into
    the model's model.json.

    --inference_only freezes the network with batch norm folded: faster, and never to be trained.
    --tflite and --onnx write model_float32.tflite, model_float16.tflite, model_int8.tflite (for one
    clip of the run's evaluation size) and model.onnx (any size) beside it. How far the logits of
    each are from the run's is printed, and written to model.json.
    """
    from perfnet_tf.saved_model import export_saved_model
    from perfnet_tf.saved_model.info import read_info, read_metrics
    from perfnet_tf.training.run_directory import load_run

    metrics = None if arguments.metrics is None else read_metrics(arguments.metrics)
    run = load_run(arguments.run)
    path = export_saved_model(
        run,
        arguments.output,
        metrics=metrics,
        license=arguments.license,
        inference_only=arguments.inference_only,
        precision=arguments.precision,
        tflite=arguments.tflite,
        onnx=arguments.onnx,
    )
    info = read_info(path)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    parameters = sum(weight.shape.num_elements() for weight in run.model.trainable_weights)
    kind = f", frozen in {arguments.precision}" if arguments.inference_only else ""
    snippet = _SNIPPET if arguments.inference_only else f"{_SNIPPET}\n{_FINE_TUNING}"
    print(
        f"{path}: {run.config.model.backbone}, {run.config.stream}, {len(run.classes)} classes, "
        f"{parameters:,} trainable parameters, {size / 2**20:.1f} MiB{kind}\n"
        "serving_default: frames -> logits, probabilities, features"
    )
    for name, difference in info.parity.items():
        print(f"{name}: logits differ by {difference:.1e} of the largest")
    print("\n" + snippet.format(path=str(path), inputs=_INPUTS[run.config.stream]))
    return 0


COMMAND = Command("export", "--run=RUN --output=DIR", _run)
_FLAGS = COMMAND.flags
flags.DEFINE_string("run", None, "Folder of a finished run.", flag_values=_FLAGS)
flags.DEFINE_string("output", None, "Folder to make.", flag_values=_FLAGS)
flags.DEFINE_string(
    "metrics", None, "metrics.json of perfnet evaluate for this run.", flag_values=_FLAGS
)
flags.DEFINE_string(
    "license", "Apache-2.0", "SPDX name of the weights' licence.", flag_values=_FLAGS
)
flags.DEFINE_bool(
    "inference_only", False, "Freeze the network, batch norm folded.", flag_values=_FLAGS
)
flags.DEFINE_enum(
    "precision",
    "float32",
    list(INFERENCE_PRECISIONS),
    "What a network frozen by --inference_only computes in.",
    flag_values=_FLAGS,
)
flags.DEFINE_bool("tflite", False, "Write TFLite models too.", flag_values=_FLAGS)
flags.DEFINE_bool(
    "onnx", False, "Write an ONNX model too; needs the extra [onnx].", flag_values=_FLAGS
)
COMMAND.require("run", "output")
