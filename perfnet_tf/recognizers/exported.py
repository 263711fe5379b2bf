"""Reads what `export_saved_model` wrote: to call it, or to train its network further."""

from __future__ import annotations

import functools
import os
import pathlib
from typing import Any

import tensorflow as tf
import tf_keras

from perfnet_tf.errors import InputError, first_line
from perfnet_tf.label_kinds import SINGLE_LABEL
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.models.precision import precision_policy
from perfnet_tf.recognizers.frozen import FrozenNetwork
from perfnet_tf.recognizers.frozen_cache import frozen_network
from perfnet_tf.recognizers.frozen_graph import FrozenGraph, exported_graph, frozen_graph
from perfnet_tf.recognizers.info import INFO_FILE, LABELS_FILE, ModelInfo
from perfnet_tf.recognizers.recognizer import DEFAULT_FPS, Recognizer
from perfnet_tf.recognizers.run_directory import Run


def load_saved_model(path: str | os.PathLike[str]) -> Recognizer:
    """Loads a model that `export_saved_model` wrote.

    Loading a SavedModel runs code from it, as every SavedModel does: load only files you trust.

    Raises:
        InputError: `path` is no SavedModel, is damaged, or was not written by this package.
    """
    folder, classes, info = _read_assets(path)
    try:
        module = tf.saved_model.load(folder)
    except (OSError, ValueError, IndexError, RuntimeError, tf.errors.OpError) as error:
        raise _damaged(folder, error) from error
    return _recognizer(folder, classes, info, module)


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
    folder, classes, info = _read_assets(path)
    if info.inference_precision is not None:
        raise InputError(
            "Only an export that can be trained has weights to restore. "
            f"Received: {folder}, frozen for inference. Export the run without `inference_only`."
        )
    experiment = info.experiment
    with precision_policy("float32"):
        model = build_from_config(experiment.model, len(classes), experiment.stream)
    try:
        reader = tf.train.load_checkpoint(os.path.join(folder, "variables", "variables"))
        # In this order they were exported: `RecognizerModule.variables`.
        for index, variable in enumerate(model.variables):
            variable.assign(reader.get_tensor(f"variables/{index}/.ATTRIBUTES/VARIABLE_VALUE"))
    except (OSError, ValueError, IndexError, RuntimeError, tf.errors.OpError) as error:
        raise _damaged(folder, error) from error
    return model, classes, info


def restore_run(path: str | os.PathLike[str]) -> Run:
    """What an export that can be trained was made of; raises as `restore_model`."""
    model, classes, info = restore_model(path)
    record = {"dataset": dict(info.dataset)}
    if info.pretrained:
        record["pretrained"] = dict(info.pretrained)
    return Run(pathlib.Path(path), info.experiment, classes, model, record)


def load_for_inference(path: str | os.PathLike[str], *, precision: str | None = None) -> Recognizer:
    """Loads an export to classify with: folded and frozen, whatever it was exported for.

    Of an export that can be trained only the numbers and `model.json` are read, as in
    `restore_model`; of one for inference only the graph of the network is.

    Args:
        path: folder of an export.
        precision: `float32` or `bfloat16`; None is float32, or what the export computes in.

    Raises:
        InputError: as `restore_model`, or the export is frozen in another precision.
    """
    folder, classes, info = _read_assets(path)
    if info.inference_precision is not None:
        if precision not in (None, info.inference_precision):
            raise InputError(
                f"{folder} is frozen in {info.inference_precision}. Received: {precision}. "
                "Leave the precision out, or export the run again."
            )
        try:
            return _recognizer(folder, classes, info, FrozenNetwork(exported_graph(folder)))
        except (OSError, ValueError, tf.errors.OpError):  # damaged, or of an earlier version
            return load_saved_model(folder)
    precision = precision or "float32"

    def make() -> FrozenGraph:
        return frozen_graph(restore_model(folder)[0], precision)

    local = pathlib.Path(folder)
    weights = sorted(local.glob("variables/variables.*"))
    if weights:
        files = [local / "assets" / INFO_FILE, local / "assets" / LABELS_FILE, *weights]
        module = frozen_network(info.experiment, files, precision, make)
    else:  # remote, or damaged
        module = FrozenNetwork(make())
    return _recognizer(folder, classes, info, module)


def is_frozen(path: str | os.PathLike[str]) -> bool:
    """Whether an export is for inference only; raises as `load_saved_model`."""
    return _read_assets(path)[2].inference_precision is not None


def is_export(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a SavedModel that this package wrote."""
    assets = os.path.join(path, "assets")
    return all(tf.io.gfile.exists(os.path.join(assets, name)) for name in (INFO_FILE, LABELS_FILE))


def _read_assets(path: str | os.PathLike[str]) -> tuple[str, tuple[str, ...], ModelInfo]:
    folder = os.fspath(path)
    if not tf.io.gfile.exists(os.path.join(folder, "saved_model.pb")):
        raise InputError(
            f"A SavedModel is a folder with a saved_model.pb. Received: {folder}. "
            "Make one with perfnet export."
        )
    if not is_export(folder):
        raise InputError(
            f"{folder} is a SavedModel, but not one of perfnet export: it has no "
            f"assets/{INFO_FILE} and assets/{LABELS_FILE}. Use perfnet_tf.load for it."
        )
    try:
        classes, info = (
            tf.io.gfile.GFile(os.path.join(folder, "assets", name)).read()
            for name in (LABELS_FILE, INFO_FILE)
        )
    except (OSError, UnicodeDecodeError, tf.errors.OpError) as error:
        raise _damaged(folder, error) from error
    return folder, tuple(classes.splitlines()), ModelInfo.from_json(info)


def _recognizer(
    folder: str,
    classes: tuple[str, ...],
    info: ModelInfo,
    module: Any,
) -> Recognizer:
    return Recognizer(
        lambda inputs: module(inputs, training=False),
        info.experiment.stream,
        classes,
        info.experiment.pose_render,
        info.experiment.resolved_eval_clip,
        info.dataset.get("fps", DEFAULT_FPS),
        info.dataset.get("short_side"),
        folder,
        config=info.experiment,
        info=info,
        module=module,
        square_pixels=info.dataset.get("square_pixels", True),
        record_versions=info.dataset.get("versions", {}),
        label_kind=info.dataset.get("label_kind", SINGLE_LABEL),
        _open_run=functools.cache(functools.partial(restore_run, folder)),
    )


def _damaged(folder: str, error: Exception) -> InputError:
    return InputError(
        f"{folder} is damaged: {first_line(error)[:200]}. Copy it again, or export the run again."
    )
