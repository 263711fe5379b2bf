"""`load`: one `Recognizer` of whatever holds a trained network."""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import tensorflow as tf

from perfnet_tf.config import ClipConfig, ExperimentConfig
from perfnet_tf.errors import InputError, first_line
from perfnet_tf.label_kinds import SINGLE_LABEL
from perfnet_tf.models.folding import fold_teacher
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.recognizers.exported import (
    is_export,
    is_frozen,
    load_for_inference,
    load_saved_model,
    restore_run,
)
from perfnet_tf.recognizers.foreign import load_foreign
from perfnet_tf.recognizers.frozen import FrozenNetwork
from perfnet_tf.recognizers.frozen_cache import frozen_network
from perfnet_tf.recognizers.frozen_graph import frozen_graph
from perfnet_tf.recognizers.pretrained import is_pretrained, resolve_pretrained
from perfnet_tf.recognizers.recognizer import DEFAULT_FPS, Recognizer, UnspecifiedError, no_layers
from perfnet_tf.recognizers.run_directory import (
    CLASSES_FILE,
    CONFIG_FILE,
    WEIGHTS_PREFIX,
    Run,
    has_weights,
    is_run,
    load_run,
    read_run,
)
from perfnet_tf.streams import STREAMS

#: Everything that `load` takes.
Network = Recognizer | Run | Callable[..., Any] | str | os.PathLike[str]


def load(
    handle: Network,
    *,
    stream: str | None = None,
    classes: Sequence[str] | None = None,
    clip: ClipConfig | None = None,
    fps: float | None = None,
    precision: str | None = None,
    trainable: bool = False,
    folded: bool = False,
) -> Recognizer:
    """Loads a trained network.

    Loading a SavedModel runs code from it: load only files you trust. Of an export of this package
    that can be trained, `trainable` and `folded` read the numbers only.

    Args:
        handle: the name of a pretrained network (`pretrained.PRETRAINED`), which is fetched if need
            be; the folder of a run, or a `Run`; the folder of a SavedModel; a TF Hub or Kaggle
            handle; a Keras model or a function from one batch of clips of `stream`, as
            `build_dataset` gives them (frames are uint8), to logits `[batch, classes]`; or a
            `Recognizer`.
        stream: `rgb`, `flow` or `pose`; for a network that does not say what it sees.
        classes: names in the order of the logits, in place of those that the network says.
        clip: what it expects at evaluation, in place of what it says.
        fps: frames per second of the videos that it expects, in place of what it says.
        precision: `float32` (the default), or `mixed_bfloat16` for a run; with `folded`, `float32`
            or `bfloat16`, and the default is what a frozen export computes in.
        trainable: refuse what has no layers, before anything is loaded of it.
        folded: fold batch norm into the weights and freeze them, for speed; what cannot be folded
            is left as it is.

    Raises:
        InputError: `handle` is no network, is damaged, or does not say what it sees and `stream`
            is missing; with `trainable`, it has no layers.
    """
    classes = None if classes is None else tuple(classes)
    if isinstance(handle, Recognizer):
        found = handle
        if trainable:
            found.layers()
    elif isinstance(handle, Run):
        found = _of_run(handle, folded, precision)
    elif isinstance(handle, str | os.PathLike):
        found = _from_path(os.fspath(handle), stream, classes, precision, trainable, folded)
    elif callable(handle):
        found = _of_callable(handle, stream, trainable)
    else:
        raise InputError(
            "A network is a run, a SavedModel, a Hub handle, a Keras model or a function from "
            f"clips to logits. Received: {handle!r}."
        )
    if classes is not None and classes != found.classes:
        found = found.renamed(classes)
    if clip is not None or fps is not None:
        found = replace(found, clip=clip or found.clip, fps=found.fps if fps is None else fps)
    return found


def runs_code(handle: str) -> bool:
    """Whether `load(handle, folded=True)` runs code from it, rather than reading its numbers.

    Raises:
        InputError: there is neither a run nor a SavedModel.
    """
    if is_pretrained(handle) or is_run(handle):
        return False
    folder = _resolve(handle)
    return not is_export(folder) or is_frozen(folder)


def _from_path(
    handle: str,
    stream: str | None,
    classes: tuple[str, ...] | None,
    precision: str | None,
    trainable: bool,
    folded: bool,
) -> Recognizer:
    path = resolve_pretrained(handle)
    if is_run(path):
        source = None if path == handle else handle
        if folded:
            return _frozen_run(path, precision or "float32", source)
        return _of_run(load_run(path, precision=precision or "float32"), False, None, source)
    folder = _resolve(handle)
    if not is_export(folder):
        if trainable:
            raise no_layers(handle)
        return load_foreign(handle, stream=stream, classes=classes)
    if trainable:
        return _of_run(restore_run(folder), False, None, handle)
    if folded:
        return replace(load_for_inference(folder, precision=precision), source=handle)
    return replace(load_saved_model(folder), source=handle)


