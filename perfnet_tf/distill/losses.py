"""The terms of the student's loss, each under its own name: PERF-Net's Eq. 1 and its rivals.

L = CE(S) + sum_i w_i * D(T_i, S)          separate loss
L = CE(S) + w * D(sum_i T_i, S)            unified loss, the rival of Table 4
L + f * sum_i MSE(features of T_i and S)   with `DistillConfig.feature_weight` f

S and T_i are the logits of the student and of teacher i, and D is the mean squared error (Eq. 1) or
another of `DistillConfig.term`. The paper says neither over what the squared error is averaged nor
how its terms are weighted: the mean over classes and clips, and weights of 1, are our choice. The
paper's clips have one label each. Of clips with several, CE is the mean over classes of the
sigmoids' cross-entropies: our choice, as MSE is such a mean as well.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence

import tensorflow as tf

from perfnet_tf.config import DistillConfig
from perfnet_tf.distill.mixup import Labels, MixedLabels, by_label
from perfnet_tf.errors import InputError
from perfnet_tf.input_pipeline.unlabelled import UNLABELLED, is_labelled

CROSS_ENTROPY = "cross_entropy"
#: The one term, and its weight's name, of the unified loss.
UNIFIED = "unified"
#: `DistillConfig.term` -> what its metrics' names begin with.
TERM_PREFIXES = {"squared_error": "mse_", "standardized": "standardized_mse_", "kl": "kl_"}
#: What the names of the features' terms begin with.
FEATURE_PREFIX = "feature_mse_"
#: Added to a variance of logits: equal logits have none.
_SMALL = 1e-6


def distillation_losses(
    labels: Labels,
    student_logits: tf.Tensor,
    teacher_logits: Mapping[str, tf.Tensor],
    config: DistillConfig,
    global_batch_size: int | tf.Tensor,
    class_weights: Sequence[float] | None = None,
    *,
    global_labelled: int | tf.Tensor | None = None,
    label_smoothing: float = 0.0,
) -> dict[str, tf.Tensor]:
    """The terms of the loss, not yet weighted.

    Args:
        labels: integer `[batch]`, or float `[batch, classes]` of several labels (`label_kinds`); a
            clip labelled `UNLABELLED` counts in the teachers' terms only; or those of mixed clips.
        student_logits: float `[batch, classes]`.
        teacher_logits: teacher -> float `[batch, classes]`; their gradients are stopped here.
        config: which loss.
        global_batch_size: clips over all replicas. A replica's terms are its share of the whole:
            their sum over replicas is the mean over the global batch, as gradients are summed.
        class_weights: factor of the cross-entropy of each class's clips, in label order; None
            weighs all alike. As in Keras, the mean divides by the number of clips.
        global_labelled: clips with labels over all replicas; None is all.
        label_smoothing: see `TrainConfig`. A clip's class weight is that of its label.

    Returns:
        float32 scalars: `cross_entropy`, and one for each teacher, or for `unified`, under the
        names of `term_names`.

    Raises:
        InputError: settings for one label per clip, and several labels.
    """
    if not isinstance(labels, MixedLabels):
        labels = tf.convert_to_tensor(labels)
    student = tf.cast(student_logits, tf.float32)
    teachers = {
        name: tf.stop_gradient(tf.cast(logits, tf.float32))
        for name, logits in teacher_logits.items()
    }
    if config.loss == UNIFIED and teachers:
        teachers = {UNIFIED: tf.add_n(list(teachers.values()))}
    clips = tf.cast(global_batch_size, tf.float32)
    labelled = clips if global_labelled is None else tf.cast(global_labelled, tf.float32)
    entropy = by_label(
        labels, lambda each: _cross_entropy(each, student, config, class_weights, label_smoothing)
    )
    terms = {CROSS_ENTROPY: tf.reduce_sum(entropy) / labelled}
    term = _TERMS[config.term]
    for name, logits in teachers.items():
        error = term(logits, student, config.temperature)  # [batch]
        if config.clip_weights == "confidence":
            error *= by_label(labels, functools.partial(confidence, logits=logits))
        terms[TERM_PREFIXES[config.term] + name] = tf.reduce_sum(error) / clips
    return terms


def feature_losses(
    student_features: tf.Tensor | None,
    teacher_features: Mapping[str, tf.Tensor],
    global_batch_size: int | tf.Tensor,
) -> dict[str, tf.Tensor]:
    """The terms of `DistillConfig.feature_weight`, not yet weighted.

    Args:
        student_features: float `[batch, channels]`; None where there are no teacher's.
        teacher_features: teacher -> float `[batch, channels]`; their gradients are stopped here.
        global_batch_size: as of `distillation_losses`.

    Returns:
        A float32 scalar for each teacher, under the names of `term_names`.

    Raises:
        InputError: a teacher has more or fewer channels.
    """
    if student_features is None:
        return {}
    student = tf.cast(student_features, tf.float32)
    clips = tf.cast(global_batch_size, tf.float32)
    terms = {}
    for name, features in teacher_features.items():
        if features.shape[-1] != student.shape[-1]:
            raise InputError(
                "A student matches the features of teachers that have as many. Received: "
                f"{student.shape[-1]} of the student and {features.shape[-1]} of {name!r}. Take "
                "networks of one width, or `feature_weight`=0."
            )
        teacher = tf.stop_gradient(tf.cast(features, tf.float32))
        error = tf.reduce_mean(tf.square(teacher - student), axis=-1)
        terms[FEATURE_PREFIX + name] = tf.reduce_sum(error) / clips
    return terms


def check_for_several_labels(config: DistillConfig) -> None:
    """Raises `InputError` if the loss has probabilities that sum to 1 over the classes."""
    if config.term == "kl" or config.clip_weights == "confidence":
        raise InputError(
            "`term=kl` and `clip_weights=confidence` are for clips with one label. Received: "
            f"{config.term} and {config.clip_weights} for clips with several. Take squared_error "
            "or standardized, and alike."
        )


def weighted_sum(terms: Mapping[str, tf.Tensor], config: DistillConfig) -> tf.Tensor:
    """Eq. 1: the cross-entropy and each weighted teacher's term, summed."""
    return tf.add_n([_weight(name, config) * term for name, term in terms.items()])


