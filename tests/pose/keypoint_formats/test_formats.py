"""Every format by its documented layout: the same people, and left stays left."""

import numpy as np
import pytest
from keypoint_files import (
    HEIGHT,
    LAYOUTS,
    SCALE,
    SORTED,
    STEM,
    STRONG,
    WIDTH,
    coco_images,
    dump,
    person,
    pyskl_annotation,
    pyskl_file,
    read,
)

from perfnet_tf.pose.keypoint_formats import KEYPOINT_FORMATS, open_keypoints
from perfnet_tf.pose.skeleton import KEYPOINT_NAMES


def test_every_format_is_tried():
    assert set(LAYOUTS.values()) == set(KEYPOINT_FORMATS)


@pytest.mark.parametrize(
    ("write", "name"), LAYOUTS.items(), ids=lambda one: getattr(one, "__name__", "")
)
def test_people_come_sorted_with_every_joint_in_its_place(tmp_path, write, name):
    clip = read(name, write(tmp_path) or tmp_path)
    people = clip.people(np.arange(3), (WIDTH, HEIGHT), max_people=2)
    expected = np.zeros((3, 2, 17, 3))
    for number, frame in enumerate(SORTED):
        expected[number, : len(frame)] = frame / SCALE
    # The coarsest are float16 pixels: 0.06 of 200.
    np.testing.assert_allclose(people.keypoints, expected, atol=7e-4)
    left, right = KEYPOINT_NAMES.index("left_wrist"), KEYPOINT_NAMES.index("right_wrist")
    assert people.keypoints[0, 0, left, 0] == pytest.approx((100 + 4 * 9) / WIDTH, abs=4e-4)
    assert people.keypoints[0, 0, right, 0] == pytest.approx((100 + 4 * 10) / WIDTH, abs=4e-4)
    assert not clip.has_scores_to_clip
    assert len(clip.frames) == 3


def test_names_match_as_programs_and_datasets_spell_them(tmp_path):
    names = ("v_HandStandPushups_g01_c01", "S001C001P001R001A001", "clip", "Case", "case")
    path = pyskl_file(tmp_path, [pyskl_annotation(frame_dir=name) for name in names])
    source = open_keypoints("pyskl", path)
    pushups = "HandstandPushups/v_HandstandPushups_g01_c01"
    assert source.find(pushups, f"/{pushups}.avi") == "v_HandStandPushups_g01_c01"
    assert source.find("a/S001C001P001R001A001_rgb", "/S001C001P001R001A001_rgb.avi") == names[1]
    assert source.find("a/clip.v2", "/a/clip.v2.mp4") == "clip"
    assert [source.find(f"a/{name}", f"/{name}.mp4") for name in names[3:]] == ["Case", "case"]


def test_scores_are_clipped_where_programs_exceed_them(tmp_path):
    beyond = person(10, 10, 5.0)
    results = [{"image_id": "0.jpg", "keypoints": beyond.ravel().tolist(), "score": 3.0}]
    dump(tmp_path / f"{STEM}.json", results)
    clip = read("alphapose", tmp_path)
    assert clip.has_scores_to_clip
    people = clip.people(np.array([0, 1]), (WIDTH, HEIGHT), 1)
    assert (people.keypoints[0, 0, :, 2] == 1).all()
    assert not people.keypoints[1].any()  # frames after the last person have nobody
    below = person(10, 10, -0.4)
    np.savez(
        tmp_path / f"{STEM}.npz", keypoints=below[None, None, :, :2], scores=below[None, None, :, 2]
    )
    (tmp_path / f"{STEM}.json").unlink()
    people = read("mmpose", tmp_path).people(np.array([0, 1]), (WIDTH, HEIGHT), 1)
    assert not people.keypoints[..., 2].any()
    assert people.keypoints[1, 0, 0, 0] == pytest.approx(10 / WIDTH)  # the last frame lasts


def test_visibility_of_coco_becomes_a_score(tmp_path):
    joints = STRONG.copy()
    joints[:, 2] = 2
    joints[3] = 0
    joints[4, 2] = 1
    annotation = {"image_id": 40, "keypoints": joints.ravel().tolist()}
    dump(tmp_path / "all.json", {"images": coco_images(), "annotations": [annotation]})
    scores = read("coco", tmp_path / "all.json").frames[0][0, :, 2]
    assert (scores[3], scores[4]) == (0, 0.5) and (np.delete(scores, [3, 4]) == 1).all()


def test_joints_that_ultralytics_did_not_find_have_no_score(tmp_path):
    data = STRONG[None, None].copy()
    data[0, 0, 9] = 0, 0, 0.45
    np.save(tmp_path / f"{STEM}.npy", data)
    frame = read("ultralytics", tmp_path).frames[0]
    assert frame[0, 9].tolist() == [0, 0, 0] and frame[0, 10, 2] == STRONG[10, 2]


def test_an_alphapose_video_without_people_at_first_keeps_its_frame_numbers(tmp_path):
    results = [{"image_id": "4.jpg", "keypoints": STRONG.ravel().tolist(), "score": 3.0}]
    dump(tmp_path / f"{STEM}.json", results)
    frames = read("alphapose", tmp_path).frames
    assert [len(people) for people in frames] == [0, 0, 0, 0, 1]
