import itertools

import cv2
import numpy as np
import pytest
import tensorflow as tf
from pose_drawing import draw_exactly, draw_with_opencv
from pose_fields import standing_person

from perfnet_tf.config import PoseRenderConfig
from perfnet_tf.input_pipeline.cutting import mirror_boxes, mirror_keypoints
from perfnet_tf.pose.rendering import render_pose
from perfnet_tf.pose.skeleton import (
    LIMB_COLORS,
    LIMB_NAMES,
    MIRRORED_KEYPOINTS,
    PART_COLORS,
    mirrored,
)
from perfnet_tf.pose.variants import POSE_VARIANTS

MIRRORED_LIMBS = mirrored(LIMB_NAMES)
VARIANTS = [
    PoseRenderConfig(marker, colors, ratio, background, thickness=0.06)
    for marker, colors, ratio, background in [
        ("bar", 13, True, "rgb"),
        ("bar", 6, False, "rgb"),
        ("bar", 13, False, "black"),
        ("dot", 13, True, "black"),
        ("dot", 6, False, "rgb"),
    ]
]


def random_scene(rng, height, width, people, frames=2):
    """Frames, keypoints with some scores below the minimum and some places off the frame, boxes."""
    pictures = rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    keypoints = rng.uniform(-0.1, 1.1, (frames, people, 17, 3)).astype(np.float32)
    keypoints[..., 2] = rng.uniform(0, 1, keypoints.shape[:-1])
    corners = np.sort(rng.uniform(0, 1, (frames, people, 2, 2)), axis=2)
    return pictures, keypoints, corners.reshape(frames, people, 4).astype(np.float32)


def draw_all(draw, frames, keypoints, boxes, config):
    scenes = zip(frames, keypoints, boxes, strict=True)
    return np.stack([draw(*scene, config) for scene in scenes])


@pytest.mark.parametrize("config", VARIANTS, ids=range(len(VARIANTS)))
@pytest.mark.parametrize(("height", "width", "people"), [(48, 64, 1), (56, 40, 3), (33, 75, 5)])
def test_pixels_are_those_within_half_a_thickness(config, height, width, people):
    frames, keypoints, boxes = random_scene(np.random.default_rng(people), height, width, people)
    drawn = render_pose(frames, keypoints, boxes, config).numpy()
    expected = draw_all(draw_exactly, frames, keypoints, boxes, config)
    # A pixel centre at half a thickness to the last float32 digit may fall either way.
    assert (drawn != expected).any(axis=-1).mean() < 1e-3
    assert 0.02 < (drawn != frames).any(axis=-1).mean()


def _flat(pictures):
    """Where a pixel and its neighbours within one pixel have one colour."""
    kernel = np.ones((3, 3))
    extremes = [np.stack([f(p, kernel) for p in pictures]) for f in (cv2.erode, cv2.dilate)]
    return (extremes[0] == extremes[1]).all(axis=-1)


@pytest.mark.parametrize("marker", ["bar", "dot"])
@pytest.mark.parametrize(("height", "width"), [(72, 120), (120, 90), (96, 128)])
def test_drawing_is_opencvs(marker, height, width):
    """34 scenes of 1 to 5 people each, 204 in all."""
    rng = np.random.default_rng(height)
    frames, keypoints, boxes = random_scene(rng, height, width, people=5, frames=34)
    for scene in range(34):
        keypoints[scene, 1 + scene % 5 :] = boxes[scene, 1 + scene % 5 :] = 0
    config = PoseRenderConfig(marker, ratio_aware=True, thickness=0.08, background="black")
    drawn = render_pose(frames, keypoints, boxes, config).numpy()
    opencv = draw_all(draw_with_opencv, frames, keypoints, boxes, config)
    ours, theirs = drawn.any(axis=-1), opencv.any(axis=-1)
    assert (ours & theirs).sum() / (ours | theirs).sum() >= 0.97
    # Inside, that is where all neighbours have one colour in both drawings, it is
    # the same colour: only edges, and who is on top along them, may differ.
    inside = theirs & _flat(opencv) & _flat(drawn)
    assert inside.sum() > 0.2 * theirs.sum()
    np.testing.assert_array_equal(drawn[inside], opencv[inside])
    assert set(map(tuple, drawn[ours])) <= set(LIMB_COLORS)


