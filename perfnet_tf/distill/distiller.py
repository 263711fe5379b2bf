"""The student's train step: PERF-Net Sec. 3.3, Eq. 1."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras

from perfnet_tf.config import DistillConfig, PoseRenderConfig
from perfnet_tf.distill.accumulation import Share, accumulate
from perfnet_tf.distill.accuracy import in_top
from perfnet_tf.distill.losses import (
    CROSS_ENTROPY,
    distillation_losses,
    feature_losses,
    term_names,
    weighted_sum,
)
from perfnet_tf.distill.mixup import Labels, by_label, draw_mixing, known, step_seed
from perfnet_tf.distill.step_clips import StepClips
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.models.modes import rematerialization, synchronized_batch_norm
from perfnet_tf.models.ordering import computed_after
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.recognizers.load import Network, load_named
from perfnet_tf.recognizers.recognizer import Recognizer
from perfnet_tf.streams import FEATURES, LABEL, LOGITS, POSE, RGB, STREAMS

#: What the names of teachers' logits in a batch begin with.
TEACHER_LOGITS = "teacher_logits/"


class Distiller(tf_keras.Model):
    """Trains a student to tell classes apart and to match its teachers' logits.

    Without teachers this is plain training by cross-entropy. `compile` with an optimizer only (the
    losses are Eq. 1's) and `fit` on `build_dataset`'s batches, which must hold the student's and
    all teachers' streams (`streams`). Clips labelled -1 (`add_unlabelled`) learn from the teachers
    only; every replica's batch must hold equally many of them.

    Labels of one class per clip give cross-entropy of the softmax, labels of several that of the
    sigmoids: `label_kinds`.

    Metrics, means over clips: `loss` (what is minimised), `cross_entropy` (as minimised: by class
    weights, of smoothed labels and mixed clips), `mse_TEACHER` or `mse_unified` (not weighted;
    another term than the squared error gives its own name), `feature_mse_TEACHER` where features
    are matched, `weight_decay`, `top1`, `top5` (of a mixed clip: the share of the labels that are
    among the highest logits).

    Under a distribution strategy: make it, student and teachers inside `strategy.scope()`.
    """

    def __init__(
        self,
        student: tf_keras.Model,
        teachers: Mapping[str, Network] | None = None,
        loss: str | DistillConfig = "separate",
        teacher_weights: Mapping[str, float] | None = None,
        *,
        stream: str | None = None,
        classes: Sequence[str] | None = None,
        render: PoseRenderConfig | None = None,
        rematerialize: bool | Collection[str] = False,
        synchronize_batch_norm: bool = False,
        class_weights: Sequence[float] | None = None,
        logits_in_batch: bool = False,
        accumulate: int = 1,
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        seed: int = 0,
        decay_in_loss: bool = True,
    ) -> None:
        """Makes a distiller.

        Args:
            student: a network of one stream; it is `self.student`.
            teachers: name -> what `load` takes: a `Recognizer`, a run, a SavedModel, a Keras model,
                or any function from a stream to logits. One that does not say which stream it sees
                is named by it: `{"flow": model}`.
            loss: `separate` (Eq. 1), `unified`, or a `DistillConfig` that states all of it.
            teacher_weights: weight of each teacher's term, or of `unified`; 1 where not given, and
                not with a `DistillConfig`, which has its own.
            stream: what the student sees; None asks the student, and takes `rgb` if it has none.
            classes: the student's class names in label order; checks the teachers' and brings
                their logits into this order. None trusts them.
            render: how people are drawn for a student of the `pose` stream.
            rematerialize: see `TrainConfig`; or the names of the student's blocks whose activations
                are computed again, as `activation_memory.plan_activations` chooses them.
            synchronize_batch_norm: see `TrainConfig`. Both are for networks of this package.
            class_weights: factor of the cross-entropy of each class's training clips, in label
                order; None weighs all alike. `fit(class_weight={label: weight})` does the same for
                one call, as in Keras. Evaluation is never weighted.
            logits_in_batch: teachers are not computed: batches hold their logits, float32
                `[batch, classes]`, under `TEACHER_LOGITS` and their names.
            accumulate, label_smoothing, mixup, seed: see `TrainConfig`; of the training only.
            decay_in_loss: False for an optimizer that decays kernels itself: the student's own
                decay is then left out, and the metric `weight_decay` is 0.

        Raises:
            InputError: a teacher of other classes, a weight for no teacher, weights given twice,
                an unknown loss or stream, not one weight for each class, logits in the batch for
                clips that are mixed, or features to match of networks that do not give them.
        """
        super().__init__(name="distiller")
        self.student = student
        self.stream = stream or str(getattr(student, "stream", RGB))
        check_choice("A student's stream", self.stream, STREAMS)
        self.distill_config = _config(loss, teacher_weights)
        self.render = render or PoseRenderConfig()
        self.rematerialize = rematerialize
        self.synchronize_batch_norm = synchronize_batch_norm
        self.logits_in_batch = logits_in_batch
        self.accumulate = accumulate
        self.label_smoothing = label_smoothing
        self.mixup = mixup
        self.seed = seed
        self.decay_in_loss = decay_in_loss
        if mixup and logits_in_batch:
            raise InputError(
                "Teachers see what is mixed. Received: "
                f"`mixup`={mixup:g}, and teachers that are computed once. Compute them at every "
                "step (`teacher_windows`=0), or do not mix."
            )
        self._num_classes = len(classes) if classes else getattr(student, "num_classes", None)
        self._class_weights = self._checked_weights(class_weights)
        ready = {name: load_named(name, teacher) for name, teacher in (teachers or {}).items()}
        if classes is not None:
            ready = {name: t.for_classes(name, classes) for name, t in ready.items()}
        if self.distill_config.feature_weight:
            _check_features(student, ready)
        # A function hides the teachers from Keras, which would otherwise train and save them.
        self._teachers: Callable[[], Mapping[str, Recognizer]] = lambda: ready

        # Each replica keeps its own: there is no minimum among the ways to join replicas' values.
        self._first_bad_step = tf.Variable(
            -1,
            dtype=tf.int64,
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            name="first_bad_step",
        )
        terms = term_names(ready, self.distill_config)
        self._loss_metrics = {
            name: tf_keras.metrics.Mean(name) for name in ("loss", *terms, "weight_decay")
        }
        self._accuracy_metrics = {name: tf_keras.metrics.Mean(name) for name in ("top1", "top5")}

    @property
    def teachers(self) -> Mapping[str, Recognizer]:
        """The teachers by name."""
        return self._teachers()

    @property
    def streams(self) -> tuple[str, ...]:
        """Every stream that a batch must hold."""
        return (self.stream,) if self.logits_in_batch else self.seen_streams

    @property
    def seen_streams(self) -> tuple[str, ...]:
        """What student and teachers see."""
        used = {self.stream, *(teacher.stream for teacher in self.teachers.values())}
        return tuple(stream for stream in STREAMS if stream in used)

    @property
    def metrics(self) -> list[tf_keras.metrics.Metric]:
        """Those of the class's docstring; Keras resets them at each epoch."""
        return [*self._loss_metrics.values(), *self._accuracy_metrics.values()]

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The student's logits."""
        return self.student(inputs, training=training)

    def fit(
        self, *arguments: Any, class_weight: Mapping[int, float] | None = None, **options: Any
    ) -> tf_keras.callbacks.History:
        """Keras' `fit`; `class_weight` weighs the cross-entropy, in place of `class_weights`.

        Raises:
            InputError: its keys are not the labels 0, 1, 2, ..., each once.
        """
        if class_weight is None:
            return super().fit(*arguments, **options)
        if sorted(class_weight) != list(range(len(class_weight))):
            raise InputError(
                "`class_weight` has the labels 0, 1, 2, ... as keys, each once. "
                f"Received: {class_weight!r}."
            )
        usual = self._class_weights
        self._class_weights = self._checked_weights([w for _, w in sorted(class_weight.items())])
        self.train_function = None  # the weights are constants of the graph
        try:
            return super().fit(*arguments, **options)
        finally:
            self._class_weights = usual
            self.train_function = None

    def train_step(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One step on one replica's clips; returns the metrics' values so far."""
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        clips = self._step_clips(batch)
        whole = _whole(clips, replicas, self.accumulate)
        if self.accumulate == 1:
            step = self._share(clips, whole)
        else:
            self._check_built()
            step = accumulate(
                lambda part: self._share(clips.part(part, self.accumulate), whole),
                self.accumulate,
                self.student.trainable_variables,
                self._loss_metrics,
                unrolled=self.synchronize_batch_norm and replicas > 1,
            )
        variables = self.student.trainable_variables
        self._note_if_not_finite([step.terms["loss"], *step.gradients])
        # Else what an optimizer computes of its state alone would be kept all step, too.
        with tf.control_dependencies(_known(step.gradients)):
            self.optimizer.apply_gradients(zip(step.gradients, variables, strict=True))
        # A Mean averages over replicas what has to be summed.
        terms = {name: share * replicas for name, share in step.terms.items()}
        self._update_metrics(terms, step.logits, clips.labels)
        return {metric.name: metric.result() for metric in self.metrics}

    def _share(self, clips: StepClips, whole: _Whole) -> Share:
        """Eq. 1 and its gradient of some of a step's clips, as their share of the whole step's."""
        teachers = self._ask_teachers(clips)
        # Teachers' activations are gone before the student's, which are kept for the gradient.
        answers = (*teachers.logits.values(), *teachers.features.values())
        frames = computed_after(clips.frames(self.stream, self.render), answers)

        with tf.GradientTape() as tape:
            with (
                rematerialization(self.rematerialize),
                synchronized_batch_norm(self.synchronize_batch_norm),
            ):
                student_logits, features = self._ask_student(frames, training=True)
            # Gradients are summed over replicas, so each replica's loss is its share of the whole.
            terms = distillation_losses(
                clips.labels,
                student_logits,
                teachers.logits,
                self.distill_config,
                whole.clips,
                self._class_weights,
                global_labelled=whole.labelled,
                label_smoothing=self.label_smoothing,
            )
            terms |= feature_losses(features, teachers.features, whole.clips)
            without_decay = weighted_sum(terms, self.distill_config)

        gradients = tape.gradient(without_decay, self.student.trainable_variables)
        decay, gradients = self._decay(gradients, whole.shares)
        loss = without_decay + decay  # Eq. 1
        return Share(gradients, {"loss": loss, **terms, "weight_decay": decay}, student_logits)

    def _decay(
        self, gradients: Sequence[tf.Tensor | None], shares: int
    ) -> tuple[tf.Tensor, list[tf.Tensor | None]]:
        """A share of the weight decay, and gradients with its own added.

        Its own need nothing but the kernels, and so would be computed first and kept all step.
        """
        with tf.GradientTape() as tape:
            decay = self._weight_decay() / shares
        with tf.control_dependencies(_known(gradients)):
            upstream = tf.ones([])
        of_decay = tape.gradient(decay, self.student.trainable_variables, output_gradients=upstream)
        return decay, [
            of_kernel if value is None else value if of_kernel is None else value + of_kernel
            for value, of_kernel in zip(gradients, of_decay, strict=True)
        ]

    def test_step(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Losses and accuracy of one batch, which may be of any size, in inference mode."""
        labels = batch[LABEL]
        clips = StepClips(batch)
        frames = clips.frames(self.stream, self.render)
        student_logits, features = self._ask_student(frames, training=False)
        teachers = self._ask_teachers(clips)
        whole = _whole(clips, replicas=1, parts=1)
        terms = distillation_losses(
            labels,
            student_logits,
            teachers.logits,
            self.distill_config,
            whole.clips,
            global_labelled=whole.labelled,
        )
        terms |= feature_losses(features, teachers.features, whole.clips)
        decay = self._weight_decay()
        loss = weighted_sum(terms, self.distill_config) + decay
        self._update_metrics({"loss": loss, **terms, "weight_decay": decay}, student_logits, labels)
        return {metric.name: metric.result() for metric in self.metrics}

    def first_bad_step(self) -> int | None:
        """The first step whose loss or gradients were not finite here; 0 is the first of all.

        Counted on the device, so that steps that run as one call are told apart. A machine of
        several workers sees its own replicas only.
        """
        strategy = self.distribute_strategy
        steps = [int(value) for value in strategy.experimental_local_results(self._first_bad_step)]
        return min((step for step in steps if step >= 0), default=None)

    def _checked_weights(self, weights: Sequence[float] | None) -> tuple[float, ...] | None:
        if weights is None:
            return None
        checked = tuple(float(weight) for weight in weights)
        fits = self._num_classes in (None, len(checked))
        if not fits or not all(0 <= weight < math.inf for weight in checked):
            raise InputError(
                "`class_weights` has one weight of 0 or greater for each class. "
                f"Received: {len(checked)} weights, {checked[:4]}..., for "
                f"{self._num_classes} classes."
            )
        return checked

    def _check_built(self) -> None:
        if not self.student.built:
            raise InputError(
                "Gradients are summed for weights that exist. Received: a `student` without, for "
                f"`accumulate`={self.accumulate}. Build it, or call it once, before it is trained."
            )

    def _note_if_not_finite(self, values: Sequence[tf.Tensor | None]) -> None:
        finite = [tf.reduce_all(tf.math.is_finite(value)) for value in values if value is not None]
        step = tf.cast(self.optimizer.iterations, tf.int64)
        bad = (self._first_bad_step < 0) & ~tf.reduce_all(finite)
        self._first_bad_step.assign(tf.where(bad, step, self._first_bad_step))

    def _step_clips(self, batch: Mapping[str, tf.Tensor]) -> StepClips:
        if not self.mixup:
            return StepClips(batch)
        seed = step_seed(self.seed, self.optimizer.iterations)
        return StepClips(batch, draw_mixing(batch, batch[LABEL], self.mixup, seed))

    def _ask_student(self, frames: tf.Tensor, training: bool) -> tuple[tf.Tensor, tf.Tensor | None]:
        """The student's logits, and its features where they are matched."""
        if not self.distill_config.feature_weight:
            return self.student(frames, training=training), None
        endpoints = self.student.endpoints(frames, training=training)
        return endpoints[LOGITS], endpoints[FEATURES]

    def _ask_teachers(self, clips: StepClips) -> _Answers:
        """Each teacher sees the student's own crop, window, mirroring and mixture, or has done."""
        if self.logits_in_batch:
            return _Answers(
                {name: clips.batch[TEACHER_LOGITS + name] for name in self.teachers}, {}
            )
        drawn: dict[PoseRenderConfig, tf.Tensor] = {}
        answers = _Answers({}, {})
        for name, teacher in self.teachers.items():
            if teacher.stream == POSE:
                if teacher.render not in drawn:
                    drawn[teacher.render] = clips.frames(POSE, teacher.render)
                frames = drawn[teacher.render]
            else:
                frames = clips.frames(teacher.stream, teacher.render)
            # One after the other: their activations share the memory.
            frames = computed_after(frames, answers.logits.values())
            if self.distill_config.feature_weight:
                assert teacher.endpoints is not None
                endpoints = teacher.endpoints(frames)
                answers.logits[name] = endpoints[LOGITS]
                answers.features[name] = endpoints[FEATURES]
            else:
                answers.logits[name] = teacher.predict(frames)
        return answers

    def _weight_decay(self) -> tf.Tensor:
        losses = self.student.losses if self.decay_in_loss else []
        return tf.add_n([tf.cast(x, tf.float32) for x in losses]) if losses else tf.constant(0.0)

    def _update_metrics(
        self, losses: Mapping[str, tf.Tensor], logits: tf.Tensor, labels: Labels
    ) -> None:
        clips = tf.cast(tf.shape(logits)[0], tf.float32)
        labelled = tf.cast(known(labels), tf.float32)
        for name, value in losses.items():
            weight = tf.reduce_sum(labelled) if name == CROSS_ENTROPY else clips
            self._loss_metrics[name].update_state(value, sample_weight=weight)
        for name, metric in self._accuracy_metrics.items():
            right = by_label(
                labels, functools.partial(in_top, logits, k=int(name.removeprefix("top")))
            )
            metric.update_state(right, sample_weight=labelled)


class _Answers(NamedTuple):
    """What the teachers say of some clips, by their names; features only where they are matched."""

    logits: dict[str, tf.Tensor]
    features: dict[str, tf.Tensor]


class _Whole(NamedTuple):
    """What a share is a share of: clips and clips with labels in a step, and number of shares."""

    clips: tf.Tensor
    labelled: tf.Tensor
    shares: int


def _known(gradients: Sequence[tf.Tensor | None]) -> list[tf.Operation]:
    """An operation to wait for all gradients; none on several replicas.

    Those exchange gradients while others are still being computed.
    """
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        return []
    return [tf.group([value for value in gradients if value is not None])]


def _check_features(student: tf_keras.Model, teachers: Mapping[str, Recognizer]) -> None:
    """Raises `InputError` if a network does not give its features."""
    without = [f"the teacher {name!r}" for name, t in teachers.items() if t.endpoints is None]
    if not isinstance(student, VideoModel):
        without.insert(0, "the student")
    if without:
        raise InputError(
            "Features are matched between networks of this package: a run, or a model. Received: "
            f"{' and '.join(without)} without. Take others, or `feature_weight`=0."
        )


def _whole(clips: StepClips, replicas: int, parts: int) -> _Whole:
    labelled = known(clips.labels)
    # A replica's part of an evaluation's last batch may be empty.
    clips_here = tf.maximum(tf.shape(labelled)[0], 1)
    labelled_here = tf.maximum(tf.reduce_sum(tf.cast(labelled, tf.int32)), 1)
    return _Whole(clips_here * replicas, labelled_here * replicas, replicas * parts)


def _config(
    loss: str | DistillConfig, teacher_weights: Mapping[str, float] | None
) -> DistillConfig:
    if not isinstance(loss, DistillConfig):
        return DistillConfig(loss, dict(teacher_weights or {}))
    if teacher_weights is not None:
        raise InputError(
            "A DistillConfig has the teachers' weights. Received: `teacher_weights` as well. "
            "Leave them out."
        )
    return loss
