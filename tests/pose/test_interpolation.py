import itertools

import numpy as np
import pytest

from perfnet_tf.pose.estimators import make_estimator
from perfnet_tf.pose.interpolation import interpolate_people
from perfnet_tf.pose.people import People, assemble_people
from perfnet_tf.video.decode import read_video


def person(x, y, score=0.9, size=0.2):
    """Seventeen keypoints on a diagonal of a square around (x, y)."""
    steps = np.linspace(-size / 2, size / 2, 17)
    return np.stack([x + steps, y + steps, np.full(17, score)], axis=-1)


def positions(people):
    """The middle keypoint of everybody in a frame, as {(x, y)}."""
    found = people[people[:, 8, 2] > 0]
    return {(round(float(x), 3), round(float(y), 3)) for x, y, _ in found[:, 8]}


def test_people_move_in_straight_lines_and_keep_who_they_are():
    # They change places in the order of scores; the nearest one is the same person.
    left = [person(0.2, 0.5, 0.9), person(0.3, 0.5, 0.8)]
    right = [person(0.7, 0.4, 0.7), person(0.6, 0.4, 0.95)]
    given = assemble_people([np.stack([left[0], right[0]]), np.stack([right[1], left[1]])], 3)
    found = interpolate_people(given, [0, 4], 5)
    assert found.keypoints.shape == (5, 3, 17, 3) and found.keypoints.dtype == np.float32
    expected = [{(0.2, 0.5), (0.7, 0.4)}, {(0.225, 0.5), (0.675, 0.4)}, {(0.25, 0.5), (0.65, 0.4)}]
    expected += [{(0.275, 0.5), (0.625, 0.4)}, {(0.3, 0.5), (0.6, 0.4)}]
    assert [positions(frame) for frame in found.keypoints] == expected
    # Halfway both have the mean of their scores, 0.85 and 0.825, and the better comes first.
    np.testing.assert_allclose(found.keypoints[2, :, 0, 2], [0.85, 0.825, 0], atol=1e-6)
    np.testing.assert_allclose(found.boxes[2, 0], [0.15, 0.4, 0.35, 0.6], atol=1e-6)
    np.testing.assert_array_equal(found.keypoints[[0, 4]], given.keypoints)
    np.testing.assert_array_equal(found.boxes[[0, 4]], given.boxes)


def test_who_is_far_away_is_another_person_and_stays_until_halfway():
    given = assemble_people([person(0.2, 0.5)[None], person(0.8, 0.5)[None]], 2)
    found = interpolate_people(given, [0, 4], 5)
    first, second = {(0.2, 0.5)}, {(0.8, 0.5)}
    assert [positions(frame) for frame in found.keypoints] == [first, first, first, second, second]


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_nobody_and_one_frame(frames):
    nobody = People(np.zeros((1, 2, 17, 3), np.float32), np.zeros((1, 2, 4), np.float32))
    if frames == 1:
        assert not interpolate_people(nobody, [0], 1).keypoints.any()
        return
    given = assemble_people([np.zeros((0, 17, 3)), person(0.5, 0.5)[None]], 2)
    found = interpolate_people(given, [0, frames - 1], frames)
    assert [bool(frame.any()) for frame in found.keypoints] == [False] * (frames - 1) + [True]


def test_pairs_are_the_best_of_all_ways():
    rng = np.random.default_rng(0)
    for _ in range(20):
        before = np.stack([person(*rng.uniform(0.3, 0.6, 2), size=0.4) for _ in range(3)])
        after = before[rng.permutation(3)] + np.append(rng.normal(0, 0.03, 2), 0)
        found = interpolate_people(assemble_people([before, after], 3), [0, 2], 3)
        middle = positions(found.keypoints[1])

        def total(order, before=before, after=after):
            return np.linalg.norm(before[:, 8, :2] - after[list(order), 8, :2], axis=1).sum()

        best = min(itertools.permutations(range(3)), key=total)
        expected = (before[:, 8, :2] + after[list(best), 8, :2]) / 2
        assert middle == {tuple(np.round(point, 3).tolist()) for point in expected}


@pytest.mark.parametrize("places", [[0, 2], [1, 4], [0, 0, 4], [0, 4, 2]])
def test_wrong_places_are_refused(places):
    given = assemble_people([person(0.5, 0.5)[None]] * len(places), 1)
    with pytest.raises(ValueError, match="rise from 0 to 4"):
        interpolate_people(given, places, 5)


def test_interpolated_keypoints_of_a_real_clip_are_near_the_estimated_ones(real_data):
    frames = read_video(real_data / "clips" / "single_cam01.mp4", short_side=128).frames[:13]
    estimate = make_estimator("movenet", str(real_data / "weights" / "movenet_multipose"), 1)
    truth = estimate(frames)
    places = np.arange(0, 13, 3)
    given = People(truth.keypoints[places], truth.boxes[places])
    found = interpolate_people(given, places, 13)
    between = np.setdiff1d(np.arange(13), places)
    visible = truth.keypoints[between, 0, :, 2] >= 0.3
    assert visible.sum() > 50
    size = np.array(frames.shape[2:0:-1])
    error = (found.keypoints - truth.keypoints)[between, 0, :, :2] * size
    assert np.median(np.linalg.norm(error, axis=-1)[visible]) < 1.5
