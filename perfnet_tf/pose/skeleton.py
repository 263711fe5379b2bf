"""The 17 COCO keypoints, the 13 limbs and the colours that the pose stream is drawn from.

Thirteen limbs reach out from the neck, and each ends at its own joint: two shoulders, elbows,
wrists, hips, knees and ankles, and the head. One table of 13 colours therefore serves limbs (bars)
and joints (dots) alike. Left and right are the person's own.

Source: COCO's keypoints in COCO's order. PERF-Net Sec. 3.1 gives the number of colours (13, or 6
for left arm, right arm, body, head, left leg and right leg) but neither the limbs nor the colours:
those are our choice; limbs from the neck are OpenPose's.
"""

from __future__ import annotations

from perfnet_tf.streams import NUM_KEYPOINTS

KEYPOINT_NAMES = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)


def mirrored(names: tuple[str, ...]) -> tuple[int, ...]:
    """For each name the index of the one on the other side: `left_*` and `right_*` change places.

    Mirroring a picture makes a left wrist a right one: `keypoints[..., MIRRORED_KEYPOINTS, :]`.
    """
    other = {"left": "right", "right": "left"}

    def swap(name: str) -> str:
        side, _, rest = name.partition("_")
        return f"{other[side]}_{rest}" if side in other else name

    return tuple(names.index(swap(name)) for name in names)


MIRRORED_KEYPOINTS = mirrored(KEYPOINT_NAMES)

#: Two points that COCO lacks, each the mean of the visible keypoints named here.
NECK, HEAD = NUM_KEYPOINTS, NUM_KEYPOINTS + 1
NECK_KEYPOINTS = (5, 6)  # shoulders
HEAD_KEYPOINTS = (0, 1, 2, 3, 4)  # nose, eyes, ears: someone seen from behind has a head too

#: Name, (start, end), part; in drawing order: later limbs cover earlier ones.
_LIMB_TABLE = (
    ("left_shoulder", (NECK, 5), "body"),
    ("right_shoulder", (NECK, 6), "body"),
    ("left_side", (NECK, 11), "body"),
    ("right_side", (NECK, 12), "body"),
    ("left_thigh", (11, 13), "left_leg"),
    ("right_thigh", (12, 14), "right_leg"),
    ("left_shin", (13, 15), "left_leg"),
    ("right_shin", (14, 16), "right_leg"),
    ("head", (NECK, HEAD), "head"),
    ("left_upper_arm", (5, 7), "left_arm"),
    ("right_upper_arm", (6, 8), "right_arm"),
    ("left_forearm", (7, 9), "left_arm"),
    ("right_forearm", (8, 10), "right_arm"),
)
LIMB_NAMES: tuple[str, ...] = tuple(name for name, _, _ in _LIMB_TABLE)
#: Ends of each limb: indices of keypoints, or `NECK` or `HEAD`.
LIMBS: tuple[tuple[int, int], ...] = tuple(ends for _, ends, _ in _LIMB_TABLE)

#: Fine-grained colouring: RGB of each limb, in the order of `LIMBS`. Warm is left, cool is right.
LIMB_COLORS: tuple[tuple[int, int, int], ...] = (
    (255, 170, 170),  # left_shoulder
    (170, 170, 255),  # right_shoulder
    (170, 85, 0),  # left_side
    (0, 85, 170),  # right_side
    (255, 85, 0),  # left_thigh
    (0, 170, 85),  # right_thigh
    (255, 255, 0),  # left_shin
    (0, 255, 255),  # right_shin
    (0, 255, 0),  # head
    (255, 0, 0),  # left_upper_arm
    (0, 0, 255),  # right_upper_arm
    (255, 0, 170),  # left_forearm
    (85, 0, 170),  # right_forearm
)

#: Coarse-grained colouring (PERF-Net Sec. 3.1): RGB of each of 6 parts.
PART_COLORS: dict[str, tuple[int, int, int]] = {
    "left_arm": (255, 0, 0),
    "right_arm": (0, 0, 255),
    "body": (0, 255, 0),
    "head": (255, 0, 255),
    "left_leg": (255, 255, 0),
    "right_leg": (0, 255, 255),
}
LIMB_PARTS: tuple[str, ...] = tuple(part for _, _, part in _LIMB_TABLE)

#: The limb whose colour a keypoint's dot takes: the limb that ends there.
KEYPOINT_LIMBS: tuple[int, ...] = tuple(
    LIMB_NAMES.index("head")
    if keypoint in HEAD_KEYPOINTS
    else next(limb for limb, (_, end) in enumerate(LIMBS) if end == keypoint)
    for keypoint in range(NUM_KEYPOINTS)
)


def limb_colors(num_colors: int) -> tuple[tuple[int, int, int], ...]:
    """RGB of each limb in the order of `LIMBS`: 13 colours, or 6, one per part of the body."""
    if num_colors == len(LIMB_COLORS):
        return LIMB_COLORS
    if num_colors == len(PART_COLORS):
        return tuple(PART_COLORS[part] for part in LIMB_PARTS)
    raise ValueError(f"num_colors must be 6 or 13. Received: {num_colors!r}.")
