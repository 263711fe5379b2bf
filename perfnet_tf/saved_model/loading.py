"""Reads what `export_saved_model` wrote: to call it, or to go on training its network."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import tensorflow as tf
import tf_keras

from perfnet_tf.errors import InputError, first_line
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.saved_model.inference import InferenceModule
from perfnet_tf.saved_model.info import INFO_FILE, LABELS_FILE, ModelInfo


class LoadedModel:
    """A SavedModel of this package, ready to call.

    Attributes:
        path: its folder.
        labels: class names in the order of the logits.
        info: where it comes from and which clips it was evaluated on.
        module: what `tf.saved_model.load` gave: `variables`, `regularization_losses`, `features`
            and the rest of the table in `perfnet_tf.saved_model`.
    """

    def __init__(
        self, path: pathlib.Path, labels: tuple[str, ...], info: ModelInfo, module: Any
    ) -> None:
        self.path = path
        self.labels = labels
        self.info = info
        self.module = module

    @property
    def stream(self) -> str:
        """What it sees: `rgb`, `flow` or `pose`."""
        return self.info.experiment.stream

    def __call__(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """Logits float32 `[batch, classes]` of clips `[batch, frames, height, width, channels]`.

        RGB (and pose drawn on RGB) is uint8 or float32 in [0, 1]; flow is float32 pixels a frame.
        """
        return self.module(tf.convert_to_tensor(inputs), training=training)


def load_saved_model(path: str | os.PathLike[str]) -> LoadedModel:
    """Loads a model that `export_saved_model` wrote.

    Loading a SavedModel runs code from it, as every SavedModel does: load only files you trust.

    Raises:
        InputError: `path` is no SavedModel, is damaged, or was not written by this package.
    """
    folder, labels, info = _read_assets(path)
    try:
        module = tf.saved_model.load(str(folder))
    except (OSError, ValueError, IndexError, RuntimeError, tf.errors.OpError) as error:
        raise _damaged(folder, error) from error
    return LoadedModel(folder, labels, info, module)


def restore_model(
    path: str | os.PathLike[str],
) -> tuple[tf_keras.Model, tuple[str, ...], ModelInfo]:
    """Rebuilds the Keras model of an export, with its weights, to train it on.

    Only the numbers of the SavedModel and its `model.json` are read; its graph is not.

    Returns:
        The model, its class names in the order of the logits, and where it comes from.

    Raises:
        InputError: as `load_saved_model`, the export is for inference only, or the weights do not
            fit the network of `model.json`.
    """
    folder, labels, info = _read_assets(path)
    if info.inference_precision is not None:
        raise InputError(
            "Only an export that can be trained has weights to restore. "
            f"Received: {folder}, frozen for inference. Export the run without --inference_only."
        )
    experiment = info.experiment
    model = build_from_config(experiment.model, len(labels), experiment.stream)
    try:
        reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        # In this order they were exported: `RecognizerModule.variables`.
        for index, variable in enumerate(model.variables):
            variable.assign(reader.get_tensor(f"variables/{index}/.ATTRIBUTES/VARIABLE_VALUE"))
    except (OSError, ValueError, IndexError, RuntimeError, tf.errors.OpError) as error:
        raise _damaged(folder, error) from error
    return model, labels, info


def load_for_inference(
    path: str | os.PathLike[str], *, precision: str | None = None
) -> LoadedModel:
    """Loads an export to classify with: folded and frozen, whatever it was exported for.

    Of an export that can be trained only the numbers and `model.json` are read, as in
    `restore_model`; one for inference only is loaded as `load_saved_model` does, code and all.

    Args:
        path: folder of an export.
        precision: `float32` or `bfloat16`; None is float32, or what the export computes in.

    Raises:
        InputError: as `restore_model`, or the export is frozen in another precision.
    """
    folder, labels, info = _read_assets(path)
    if info.inference_precision is not None:
        if precision not in (None, info.inference_precision):
            raise InputError(
                f"{folder} is frozen in {info.inference_precision}. Received: {precision}. "
                "Leave the precision out, or export the run again."
            )
        return load_saved_model(folder)
    model, labels, info = restore_model(folder)
    module = InferenceModule(model, precision=precision or "float32")
    return LoadedModel(folder, labels, info, module)


def runs_code(path: str | os.PathLike[str]) -> bool:
    """Whether `load_for_inference` runs code from this export, rather than reading its numbers.

    Raises:
        InputError: `path` is no SavedModel, or was not written by this package.
    """
    return _read_assets(path)[2].inference_precision is not None


def _read_assets(path: str | os.PathLike[str]) -> tuple[pathlib.Path, tuple[str, ...], ModelInfo]:
    folder = pathlib.Path(path)
    if not (folder / "saved_model.pb").is_file():
        raise InputError(
            f"A SavedModel is a folder with a saved_model.pb. Received: {folder}. "
            "Make one with perfnet export."
        )
    try:
        labels = (folder / "assets" / LABELS_FILE).read_text(encoding="utf-8")
        info = (folder / "assets" / INFO_FILE).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{folder} is a SavedModel, but not one of perfnet export: it has no "
            f"assets/{INFO_FILE} and assets/{LABELS_FILE}. Use tf.saved_model.load for it."
        ) from error
    except UnicodeDecodeError as error:
        raise _damaged(folder, error) from error
    return folder, tuple(labels.splitlines()), ModelInfo.from_json(info)


def _damaged(folder: pathlib.Path, error: Exception) -> InputError:
    return InputError(
        f"{folder} is damaged: {first_line(error)[:200]}. Copy it again, or export the run again."
    )
