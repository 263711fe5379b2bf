"""Joint orders of the formats, by name, and how they become COCO's 17."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.pose.skeleton import KEYPOINT_NAMES

#: Number of joints -> the name of each, in order; joints after the named ones are not COCO's.
JointOrders = Mapping[int, Sequence[str]]

#: Orders that begin with COCO's 17. Sources: `coco17`, `halpe26` of rtmlib 0.0.16
#: (`visualization/skeleton`); `configs/_base_/datasets/{coco_wholebody,halpe}.py` of MMPose 1.3;
#: `docs/output.md` of AlphaPose 0.5 (Halpe-136).
BEGINNING_WITH_COCO: JointOrders = dict.fromkeys((17, 26, 133, 136), KEYPOINT_NAMES)


def _side(names: str) -> tuple[str, ...]:
    """`RWrist` -> `right_wrist`; names as OpenPose spells them."""
    sides = {"R": "right_", "L": "left_"}
    return tuple(
        sides[name[0]] + name[1:].lower() if name[0] in sides else name.lower()
        for name in names.split()
    )


_OPENPOSE_ARMS = "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist"
#: Sources: `POSE_BODY_25_BODY_PARTS` in `doc/02_output.md` of OpenPose 1.7, and its
#: `POSE_COCO_BODY_PARTS` (`poseParameters.cpp`).
OPENPOSE: JointOrders = {
    25: _side(f"{_OPENPOSE_ARMS} MidHip RHip RKnee RAnkle LHip LKnee LAnkle REye LEye REar LEar"),
    18: _side(f"{_OPENPOSE_ARMS} RHip RKnee RAnkle LHip LKnee LAnkle REye LEye REar LEar"),
}

#: Source: MediaPipe's guide to the pose landmarker (33 landmarks); `eye` is the eye's middle.
MEDIAPIPE: JointOrders = {
    33: (
        *("nose", "left_eye_inner", "left_eye", "left_eye_outer"),
        *("right_eye_inner", "right_eye", "right_eye_outer", "left_ear", "right_ear"),
        *("mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow"),
        *("right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky"),
        *("left_index", "right_index", "left_thumb", "right_thumb", "left_hip", "right_hip"),
        *("left_knee", "right_knee", "left_ankle", "right_ankle"),
    )
}


def select_joints(values: np.ndarray, orders: JointOrders, where: str) -> np.ndarray:
    """COCO's joints, in COCO's order.

    Args:
        values: `[..., joints, numbers]`.
        orders: the orders that the format knows.
        where: the file, for messages.

    Returns:
        float64 `[..., 17, numbers]`.

    Raises:
        InputError: another number of joints.
    """
    names = orders.get(values.shape[-2])
    if names is None:
        raise InputError(
            f"A person has {' or '.join(map(str, orders))} joints in this format. "
            f"Received: {values.shape[-2]} in {where}."
        )
    order = [names.index(name) for name in KEYPOINT_NAMES]
    return np.asarray(values[..., order, :], np.float64)
