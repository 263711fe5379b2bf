import json
import pickle

import numpy as np
import pytest
from small_clips import write_video

from perfnet_tf.errors import InputError
from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.preparation.given_keypoints import GivenKeypoints
from perfnet_tf.records.schema import SourceClip
from perfnet_tf.video.decode import read_video


def clip_of(path, clip_id=None):
    return SourceClip(clip_id or f"wave/{path.stem}", str(path), 0, "wave", "train")


def numbered(frames):
    """In frame k one person, all of whose joints are at x = k + 1, y = 6."""
    people = np.full((frames, 1, 17, 3), 0.5)
    people[..., 0] = np.arange(frames)[:, None, None] + 1
    people[..., 1] = 6
    return people


def columns(people):
    return people.keypoints[:, 0, 0, 0]


@pytest.mark.parametrize(
    ("source_fps", "fps"), [(50, 25), (25, 25), (30, 25), (10, 25), (30, None)]
)
def test_each_stored_frame_gets_the_keypoints_of_the_frame_it_shows(tmp_path, source_fps, fps):
    path = tmp_path / "a.avi"
    write_video(path, frames=20, fps=source_fps)
    np.save(tmp_path / "a.npy", numbered(20))
    video = read_video(path, fps=fps)
    people, clipped = GivenKeypoints("mmpose", tmp_path, 1)(clip_of(path), video)
    assert not clipped and people.keypoints.shape == (len(video.frames), 1, 17, 3)
    width = video.frames.shape[2]
    shown = np.rint(columns(people) * width).astype(int) - 1
    # The frame whose time has come last, as the reader shows it.
    every = read_video(path)
    for number, index in enumerate(shown):
        np.testing.assert_array_equal(video.frames[number], every.frames[index])


def test_pixels_are_of_the_video_before_it_is_resized_unless_the_file_says_otherwise(tmp_path):
    path = tmp_path / "a.avi"
    write_video(path, frames=6)
    video = read_video(path, short_side=24)
    assert video.frames.shape[1:3] == (24, 32)  # of 48x64
    np.save(tmp_path / "a.npy", numbered(6))
    people, _ = GivenKeypoints("mmpose", tmp_path, 1)(clip_of(path), video)
    np.testing.assert_allclose(people.keypoints[0, 0, 0], [1 / 64, 6 / 48, 0.5])
    (tmp_path / "a.npy").unlink()
    np.savez(tmp_path / "a.npz", keypoints=numbered(6), width=np.array(640), height=np.array(60))
    people, _ = GivenKeypoints("mmpose", tmp_path, 1)(clip_of(path), video)
    np.testing.assert_allclose(people.keypoints[0, 0, 0], [1 / 640, 6 / 60, 0.5])


def test_keypoints_of_another_number_of_frames_are_refused(tmp_path):
    path = tmp_path / "a.avi"
    write_video(path, frames=30)
    video = read_video(path, fps=25)
    given = GivenKeypoints("mmpose", tmp_path, 1)
    for count in (22, 38):  # readers differ in the last frames
        np.save(tmp_path / "a.npy", numbered(count))
        people, _ = given(clip_of(path), video)
        assert columns(people)[-1] * 64 == pytest.approx(min(count, 30), abs=0.01)
    for count in (15, 60):
        np.save(tmp_path / "a.npy", numbered(count))
        with pytest.raises(InputError, match=f"every frame.*keypoints of {count} frames .* of 30"):
            given(clip_of(path), video)
    with pytest.raises(InputError, match="no keypoints of this clip"):
        given(clip_of(tmp_path / "b.avi"), video)


def test_keypoints_of_another_rate_are_matched_by_time(tmp_path):
    path = tmp_path / "a.avi"
    write_video(path, frames=90, fps=30)
    np.save(tmp_path / "a.npy", numbered(30))  # 3 s at 10 frames per second
    video = read_video(path, fps=25)
    people, _ = GivenKeypoints("mmpose", tmp_path, 1, fps=10)(clip_of(path), video)
    width = video.frames.shape[2]
    shown = np.rint(columns(people) * width).astype(int) - 1
    np.testing.assert_array_equal(shown, np.minimum((video.timestamps * 10 + 0.5).astype(int), 29))