def test_hand_counted_bar():
    """A forearm from pixel (4, 5) to (12, 5), 3 pixels thick: 3 rows of 9, round ends of 1 each."""
    keypoints = np.zeros((1, 1, 17, 3), np.float32)
    keypoints[0, 0, 7] = 4.5 / 32, 5.5 / 16, 0.2  # the minimum itself is enough
    keypoints[0, 0, 9] = 12.5 / 32, 5.5 / 16, 1.0
    frames = np.full((1, 16, 32, 3), 7, np.uint8)
    config = PoseRenderConfig(ratio_aware=False, thickness=3 / 16)
    drawn = render_pose(frames, keypoints, np.zeros((1, 1, 4), np.float32), config).numpy()[0]
    expected = np.full((16, 32, 3), 7)
    color = LIMB_COLORS[LIMB_NAMES.index("left_forearm")]
    expected[4:7, 3:14] = color
    expected[5, 3:14] = color
    np.testing.assert_array_equal(drawn, expected)


def test_nothing_is_drawn_below_the_minimum_score():
    rng = np.random.default_rng(0)
    frames, keypoints, boxes = random_scene(rng, 40, 60, 2)
    keypoints[..., 2] = np.nextafter(np.float32(0.2), np.float32(0))
    for config in VARIANTS:
        expected = frames if config.background == "rgb" else np.zeros_like(frames)
        np.testing.assert_array_equal(render_pose(frames, keypoints, boxes, config), expected)


def test_absent_people_leave_no_trace_even_without_a_minimum():
    frames = np.full((1, 8, 12, 3), 9, np.uint8)
    absent = np.zeros((1, 2, 17, 3), np.float32), np.zeros((1, 2, 4), np.float32)
    for marker in ("bar", "dot"):
        config = PoseRenderConfig(marker, min_score=0.0, ratio_aware=False, thickness=0.9)
        np.testing.assert_array_equal(render_pose(frames, *absent, config), frames)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_keypoints_that_are_nowhere_are_left_out(value):
    frames = np.zeros((1, 40, 60, 3), np.uint8)
    keypoints = standing_person(0.5, 0.2, 0.7)[None, None].astype(np.float32)
    boxes = np.array([[[0.3, 0.2, 0.7, 0.9]]], np.float32)
    without = keypoints.copy()
    without[0, 0, 9, 2] = 0
    keypoints[0, 0, 9, 0] = value
    keypoints[0, 0, 10, 2] = np.nan
    without[0, 0, 10, 2] = 0
    expected = render_pose(frames, without, boxes).numpy()
    drawn = render_pose(frames, keypoints, boxes).numpy()
    if value == 1e30:  # a place, though far out: only the forearm towards it may be drawn
        forearm = np.all(drawn == LIMB_COLORS[LIMB_NAMES.index("left_forearm")], axis=-1)
        expected[forearm], drawn[forearm] = 0, 0
    np.testing.assert_array_equal(drawn, expected)
    unknown = np.full_like(boxes, np.nan)
    thin = render_pose(frames, without, np.zeros_like(boxes))
    np.testing.assert_array_equal(render_pose(frames, without, unknown), thin)


def test_the_first_person_is_on_top():
    frames = np.zeros((1, 30, 40, 3), np.uint8)
    keypoints = np.zeros((1, 2, 17, 3), np.float32)
    keypoints[0, :, [7, 9]] = 0.5, 0.5, 1.0
    keypoints[0, 0, [7, 9], 0] = 0.2, 0.8  # a level left forearm
    keypoints[0, 1, [8, 10]] = [[0.5, 0.1, 1.0], [0.5, 0.9, 1.0]]  # an upright right forearm
    keypoints[0, 1, [7, 9]] = 0
    drawn = render_pose(frames, keypoints, np.zeros((1, 2, 4), np.float32)).numpy()
    assert tuple(drawn[0, 15, 20]) == LIMB_COLORS[LIMB_NAMES.index("left_forearm")]
    swapped = render_pose(frames, keypoints[:, ::-1], np.zeros((1, 2, 4), np.float32)).numpy()
    assert tuple(swapped[0, 15, 20]) == LIMB_COLORS[LIMB_NAMES.index("right_forearm")]


