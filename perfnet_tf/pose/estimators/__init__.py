"""The pose networks, each behind the same interface, and where their weights come from."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.pose.estimators.published import PUBLISHED_MODELS, resolve_weights
from perfnet_tf.pose.people import PoseEstimator
from perfnet_tf.registry import Registry

#: (weights, max_people) -> an estimator with its weights loaded.
MakeEstimator = Callable[[pathlib.Path | None, int], PoseEstimator]


def _make_posenet(weights: pathlib.Path | None, max_people: int) -> PoseEstimator:
    from perfnet_tf.pose.estimators.posenet import PoseNetEstimator

    return PoseNetEstimator.load(weights, max_people=max_people)


def _make_movenet(weights: pathlib.Path | None, max_people: int) -> PoseEstimator:
    from perfnet_tf.pose.estimators.movenet import MoveNetEstimator

    return MoveNetEstimator.load(weights, max_people=max_people)


#: Estimators that find people in frames. TensorFlow is imported only when one is made.
POSE_ESTIMATORS: Registry[MakeEstimator] = Registry(
    "pose estimator", {"posenet": _make_posenet, "movenet": _make_movenet}
)


def register_estimator(name: str, make: MakeEstimator) -> None:
    """Adds a pose estimator, for `pose=name` of `perfnet_tf.prepare`.

    Worker processes make their own: put the call into a plugin (`perfnet prepare --plugin=FILE`,
    or `perfnet_tf.registry.load_plugin`), which they import as well.

    Args:
        name: lower-case identifier.
        make: called with the folder or file of the weights, None if the user gives none, and the
            number of people kept per frame; returns a `PoseEstimator` (`pose.people`).

    Raises:
        InputError: the name is taken, or not an identifier.
    """
    POSE_ESTIMATORS.register(name, make)


def estimator_weights(name: str, weights: str | os.PathLike[str] | None) -> pathlib.Path | None:
    """Where an estimator's weights are; None for one that is given none and has no published ones.

    Args:
        name: one of `POSE_ESTIMATORS`.
        weights: folder of the estimator's weights, or the name of a model in the cache
            (`pose.estimators.published`); None takes the model that the cache holds.

    Raises:
        InputError: the estimator needs weights and the cache has none, or several.
    """
    if any(model.estimator == name for model in PUBLISHED_MODELS.values()):
        return resolve_weights(name, weights)
    return None if weights is None else pathlib.Path(weights)


def make_estimator(
    name: str, weights: str | os.PathLike[str] | None = None, max_people: int = 5
) -> PoseEstimator:
    """Makes an estimator, with its weights loaded.

    Args:
        name: one of `POSE_ESTIMATORS`.
        weights: as in `estimator_weights`.
        max_people: people kept in each frame.

    Raises:
        InputError: unknown name, or no usable weights.
    """
    check_choice("pose", name, POSE_ESTIMATORS)
    if max_people < 1:
        raise InputError(f"max_people must be 1 or greater. Received: {max_people}.")
    return POSE_ESTIMATORS[name](estimator_weights(name, weights), max_people)
