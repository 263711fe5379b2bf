"""From PoseNet's fields to people: greedy decoding of several poses per frame.

Each local maximum of a heatmap may start a person. From there the displacement fields lead along
the tree of `EDGES` to the other keypoints, and the short offsets, read again at each improved
place, pull each of them to its exact position. Candidates close to the same keypoint of a person
already found are skipped.

Source: Papandreou et al. 2018 (PersonLab, arXiv:1803.08225), Sec. 3.1 to 3.2; the fast decoder that
TensorFlow.js PoseNet uses, with fields read between grid cells (bilinear) and several refinement
steps, as in Coral's decoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from perfnet_tf.streams import NUM_KEYPOINTS

#: (parent, child) keypoints, in the order of the channels of PoseNet's displacement fields.
EDGES = (
    (0, 1),
    (1, 3),
    (0, 2),
    (2, 4),
    (0, 5),
    (5, 7),
    (7, 9),
    (5, 11),
    (11, 13),
    (13, 15),
    (0, 6),
    (6, 8),
    (8, 10),
    (6, 12),
    (12, 14),
    (14, 16),
)


def _paths() -> tuple[tuple[tuple[int, int, int, bool], ...], ...]:
    """For each root the (edge, source, target, forward) steps that reach all other keypoints."""
    paths = []
    for root in range(NUM_KEYPOINTS):
        reached, steps = [root], []
        for source in reached:  # grows while we walk it
            for edge, (parent, child) in enumerate(EDGES):
                for start, target in ((parent, child), (child, parent)):
                    if start == source and target not in reached:
                        reached.append(target)
                        steps.append((edge, source, target, start == parent))
        paths.append(tuple(steps))
    return tuple(paths)


_PATHS = _paths()


@dataclass(frozen=True)
class PoseFields:
    """PoseNet's output for one frame, float32 `[height, width, channels]` on the output grid.

    Attributes:
        heatmap: 17 logits.
        offset: 34: from the cell's centre to the keypoint near it, in pixels, all y before all x.
        displacement_fwd, displacement_bwd: 32: from a keypoint to its child or parent along
            `EDGES`, in pixels, all y before all x.
    """

    heatmap: np.ndarray
    offset: np.ndarray
    displacement_fwd: np.ndarray
    displacement_bwd: np.ndarray


@dataclass(frozen=True)
class DecoderParams:
    """How poses are decoded.

    Attributes:
        root_score: a person starts only from a keypoint of at least this score (tfjs: 0.5).
        nms_radius: pixels of the network's input; keypoints of one kind that are closer belong to
            one person (tfjs: 20).
        min_pose_score: people below it are dropped (0.25: our choice). A person's score is the mean
            over 17 keypoints of those scores that no better person claims.
        refinement_steps: times the short offsets are followed (tfjs: 1 at the nearest cell).
    """

    root_score: float = 0.5
    nms_radius: float = 20.0
    min_pose_score: float = 0.25
    refinement_steps: int = 5


def decode_poses(
    fields: PoseFields, stride: int, max_people: int, params: DecoderParams
) -> np.ndarray:
    """Finds up to `max_people` people.

    Returns:
        float64 `[people, 17, 3]`: x, y in pixels of the network's input, score in [0, 1]; people by
        falling score.
    """
    nms_radius = params.nms_radius / stride
    offset = fields.offset / stride  # cells from here on
    forward = fields.displacement_fwd / stride
    backward = fields.displacement_bwd / stride
    poses: list[np.ndarray] = []
    scores: list[float] = []
    for row, column, keypoint in _candidates(fields.heatmap, params.root_score):
        y = row + offset.item(row, column, keypoint)
        x = column + offset.item(row, column, keypoint + NUM_KEYPOINTS)
        if any(math.hypot(p[keypoint, 0] - x, p[keypoint, 1] - y) <= nms_radius for p in poses):
            continue
        pose = _follow(fields.heatmap, offset, forward, backward, keypoint, y, x, params)
        scores.append(_instance_score(pose, poses, nms_radius))
        poses.append(pose)
        if len(poses) == max_people:
            break
    ranked = np.argsort(-np.array(scores), kind="stable")
    kept = [poses[index] for index in ranked if scores[index] >= params.min_pose_score]
    found = np.array(kept).reshape(-1, NUM_KEYPOINTS, 3)
    found[..., :2] *= stride
    return found


def _candidates(heatmap: np.ndarray, root_score: float) -> list[tuple[int, int, int]]:
    """(row, column, keypoint) of local maxima in 3x3 cells that reach `root_score`, best first."""
    padded = np.pad(heatmap, ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    columns = np.maximum(np.maximum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])
    highest = np.maximum(np.maximum(columns[:-2], columns[1:-1]), columns[2:])
    logit = math.log(root_score / (1.0 - root_score))
    rows, cols, keypoints = np.nonzero((heatmap >= logit) & (heatmap == highest))
    order = np.argsort(-heatmap[rows, cols, keypoints], kind="stable")
    return list(
        zip(rows[order].tolist(), cols[order].tolist(), keypoints[order].tolist(), strict=True)
    )


def _follow(
    heatmap: np.ndarray,
    offset: np.ndarray,
    forward: np.ndarray,
    backward: np.ndarray,
    root: int,
    y: float,
    x: float,
    params: DecoderParams,
) -> np.ndarray:
    """The pose whose keypoint `root` is at (x, y), in cells: `[17, 3]`."""
    places = {root: _clamp(heatmap, y, x)}
    for edge, source, target, is_forward in _PATHS[root]:
        y, x = places[source]
        field = forward if is_forward else backward
        y, x = _move(field, y, x, edge, len(EDGES))
        for _ in range(params.refinement_steps):
            y, x = _move(offset, y, x, target, NUM_KEYPOINTS)
        places[target] = y, x
    pose = np.empty((NUM_KEYPOINTS, 3))
    for keypoint, (y, x) in places.items():
        logit = _sample(heatmap, y, x, keypoint)
        pose[keypoint] = x, y, 1.0 / (1.0 + math.exp(-logit))
    return pose


def _instance_score(pose: np.ndarray, others: list[np.ndarray], nms_radius: float) -> float:
    """Mean over 17 keypoints of the scores that none of `others` claims."""
    claimed = np.zeros(NUM_KEYPOINTS, bool)
    for other in others:
        claimed |= np.hypot(*(pose[:, :2] - other[:, :2]).T) <= nms_radius
    return float(pose[~claimed, 2].sum() / NUM_KEYPOINTS)


# The functions below read single numbers: on plain floats they are several times faster than NumPy
# on arrays of two, and they run some hundred times per person.


def _move(
    field: np.ndarray, y: float, x: float, channel: int, num_vectors: int
) -> tuple[float, float]:
    """(y, x) moved by the vector that `field` holds there, kept on the grid."""
    dy = _sample(field, y, x, channel)
    dx = _sample(field, y, x, channel + num_vectors)
    return _clamp(field, y + dy, x + dx)


def _clamp(field: np.ndarray, y: float, x: float) -> tuple[float, float]:
    return min(max(y, 0.0), field.shape[0] - 1.0), min(max(x, 0.0), field.shape[1] - 1.0)


def _sample(field: np.ndarray, y: float, x: float, channel: int) -> float:
    """`field` between its cells (bilinear); (y, x) is on the grid."""
    top, left = int(y), int(x)
    bottom, right = min(top + 1, field.shape[0] - 1), min(left + 1, field.shape[1] - 1)
    down, across = y - top, x - left
    read = field.item
    upper = (1.0 - across) * read(top, left, channel) + across * read(top, right, channel)
    lower = (1.0 - across) * read(bottom, left, channel) + across * read(bottom, right, channel)
    return float((1.0 - down) * upper + down * lower)
