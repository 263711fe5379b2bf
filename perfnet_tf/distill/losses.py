"""The terms of PERF-Net's Eq. 1, each under its own name.

L = CE(S) + sum_i w_i * MSE(T_i, S)          separate loss
L = CE(S) + w * MSE(sum_i T_i, S)            unified loss, the rival of Table 4

S and T_i are the logits of the student and of teacher i. The paper says neither over what the
squared error is averaged nor how its terms are weighted: the mean over classes and clips, and
weights of 1, are our choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import tensorflow as tf

from perfnet_tf.config import DistillConfig
from perfnet_tf.errors import InputError

CROSS_ENTROPY = "cross_entropy"
#: The one term, and its weight's name, of the unified loss.
UNIFIED = "unified"
_MSE = "mse_"


def distillation_losses(
    labels: tf.Tensor,
    student_logits: tf.Tensor,
    teacher_logits: Mapping[str, tf.Tensor],
    config: DistillConfig,
    global_batch_size: int | tf.Tensor,
    class_weights: Sequence[float] | None = None,
) -> dict[str, tf.Tensor]:
    """The terms of the loss, not yet weighted.

    Args:
        labels: integer `[batch]`.
        student_logits: float `[batch, classes]`.
        teacher_logits: teacher -> float `[batch, classes]`; their gradients are stopped here.
        config: which loss.
        global_batch_size: clips over all replicas. A replica's terms are its share of the whole:
            their sum over replicas is the mean over the global batch, as gradients are summed.
        class_weights: factor of the cross-entropy of each class's clips, in label order; None
            weighs all alike. As in Keras, the mean divides by the number of clips.

    Returns:
        float32 scalars: `cross_entropy`, and `mse_NAME` for each teacher or `mse_unified`.
    """
    student = tf.cast(student_logits, tf.float32)
    teachers = {
        name: tf.stop_gradient(tf.cast(logits, tf.float32))
        for name, logits in teacher_logits.items()
    }
    if config.loss == UNIFIED and teachers:
        teachers = {UNIFIED: tf.add_n(list(teachers.values()))}
    clips = tf.cast(global_batch_size, tf.float32)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=student)
    if class_weights is not None:
        entropy *= tf.gather(tf.constant(class_weights, tf.float32), labels)  # [batch]
    terms = {CROSS_ENTROPY: tf.reduce_sum(entropy) / clips}
    for name, logits in teachers.items():
        error = tf.reduce_mean(tf.square(logits - student), axis=-1)  # [batch]
        terms[_MSE + name] = tf.reduce_sum(error) / clips
    return terms


def weighted_sum(terms: Mapping[str, tf.Tensor], config: DistillConfig) -> tf.Tensor:
    """Eq. 1: the cross-entropy and each weighted squared error, summed."""
    return tf.add_n([_weight(name, config) * term for name, term in terms.items()])


def term_names(teachers: Iterable[str], config: DistillConfig) -> list[str]:
    """The keys of `distillation_losses` for these teachers.

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
    return [CROSS_ENTROPY, *(_MSE + name for name in terms)]


def _weight(term: str, config: DistillConfig) -> float:
    if term == CROSS_ENTROPY:
        return 1.0
    return float(config.teacher_weights.get(term.removeprefix(_MSE), 1.0))
