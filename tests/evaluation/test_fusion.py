import zipfile

import numpy as np
import pytest

from perfnet_tf.errors import InputError
from perfnet_tf.evaluation.fusion import ClipScores, fuse

RGB = ClipScores(
    ("a/1", "b/1", "b/2"),
    np.array([0, 1, 1], np.int32),
    np.array([[1.0, 2.0], [0.0, 1.0], [4.0, 0.0]], np.float32),
    ("a", "b"),
)
FLOW = ClipScores(
    ("a/1", "b/1", "b/2"),
    np.array([0, 1, 1], np.int32),
    np.array([[3.0, 0.0], [0.0, 1.0], [0.0, 5.0]], np.float32),
    ("a", "b"),
)


def test_fusion_is_the_sum_of_logits():
    fused = fuse([RGB, FLOW])
    np.testing.assert_array_equal(fused.logits, [[4, 2], [0, 2], [4, 5]])
    np.testing.assert_array_equal(fused.labels, [0, 1, 1])
    assert fused.logits.dtype == np.float32


def test_one_network_is_itself():
    np.testing.assert_array_equal(fuse([RGB]).logits, RGB.logits)


def test_clips_and_classes_in_another_order_are_matched_by_name():
    flow = ClipScores(
        ("b/2", "a/1", "b/1"),
        np.array([0, 1, 0], np.int32),
        np.array([[5.0, 0.0], [0.0, 3.0], [1.0, 0.0]], np.float32),
        ("b", "a"),
    )
    fused = fuse([RGB, flow])
    np.testing.assert_array_equal(fused.logits, fuse([RGB, FLOW]).logits)
    assert fused.classes == ("a", "b")


def test_three_classes_are_permuted_not_swapped():
    scores = ClipScores(
        ("x",), np.array([2], np.int32), np.array([[1.0, 2.0, 3.0]], np.float32), ("a", "b", "c")
    )
    turned = scores.reordered(("x",), ("c", "a", "b"))
    np.testing.assert_array_equal(turned.logits, [[3, 1, 2]])
    assert turned.classes[turned.labels[0]] == "c"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (ClipScores(("a/1", "b/1"), RGB.labels[:2], RGB.logits[:2], ("a", "b")), "same clips"),
        (ClipScores(RGB.clip_ids, RGB.labels, RGB.logits, ("a", "c")), "same classes.*(b).*(c)"),
        (ClipScores(RGB.clip_ids, 1 - RGB.labels, RGB.logits, ("a", "b")), "same labels.*'a/1'"),
    ],
)
def test_scores_that_do_not_match_are_refused(other, message):
    with pytest.raises(InputError, match=message):
        fuse([RGB, other])


def test_nothing_to_fuse_is_refused():
    with pytest.raises(InputError, match="at least one"):
        fuse([])


def test_a_clip_scored_twice_is_refused():
    with pytest.raises(InputError, match="'a' more than once"):
        ClipScores(("a", "a"), np.zeros(2, np.int32), np.zeros((2, 2), np.float32), ("x", "y"))


def test_scores_survive_the_disk(tmp_path):
    RGB.save(tmp_path / "logits.npz")
    loaded = ClipScores.load(tmp_path / "logits.npz")
    assert (loaded.clip_ids, loaded.classes) == (RGB.clip_ids, RGB.classes)
    np.testing.assert_array_equal(loaded.logits, RGB.logits)
    np.testing.assert_array_equal(loaded.labels, RGB.labels)


def test_an_array_without_its_header_is_refused(tmp_path):
    path = tmp_path / "logits.npz"
    RGB.save(path)
    with np.load(path) as arrays, zipfile.ZipFile(path.with_suffix(".cut"), "w") as cut:
        for name in arrays:
            cut.writestr(f"{name}.npy", arrays[name].tobytes())
    with pytest.raises(InputError, match="not an .npz of scores"):
        ClipScores.load(path.with_suffix(".cut"))


@pytest.mark.parametrize("content", [None, b"", b"no zip", b"PK\x03\x04cut"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "logits.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="not an .npz of scores"):
        ClipScores.load(path)
