"""PoseNet decoding written for reading: recursion over the tree, dense interpolation, no tricks."""

from __future__ import annotations

import numpy as np

from perfnet_tf.pose.estimators.posenet_decoder import EDGES


def read(field, point):
    """All channels of `field` at (y, x) in cells: every cell weighs by its triangle kernel."""
    rows, cols = np.arange(field.shape[0]), np.arange(field.shape[1])
    down = np.maximum(0, 1 - np.abs(rows - point[0]))
    across = np.maximum(0, 1 - np.abs(cols - point[1]))
    return np.einsum("r,c,rcn->n", down, across, field)


def decode(fields, stride, params, max_people=5):
    """People `[people, 17, 3]`: x, y in pixels of the network's input, score."""
    heatmap = fields.heatmap.astype(np.float64)
    offset = fields.offset.reshape(*heatmap.shape[:2], 2, 17) / stride
    forward = fields.displacement_fwd.reshape(*heatmap.shape[:2], 2, 16) / stride
    backward = fields.displacement_bwd.reshape(*heatmap.shape[:2], 2, 16) / stride
    limit = np.array(heatmap.shape[:2]) - 1.0

    def move(point, field, channel):
        step = read(field.reshape(*heatmap.shape[:2], -1), point).reshape(2, -1)[:, channel]
        return np.clip(point + step, 0, limit)

    def spread(places, source):
        for edge, (parent, child) in enumerate(EDGES):
            for start, target, field in ((parent, child, forward), (child, parent, backward)):
                if start == source and target not in places:
                    point = move(places[source], field, edge)
                    for _ in range(params.refinement_steps):
                        point = move(point, offset, target)
                    places[target] = point
                    spread(places, target)

    roots = []
    for row, col, k in np.ndindex(heatmap.shape):
        window = heatmap[max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2, k]
        score = 1 / (1 + np.exp(-heatmap[row, col, k]))
        if heatmap[row, col, k] == window.max() and score >= params.root_score:
            roots.append((score, row, col, k))
    people, ranks = [], []
    for _, row, col, k in sorted(roots, key=lambda root: -root[0]):
        point = np.clip(np.array([row, col]) + offset[row, col, :, k], 0, limit)
        near = params.nms_radius / stride
        if len(people) == max_people:
            break
        if any(np.linalg.norm(other[k, 1::-1] - point) <= near for other in people):
            continue
        places = {k: point}
        spread(places, k)
        pose, own = np.zeros((17, 3)), 0.0
        for keypoint, point in places.items():
            score = 1 / (1 + np.exp(-read(heatmap, point)[keypoint]))
            pose[keypoint] = point[1], point[0], score
            taken = (np.linalg.norm(o[keypoint, 1::-1] - point) <= near for o in people)
            own += 0.0 if any(taken) else score / 17
        people.append(pose)
        ranks.append(own)
    order = sorted(range(len(people)), key=lambda i: -ranks[i])
    kept = [people[i] * (stride, stride, 1) for i in order if ranks[i] >= params.min_pose_score]
    return np.array(kept).reshape(-1, 17, 3)