def test_thickness_follows_the_box_or_the_frame():
    frames = np.zeros((1, 60, 100, 3), np.uint8)
    keypoints = np.zeros((1, 1, 17, 3), np.float32)
    keypoints[0, 0, [7, 9]] = [[0.25, 0.505, 1], [0.75, 0.505, 1]]
    boxes = np.array([[[0.0, 0.0, 0.8, 0.5]]], np.float32)  # 80 x 30 pixels

    def rows(**options):
        drawn = render_pose(frames, keypoints, boxes, PoseRenderConfig(thickness=0.1, **options))
        return drawn.numpy()[0, :, 50].any(axis=-1).sum()

    assert rows(ratio_aware=True) == 8
    assert rows(ratio_aware=False) == 6


def test_the_head_shows_from_behind():
    """Without a nose, the ears stand for the head; with one shoulder, it stands for the neck."""
    keypoints = np.zeros((1, 1, 17, 3), np.float32)
    keypoints[0, 0, [3, 4]] = [[0.4, 0.2, 1], [0.6, 0.2, 1]]
    keypoints[0, 0, 5] = 0.5, 0.8, 1
    frames = np.zeros((1, 50, 50, 3), np.uint8)
    config = PoseRenderConfig(num_colors=6)
    drawn = render_pose(frames, keypoints, np.zeros((1, 1, 4), np.float32), config).numpy()[0]
    assert (
        tuple(drawn[25, 25]) == PART_COLORS["head"] or tuple(drawn[25, 24]) == PART_COLORS["head"]
    )


@pytest.mark.parametrize("marker", ["bar", "dot"])
def test_a_mirrored_clip_has_the_mirrored_limbs_in_the_other_sides_colours(marker):
    """Coordinates are dyadic, so that mirroring is exact; left and right do not overlap."""
    keypoints = standing_person(0.5, 0.15, 0.75)[None, None]
    keypoints[..., :2] = np.round(keypoints[..., :2] * 64) / 64
    keypoints = keypoints.astype(np.float32)
    frames = np.zeros((1, 64, 128, 3), np.uint8)
    boxes = np.array([[[0.25, 0.125, 0.75, 0.875]]], np.float32)
    config = PoseRenderConfig(marker=marker, thickness=2 / 64, background="black")
    flipped = keypoints[:, :, list(MIRRORED_KEYPOINTS)].copy()
    flipped[..., 0] = 1 - flipped[..., 0]
    plain = render_pose(frames, keypoints, boxes, config).numpy()
    other = render_pose(frames, flipped, boxes, config).numpy()[:, :, ::-1]
    np.testing.assert_array_equal(plain.any(axis=-1), other.any(axis=-1))
    swapped = np.zeros_like(plain)
    for limb, color in enumerate(LIMB_COLORS):
        swapped[(plain == color).all(axis=-1)] = LIMB_COLORS[MIRRORED_LIMBS[limb]]
    # Where left and right meet, at neck and hips, the later of the two is on top.
    assert (swapped == other).all(axis=-1)[plain.any(axis=-1)].mean() > 0.95


