"""Writes a run as a SavedModel."""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from perfnet_tf import features
from perfnet_tf.config import ExperimentConfig
from perfnet_tf.errors import InputError
from perfnet_tf.saved_model.info import GOLDEN_FILE, INFO_FILE, LABELS_FILE, ModelInfo
from perfnet_tf.saved_model.module import (
    MODES,
    Network,
    RecognizerModule,
    as_float,
    input_specs,
)
from perfnet_tf.training.run_directory import Run
from perfnet_tf.version import __version__


def export_saved_model(
    source: Run | tf_keras.Model,
    output: str | os.PathLike[str],
    *,
    classes: Sequence[str] | None = None,
    config: ExperimentConfig | None = None,
    dataset: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    license: str = "Apache-2.0",
) -> pathlib.Path:
    """Writes a run, or a model of `build_model`, as a SavedModel.

    Args:
        source: a run of `load_run`, which knows its classes and configuration, or a model.
        output: folder to make; it must not exist or be empty. It appears when it is complete.
        classes: names in the order of the logits; for a model only.
        config: what the model was trained with; for a model only.
        dataset: `name`, `fps` and `short_side` of the records; None takes what a run says.
        metrics: such as `evaluate_runs` returns; written to `model.json`.
        license: SPDX name of the weights' licence.

    Returns:
        `output`.

    Raises:
        InputError: `output` is in use, or the classes are missing or not as many as the logits.
    """
    output = pathlib.Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(
            f"The output must be a new or empty folder. Received: {output}. "
            "Name another, or remove it first."
        )
    if isinstance(source, Run):
        if classes is not None or config is not None:
            raise InputError("A run brings its own classes and config. Leave both out.")
        model, classes, config = source.model, source.classes, source.config
        dataset = source.record.get("dataset") if dataset is None else dataset
    else:
        model = source
    if classes is None or config is None:
        raise InputError("A model does not know its classes and config. Pass both, or a run.")
    if len(classes) != model.num_classes:
        raise InputError(
            "There must be one class name for each logit. "
            f"Received: {len(classes)} names, {model.num_classes} logits."
        )
    if any(len(name.splitlines()) != 1 for name in classes):
        raise InputError(f"A class name is one line of text. Received: {list(classes)}.")
    if config.stream != model.stream:
        raise InputError(
            "config must be that of the model. "
            f"Received: stream {config.stream!r}, model's {model.stream!r}."
        )
    info = ModelInfo(
        experiment=config,
        dataset=dict(dataset or {}),
        metrics=dict(metrics or {}),
        license=license,
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
        _save(model, folder / "model", folder)
        if output.exists():
            output.rmdir()
        shutil.move(folder / "model", output)
    return output


def _save(model: tf_keras.Model, path: pathlib.Path, assets: pathlib.Path) -> None:
    golden = golden_clip(model.stream)
    expected = model.endpoints(tf.constant(golden), training=False)

    network = Network(model)
    module = RecognizerModule(network, features.LOGITS)
    if len(module.variables) != len(model.variables):
        raise RuntimeError(f"{type(model).__name__} has variables that it does not use.")
    extractor = RecognizerModule(network, features.FEATURES)

    @tf.function(autograph=False)
    def extract(inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        return extractor(inputs, training=training)

    @tf.function(autograph=False)
    def endpoints(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return network(as_float(inputs), training=False)

    @tf.function(autograph=False)
    def serve(frames: tf.Tensor) -> dict[str, tf.Tensor]:
        named = network(frames, training=False)
        return {
            "logits": named[features.LOGITS],
            "probabilities": tf.nn.softmax(named[features.LOGITS]),
            "features": named[features.FEATURES],
        }

    specs = input_specs(model.stream)
    for spec in specs:
        endpoints.get_concrete_function(spec)
        for training in MODES:
            extract.get_concrete_function(spec, training=training)
    module.feature_extractor, module.features, module.endpoints = extractor, extract, endpoints
    module.labels_file = tf.saved_model.Asset(str(assets / LABELS_FILE))
    module.info_file = tf.saved_model.Asset(str(assets / INFO_FILE))
    frames_spec = tf.TensorSpec(specs[0].shape, specs[0].dtype, name="frames")
    tf.saved_model.save(
        module, str(path), {"serving_default": serve.get_concrete_function(frames_spec)}
    )

    (path / GOLDEN_FILE).parent.mkdir()
    np.savez_compressed(
        path / GOLDEN_FILE,
        frames=golden,
        logits=expected[features.LOGITS].numpy(),
        features=expected[features.FEATURES].numpy(),
    )


def golden_clip(stream: str) -> np.ndarray:
    """A small moving pattern: uint8 [2, 9, 64, 80, 3], or float32 [2, 9, 64, 80, 2] for flow."""
    shape = (2, 9, 64, 80, features.STREAM_CHANNELS[stream])
    clip, frame, y, x, channel = np.meshgrid(*map(np.arange, shape), indexing="ij")
    phase = (x * (2 + clip) + y * (3 - channel)) / 16 - frame * (1 + clip) / 3 + channel
    pattern = np.sin(phase)  # in [-1, 1]
    if stream == features.FLOW:
        return (20 * pattern).astype(np.float32)
    return np.round(127.5 + 127.5 * pattern).astype(np.uint8)
