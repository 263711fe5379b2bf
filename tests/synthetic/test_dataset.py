import json

import cv2
import numpy as np
import pytest

from perfnet_tf.errors import InputError
from perfnet_tf.pose.keypoint_file import keypoints_path, read_keypoints
from perfnet_tf.pose.skeleton import KEYPOINT_NAMES
from perfnet_tf.synthetic.dataset import (
    CLASSES,
    SyntheticConfig,
    generate_synthetic_dataset,
    render_clip,
)
from perfnet_tf.synthetic.motion import ACTIONS, Body, Limb, Manner, Posture, compute_joints

TINY = SyntheticConfig(clips_per_class=2, width=96, height=72, num_frames=6)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return generate_synthetic_dataset(tmp_path_factory.mktemp("synthetic"), TINY)


def body_of_a_metre_eighty():
    return Body(1.8, 0.5, 0.45, 0.45, 0.33, 0.27, 0.2, 0.1, 0.11, 1.0)


def wrists_above_shoulders(action, decoy):
    """Mean height of each wrist over its shoulder, metres."""
    manner = Manner(rate=1.0, reach=1.0, phase=0.0, start=0.4, decoy=decoy)
    time = np.arange(44) / 25
    joints = compute_joints(body_of_a_metre_eighty(), ACTIONS[action](time, manner), 0.0, 44)
    return {
        side: (joints[f"{side}_wrist"] - joints[f"{side}_shoulder"])[:, 1]
        for side in ("left", "right")
    }


def test_a_standing_person_has_the_lengths_of_its_bones():
    body = body_of_a_metre_eighty()
    joints = compute_joints(body, Posture(), 0.3, 1)
    for a, b, length in (
        ("left_hip", "left_knee", 0.45),
        ("right_knee", "right_ankle", 0.45),
        ("left_shoulder", "left_elbow", 0.33),
        ("right_elbow", "right_wrist", 0.27),
        ("left_shoulder", "right_shoulder", 0.4),
        ("chest", "pelvis", 0.5),
    ):
        assert np.linalg.norm(joints[a] - joints[b]) == pytest.approx(length, abs=1e-6), (a, b)
    assert joints["left_ankle"][0, 1] == pytest.approx(0.045 * 1.8, abs=1e-3)  # on the ground


def test_someone_facing_the_camera_has_the_left_arm_at_the_pictures_right():
    joints = compute_joints(body_of_a_metre_eighty(), Posture(), 0.0, 1)
    assert joints["left_shoulder"][0, 0] > joints["right_shoulder"][0, 0]
    assert joints["nose"][0, 2] > joints["head"][0, 2]
    facing_right = compute_joints(body_of_a_metre_eighty(), Posture(), np.pi / 2, 1)
    assert facing_right["nose"][0, 0] > facing_right["head"][0, 0]


def test_an_arm_spread_by_a_right_angle_is_level():
    posture = Posture(lean=0.0, arms={"left": Limb(np.pi / 2), "right": Limb(0.0)})
    joints = compute_joints(body_of_a_metre_eighty(), posture, 0.0, 1)
    np.testing.assert_allclose(
        joints["left_wrist"] - joints["left_shoulder"], [[0.33 + 0.27, 0, 0]], atol=1e-6
    )
    np.testing.assert_allclose(
        joints["right_wrist"] - joints["right_shoulder"], [[0, -0.6, 0]], atol=1e-6
    )


def test_sitting_down_is_standing_up_played_backward():
    time = np.arange(21) / 10
    # The transition is symmetric about its middle, here at the middle of the clip: 0.6 + 0.8 / 2.
    manner = Manner(rate=1.0, reach=1.0, phase=0.0, start=0.6, decoy=False)
    up, down = ACTIONS["StandUp"](time, manner), ACTIONS["SitDown"](time, manner)
    np.testing.assert_allclose(up.legs["left"].bend, down.legs["left"].bend[::-1], atol=1e-9)
    np.testing.assert_allclose(up.lean, np.asarray(down.lean)[::-1], atol=1e-9)
    pelvis = compute_joints(body_of_a_metre_eighty(), up, 0.0, 21)["pelvis"][:, 1]
    assert pelvis[-1] - pelvis[0] > 0.35


@pytest.mark.parametrize("side, other", [("Left", "right"), ("Right", "left")])
def test_only_the_named_arm_waves_and_a_decoy_is_still(side, other):
    heights = wrists_above_shoulders(f"Wave{side}", decoy=True)
    assert np.ptp(heights[side.lower()]) > 0.1
    assert np.ptp(heights[other]) < 0.04  # what the torso sways
    assert heights[other].mean() > 0.1  # raised all the same


