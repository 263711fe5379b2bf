import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.config import ClipConfig
from perfnet_tf.input_pipeline import augment
from perfnet_tf.pose.skeleton import KEYPOINT_NAMES


def view(**changes):
    values = {"start": 0.5, "top": 0.5, "left": 0.5, "brightness": 0.0, "contrast": 1.0}
    values.update(changes)
    mirror = tf.constant(bool(values.pop("mirror", False)))
    return augment.ClipView(mirror=mirror, **{k: tf.constant(v) for k, v in values.items()})


def clip_of(frames, height, width, **options):
    return ClipConfig(frames, height, width, **options)


@pytest.mark.parametrize(
    ("stored", "start", "expected"),
    [
        (20, 0.0, [0, 3, 6, 9]),
        (20, 1.0, [10, 13, 16, 19]),
        (20, 0.5, [5, 8, 11, 14]),
        (10, 0.9, [0, 3, 6, 9]),
        (5, 0.9, [0, 3, 4, 4]),
        (1, 0.5, [0, 0, 0, 0]),
    ],
)
def test_a_window_is_strided_and_a_short_video_repeats_its_last_frame(stored, start, expected):
    clip = clip_of(4, 8, 8, short_side=8, frame_stride=3)
    indices = augment.frame_indices(tf.constant(stored), clip, tf.constant(start))
    np.testing.assert_array_equal(indices, expected)


@pytest.mark.parametrize(
    ("stored", "frames", "stride", "expected"),
    [
        (10, 4, 1, [3, 4, 5, 6]),
        (11, 4, 1, [3, 4, 5, 6]),
        (4, 4, 1, [0, 1, 2, 3]),
        (12, 3, 4, [1, 5, 9]),  # 9 of 12: one before, two after
        (3, 6, 1, [0, 1, 2, 2, 2, 2]),
        (5, 4, 2, [0, 2, 4, 4]),
    ],
)
def test_the_central_window_has_as_many_frames_before_as_after(stored, frames, stride, expected):
    clip = clip_of(frames, 8, 8, short_side=8, frame_stride=stride)
    start = augment.central_view().start
    np.testing.assert_array_equal(augment.frame_indices(tf.constant(stored), clip, start), expected)


def test_every_window_is_drawn_about_equally_often():
    clip = clip_of(4, 8, 8, short_side=8)
    first = [
        int(
            augment.frame_indices(
                tf.constant(7), clip, augment.draw_view([1, k], mirror=True).start
            )[0]
        )
        for k in range(400)
    ]
    counts = np.bincount(first)
    assert len(counts) == 4  # windows from 0, 1, 2 and 3
    assert counts.min() > 70


def test_a_crop_of_frames_of_the_right_size_is_cut_exactly():
    rgb = np.random.default_rng(0).integers(0, 256, (2, 12, 20, 3)).astype(np.uint8)
    clip = clip_of(2, 8, 10, short_side=12)
    cut = augment.cut_streams({"rgb": tf.constant(rgb)}, clip, view(top=0.0, left=1.0))["rgb"]
    np.testing.assert_array_equal(cut, rgb[:, 0:8, 10:20])
    cut = augment.cut_streams({"rgb": tf.constant(rgb)}, clip, augment.central_view())["rgb"]
    np.testing.assert_array_equal(cut, rgb[:, 2:10, 5:15])


def test_views_are_spread_evenly_and_one_is_the_central_one():
    places = [
        tuple(float(x) for x in (view.start, view.top, view.left))
        for view in augment.evenly_spread_views(3, 2)
    ]
    assert places == [(s, p, p) for s in (0.0, 0.5, 1.0) for p in (0.0, 1.0)]
    (only,) = augment.evenly_spread_views(1, 1)
    assert [float(x) for x in only] == [float(x) for x in augment.central_view()]


def test_cropping_before_resizing_gives_what_resizing_everything_and_cropping_gives():
    flow = np.random.default_rng(1).normal(0, 5, (2, 37, 52, 2)).astype(np.float32)
    clip = clip_of(2, 11, 17, short_side=20)
    cut = augment.cut_streams({"flow": tf.constant(flow)}, clip, view(top=0.8, left=0.3))["flow"]
    height, width = 20, round(52 * 20 / 37)
    whole = tf.image.resize(flow, [height, width], antialias=True).numpy()
    whole *= [width / 52, height / 37]
    top, left = int(np.ceil(0.8 * 10)) - 1, int(np.ceil(0.3 * (width - 17 + 1))) - 1
    np.testing.assert_allclose(cut, whole[:, top : top + 11, left : left + 17], atol=1e-4)