@pytest.mark.parametrize("fps", [5, 25])
def test_a_rate_that_the_number_of_keypoints_contradicts_is_refused(tmp_path, fps):
    path = tmp_path / "a.avi"
    write_video(path, frames=90, fps=30)
    np.save(tmp_path / "a.npy", numbered(30))
    given = GivenKeypoints("mmpose", tmp_path, 1, fps=fps)
    with pytest.raises(InputError, match=f"30 frames at {fps} fps for a video of 3.0 s"):
        given(clip_of(path), read_video(path))


def test_a_rate_that_the_file_states_counts(tmp_path):
    path = tmp_path / "a.avi"
    write_video(path, frames=30)
    keypoints = {"fps": 25, "width": 64, "height": 48, "frames": [[]] * 30}
    path.with_suffix(".keypoints.json").write_text(json.dumps(keypoints))
    people, _ = GivenKeypoints("keypoints", None, 1, fps=5)(clip_of(path), read_video(path))
    assert len(people.keypoints) == 30


def test_a_place_without_keypoints_of_the_videos_or_with_shared_names_is_refused(tmp_path):
    annotations = [{"frame_dir": "001"}, {"frame_dir": "run/002"}]
    path = tmp_path / "it.pkl"
    path.write_bytes(pickle.dumps(annotations, protocol=2))
    given = GivenKeypoints("pyskl", path, 1)
    wave, run = clip_of(tmp_path / "001.avi", "wave/001"), clip_of(tmp_path / "001.mp4", "run/001")
    other = clip_of(tmp_path / "002.mp4", "run/002")
    given.check([wave, other])
    with pytest.raises(InputError, match="of one clip. Received: 001 for wave/001 and run/001"):
        given.check([wave, run])
    with pytest.raises(InputError, match="which has none of wave/3 and 0 others; it has 001, run"):
        given.check([clip_of(tmp_path / "3.avi")])


def test_a_rate_needs_keypoints():
    with pytest.raises(InputError, match="for keypoints that are there"):
        PrepareConfig("toy", pose="none", fps_of_keypoints=10)
    with pytest.raises(InputError, match="must be in"):
        PrepareConfig("toy", pose="keypoints", fps_of_keypoints=0)
    identity = PrepareConfig("toy", pose="keypoints").identity()
    assert "fps_of_keypoints" not in identity


def test_settings_name_a_format_and_its_place(tmp_path):
    with pytest.raises(InputError, match="`pose=coco` needs `keypoints`: an annotation JSON"):
        PrepareConfig("it", pose="coco")
    with pytest.raises(InputError, match="`keypoints` needs a `pose` that reads them: pyskl"):
        PrepareConfig("it", pose="none", keypoints=str(tmp_path))
    first = PrepareConfig("it", pose="coco", keypoints="a.json").identity()
    assert (first["pose"], first["keypoints"]) == ("coco", "a.json")
    assert first != PrepareConfig("it", pose="coco", keypoints="b.json").identity()
    # Preparations of earlier versions resume.
    assert "keypoints" not in PrepareConfig("it", pose="keypoints").identity()


def test_keypoints_of_this_package_may_be_in_a_folder_of_their_own(tmp_path):
    path = tmp_path / "videos" / "wave" / "a.avi"
    path.parent.mkdir(parents=True)
    write_video(path, frames=6)
    frames = [frame.tolist() for frame in numbered(6)]
    content = {"fps": 25, "width": 64, "height": 48, "frames": frames}
    place = tmp_path / "keypoints" / "wave" / "a.keypoints.json"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(content))
    given = GivenKeypoints("keypoints", tmp_path / "keypoints", 1)
    given.check([clip_of(path)])
    people, _ = given(clip_of(path), read_video(path, fps=25))
    assert columns(people)[2] * 64 == pytest.approx(3)
    path.with_suffix(".keypoints.json").unlink()
    next_to_videos = GivenKeypoints("keypoints", None, 1)
    with pytest.raises(InputError, match="There is no keypoint file .*a.keypoints.json"):
        next_to_videos(clip_of(path), read_video(path))