def term_names(teachers: Iterable[str], config: DistillConfig) -> list[str]:
    """The keys of `distillation_losses`, and of `feature_losses`, for these teachers.

    Raises:
        InputError: a weight for something that has no term.
    """
    teachers = list(teachers)
    terms = [UNIFIED] if config.loss == UNIFIED and teachers else teachers
    unknown = sorted(set(config.teacher_weights) - set(terms))
    if unknown:
        raise InputError(
            f"Weights must name terms of the {config.loss} loss: {', '.join(terms) or 'none'}. "
            f"Received: {', '.join(unknown)}."
        )
    of_features = teachers if config.feature_weight else []
    return [
        CROSS_ENTROPY,
        *(TERM_PREFIXES[config.term] + name for name in terms),
        *(FEATURE_PREFIX + name for name in of_features),
    ]


def confidence(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The probability that a teacher gives to each clip's label, or else to its first answer.

    Args:
        labels: integer `[batch]`, `UNLABELLED` where it is unknown.
        logits: float32 `[batch, classes]`.

    Returns:
        float32 `[batch]`.
    """
    first = tf.argmax(logits, axis=-1, output_type=labels.dtype)
    answers = tf.where(labels == UNLABELLED, first, labels)
    return tf.gather(tf.nn.softmax(logits), answers, axis=1, batch_dims=1)


def _cross_entropy(
    labels: tf.Tensor,
    student: tf.Tensor,
    config: DistillConfig,
    class_weights: Sequence[float] | None,
    label_smoothing: float,
) -> tf.Tensor:
    """Cross-entropy of each clip, 0 of one without a label: float32 `[batch]`."""
    known = is_labelled(labels)
    if labels.shape.rank == 2:
        check_for_several_labels(config)
        if class_weights is not None:
            raise InputError(
                "`class_weights` are for clips with one label. Received: weights for clips with "
                "several. Leave them out."
            )
        labels = tf.cast(labels, tf.float32)
        if label_smoothing:
            labels += label_smoothing * (0.5 - labels)
        each = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=student)
        return tf.where(known, tf.reduce_mean(each, axis=-1), 0.0)
    labels = tf.where(known, labels, 0)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=student)
    if label_smoothing:
        of_all = tf.reduce_logsumexp(student, axis=-1) - tf.reduce_mean(student, axis=-1)
        entropy += label_smoothing * (of_all - entropy)
    if class_weights is not None:
        entropy *= tf.gather(tf.constant(class_weights, tf.float32), labels)
    return tf.where(known, entropy, 0.0)


def _squared_error(teacher: tf.Tensor, student: tf.Tensor, _: float) -> tf.Tensor:
    return tf.reduce_mean(tf.square(teacher - student), axis=-1)


def _standardized_error(teacher: tf.Tensor, student: tf.Tensor, _: float) -> tf.Tensor:
    return tf.reduce_mean(tf.square(_standardized(teacher) - _standardized(student)), axis=-1)


def _standardized(logits: tf.Tensor) -> tf.Tensor:
    centered = logits - tf.reduce_mean(logits, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centered), axis=-1, keepdims=True)
    return centered * tf.math.rsqrt(variance + _SMALL)


def _divergence(teacher: tf.Tensor, student: tf.Tensor, temperature: float) -> tf.Tensor:
    wanted = tf.nn.log_softmax(teacher / temperature)
    found = tf.nn.log_softmax(student / temperature)
    # The square keeps the gradient's size whatever the temperature.
    return temperature**2 * tf.reduce_sum(tf.exp(wanted) * (wanted - found), axis=-1)


_TERMS: dict[str, Callable[[tf.Tensor, tf.Tensor, float], tf.Tensor]] = {
    "squared_error": _squared_error,
    "standardized": _standardized_error,
    "kl": _divergence,
}


def _weight(term: str, config: DistillConfig) -> float:
    if term == CROSS_ENTROPY:
        return 1.0
    if term.startswith(FEATURE_PREFIX):
        return config.feature_weight
    return float(config.teacher_weights.get(term.removeprefix(TERM_PREFIXES[config.term]), 1.0))
