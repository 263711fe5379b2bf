import json
import pickle
import shutil

import numpy as np
import pytest
from prepared_records import read_clip
from ucf_clips import copy_two_clips

from perfnet_tf.cli.main import main
from perfnet_tf.pose.skeleton import KEYPOINT_NAMES
from perfnet_tf.records.folder import read_dataset_info, read_failures, read_index
from perfnet_tf.synthetic.dataset import CLASSES, SyntheticConfig, generate_synthetic_dataset


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two groups of ten actions."""
    folder = tmp_path_factory.mktemp("synthetic")
    generate_synthetic_dataset(
        folder, SyntheticConfig(clips_per_class=2, width=64, height=48, num_frames=6)
    )
    return folder


def prepare(videos, output, *flags):
    places = ("--dataset=synthetic", f"--videos={videos}", f"--output={output}")
    sizes = ("--workers=0", "--short_side=32", "--flow=none", "--max_people=3")
    return main(["prepare", *places, *sizes, *flags])


@pytest.fixture(scope="module")
def prepared(videos, tmp_path_factory):
    output = tmp_path_factory.mktemp("records") / "own"
    assert prepare(videos, output, "--pose=keypoints") == 0
    return output


def clips(folder):
    """Clip id -> record."""
    info = read_dataset_info(folder)
    ids = [entry.clip_id for split in info.splits for entry in read_index(folder, split)]
    return {clip_id: read_clip(folder, clip_id) for clip_id in sorted(ids)}


def test_keypoints_as_pyskl_come_back_to_the_bit(videos, prepared, tmp_path, capsys):
    path, again = tmp_path / "skeletons.pkl", tmp_path / "again"
    assert main(["convert", f"--data={prepared}", "--keypoints=pyskl", f"--output={path}"]) == 0
    assert capsys.readouterr().out == f"{path}: keypoints of {2 * len(CLASSES)} clips\n"
    content = pickle.loads(path.read_bytes())
    records = clips(prepared)
    assert {name: len(ids) for name, ids in content["split"].items()} == {
        name: split["num_clips"] for name, split in read_dataset_info(prepared).splits.items()
    }
    for annotation in content["annotations"]:
        record = records[annotation["frame_dir"]]
        assert annotation["label"] == record.label and annotation["img_shape"] == (32, 43)
        people = annotation["keypoint"].shape[0]
        assert annotation["keypoint"].shape == (people, 6, 17, 2)
        assert annotation["keypoint_score"].shape == (people, 6, 17)
        assert annotation["total_frames"] == 6 and 1 <= people <= 3

    assert prepare(videos, again, "--pose=pyskl", f"--keypoints={path}") == 0
    assert read_dataset_info(again).pose == "pyskl"
    assert read_dataset_info(again).parameters["keypoints"] == str(path)
    for clip_id, record in clips(again).items():
        np.testing.assert_array_equal(record.keypoints, records[clip_id].keypoints)
        np.testing.assert_array_equal(record.boxes, records[clip_id].boxes)

    # It is not resumed or repeated with other keypoints.
    other = tmp_path / "other.pkl"
    shutil.copy(path, other)
    assert prepare(videos, again, "--pose=pyskl", f"--keypoints={path}") == 0
    assert prepare(videos, again, "--pose=pyskl", f"--keypoints={other}") == 2
    assert "other settings" in capsys.readouterr().err


def test_keypoints_as_coco_come_back_to_a_thousandth_of_a_pixel(videos, prepared, tmp_path):
    path, again = tmp_path / "keypoints.json", tmp_path / "again"
    arguments = ("--keypoints=coco", f"--output={path}", "--split=test")
    assert main(["convert", f"--data={prepared}", *arguments]) == 0
    content = json.loads(path.read_text())
    assert content["categories"][0]["keypoints"] == list(KEYPOINT_NAMES)
    num_clips = read_dataset_info(prepared).split("test")["num_clips"]
    assert len(content["videos"]) == num_clips and len(content["images"]) == 6 * num_clips
    first = content["annotations"][0]
    assert len(first["keypoints"]) == 51 and set(first["keypoints"][2::3]) <= {0, 1, 2}
    assert first["num_keypoints"] == sum(v > 0 for v in first["keypoints"][2::3])

    # Clips without keypoints are failures with their reason.
    assert prepare(videos, again, "--pose=coco", f"--keypoints={path}") == 0
    failures = read_failures(again)
    assert len(failures) == 2 * len(CLASSES) - num_clips
    assert {failure.cause for failure in failures} == {
        f"There are no keypoints of this clip in {path}."
    }
    records = clips(prepared)
    for clip_id, record in clips(again).items():
        expected = records[clip_id].keypoints
        np.testing.assert_allclose(record.keypoints, expected, atol=0.0006 / 32, rtol=0)


def test_coco_annotations_load_in_pycocotools(prepared, tmp_path, capsys):
    coco = pytest.importorskip("pycocotools.coco")
    path = tmp_path / "keypoints.json"
    assert main(["convert", f"--data={prepared}", "--keypoints=coco", f"--output={path}"]) == 0
    loaded = coco.COCO(str(path))
    image = loaded.dataset["images"][3]
    (annotation, *_) = loaded.loadAnns(loaded.getAnnIds(image["id"], iscrowd=False))
    record = clips(prepared)[image["file_name"].rpartition("/")[0]]
    joints = np.reshape(annotation["keypoints"], (17, 3))[:, :2]
    np.testing.assert_allclose(joints / [43, 32], record.keypoints[3, 0, :, :2], atol=3e-5)


def test_scores_beyond_0_to_1_are_said_once(videos, tmp_path, capsys):
    folder = tmp_path / "synthetic"
    shutil.copytree(videos, folder)
    changed = sorted(folder.rglob("*.keypoints.json"))[:3]
    for path in changed:
        content = json.loads(path.read_text())
        content["frames"][0][0][0][2] = 1.07
        path.write_text(json.dumps(content))
    assert prepare(folder, tmp_path / "out", "--pose=keypoints") == 0
    printed = capsys.readouterr().out
    number = f"{len(changed)} of {2 * len(CLASSES)} clips"
    note = f"note: The keypoints of {number} had scores outside [0, 1], which were clipped to it."
    assert printed.count("outside [0, 1]") == 1 and note in printed
    assert not read_failures(tmp_path / "out")


def test_bad_input_to_convert_is_one_line(videos, prepared, tmp_path, capsys):
    without, exists = tmp_path / "without", tmp_path / "exists.pkl"
    assert prepare(videos, without, "--pose=none") == 0
    exists.touch()
    new = tmp_path / "new.pkl"
    for data, format_name, output, flags, message in (
        (prepared, "openpose", new, (), "keypoints must be one of pyskl, coco"),
        (without, "pyskl", new, (), "must hold keypoints"),
        (prepared, "pyskl", exists, (), "--output must be a new file"),
        (prepared, "pyskl", tmp_path / "absent" / "new.pkl", (), "in a folder that exists"),
        (prepared, "pyskl", new, ("--split=dev",), "split must be one of"),
        (tmp_path, "pyskl", new, (), "A prepared dataset is a folder"),
    ):
        arguments = (f"--data={data}", f"--keypoints={format_name}", f"--output={output}")
        assert main(["convert", *arguments, *flags]) == 2, message
        assert message in capsys.readouterr().err
    assert not new.exists()


@pytest.mark.data
@pytest.mark.slow
def test_movenet_keypoints_as_pyskl_give_the_records_of_movenet(real_data, tmp_path):
    folder, lists = copy_two_clips(real_data, tmp_path)
    weights = real_data / "weights" / "movenet_multipose"
    base = ("--dataset=ucf101", f"--videos={folder}", f"--lists={lists}", "--flow=none")
    base = (*base, "--workers=0", "--max_seconds=0.8")
    first, again = tmp_path / "movenet", tmp_path / "pyskl"
    estimated = ("--pose=movenet", f"--pose_weights={weights}")
    assert main(["prepare", *base, f"--output={first}", *estimated]) == 0
    path = tmp_path / "movenet.pkl"
    assert main(["convert", f"--data={first}", "--keypoints=pyskl", f"--output={path}"]) == 0
    given = ("--pose=pyskl", f"--keypoints={path}")
    assert main(["prepare", *base, f"--output={again}", *given]) == 0
    expected, actual = clips(first), clips(again)
    assert list(expected) == list(actual) and len(expected) == 2
    for clip_id, record in expected.items():
        assert record.keypoints.shape == (20, 5, 17, 3) and record.keypoints.any()
        np.testing.assert_array_equal(actual[clip_id].keypoints, record.keypoints)
        np.testing.assert_array_equal(actual[clip_id].boxes, record.boxes)
