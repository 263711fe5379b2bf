"""Writes a run as a SavedModel."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from perfnet_tf.classes import check_class_names
from perfnet_tf.config import INFERENCE_PRECISIONS, ClipConfig, ExperimentConfig, PoseRenderConfig
from perfnet_tf.errors import FailureError, InputError, check_choice
from perfnet_tf.files import check_new_or_empty
from perfnet_tf.label_kinds import SINGLE_LABEL
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.recognizers.frozen import InferenceModule, as_float
from perfnet_tf.recognizers.frozen_graph import input_specs
from perfnet_tf.recognizers.info import (
    DEFAULT_LICENSE,
    GOLDEN_FILE,
    INFO_FILE,
    LABELS_FILE,
    ModelInfo,
)
from perfnet_tf.recognizers.probabilities import probabilities_of
from perfnet_tf.recognizers.recognizer import Recognizer, no_layers
from perfnet_tf.recognizers.run_directory import Run
from perfnet_tf.saved_model.calibration import CalibrationData, write_calibration
from perfnet_tf.saved_model.conversions import Conversions, write_formats
from perfnet_tf.saved_model.formats import CALIBRATED, FORMATS, is_available
from perfnet_tf.saved_model.golden import golden_clip, relative_difference
from perfnet_tf.saved_model.int8_tflite import CALIBRATION
from perfnet_tf.saved_model.module import MODES, Network, RecognizerModule
from perfnet_tf.saved_model.pose_input import POSE_SIGNATURE, add_pose_input
from perfnet_tf.saved_model.quantized_accuracy import measure_quantized
from perfnet_tf.saved_model.tflite import signature_names
from perfnet_tf.streams import FEATURES, LOGITS, POSE, STREAMS
from perfnet_tf.version import __version__


def export_saved_model(
    source: Run | Recognizer | VideoModel,
    output: str | os.PathLike[str],
    *,
    classes: Sequence[str] | None = None,
    config: ExperimentConfig | None = None,
    dataset: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    license: str | None = None,
    inference_only: bool = False,
    precision: str = "float32",
    tflite: bool = False,
    onnx: bool = False,
    int8: bool = False,
    calibration: str | os.PathLike[str] | None = None,
    tflite_clip: Sequence[ClipConfig] = (),
) -> pathlib.Path:
    """Writes a run, or a model of `build_model`, as a SavedModel, and in other runtimes' formats.

    Args:
        source: a run of `load_run`, or what `load` gives of one or of an export that can be
            trained, which know their classes and configuration; or a model.
        output: folder to make; it must not exist or be empty. It appears when it is complete.
        classes: names in the order of the logits; for a model only.
        config: what the model was trained with; for a model only.
        dataset: `name`, `fps`, `short_side` and `label_kind` of the records; None takes what a run
            says.
        metrics: such as `evaluate_runs` returns; written to `model.json`.
        license: SPDX name of the weights' licence; None is that of the published weights that they
            came from, else Apache-2.0.
        inference_only: freeze the SavedModel, batch norm folded: faster, and never to be trained.
        precision: what a frozen one computes in, `float32` or `bfloat16`.
        tflite: write `model_float32.tflite`, `model_float16.tflite` and `model_int8.tflite` too,
            for one clip.
        onnx: write `model.onnx` too, for clips of any number and size; needs the extra `onnx`.
        int8: write the fully quantised `model_full_int8.tflite` too, for one clip of the evaluation
            size, and where the extra `openvino` is installed `model_full_int8.xml` and its `.bin`.
        calibration: of `int8`: prepared records, a folder of videos or a video, on which ranges are
            measured, and then the difference of logits, and accuracy where the records have the
            network's classes.
        tflite_clip: sizes of the clips that the TFLite files take, each a signature; without it the
            configuration's evaluation size.

    Each file of another runtime is converted in a process of its own, which frees what it took.

    Returns:
        `output`. How far each format's logits are from the model's is in its `model.json`.

    Raises:
        InputError: `output` is in use, the classes are missing or not as many as the logits, or
            what ONNX needs is not installed, or the calibration is missing or does not fit.
        FailureError: a file of another runtime could not be written; the message says which.
            `output` holds the SavedModel and the other files.
    """
    output = check_new_or_empty(output)
    pretrained: Mapping[str, Any] = {}
    if isinstance(source, Recognizer):
        source = source.run()
    if isinstance(source, Run):
        if classes is not None or config is not None:
            raise InputError("A run brings its own classes and config. Leave both out.")
        model, classes, config = source.model, source.classes, source.config
        dataset = source.record.get("dataset") if dataset is None else dataset
        pretrained = source.record.get("pretrained", {})
    elif isinstance(source, VideoModel):
        model = source
    else:
        raise no_layers(f"a {type(source).__name__}")
    if classes is None or config is None:
        raise InputError("A model does not know its classes and config. Pass both, or a run.")
    if len(classes) != model.num_classes:
        raise InputError(
            "There must be one class name for each logit. "
            f"Received: {len(classes)} names, {model.num_classes} logits."
        )
    check_class_names(classes)
    if config.stream != model.stream:
        raise InputError(
            "config must be that of the model. "
            f"Received: stream {config.stream!r}, model's {model.stream!r}."
        )
    check_choice("precision", precision, INFERENCE_PRECISIONS)
    if precision != "float32" and not inference_only:
        raise InputError(
            "Only networks frozen for inference are exported in another precision than float32. "
            f"Received: precision={precision!r}. Give `inference_only` as well."
        )
    if int8 == (calibration is None):
        raise InputError(
            "Full quantisation takes clips to measure ranges on, and nothing else does. Received: "
            f"`int8`={int8}, `calibration`={calibration}. Give both, or neither."
        )
    clips = (
        None if calibration is None else CalibrationData.open(calibration, config, dataset or {})
    )
    if tflite_clip and not tflite:
        raise InputError(
            "Only TFLite files are made for chosen sizes. Received: `tflite_clip`="
            f"{', '.join(map(str, tflite_clip))} without `tflite`. Give both, or leave it out."
        )
    if len({str(clip) for clip in tflite_clip}) < len(tflite_clip):
        raise InputError(
            f"Each size is given once. Received: `tflite_clip`={', '.join(map(str, tflite_clip))}."
        )
    formats = [name for name, wanted in (("tflite", tflite), ("onnx", onnx)) if wanted]
    formats += [name for name in CALIBRATED if int8 and is_available(name)]
    for entry in (entry for name in formats for entry in FORMATS[name]):
        entry.require()
    info = ModelInfo(
        experiment=config,
        dataset=dict(dataset or {}),
        metrics=dict(metrics or {}),
        license=license or pretrained.get("license", DEFAULT_LICENSE),
        pretrained=dict(pretrained),
        inference_precision=precision if inference_only else None,
        versions={
            "perfnet_tf": __version__,
            "tensorflow": tf.__version__,
            "tf_keras": tf_keras.__version__,
        },
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=output.parent) as workspace:
        folder = pathlib.Path(workspace)
        folder.chmod(0o755)  # mkdtemp makes it private, and shutil.move keeps that
        (folder / LABELS_FILE).write_text("".join(f"{name}\n" for name in classes))
        (folder / INFO_FILE).write_text(info.to_json())
        path = folder / "model"
        frozen = precision if inference_only else None
        label_kind = info.dataset.get("label_kind", SINGLE_LABEL)
        parity = _save(model, path, folder, frozen, config.pose_render, label_kind)
        conversions = Conversions({}, {})
        quantization: dict[str, Any] = {}
        if formats:
            channels = STREAMS[model.stream].channels
            clip = config.resolved_eval_clip
            shape = (1, clip.num_frames, clip.height, clip.width, channels)
            sizes = dict.fromkeys(formats, [shape])
            if tflite:
                sizes["tflite"] = [
                    (1, clip.num_frames, clip.height, clip.width, channels)
                    for clip in tflite_clip or [clip]
                ]
                names = signature_names(sizes["tflite"])
                info = dataclasses.replace(
                    info, tflite_shapes=dict(zip(names, map(list, sizes["tflite"]), strict=True))
                )
            options: dict[str, Any] = {}
            if clips is not None:
                file = folder.absolute() / "calibration.npy"
                quantization = {CALIBRATION: write_calibration(clips, file)}
                options[CALIBRATION] = str(file)
            conversions = write_formats(model, path, sizes, options)
            parity |= conversions.parity
            if clips is not None:
                files = {
                    entry.file: entry.open(path / entry.file)
                    for name in CALIBRATED
                    for entry in FORMATS[name]
                    if entry.file in conversions.parity
                }
                quantization |= measure_quantized(files, model, clips, tuple(classes))
                parity |= quantization["logits_differ"]
        info = dataclasses.replace(info, parity=parity, quantization=quantization)
        (path / "assets" / INFO_FILE).write_text(info.to_json())
        if output.exists():
            output.rmdir()
        shutil.move(path, output)
    if conversions.failures:
        reasons = "; ".join(f"{file}: {why}" for file, why in conversions.failures.items())
        raise FailureError(
            f"{output} is complete but for what could not be converted. {reasons}. Free memory or "
            "fix this, and export into another folder; or leave that format out."
        )
    return output


def _save(
    model: VideoModel,
    path: pathlib.Path,
    assets: pathlib.Path,
    frozen: str | None,
    render: PoseRenderConfig,
    label_kind: str,
) -> dict[str, float]:
    """Writes the SavedModel and its golden clip; returns its parity."""
    golden = golden_clip(model.stream)
    expected = model.endpoints(tf.constant(golden), training=False)
    module: Any
    if frozen is None:
        module, serve = _trainable_module(model)
    else:
        module = InferenceModule.from_model(model, precision=frozen)
        serve = module.named
    module.labels_file = tf.saved_model.Asset(str(assets / LABELS_FILE))
    module.info_file = tf.saved_model.Asset(str(assets / INFO_FILE))

    @tf.function(autograph=False)
    def serve_frames(frames: tf.Tensor) -> dict[str, tf.Tensor]:
        named = serve(frames, training=False)
        return {
            "logits": named[LOGITS],
            "probabilities": probabilities_of(named[LOGITS], label_kind),
            "features": named[FEATURES],
        }

    spec = input_specs(model.stream)[0]
    frames_spec = tf.TensorSpec(spec.shape, spec.dtype, name="frames")
    signature = serve_frames.get_concrete_function(frames_spec)
    signatures = {"serving_default": signature}
    if model.stream == POSE:
        signatures[POSE_SIGNATURE] = add_pose_input(module, serve, render, label_kind)
    tf.saved_model.save(module, str(path), signatures)

    (path / GOLDEN_FILE).parent.mkdir()
    np.savez_compressed(
        path / GOLDEN_FILE,
        frames=golden,
        logits=expected[LOGITS].numpy(),
        features=expected[FEATURES].numpy(),
    )
    logits = module(tf.constant(golden)).numpy()
    return {"saved_model": relative_difference(logits, expected[LOGITS].numpy())}


def _trainable_module(model: VideoModel) -> tuple[RecognizerModule, Network]:
    network = Network(model)
    module = RecognizerModule(network, LOGITS)
    if len(module.variables) != len(model.variables):
        raise RuntimeError(f"{type(model).__name__} has variables that it does not use.")
    extractor = RecognizerModule(network, FEATURES)

    @tf.function(autograph=False)
    def extract(inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        return extractor(inputs, training=training)

    @tf.function(autograph=False)
    def endpoints(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return network(as_float(inputs), training=False)

    for spec in input_specs(model.stream):
        endpoints.get_concrete_function(spec)
        for training in MODES:
            extract.get_concrete_function(spec, training=training)
    module.feature_extractor, module.features, module.endpoints = extractor, extract, endpoints
    return module, network
