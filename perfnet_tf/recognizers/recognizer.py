"""A trained network and what it expects: the one type that every command takes."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from perfnet_tf.classes import check_same_classes
from perfnet_tf.config import ClipConfig, ExperimentConfig, PoseRenderConfig
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.label_kinds import SINGLE_LABEL
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.streams import LOGITS, STREAMS

if TYPE_CHECKING:
    from perfnet_tf.recognizers.info import ModelInfo
    from perfnet_tf.recognizers.run_directory import Run

#: The rate and size of records where a network does not state them: PERF-Net Sec. 4.
DEFAULT_FPS, DEFAULT_SHORT_SIDE = 25.0, 256


#: From `[batch, frames, height, width, channels]` to tensors by name.
Endpoints = Callable[[tf.Tensor], Mapping[str, tf.Tensor]]


@dataclass(frozen=True, eq=False)
class Recognizer:
    """A network with fixed weights and what it expects.

    Not a Keras object on purpose: a student that holds it as a teacher does not count its weights
    as its own, train them, or save them.

    Attributes:
        predict: from `[batch, frames, height, width, channels]` of `stream` to float32 logits
            `[batch, classes]`, in inference mode.
        stream: `rgb`, `flow` or `pose`.
        classes: class names in the order of the logits; None if unknown.
        render: how people are drawn for a network of the pose stream.
        clip: the clip that it expects at evaluation; None if unknown.
        fps: frames per second of its training records; None if they kept each video's own.
        short_side: pixels of the shorter side of its training records; None if they are unknown.
        square_pixels: whether the records show pixels that were not square at their display shape.
        record_versions: of the libraries that made the records; empty if unknown.
        label_kind: `single`: softmax makes probabilities of the logits; `multi`: sigmoid does, as
            the clips that it was trained on had several labels (`label_kinds`).
        source: the folder or handle it was loaded from; empty for an object of this process.
        model: its layers; None if they are not accessible, see `layers`.
        config: how it was trained; None if unknown.
        info: `model.json` of an export of this package; None for everything else.
        module: the callable with TensorFlow functions behind `predict` of an export.
        endpoints: from what `predict` takes to its logits under `logits` and to `features`, float32
            `[batch, channels]`: pooled, before the classifier; None if they are not accessible.
    """

    predict: Callable[[tf.Tensor], tf.Tensor]
    stream: str
    classes: tuple[str, ...] | None = None
    render: PoseRenderConfig = field(default_factory=PoseRenderConfig)
    clip: ClipConfig | None = None
    fps: float | None = DEFAULT_FPS
    short_side: int | None = None
    source: str = ""
    model: VideoModel | None = None
    config: ExperimentConfig | None = None
    info: ModelInfo | None = None
    module: Any = None
    square_pixels: bool = True
    record_versions: Mapping[str, str] = field(default_factory=dict)
    label_kind: str = SINGLE_LABEL
    endpoints: Endpoints | None = None
    _open_run: Callable[[], Run] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_choice("A network's stream", self.stream, STREAMS)

    def __call__(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """Float32 logits `[batch, classes]` of clips `[batch, frames, height, width, channels]`.

        Args:
            inputs: RGB (and pose drawn on RGB) as uint8 or float32 in [0, 1]; flow as float32 in
                pixels per frame.
            training: whether batch norm and dropout behave as in training; needs an export or
                layers.
        """
        inputs = tf.convert_to_tensor(inputs)
        if not training:
            return self.predict(inputs)
        network = self.layers() if self.module is None else self.module
        return network(inputs, training=True)

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.source or f"a {type(self.module or self.predict).__name__}"

    @property
    def short_name(self) -> str:
        """The last part of the folder or handle, to name files and pictures by."""
        return pathlib.Path(self.source).resolve().name if self.source else self.stream

    @property
    def backbone(self) -> str | None:
        """The kind of network; None if unknown."""
        return self.config.model.backbone if self.config else getattr(self.model, "backbone", None)

    def run(self) -> Run:
        """The run, or what an export that can be trained was made of, to train it further.

        Raises:
            InputError: this is neither.
        """
        if self._open_run is None:
            raise no_layers(self.name)
        return self._open_run()

    def layers(self) -> VideoModel:
        """The network's layers, to train, explain or export.

        Raises:
            InputError: they are not accessible.
        """
        return self.run().model if self.model is None else self.model

    def expected_clip(self) -> ClipConfig:
        """The clip that it expects at evaluation.

        Raises:
            InputError: unknown.
        """
        if self.clip is None:
            raise InputError(
                "A network must say which clip it expects. "
                f"Received: {self.name}, which does not. Give `clip`."
            )
        return self.clip

    def known_classes(self) -> tuple[str, ...]:
        """The class names in the order of the logits.

        Raises:
            InputError: unknown.
        """
        if self.classes is None:
            raise InputError(
                "A network must say which classes its logits are. "
                f"Received: {self.name}, which does not. Give `classes`."
            )
        return self.classes

    def renamed(self, classes: Sequence[str]) -> Recognizer:
        """This network with other names for its logits, in their order.

        Raises:
            InputError: not as many.
        """
        if self.classes is not None and len(classes) != len(self.classes):
            raise InputError(
                "A label map has one name for each logit. "
                f"Received: {len(classes)} names for the {len(self.classes)} of {self.name}."
            )
        return replace(self, classes=tuple(classes))

    def for_classes(self, name: str, classes: Sequence[str]) -> Recognizer:
        """This network with its logits in the order of `classes`.

        Args:
            name: of the teacher, for the error.
            classes: the student's class names in label order.

        Raises:
            InputError: the network has other classes.
        """
        classes = tuple(classes)
        if self.classes is None or self.classes == classes:
            return self
        check_same_classes(
            self.classes,
            classes,
            rule="Every teacher must predict the student's classes.",
            subject=f"the teacher {name!r}",
            other="the student",
            remedy="Leave it out, or train one on this label set.",
        )
        order = [self.classes.index(label) for label in classes]
        predict, endpoints = self.predict, self.endpoints

        def reordered(inputs: tf.Tensor) -> Mapping[str, tf.Tensor]:
            assert endpoints is not None
            found = endpoints(inputs)
            return {**found, LOGITS: tf.gather(found[LOGITS], order, axis=-1)}

        return Recognizer(
            lambda inputs: tf.gather(predict(inputs), order, axis=-1),
            self.stream,
            classes,
            self.render,
            self.clip,
            self.fps,
            self.short_side,
            self.source,
            label_kind=self.label_kind,
            endpoints=None if endpoints is None else reordered,
        )


#: What a network is called where a student learns from it.
Teacher = Recognizer


class UnspecifiedError(InputError):
    """A network does not say what it sees and predicts; `fact` says so without a remedy."""

    def __init__(self, fact: str, remedy: str) -> None:
        super().__init__(f"{fact} {remedy}")
        self.fact = fact


def no_layers(name: str) -> InputError:
    """The refusal of a network that can only be called."""
    return InputError(
        "Only a run, or an export of this package that can be trained, can be fine-tuned, "
        f"explained or exported. Received: {name}, which can only be called."
    )
