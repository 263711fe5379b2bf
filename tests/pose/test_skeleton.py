import itertools

import numpy as np
import pytest

from perfnet_tf.pose.skeleton import (
    HEAD,
    KEYPOINT_LIMBS,
    KEYPOINT_NAMES,
    LIMB_COLORS,
    LIMB_NAMES,
    LIMBS,
    MIRRORED_KEYPOINTS,
    PART_COLORS,
    limb_colors,
    mirrored,
)
from perfnet_tf.streams import NUM_KEYPOINTS, PERSON_SHAPE

MIRRORED_LIMBS = mirrored(LIMB_NAMES)


def test_mirroring_swaps_sides_and_twice_is_nothing():
    assert KEYPOINT_NAMES[MIRRORED_KEYPOINTS[KEYPOINT_NAMES.index("left_wrist")]] == "right_wrist"
    assert MIRRORED_KEYPOINTS[0] == 0
    for permutation in (MIRRORED_KEYPOINTS, MIRRORED_LIMBS):
        assert [permutation[i] for i in permutation] == list(range(len(permutation)))


def test_a_mirrored_limb_joins_the_mirrored_keypoints():
    other_end = [*MIRRORED_KEYPOINTS, 17, 18]  # neck and head have no side
    for limb, ends in enumerate(LIMBS):
        assert LIMBS[MIRRORED_LIMBS[limb]] == tuple(other_end[end] for end in ends)


def test_every_joint_and_the_head_ends_one_limb():
    assert sorted(end for _, end in LIMBS) == [*range(5, 17), HEAD]
    assert [LIMB_NAMES[limb] for limb in KEYPOINT_LIMBS[:5]] == ["head"] * 5
    assert sorted(KEYPOINT_LIMBS[5:]) == [i for i in range(13) if LIMB_NAMES[i] != "head"]


@pytest.mark.parametrize("colors", [LIMB_COLORS, tuple(PART_COLORS.values())])
def test_colours_are_distinguishable(colors):
    for one, other in itertools.combinations(colors, 2):
        assert np.abs(np.subtract(one, other)).max() >= 80


def test_coarse_colours_follow_the_parts_of_the_body():
    colors = dict(zip(LIMB_NAMES, limb_colors(6), strict=True))
    assert colors["left_forearm"] == colors["left_upper_arm"] == PART_COLORS["left_arm"]
    assert colors["right_shin"] == PART_COLORS["right_leg"]
    assert colors["left_side"] == colors["right_shoulder"] == PART_COLORS["body"]
    assert len(set(limb_colors(6))) == 6 and len(set(limb_colors(13))) == 13
    with pytest.raises(ValueError, match="6 or 13"):
        limb_colors(7)


def test_every_keypoint_of_a_stored_person_has_a_name():
    assert len(KEYPOINT_NAMES) == NUM_KEYPOINTS == PERSON_SHAPE[0]
