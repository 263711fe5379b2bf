"""People in frames between those in which they were found."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from perfnet_tf.pose.clip_keypoints import sort_people
from perfnet_tf.pose.people import MIN_KEYPOINT_SCORE, People, assemble_people, tight_boxes

# Someone moves less than this share of the diagonal of their box from one found frame to the next;
# at every fifth frame of 25 per second that is 2.5 diagonals a second.
_FARTHEST = 0.5


def interpolate_people(people: People, places: npt.ArrayLike, num_frames: int) -> People:
    """People of every frame, given those of some.

    From one given frame to the next a person is who is nearest: of all ways to pair the people of
    both, the one with the smallest mean distance of keypoints, and no pair farther apart than half
    the diagonal of their boxes. Keypoints and scores of a pair move in straight lines. Who has no
    pair stays where they are until halfway.

    Args:
        people: in the frames at `places`.
        places: int `[given]`, rising; the first is 0 and the last `num_frames - 1`.
        num_frames: frames of the result.

    Returns:
        `num_frames` frames with as many places for people; those given are as they were.

    Raises:
        ValueError: other places.
    """
    places = np.asarray(places, int)
    expected = len(people.keypoints)
    if (
        len(places) != expected
        or not expected
        or (places[0], places[-1]) != (0, num_frames - 1)
        or (np.diff(places) < 1).any()
    ):
        raise ValueError(
            f"places must rise from 0 to {num_frames - 1}, one for each of {expected} frames. "
            f"Received: {places.tolist()}."
        )
    poses = [people.keypoints[0]]
    for index in range(expected - 1):
        before, after = people.keypoints[index], people.keypoints[index + 1]
        gap = places[index + 1] - places[index]
        if gap > 1:
            pairs = _pair(_found(before), _found(after))
            poses += [_between(pairs, step / gap) for step in range(1, gap)]
        poses.append(after)
    between = assemble_people(poses, people.keypoints.shape[1])
    boxes = between.boxes
    boxes[places] = people.boxes
    return People(between.keypoints, boxes)


def _found(people: np.ndarray) -> np.ndarray:
    """`[people, 17, 3]` without the empty places."""
    found: np.ndarray = people[people[..., 2].max(axis=1) > 0]
    return found


def _pair(
    before: np.ndarray, after: np.ndarray
) -> list[tuple[np.ndarray | None, np.ndarray | None]]:
    """Each person before with the same person after; None where there is no such."""
    allowed = np.full((len(before), len(after)), False)
    distances = np.full(allowed.shape, np.inf)
    for i, one in enumerate(before):
        for j, other in enumerate(after):
            distance, size = _distance(one, other)
            distances[i, j], allowed[i, j] = distance, distance <= _FARTHEST * size
    # A forbidden pair costs more than any number of allowed ones saves.
    costs = np.where(allowed, distances, 1e6)
    chosen = [(i, j) for i, j in zip(*linear_sum_assignment(costs), strict=True) if allowed[i, j]]
    pairs: list[tuple[np.ndarray | None, np.ndarray | None]]
    pairs = [(before[i], after[j]) for i, j in chosen]
    firsts, seconds = {i for i, _ in chosen}, {j for _, j in chosen}
    pairs += [(before[i], None) for i in range(len(before)) if i not in firsts]
    pairs += [(None, after[j]) for j in range(len(after)) if j not in seconds]
    return pairs


def _distance(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Mean distance of the keypoints that both have, and the larger diagonal of the two boxes."""
    boxes = tight_boxes(np.stack([one, other]))
    size = float(np.hypot(*(boxes[:, 2:] - boxes[:, :2]).T).max())
    shared = np.minimum(one[:, 2], other[:, 2]) >= MIN_KEYPOINT_SCORE
    if not shared.any():
        return np.inf, size
    return float(np.linalg.norm(one[shared, :2] - other[shared, :2], axis=1).mean()), size


def _between(pairs: list[tuple[np.ndarray | None, np.ndarray | None]], share: float) -> np.ndarray:
    """The people at `share` of the way, in (0, 1), by falling score."""
    people = []
    for before, after in pairs:
        if before is not None and after is not None:
            people.append((1 - share) * before + share * after)
        elif before is not None and share <= 0.5:
            people.append(before)
        elif after is not None and share > 0.5:
            people.append(after)
    return sort_people(np.asarray(people, np.float32)) if people else np.zeros((0, 17, 3))
