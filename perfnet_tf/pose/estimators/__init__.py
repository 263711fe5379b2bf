"""The pose networks, each behind the same interface, and where their weights come from."""

from __future__ import annotations

import os

from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.pose.estimators.published import resolve_weights
from perfnet_tf.pose.people import PoseEstimator

#: Estimators that look at frames.
POSE_ESTIMATORS = ("posenet", "movenet")


def make_estimator(
    name: str, weights: str | os.PathLike[str] | None = None, max_people: int = 5
) -> PoseEstimator:
    """Makes an estimator, with its weights loaded.

    Args:
        name: one of `POSE_ESTIMATORS`.
        weights: folder of the estimator's weights, or the name of a model in the cache
            (`pose.estimators.published`); None takes the model that the cache holds.
        max_people: people kept in each frame.

    Raises:
        InputError: unknown name, or no usable weights.
    """
    check_choice("pose", name, POSE_ESTIMATORS)
    if max_people < 1:
        raise InputError(f"max_people must be 1 or greater. Received: {max_people}.")
    weights = resolve_weights(name, weights)
    # TensorFlow is imported only once an estimator is wanted.
    if name == "movenet":
        from perfnet_tf.pose.estimators.movenet import MoveNetEstimator

        return MoveNetEstimator.load(weights, max_people=max_people)
    from perfnet_tf.pose.estimators.posenet import PoseNetEstimator

    return PoseNetEstimator.load(weights, max_people=max_people)