@pytest.mark.parametrize("config", VARIANTS, ids=range(len(VARIANTS)))
def test_drawing_a_mirrored_clip_is_mirroring_the_drawing_with_sides_swapped(config):
    """Of any people: which limb covers which does not depend on the direction of drawing."""
    frames, keypoints, boxes = random_scene(np.random.default_rng(7), 61, 83, people=3, frames=8)
    drawn = render_pose(
        frames[:, :, ::-1], mirror_keypoints(keypoints), mirror_boxes(boxes), config
    ).numpy()
    swapped = keypoints[:, :, list(MIRRORED_KEYPOINTS)]
    expected = render_pose(frames, swapped, boxes, config).numpy()[:, :, ::-1]
    # A pixel centre at half a thickness to the last float32 digit may fall either way.
    assert (drawn != expected).any(axis=-1).mean() < 1e-3
    assert (expected != frames[:, :, ::-1]).any(axis=-1).mean() > 0.02


@pytest.mark.parametrize("width", [255, 256, 300])
def test_wide_frames_are_painted_to_their_last_column(width):
    keypoints = np.zeros((1, 1, 17, 3), np.float32)
    keypoints[0, 0, [7, 9]] = [[-0.2, 0.5, 1], [1.2, 0.5, 1]]
    frames = np.zeros((1, 9, width, 3), np.uint8)
    config = PoseRenderConfig(ratio_aware=False, thickness=3 / 9)
    drawn = render_pose(frames, keypoints, np.zeros((1, 1, 4), np.float32), config).numpy()
    color = LIMB_COLORS[LIMB_NAMES.index("left_forearm")]
    assert (drawn[0, 3:6] == color).all() and not drawn[0, :3].any() and not drawn[0, 6:].any()


def test_the_variants_of_table_2_are_all_there_and_differ():
    assert len(POSE_VARIANTS) == len(set(POSE_VARIANTS.values())) == 7
    frames, keypoints, boxes = random_scene(np.random.default_rng(1), 40, 60, people=2)
    drawings = {
        name: render_pose(frames, keypoints, boxes, config).numpy()
        for name, config in POSE_VARIANTS.items()
    }
    for (one, first), (other, second) in itertools.combinations(drawings.items(), 2):
        assert (first != second).any(), (one, other)
    for name, config in POSE_VARIANTS.items():
        thickness = "ratio" if config.ratio_aware else "uniform"
        words = [config.background, config.marker, str(config.num_colors), thickness]
        assert name == "_".join(words)


def test_batches_graphs_and_xla_draw_what_eager_draws():
    frames, keypoints, boxes = random_scene(np.random.default_rng(3), 24, 36, 2, frames=6)
    expected = render_pose(frames, keypoints, boxes).numpy()
    batch = [x.reshape(2, 3, *x.shape[1:]) for x in (frames, keypoints, boxes)]
    spec = [
        tf.TensorSpec([None, None, None, None, 3], tf.uint8),
        tf.TensorSpec([None, None, 2, 17, 3], tf.float32),
        tf.TensorSpec([None, None, 2, 4], tf.float32),
    ]
    any_people = [spec[0]] + [tf.TensorSpec([None, None, None, *s.shape[3:]]) for s in spec[1:]]
    for options in (
        {"input_signature": spec},
        {"input_signature": any_people},
        {"jit_compile": True},
    ):
        drawn = tf.function(render_pose, **options)(*map(tf.constant, batch))
        assert drawn.shape == (2, 3, 24, 36, 3)
        np.testing.assert_array_equal(tf.reshape(drawn, expected.shape), expected)
    nobody = keypoints[:, :0], boxes[:, :0]
    np.testing.assert_array_equal(render_pose(frames, *nobody), frames)
    data = tf.data.Dataset.from_tensors(tuple(batch)).map(render_pose)
    np.testing.assert_array_equal(next(iter(data)).numpy().reshape(expected.shape), expected)


def test_wrong_shapes_and_ranges_are_refused():
    frames, keypoints, boxes = random_scene(np.random.default_rng(0), 8, 12, 2)
    for bad in [
        (frames.astype(np.float32), keypoints, boxes),
        (frames, keypoints[..., :2], boxes),
        (frames, keypoints[0], boxes[0]),
        (frames, keypoints, boxes[:, :1]),
        (frames[0], keypoints[0], boxes[0]),
    ]:
        with pytest.raises(ValueError, match="render_pose takes uint8 frames"):
            render_pose(*bad)
