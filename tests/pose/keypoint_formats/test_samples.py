"""Files that the packages themselves made (`samples/README.md`)."""

import pathlib

import numpy as np
import pytest

from perfnet_tf.pose.keypoint_formats import open_keypoints

SAMPLES = pathlib.Path(__file__).with_name("samples")
SIZE = (320.0, 240.0)
#: COCO's order with left and right exchanged.
EXCHANGED = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]


def read(pose, folder, people):
    source = open_keypoints(pose, SAMPLES / folder)
    keypoints = source.read(source.find("JumpingJack/clip", "clip.avi"))
    return keypoints, keypoints.people(np.arange(2), SIZE, people).keypoints


def test_mediapipe_finds_what_movenet_finds_and_left_is_left():
    movenet = np.load(SAMPLES / "movenet.npy")[..., :2]
    _, people = read("mediapipe", "mediapipe", 1)
    points = people[:, 0, :, :2]

    def distance(some):
        return float(np.median(np.linalg.norm((some - movenet) * SIZE, axis=-1)[:, 5:]))

    assert distance(points) < 6  # pixels, body and limbs
    assert distance(points[:, EXCHANGED]) > 25


def test_ultralytics_text_is_what_its_results_hold():
    expected = np.load(SAMPLES / "ultralytics_data.npy") / [*SIZE, 1]
    keypoints, people = read("ultralytics", "ultralytics", 3)
    assert [len(frame) for frame in keypoints.frames] == [3, 3]
    for found, wanted in zip(people, expected, strict=True):
        for person in wanted:
            assert min(np.abs(found - person).max(axis=(1, 2))) < 1e-5


def test_rtmlib_arrays_are_clipped_to_their_range():
    with np.load(SAMPLES / "rtmlib" / "clip.npz") as arrays:
        points, scores = arrays["keypoints"] / SIZE, arrays["scores"]
    assert scores.min() < 0 and scores.max() > 1
    keypoints, people = read("mmpose", "rtmlib", 2)
    assert keypoints.has_scores_to_clip
    for found, wanted, score in zip(people, points, scores, strict=True):
        order = np.argsort(-score.mean(axis=1), kind="stable")
        np.testing.assert_allclose(found[..., :2], wanted[order], atol=1e-6)
        assert found[..., 2] == pytest.approx(np.clip(score, 0, 1)[order])
