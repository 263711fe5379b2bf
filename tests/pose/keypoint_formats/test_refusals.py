"""Files that are not what their format says: refused with the file and the reason."""

import numpy as np
import pytest
from keypoint_files import (
    STEM,
    coco_images,
    dump,
    pyskl_annotation,
    pyskl_file,
    read,
)

from perfnet_tf.errors import InputError
from perfnet_tf.pose.keypoint_formats import open_keypoints


class Runs:
    def __reduce__(self):
        return print, ("ran",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"keypoint": np.zeros((1, 3, 25, 3))},
            "17 joints in this format. Received: 25 in v_Lunges",
        ),
        ({"keypoint": np.zeros((1, 3, 17, 3))}, r"2-D skeleton .*\[1, 3, 17, 3\]"),
        ({"keypoint": np.zeros((1, 4, 17, 2))}, r"2-D skeleton .*\[1, 4, 17, 2\]"),
        ({"keypoint": None}, "must hold the array `keypoint`.*Kinetics-400"),
        ({"keypoint_score": np.full((2, 3, 17), np.nan)}, "finite numbers"),
    ],
)
def test_other_skeletons_in_a_pickle_are_refused(tmp_path, changes, message):
    path = pyskl_file(tmp_path, [pyskl_annotation(**changes)])
    with pytest.raises(InputError, match=message):
        read("pyskl", path)


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ([pyskl_annotation(extra=Runs())], r"nothing else. Received: .*print"),
        ([pyskl_annotation(keypoint=np.array([{}], object))], "values of type 'O8'"),
        ([pyskl_annotation(), pyskl_annotation()], "each clip once. Received: v_Lunges_g01_c02"),
        ([{"label": 1}], "list of `annotations`"),
        ("text", "list of `annotations`"),
    ],
)
def test_pickles_of_anything_else_are_refused(tmp_path, annotations, message, capsys):
    path = pyskl_file(tmp_path, annotations)
    with pytest.raises(InputError, match=message):
        open_keypoints("pyskl", path)
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("openpose", f"{STEM}/a_0_keypoints.json", {"bodies": []}, "`people` with"),
        ("openpose", f"{STEM}/a_0_keypoints.json", [1], "`people` with"),
        (
            *("openpose", f"{STEM}/a_0_keypoints.json"),
            *({"people": [{"pose_keypoints_2d": [1.0] * 51}]}, "25 or 18 joints .*Received: 17"),
        ),
        (
            *("openpose", f"{STEM}/a_0_keypoints.json"),
            *({"people": [{"pose_keypoints_2d": [1.0] * 50}]}, "3 numbers for each joint"),
        ),
        ("alphapose", f"{STEM}.json", {"0.jpg": {}}, "list of persons"),
        ("alphapose", f"{STEM}.json", [{"image_id": "0.jpg"}], "`image_id` that ends in"),
        (
            *("alphapose", f"{STEM}.json"),
            *([{"image_id": "0.jpg", "score": 1, "keypoints": [1] * 45}], "Received: 15"),
        ),
        ("mediapipe", f"{STEM}.json", [[[0.1, 0.2, 0.9]] * 32], "33 joints .*Received: 32"),
        ("mediapipe", f"{STEM}.json", [[[0.1, 0.2, -0.9]] * 33], "z would be. Save"),
        ("mediapipe", f"{STEM}.json", [[[0.1, 0.2]] * 33], r"\(x, y, z, visibility\)"),
        ("mediapipe", f"{STEM}.json", {"text": 1}, "list of frames"),
        ("ultralytics", f"{STEM}.json", [[[[1, 2, 0.5]] * 16]], "17 joints .*Received: 16"),
        ("ultralytics", f"{STEM}.json", {"boxes": []}, "array or a list of frames"),
        ("mmpose", f"{STEM}.json", [{"instances": [{"keypoints": [[1, 2]] * 17}]}], "keypoint_sc"),
        (
            *("mmpose", f"{STEM}.json"),
            *({"keypoints": [[[[1, 2]] * 21]], "scores": [[[1] * 21]]}, "17 or 26 .*Received: 21"),
        ),
        (
            *("mmpose", f"{STEM}.json"),
            *({"keypoints": [[[[1, 2]] * 17]], "scores": []}, "0 frames of scores and 1"),
        ),
        ("mmpose", f"{STEM}.json", [[[[1, 2, float("nan")]] * 17]], "finite numbers"),
        ("coco", f"{STEM}.json", {"images": []}, "COCO's annotations have"),
        (
            *("coco", f"{STEM}.json"),
            {"images": coco_images(), "annotations": [{"image_id": 40, "keypoints": [1] * 45}]},
            "17 joints .*Received: 15",
        ),
        ("keypoints", f"{STEM}.keypoints.json", {"fps": 0}, "fps"),
    ],
)
def test_other_contents_are_refused_with_the_file(tmp_path, name, file, content, message):
    dump(tmp_path / file, content)
    with pytest.raises(InputError, match=message) as refusal:
        read(name, tmp_path)
    assert str(tmp_path) in str(refusal.value)


def test_lines_of_other_lengths_are_refused(tmp_path):
    (tmp_path / f"{STEM}_1.txt").write_text("0 0.5 0.5 0.2 0.4 " + "0.5 " * 45)
    with pytest.raises(InputError, match="Received: 50 numbers"):
        read("ultralytics", tmp_path)
    np.save(tmp_path / f"{STEM}.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(InputError, match=r"numbers. Received: .*npy"):
        read("ultralytics", tmp_path)


def test_places_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(InputError, match="pose must be one of .*Did you mean 'openpose'"):
        open_keypoints("openpos", tmp_path)
    with pytest.raises(InputError, match="`pose=pyskl` needs `keypoints`"):
        open_keypoints("pyskl", None)
    with pytest.raises(InputError, match="absent, which is not there"):
        open_keypoints("coco", tmp_path / "absent")
    (tmp_path / "file").touch()
    for name in ("openpose", "alphapose", "ultralytics", "keypoints"):
        with pytest.raises(InputError, match="must be a folder"):
            open_keypoints(name, tmp_path / "file")