@pytest.mark.parametrize("height", [12, 19])
def test_frames_that_were_cut_while_decoding_make_the_same_clip(height):
    random = np.random.default_rng(5)
    width = 2 * height - 3
    sources = {
        "rgb": tf.constant(random.integers(0, 256, (2, height, width, 3)), tf.uint8),
        "keypoints": tf.constant(random.uniform(0, 1, (2, 1, 17, 3)), tf.float32),
        "boxes": tf.constant(np.tile([0.1, 0.2, 0.4, 0.9], (2, 1, 1)), tf.float32),
    }
    clip = clip_of(2, 8, 10, short_side=12)  # of 12 it is a crop; 19 are resized
    drawn = view(top=0.8, left=0.3, brightness=9.0, contrast=1.2, mirror=True)
    stored = tf.constant([height, width])
    top, left, rows, columns = augment.crop_window(stored, clip, drawn).numpy()
    assert (rows, columns) == ((8, 10) if height == 12 else (height, width))
    part = sources["rgb"][:, top : top + rows, left : left + columns]
    expected = augment.cut_streams(sources, clip, drawn)
    cut = augment.cut_streams({**sources, "rgb": part}, clip, drawn, stored=stored)
    assert cut.keys() == expected.keys()
    for key, value in cut.items():
        np.testing.assert_array_equal(value, expected[key], err_msg=key)


def test_flow_is_scaled_with_the_frame_each_axis_by_its_own_ratio():
    # 40x30 to 20x15: both halved; rounding makes 41 to 20 (dy) while 60 to 29 (dx).
    flow = np.ones((1, 41, 60, 2), np.float32) * [8.0, -4.0]
    clip = clip_of(1, 20, 20, short_side=20)
    cut = augment.cut_streams({"flow": tf.constant(flow, tf.float32)}, clip, view())["flow"]
    np.testing.assert_allclose(cut[0, 5, 5], [8 * 29 / 60, -4 * 20 / 41], rtol=1e-5)


def test_a_portrait_video_is_enlarged_until_the_crop_fits():
    rgb = tf.zeros([1, 30, 16, 3], tf.uint8)
    cut = augment.cut_streams({"rgb": rgb}, clip_of(1, 14, 24, short_side=16), view())["rgb"]
    assert cut.shape == (1, 14, 24, 3)


def test_mirroring_reverses_columns_negates_dx_and_swaps_sides():
    random = np.random.default_rng(2)
    sources = {
        "rgb": tf.constant(random.integers(0, 256, (2, 10, 14, 3)), tf.uint8),
        "flow": tf.constant(random.normal(0, 3, (2, 10, 14, 2)), tf.float32),
        "keypoints": tf.constant(random.uniform(0, 1, (2, 1, 17, 3)), tf.float32),
        "boxes": tf.constant(np.tile([0.1, 0.2, 0.4, 0.9], (2, 1, 1)), tf.float32),
    }
    clip = clip_of(2, 10, 14, short_side=10)
    plain = augment.cut_streams(sources, clip, view())
    mirrored = augment.cut_streams(sources, clip, view(mirror=True))
    np.testing.assert_array_equal(mirrored["rgb"], plain["rgb"][:, :, ::-1])
    np.testing.assert_array_equal(mirrored["flow"][..., 0], -plain["flow"][:, :, ::-1, 0])
    np.testing.assert_array_equal(mirrored["flow"][..., 1], plain["flow"][:, :, ::-1, 1])
    left, right = (KEYPOINT_NAMES.index(f"{side}_wrist") for side in ("left", "right"))
    wrist = plain["keypoints"][:, 0, right]
    np.testing.assert_allclose(mirrored["keypoints"][:, 0, left, 0], 1 - wrist[:, 0], atol=1e-6)
    np.testing.assert_array_equal(mirrored["keypoints"][:, 0, left, 1:], wrist[:, 1:])
    np.testing.assert_allclose(mirrored["boxes"][0, 0], [0.6, 0.2, 0.9, 0.9], atol=1e-6)


