"""Teachers: frozen networks whose logits a student is to match."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from perfnet_tf.config import ExperimentConfig, PoseRenderConfig
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.features import STREAMS


@dataclass(frozen=True, eq=False)
class Teacher:
    """A frozen network and what it wants to see.

    Not a Keras object on purpose: a student that holds it does not count its weights as its own,
    train them, or save them.

    Attributes:
        predict: from `[batch, frames, height, width, channels]` of `stream` to logits
            `[batch, classes]`, in inference mode.
        stream: `rgb`, `flow` or `pose`.
        classes: class names in the order of the logits; None if it does not say, and is trusted.
        render: how people were drawn for a pose teacher when it was trained.
        source: where it comes from, for the record.
    """

    predict: Callable[[tf.Tensor], tf.Tensor]
    stream: str
    classes: tuple[str, ...] | None = None
    render: PoseRenderConfig = field(default_factory=PoseRenderConfig)
    source: str = ""

    def __post_init__(self) -> None:
        check_choice("A teacher's stream", self.stream, STREAMS)

    def for_classes(self, name: str, classes: Sequence[str]) -> Teacher:
        """This teacher with its logits in the order of `classes`.

        Args:
            name: of the teacher, for the error.
            classes: the student's class names in label order.

        Raises:
            InputError: the teacher knows other classes.
        """
        classes = tuple(classes)
        if self.classes is None or self.classes == classes:
            return self
        _check_same_classes(name, self.classes, classes)
        order = [self.classes.index(label) for label in classes]
        predict = self.predict
        return Teacher(
            lambda inputs: tf.gather(predict(inputs), order, axis=-1),
            self.stream,
            classes,
            self.render,
            self.source,
        )


def as_teacher(name: str, teacher: Any) -> Teacher:
    """A `Teacher` from any callable that gives logits.

    Args:
        name: of the teacher. Where the callable has no attribute `stream`, this is its stream.
        teacher: a `Teacher`, a Keras model, or a function of one tensor.

    Raises:
        InputError: not a callable, or its stream is unknown.
    """
    if isinstance(teacher, Teacher):
        return teacher
    if not callable(teacher):
        raise InputError(
            f"A teacher is a callable from a stream to logits. Received for {name!r}: {teacher!r}."
        )
    stream = getattr(teacher, "stream", name)
    if stream not in STREAMS:
        raise InputError(
            f"The teacher {name!r} does not say which stream it sees. Name it by its stream "
            f"({', '.join(STREAMS)}), or pass a Teacher(predict, stream=...)."
        )
    if isinstance(teacher, tf.Module):  # Keras models and layers are modules, too
        return Teacher(lambda inputs: teacher(inputs, training=False), stream)
    return Teacher(teacher, stream)


def load_saved_teacher(handle: str | pathlib.Path) -> Teacher:
    """A teacher from an exported SavedModel: a folder, or a TF Hub or Kaggle handle.

    Loading a SavedModel runs code from it: load only files you trust.

    Raises:
        InputError: there is no SavedModel, or it is not one of this package's exports.
    """
    import tensorflow_hub as hub  # costs a second, and only this needs it

    try:
        module = hub.load(str(handle))
    except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
        raise InputError(
            f"No run and no SavedModel at {handle}: {str(error).splitlines()[0]}"
        ) from error
    try:
        info = json.loads(_asset(module.info_file))
        experiment = ExperimentConfig.from_json(json.dumps(info["experiment"]))
        classes = tuple(_asset(module.labels_file).splitlines())
    except (AttributeError, KeyError, json.JSONDecodeError) as error:
        raise InputError(
            f"{handle} is a SavedModel, but not one of perfnet export: it does not say what it "
            "sees. From Python, pass Teacher(module, stream=...)."
        ) from error
    return Teacher(
        lambda inputs: module(inputs, training=False),
        experiment.stream,
        classes,
        experiment.pose_render,
        str(handle),
    )


def _asset(asset: Any) -> str:
    path = asset.asset_path.numpy().decode()
    return tf.io.gfile.GFile(path).read()


def _check_same_classes(name: str, theirs: Sequence[str], ours: Sequence[str]) -> None:
    missing = sorted(set(ours) - set(theirs))
    extra = sorted(set(theirs) - set(ours))
    if missing or extra or len(theirs) != len(ours):
        raise InputError(
            f"Every teacher must predict the student's classes. The teacher {name!r} lacks "
            f"{_examples(missing)} and has {_examples(extra)} besides "
            f"({len(theirs)} classes, the student {len(ours)}). "
            "Leave it out, or train one on this label set."
        )


def _examples(names: Sequence[str], limit: int = 3) -> str:
    if not names:
        return "none"
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" * (len(names) > limit))