def _resolve(handle: str) -> str:
    """The folder of a SavedModel: a folder, or what a TF Hub or Kaggle handle is downloaded to."""
    folder = handle
    if "://" in handle and not tf.io.gfile.isdir(handle):
        import tensorflow_hub as hub  # costs a second, and only this needs it

        try:
            folder = hub.resolve(handle)
        except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
            raise InputError(
                f"No run and no SavedModel at {handle}: {first_line(error)}"
            ) from error
    if not tf.saved_model.contains_saved_model(folder):
        raise InputError(
            f"No run and no SavedModel at {handle}: a run is a folder with a run.json, a "
            "SavedModel one with a saved_model.pb."
        )
    return folder


def _frozen_run(path: str, precision: str, source: str | None) -> Recognizer:
    """A run to classify with, whose layers are loaded only if they are asked for."""
    folder = pathlib.Path(path)
    open_run = functools.cache(lambda: load_run(folder))
    if not has_weights(folder):
        open_run()  # says what is wrong
    config, classes, record = read_run(folder)
    module = frozen_network(
        config,
        [folder / CONFIG_FILE, folder / CLASSES_FILE, *sorted(folder.glob(f"{WEIGHTS_PREFIX}.*"))],
        precision,
        lambda: frozen_graph(open_run().model, precision),
    )
    return _recognizer(
        module, config, classes, record, source or str(folder), module=module, _open_run=open_run
    )


def _of_run(run: Run, folded: bool, precision: str | None, source: str | None = None) -> Recognizer:
    module: Any = None
    if folded:
        module = FrozenNetwork.from_model(run.model, precision=precision or "float32")
    return _recognizer(
        module or run.model,
        run.config,
        run.classes,
        run.record,
        source or str(run.path),
        model=run.model,
        module=module,
        _open_run=lambda: run,
    )


def _recognizer(
    network: Any,
    config: ExperimentConfig,
    classes: tuple[str, ...],
    record: Mapping[str, Any],
    source: str,
    **layers: Any,
) -> Recognizer:
    """What a run's files say of `network`; `layers` are further attributes."""
    dataset = record.get("dataset") or {}
    return Recognizer(
        lambda inputs: network(inputs, training=False),
        config.stream,
        classes,
        config.pose_render,
        config.resolved_eval_clip,
        dataset.get("fps", DEFAULT_FPS),
        dataset.get("short_side"),
        source,
        config=config,
        square_pixels=dataset.get("square_pixels", True),
        record_versions=dataset.get("versions", {}),
        label_kind=dataset.get("label_kind", SINGLE_LABEL),
        endpoints=network.endpoints if isinstance(network, VideoModel) else None,
        **layers,
    )


def _of_callable(network: Callable[..., Any], stream: str | None, trainable: bool) -> Recognizer:
    stream = getattr(network, "stream", stream)
    model = network if isinstance(network, VideoModel) else None
    if trainable and model is None:
        raise no_layers(f"a {type(network).__name__}")
    if stream is None or stream not in STREAMS:
        raise UnspecifiedError(
            f"A network must say which stream it sees ({', '.join(STREAMS)}). Received: a "
            f"{type(network).__name__}, which does not.",
            "Give `stream`.",
        )
    # Keras models and layers are modules.
    options = {"training": False} if isinstance(network, tf.Module) else {}

    def predict(inputs: tf.Tensor) -> tf.Tensor:
        return tf.cast(network(inputs, **options), tf.float32)

    endpoints = None if model is None else model.endpoints
    return Recognizer(predict, stream, model=model, module=network, endpoints=endpoints)


def load_named(name: str, source: Network, *, precision: str | None = None) -> Recognizer:
    """A teacher from whatever `load` takes; its name is its stream where it does not say one."""
    try:
        return load(source, stream=name if name in STREAMS else None, precision=precision)
    except UnspecifiedError as error:
        raise InputError(
            f"The teacher {name!r}: {error.fact} Name it by its stream ({', '.join(STREAMS)}); "
            "a SavedModel also needs its label map (`teacher_labels`)."
        ) from error


def load_teacher(name: str, source: Network, *, precision: str = "float32") -> Recognizer:
    """A teacher whose weights stay as they are while a student trains.

    A run is folded (`models.folding`): the same logits in less time and memory. Its layers are let
    go. Whatever may change meanwhile, such as a Keras model, is taken as it is.

    Args:
        name, source: as of `load_named`.
        precision: of the training: `float32` or `mixed_bfloat16`.

    Raises:
        InputError: as `load_named`.
    """
    teacher = load_named(name, source, precision=precision)
    if teacher.model is None or not isinstance(source, Run | str | os.PathLike):
        return teacher
    network = fold_teacher(teacher.model, precision)
    return replace(
        teacher,
        predict=lambda inputs: network(inputs, training=False),
        endpoints=network.endpoints,
        model=None,
        module=None,
        _open_run=None,
    )