def test_walking_backward_goes_against_the_way_the_person_faces():
    manner = Manner(rate=1.0, reach=1.0, phase=0.2, start=0.4, decoy=False)
    time = np.arange(44) / 25
    for action, sign in (("WalkForward", 1), ("WalkBackward", -1)):
        joints = compute_joints(
            body_of_a_metre_eighty(), ACTIONS[action](time, manner), np.pi / 2, 44
        )
        way = joints["pelvis"][-1, 0] - joints["pelvis"][0, 0]
        assert sign * way > 1.0
        assert joints["nose"][0, 0] > joints["head"][0, 0]  # faces the picture's right


def test_the_same_seed_draws_the_same_clip_and_another_seed_another():
    frames, keypoints = render_clip("Squat", 1, TINY)
    again, _ = render_clip("Squat", 1, TINY)
    other, _ = render_clip(
        "Squat", 1, SyntheticConfig(2, width=96, height=72, num_frames=6, seed=1)
    )
    assert frames.shape == (6, 72, 96, 3) and keypoints.shape == (6, 17, 3)
    np.testing.assert_array_equal(frames, again)
    assert np.abs(frames.astype(int) - other).mean() > 10


def test_keypoints_lie_on_the_figure():
    """Where the person moves, the picture changes; the moving wrist is in the middle of that."""
    config = SyntheticConfig(clips_per_class=2, num_frames=44)
    frames, keypoints = render_clip("JumpingJack", 2, config)
    wrists = keypoints[:, KEYPOINT_NAMES.index("left_wrist")]
    visible = wrists[:, 2] > 0
    assert visible.mean() > 0.6
    assert np.ptp(wrists[visible, 1]) > 30  # pixels, up and down
    ankles = keypoints[:, KEYPOINT_NAMES.index("left_ankle")]
    assert (ankles[:, 1] > keypoints[:, KEYPOINT_NAMES.index("nose"), 1] + 40).all()
    median = np.median(frames, axis=0)
    at_wrist, elsewhere = [], []
    for frame, (x, y, score) in zip(frames, wrists, strict=True):
        change = np.abs(frame - median).mean(axis=-1)
        if score:
            at_wrist.append(change[int(round(y)), int(round(x))])
        elsewhere.append(change.mean())
    assert np.mean(at_wrist) > 2 * np.mean(elsewhere)


def test_lists_are_ucf101s_and_no_group_is_in_both(dataset):
    index = (dataset.splits / "classInd.txt").read_text().splitlines()
    assert index[0] == "1 JumpingJack" and len(index) == len(CLASSES) == 10
    train = (dataset.splits / "trainlist01.txt").read_text().splitlines()
    test = (dataset.splits / "testlist01.txt").read_text().splitlines()
    assert "KickLeft/v_KickLeft_g02_c01.mp4 2" in train
    assert "KickLeft/v_KickLeft_g01_c01.mp4" in test
    listed = {line.split()[0] for line in train + test}
    written = {str(path.relative_to(dataset.videos)) for path in dataset.videos.rglob("*.mp4")}
    assert listed == written and len(listed) == dataset.num_videos == 20
    groups = [{line.split("_g")[1][:2] for line in lines} for lines in (train, test)]
    assert not groups[0] & groups[1]


def test_videos_decode_to_the_drawn_frames_and_keypoints_read_back(dataset):
    path = dataset.videos / "WaveLeft" / "v_WaveLeft_g02_c01.mp4"
    drawn, keypoints = render_clip("WaveLeft", 2, TINY)
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(25)
    frames = []
    while (read := capture.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    assert len(frames) == 6
    error = np.abs(np.stack(frames).astype(int) - drawn)
    assert error.mean() < 8  # lossy compression, nothing else

    people = read_keypoints(keypoints_path(path), np.arange(6) / 25)
    visible = keypoints[..., 2] > 0
    scale = np.array([TINY.width, TINY.height])
    np.testing.assert_allclose(
        people.keypoints[:, 0, :, :2][visible] * scale, keypoints[..., :2][visible], atol=0.6
    )
    np.testing.assert_array_equal(people.keypoints[:, 0, :, 2], keypoints[..., 2])


def test_existing_videos_are_kept_and_missing_ones_made_again(dataset):
    kept = dataset.videos / "Squat" / "v_Squat_g01_c01.mp4"
    lost = dataset.videos / "Squat" / "v_Squat_g02_c01.mp4"
    before, content = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    generate_synthetic_dataset(dataset.videos.parent, TINY)
    assert kept.stat().st_mtime_ns == before
    assert lost.read_bytes() == content


def test_a_folder_of_other_arguments_is_refused(dataset):
    other = SyntheticConfig(clips_per_class=3, width=96, height=72, num_frames=6)
    with pytest.raises(InputError, match="other arguments"):
        generate_synthetic_dataset(dataset.videos.parent, other)
    assert (
        json.loads((dataset.videos.parent / "synthetic.json").read_text())["clips_per_class"] == 2
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"clips_per_class": 1}, "2 or more"),
        ({"width": 99}, "even"),
        ({"fps": 0}, "fps"),
        ({"test_share": 1.0}, "between 0 and 1"),
    ],
)
def test_a_config_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        SyntheticConfig(**arguments)
