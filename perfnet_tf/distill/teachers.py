"""Teachers: frozen networks whose logits a student is to match."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import tensorflow as tf

from perfnet_tf.config import ExperimentConfig, PoseRenderConfig
from perfnet_tf.errors import InputError, check_choice, first_line
from perfnet_tf.streams import STREAMS


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

    def renamed(self, classes: Sequence[str]) -> Teacher:
        """This teacher with other names for its logits, in their order.

        Raises:
            InputError: not as many.
        """
        if self.classes is not None and len(classes) != len(self.classes):
            raise InputError(
                "A label map has one name for each logit. "
                f"Received: {len(classes)} names for the {len(self.classes)} of {self.source}."
            )
        return replace(self, classes=tuple(classes))

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


@dataclass(frozen=True)
class NamedTeacher:
    """A teacher to load, with what it does not say of itself.

    Attributes:
        handle: a run, a SavedModel, or a TF Hub or Kaggle handle.
        classes: names in the order of its logits, in place of what it says.
        stream: what it sees, if it does not say so.
    """

    handle: str
    classes: tuple[str, ...] | None = None
    stream: str | None = None


def load_saved_teacher(
    handle: str | pathlib.Path,
    *,
    classes: Sequence[str] | None = None,
    stream: str | None = None,
) -> Teacher:
    """A teacher from a SavedModel: a folder, or a TF Hub or Kaggle handle.

    One of `perfnet export` says what it sees and predicts. Any other is asked with float32 frames
    in [0, 1], or flow in pixels per frame, `[batch, frames, height, width, channels]`; it is an
    object to call or a signature, and returns logits `[batch, classes]`, or a dict that holds them
    as `logits` or alone.

    Loading a SavedModel runs code from it: load only files you trust.

    Args:
        handle: of the SavedModel.
        classes: names in the order of the logits; of a model that says them, in their place.
        stream: what a model that does not say so sees.

    Raises:
        InputError: there is no SavedModel, or one that neither says what it sees and predicts nor
            was told here.
    """
    import tensorflow_hub as hub  # costs a second, and only this needs it

    try:
        module = hub.load(str(handle))
    except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
        raise InputError(f"No run and no SavedModel at {handle}: {first_line(error)}") from error
    try:
        info = json.loads(_asset(module.info_file))
        experiment = ExperimentConfig.from_json(json.dumps(info["experiment"]))
        own_classes = tuple(_asset(module.labels_file).splitlines())
    except (AttributeError, KeyError, json.JSONDecodeError) as error:
        if classes is None or stream is None:
            raise InputError(
                f"{handle} is a SavedModel, but not one of perfnet export: it does not say what it "
                "sees. Name it by its stream (--teachers=flow=...) and give its label map "
                "(--teacher_labels=flow=FILE)."
            ) from error
        return _foreign_teacher(module, tuple(classes), stream, str(handle))
    teacher = Teacher(
        lambda inputs: module(inputs, training=False),
        experiment.stream,
        own_classes,
        experiment.pose_render,
        str(handle),
    )
    return teacher if classes is None else teacher.renamed(classes)


def _foreign_teacher(module: Any, classes: tuple[str, ...], stream: str, handle: str) -> Teacher:
    call = _callable_of(module, handle)

    def predict(inputs: tf.Tensor) -> tf.Tensor:
        if inputs.dtype == tf.uint8:
            inputs = tf.cast(inputs, tf.float32) / 255.0
        outputs = call(tf.cast(inputs, tf.float32))
        if isinstance(outputs, Mapping):
            alone = len(outputs) == 1
            outputs = next(iter(outputs.values())) if alone else outputs.get("logits")
        shape = getattr(outputs, "shape", None)
        if shape is None or shape.rank not in (None, 2) or shape[-1] not in (None, len(classes)):
            raise InputError(
                f"A teacher gives logits [batch, {len(classes)}], one for each name of its label "
                f"map. Received from {handle}: {shape if shape is not None else 'no logits'}."
            )
        return tf.cast(outputs, tf.float32)

    return Teacher(predict, stream, classes, source=handle)


def _callable_of(module: Any, handle: str) -> Callable[[tf.Tensor], Any]:
    """What to call with one tensor."""
    if callable(module):
        function = module.__call__
        traced = [trace.structured_input_signature for trace in function.concrete_functions]
        # Model Garden's video networks take {"image": clip}.
        keys = {tuple(plain[0]) for plain, _ in traced if plain and isinstance(plain[0], Mapping)}
        key = next((names[0] for names in sorted(keys) if len(names) == 1), None)
        wrap = (lambda inputs: {key: inputs}) if key else (lambda inputs: inputs)
        if any("training" in named or bool in map(type, plain) for plain, named in traced):
            return lambda inputs: module(wrap(inputs), training=False)
        return lambda inputs: module(wrap(inputs))
    signatures = getattr(module, "signatures", {})
    for name in ("serving_default", "default"):
        if name in signatures:
            signature = signatures[name]
            argument = next(iter(signature.structured_input_signature[1]))
            return lambda inputs: signature(**{argument: inputs})
    raise InputError(
        f"{handle} is a SavedModel that can neither be called nor has a signature serving_default."
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
