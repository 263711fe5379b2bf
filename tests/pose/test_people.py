import json
import subprocess
import sys

import numpy as np
import pytest

from perfnet_tf.errors import InputError
from perfnet_tf.pose.estimators import make_estimator
from perfnet_tf.pose.keypoint_file import keypoints_path, load_keypoints, read_keypoints
from perfnet_tf.pose.people import People, assemble_people, tight_boxes


def person(x, y, score):
    """17 keypoints on a slanted line from (x, y)."""
    steps = np.arange(17)[:, None]
    points = np.array([[x, y]]) + steps * [[2.0, 3.0]]
    return np.concatenate([points, np.full((17, 1), score)], axis=1)


def write(path, frames, **changes):
    content = {"fps": 10.0, "width": 200, "height": 100, "frames": frames} | changes
    path.write_text(json.dumps(content))
    return path


def test_keypoint_file_is_scaled_sorted_and_resampled_by_time(tmp_path):
    weak, strong = person(10, 20, 0.4), person(100, 30, 0.8)
    frames = [[weak.tolist(), strong.tolist()], [], [weak.tolist()]]
    write(tmp_path / "clip.keypoints.json", frames)
    people = read_keypoints(tmp_path / "clip.mp4", np.array([0.0, 0.04, 0.06, 0.2, 5.0]))
    assert people.keypoints.shape == (5, 2, 17, 3) and people.keypoints.dtype == np.float32
    # Nearest frames: 0, 0, 1, 2, and the last one past the end.
    np.testing.assert_allclose(people.keypoints[0, 0], strong / [200, 100, 1], rtol=1e-6)
    np.testing.assert_allclose(people.keypoints[1, 1], weak / [200, 100, 1], rtol=1e-6)
    assert not people.keypoints[2].any() and not people.boxes[2].any()
    np.testing.assert_array_equal(people.keypoints[3], people.keypoints[4])
    assert not people.keypoints[3, 1].any()
    np.testing.assert_allclose(people.boxes[3, 0], [0.05, 0.2, 42 / 200, 68 / 100], rtol=1e-6)
    fewer = read_keypoints(tmp_path / "clip.keypoints.json", np.array([0.0]), max_people=1)
    np.testing.assert_array_equal(fewer.keypoints[0, 0], people.keypoints[0, 0])


def test_keypoint_files_are_next_to_their_videos():
    assert str(keypoints_path("a/clip.mp4")) == "a/clip.keypoints.json"


@pytest.mark.parametrize(
    ("frames", "changes", "message"),
    [
        ([[]], {"fps": 0}, "fps .* greater than 0"),
        ([[]], {"width": "wide"}, "width .* Received: 'wide'"),
        ([], {}, "not empty"),
        ([[[[1, 2, 0.5]] * 16]], {}, r"frames\[0\] .* 17 keypoints"),
        ([[], [[[1, 2]] * 17]], {}, r"frames\[1\]"),
        ([[[[1, 2, "high"]] * 17]], {}, r"frames\[0\]"),
        ([None], {}, r"frames\[0\]"),
        ([[[[1, float("nan"), 0.5]] * 17]], {}, "finite"),
    ],
)
def test_bad_keypoint_files_are_refused(tmp_path, frames, changes, message):
    path = write(tmp_path / "bad.keypoints.json", frames, **changes)
    with pytest.raises(InputError, match=message):
        read_keypoints(path, np.zeros(1))


def test_scores_outside_0_to_1_are_clipped_and_noticed(tmp_path):
    inside = write(tmp_path / "inside.keypoints.json", [[], [person(1, 2, 1.0).tolist()]])
    assert not load_keypoints(inside).has_scores_to_clip
    for score, clipped in ((1.07, 1.0), (-0.2, 0.0)):
        path = write(tmp_path / "clip.keypoints.json", [[person(10, 20, score).tolist()]])
        people = read_keypoints(path, np.zeros(1))
        np.testing.assert_array_equal(people.keypoints[0, 0, :, 2], np.full(17, clipped))
        assert load_keypoints(path).has_scores_to_clip


def test_missing_and_broken_keypoint_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no keypoint file"):
        read_keypoints(tmp_path / "clip.mp4", np.zeros(1))
    (tmp_path / "clip.keypoints.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        read_keypoints(tmp_path / "clip.mp4", np.zeros(1))


def test_boxes_hold_the_keypoints_that_are_seen():
    keypoints = np.zeros((2, 17, 3))
    keypoints[0, 3] = 0.25, 0.5, 0.2
    keypoints[0, 4] = 1.4, 0.75, 0.9  # beyond the frame
    keypoints[0, 5] = 0.01, 0.01, 0.1  # hardly seen
    np.testing.assert_allclose(tight_boxes(keypoints), [[0.25, 0.5, 1.0, 0.75], [0, 0, 0, 0]])
    np.testing.assert_array_equal(tight_boxes(keypoints, 0.0)[1], 0)  # no score, no person


def test_people_beyond_the_places_are_dropped():
    poses = [np.ones((3, 17, 3)) * [[[0.1]], [[0.2]], [[0.3]]], np.zeros((0, 17, 3))]
    people = assemble_people(poses, 2)
    np.testing.assert_allclose(people.keypoints[0, :, 0, 0], [0.1, 0.2])
    assert people.keypoints.shape == (2, 2, 17, 3) and not people.keypoints[1].any()


def test_people_refuse_other_shapes():
    with pytest.raises(ValueError, match="keypoints must be"):
        People(np.zeros((4, 2, 17, 2)), np.zeros((4, 2, 4)))


def test_bad_estimators_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PERFNET_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="pose must be one of .* Did you mean 'posenet'"):
        make_estimator("posnet")
    with pytest.raises(InputError, match="max_people"):
        make_estimator("posenet", max_people=0)
    with pytest.raises(InputError, match="`pose_weights`.*storage.googleapis.com/tfjs-models"):
        make_estimator("posenet")


def test_importing_the_contract_does_not_import_tensorflow():
    code = "import sys, perfnet_tf.pose.estimators; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
