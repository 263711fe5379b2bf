"""`perfnet export`: a network as a SavedModel."""

from __future__ import annotations

import sys

from absl import flags

from perfnet_tf.cli.command import Command
from perfnet_tf.config import INFERENCE_PRECISIONS, ClipConfig
from perfnet_tf.streams import STREAMS

_SNIPPET = """\
import tensorflow as tf
model = tf.saved_model.load({path!r})
logits = model(clips)  # {inputs}"""

_FINE_TUNING = """\
# fine-tuning, in a tf_keras model: hub.KerasLayer({path!r}, trainable=True)"""


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Writes a network as a SavedModel that TensorFlow and TF Hub load without this package.

    Any number of frames and any size may be fed. --metrics puts what perfnet evaluate measured into
    the model's model.json.

    --inference_only freezes the network with batch norm folded: faster, and never to be trained.
    --tflite and --onnx write model_float32.tflite, model_float16.tflite, model_int8.tflite (for one
    clip of the run's evaluation size, or of each of --tflite_clip: every size is a signature of the
    files, named in model.json) and model.onnx (any size) next to it. How far the logits of each are
    from the run's is printed, and written to model.json.

    --int8 writes model_full_int8.tflite, whose weights and activations are 8-bit integers, and with
    the extra [openvino] model_full_int8.xml and .bin, both for one clip of the evaluation size. Its
    ranges are measured on 64 clips of --calibration: prepared records, or videos. Logits and, where
    the records have the network's classes, accuracy are compared with the float network's.

    Each format is converted in a process of its own, which frees its memory: --inference_only
    --tflite --onnx of a full-width R3D50-G take 3.7 GiB at most, in all. If one fails, the
    SavedModel and the other files are kept, the message names the file that is missing, and the
    exit status is 1.
    """
    from perfnet_tf.models.precision import slow_precision
    from perfnet_tf.recognizers.info import describe_quantization, read_info, read_metrics
    from perfnet_tf.recognizers.load import load
    from perfnet_tf.saved_model import export_saved_model
    from perfnet_tf.saved_model.formats import is_available

    metrics = None if arguments.metrics is None else read_metrics(arguments.metrics)
    run = load(arguments.model, trainable=True).run()
    path = export_saved_model(
        run,
        arguments.output,
        metrics=metrics,
        license=arguments.license,
        inference_only=arguments.inference_only,
        precision=arguments.precision,
        tflite=arguments.tflite,
        onnx=arguments.onnx,
        int8=arguments.int8,
        calibration=arguments.calibration,
        tflite_clip=[ClipConfig.parse(text) for text in arguments.tflite_clip],
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
    for line in describe_quantization(info.quantization):
        print(line)
    if arguments.int8 and not is_available("int8_openvino"):
        print("no OpenVINO file: pip install 'perfnet-tf[openvino]' for one")
    if note := slow_precision(arguments.precision, frozen=True):
        print(f"note: {note}", file=sys.stderr, flush=True)
    stream = STREAMS[run.config.stream]
    print("\n" + snippet.format(path=str(path), inputs=f"{stream.shape} {stream.values}"))
    return 0


COMMAND = Command("export", "--model=RUN --output=DIR", _run)
COMMAND.string("model", None, "Finished run, or export that can be trained.")
COMMAND.string("output", None, "Folder to make.")
COMMAND.string("metrics", None, "metrics.json of perfnet evaluate for this run.")
COMMAND.string(
    "license",
    None,
    "SPDX name of the weights' licence; without it, that of the published weights that they came "
    "from, else Apache-2.0.",
)
COMMAND.boolean("inference_only", False, "Freeze the network, batch norm folded.")
COMMAND.string(
    "precision",
    "float32",
    "What a network frozen by --inference_only computes in.",
    choices=list(INFERENCE_PRECISIONS),
)
COMMAND.boolean("tflite", False, "Write TFLite models too.")
COMMAND.list(
    "tflite_clip",
    [],
    "With --tflite: FRAMESxHEIGHTxWIDTH of the clips that the files take, such as "
    "16x112x112,64x224x224; without it, the run's evaluation size.",
)
COMMAND.boolean("onnx", False, "Write an ONNX model too; needs the extra [onnx].")
COMMAND.boolean("int8", False, "Write a fully quantised TFLite model too, and one of OpenVINO.")
COMMAND.string("calibration", None, "Prepared records or videos, for --int8.")
COMMAND.alias("run", "model")
COMMAND.require("model", "output")
