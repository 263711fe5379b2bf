import cv2
import numpy as np
import pytest

from perfnet_tf.errors import InputError
from perfnet_tf.flow.dis import compute_dis


def textured(height, width, seed=0):
    noise = np.random.default_rng(seed).uniform(0, 255, [height, width, 3]).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def test_finds_a_translation_and_repeats_the_last_frame():
    scene = textured(120, 160)
    frames = np.stack([scene[20:100, 20 - 2 * t : 140 - 2 * t] for t in range(3)])  # 2 px right
    flow = compute_dis(frames)
    assert flow.shape == (3, 80, 120, 2) and flow.dtype == np.float32
    np.testing.assert_allclose(np.median(flow, axis=(1, 2)), [[2, 0]] * 3, atol=0.1)
    np.testing.assert_array_equal(flow[2], flow[1])


def test_float_frames_give_the_flow_of_the_same_bytes():
    scene = textured(60, 70)
    bytes_ = np.stack([scene[:, 4:60], scene[:, 2:58]])
    np.testing.assert_allclose(compute_dis(bytes_ / 255.0), compute_dis(bytes_), atol=0.2)


def test_rest_and_single_frames_are_exactly_zero():
    scene = textured(40, 50)
    assert not compute_dis(np.stack([scene, scene])).any()
    assert not compute_dis(scene[None]).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (7, 3), (33, 31), (16, 16)])
def test_any_size_gives_finite_flow(size):
    frames = np.random.default_rng(0).integers(0, 256, [3, *size, 3], np.uint8)
    flow = compute_dis(frames)
    assert flow.shape == (3, *size, 2)
    assert np.isfinite(flow).all()


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros([4, 5], np.uint8),
        np.zeros([2, 4, 5, 2], np.uint8),
        np.zeros([0, 4, 5, 3], np.uint8),
        np.zeros([2, 4, 5, 3], np.int64),
        np.full([2, 4, 5, 3], np.nan, np.float32),
        np.full([2, 4, 5], 2e36, np.float32),  # 255 times that is infinite in float32
        np.full([2, 4, 5, 3], 1e300),
    ],
)
def test_wrong_frames_say_what_was_received(frames):
    with pytest.raises(InputError, match="Received"):
        compute_dis(frames)