def test_points_stay_on_the_pixels_they_mark():
    # A bright pixel at column 13, row 5 of a 12x20 frame; its centre as a keypoint.
    rgb = np.zeros((1, 12, 20, 3), np.uint8)
    rgb[0, 5, 13] = 255
    keypoints = np.zeros((1, 2, 17, 3), np.float32)
    keypoints[0, 0, 0] = [13.5 / 20, 5.5 / 12, 0.9]
    boxes = np.zeros((1, 2, 4), np.float32)
    boxes[0, 0] = [13 / 20, 5 / 12, 14 / 20, 6 / 12]
    for mirror in (False, True):
        cut = augment.cut_streams(
            {"rgb": tf.constant(rgb), "keypoints": keypoints, "boxes": boxes},
            clip_of(1, 8, 10, short_side=12),
            view(top=0.7, left=0.6, mirror=mirror),
        )
        row, column = np.argwhere(cut["rgb"].numpy()[0, :, :, 0])[0]
        # Keypoints that mirroring exchanges: the nose has no other side.
        x, y, score = cut["keypoints"].numpy()[0, 0, 0]
        assert (x * 10, y * 8, score) == pytest.approx((column + 0.5, row + 0.5, 0.9), abs=1e-4)
        box = cut["boxes"].numpy()[0, 0] * [10, 8, 10, 8]
        np.testing.assert_allclose(box, [column, row, column + 1, row + 1], atol=1e-4)
        assert not cut["keypoints"].numpy()[0, 1].any()  # absent people stay absent
        assert not cut["boxes"].numpy()[0, 1].any()


def test_colours_change_around_the_clips_mean_and_are_clipped():
    rgb = np.zeros((4, 8, 8, 3), np.uint8)
    rgb[:2] += 40
    rgb[2:] += 200  # mean 120
    changed = augment.adjust_colors(tf.constant(rgb), tf.constant(10.0), tf.constant(1.5)).numpy()
    assert set(np.unique(changed[:2])) == {round(120 + 1.5 * (40 - 120) + 10)}
    assert set(np.unique(changed[2:])) == {round(120 + 1.5 * (200 - 120) + 10)}
    brighter = augment.adjust_colors(tf.constant(rgb), tf.constant(100.0), tf.constant(1.0))
    assert brighter.numpy().max() == 255


@pytest.mark.parametrize("compiled", [False, True])
def test_a_mirrored_clip_is_coloured_as_the_plain_one_is(compiled):
    rgb = np.random.default_rng(4).integers(0, 256, (3, 11, 21, 3)).astype(np.uint8)
    clip = clip_of(3, 11, 13, short_side=11)

    def cut(frames, **more):
        changes = view(brightness=-20.0, contrast=1.4, **more)
        return augment.cut_streams({"rgb": frames}, clip, changes, compiled=compiled)["rgb"]

    plain, mirrored = cut(tf.constant(rgb)), cut(tf.constant(rgb), mirror=True)
    np.testing.assert_array_equal(mirrored, plain[:, :, ::-1])
    window = rgb[:, :, 4:17].astype(np.float64)
    mean = window[:, ::4, ::4].mean(axis=(0, 1, 2))
    expected = np.clip(mean + 1.4 * (window - mean) - 20, 0, 255)
    np.testing.assert_allclose(plain, expected, atol=0.5 + 1e-3)
    # The same inside of tf.data, where the stored size is not known beforehand.
    dataset = tf.data.Dataset.from_generator(
        lambda: [rgb], output_signature=tf.TensorSpec([3, None, None, 3], tf.uint8)
    )
    (piped,) = dataset.map(lambda frames: cut(frames, mirror=True))
    np.testing.assert_array_equal(piped, mirrored)


def test_a_tensorflow_that_compiles_for_no_processor_is_found_out(monkeypatch):
    assert augment.processor_compiles()

    def refuse(*arguments, mirror):
        raise tf.errors.NotFoundError(None, None, "no transfer manager for platform Host")

    monkeypatch.setattr(augment, "_compiled_change", refuse)
    assert not augment.processor_compiles()


def test_views_are_stateless_and_keep_to_their_ranges():
    views = [augment.draw_view([3, k], mirror=True) for k in range(200)]
    again = augment.draw_view([3, 17], mirror=True)
    assert [float(a) for a in again] == [float(a) for a in views[17]]
    brightness = np.array([float(v.brightness) for v in views])
    contrast = np.array([float(v.contrast) for v in views])
    assert -32 <= brightness.min() < -25 and 25 < brightness.max() <= 32
    assert 0.5 <= contrast.min() < 0.6 and 1.4 < contrast.max() <= 1.5
    assert 60 < sum(bool(v.mirror) for v in views) < 140
    assert not any(bool(augment.draw_view([3, k], mirror=False).mirror) for k in range(50))
