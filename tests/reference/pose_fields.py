"""PoseNet's fields as a perfect network would give them for known people."""

from __future__ import annotations

import numpy as np

from perfnet_tf.pose.estimators.posenet_decoder import EDGES, PoseFields


def ideal_fields(people: np.ndarray, height: int, width: int, stride: int = 16) -> PoseFields:
    """Fields for people `[people, 17, 3]` (x, y in pixels, score); each cell is the nearest's."""
    rows, cols = (height - 1) // stride + 1, (width - 1) // stride + 1
    cell_y, cell_x = np.meshgrid(np.arange(rows) * stride, np.arange(cols) * stride, indexing="ij")
    heatmap = np.full((rows, cols, 17), -8.0)
    offset = np.zeros((rows, cols, 34))
    forward, backward = np.zeros((rows, cols, 32)), np.zeros((rows, cols, 32))
    for keypoint in range(17):
        x, y, score = people[:, keypoint].T[:, :, None, None]
        distance = np.hypot(cell_x - x, cell_y - y)
        owner = distance.argmin(axis=0)
        for row in range(rows):
            for col in range(cols):
                who = owner[row, col]
                # Constant over the disk, so that reading it between cells gives the score.
                if distance[who, row, col] <= 2.5 * stride:
                    p = np.clip(score[who, 0, 0], 1e-3, 1 - 1e-3)
                    bump = 1e-3 * distance[who, row, col]
                    heatmap[row, col, keypoint] = np.log(p / (1 - p)) - bump
                offset[row, col, keypoint] = people[who, keypoint, 1] - cell_y[row, col]
                offset[row, col, keypoint + 17] = people[who, keypoint, 0] - cell_x[row, col]
                for edge, (parent, child) in enumerate(EDGES):
                    step = people[who, child, :2] - people[who, parent, :2]
                    if parent == keypoint:
                        forward[row, col, edge] = step[1]
                        forward[row, col, edge + 16] = step[0]
                    if child == keypoint:
                        backward[row, col, edge] = -step[1]
                        backward[row, col, edge + 16] = -step[0]
    return PoseFields(*(f.astype(np.float32) for f in (heatmap, offset, forward, backward)))


def standing_person(x: float, y: float, size: float, score: float = 0.9) -> np.ndarray:
    """A person facing the camera, `[17, 3]`, nose at (x, y), `size` pixels tall or so."""
    shape = [
        (0, 0), (0.03, -0.03), (-0.03, -0.03), (0.06, -0.01), (-0.06, -0.01),
        (0.15, 0.15), (-0.15, 0.15), (0.2, 0.35), (-0.2, 0.35), (0.22, 0.5), (-0.22, 0.5),
        (0.1, 0.5), (-0.1, 0.5), (0.11, 0.72), (-0.11, 0.72), (0.12, 0.95), (-0.12, 0.95),
    ]  # fmt: skip
    points = np.array(shape) * size + (x, y)
    return np.concatenate([points, np.full((17, 1), score)], axis=1)
