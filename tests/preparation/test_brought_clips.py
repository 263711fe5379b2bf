"""Records of folders of pictures and of parts of videos: the frames say their numbers."""

import cv2
import numpy as np
import pytest
from painted_frames import HEIGHT, WIDTH, numbers, write_lossless, write_pictures
from prepared_records import read_clip

import perfnet_tf
from perfnet_tf.cli.main import main
from perfnet_tf.preparation.outcomes import PreparationError
from perfnet_tf.records.folder import read_dataset_info, read_failures

OPTIONS = {"pose": "none", "flow": "dis", "short_side": HEIGHT, "workers": 0}


def make_lists(folder, **lists):
    folder.mkdir(exist_ok=True)
    for name, text in lists.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


@pytest.mark.parametrize("rate", [25, 30])
def test_pictures_give_the_records_of_the_video_of_these_frames(tmp_path, rate):
    for clip in ("Up/a", "Down/b"):
        write_lossless(tmp_path / "videos" / f"{clip}.avi", 12, rate)
        write_pictures(tmp_path / "frames" / clip, 12)
    perfnet_tf.prepare(tmp_path / "videos", tmp_path / "of_videos", **OPTIONS)
    perfnet_tf.prepare(tmp_path / "frames", tmp_path / "of_frames", fps_of_frames=rate, **OPTIONS)
    shards = [sorted((tmp_path / name).glob("*.tfrecord")) for name in ("of_videos", "of_frames")]
    assert [path.name for path in shards[0]] == [path.name for path in shards[1]] != []
    for ours, theirs in zip(*shards, strict=True):
        assert ours.read_bytes() == theirs.read_bytes()
    info = read_dataset_info(tmp_path / "of_frames")
    assert info.parameters["fps_of_frames"] == rate


def test_segments_of_one_video_are_clips(tmp_path):
    write_lossless(tmp_path / "videos/long.avi", 100)
    write_lossless(tmp_path / "videos/short.avi", 10)
    text = "long.avi,0.4,1.2,1\nlong.avi,2,2.48,0\nlong.avi,3.6,6,1\nshort.avi,0,0.4,0\n"
    lists = make_lists(tmp_path / "lists", train=text, names="sit\nturn left\n")
    output = tmp_path / "records"
    result = perfnet_tf.prepare(
        tmp_path / "videos",
        output,
        dataset="list",
        lists=lists,
        classes=lists / "names.txt",
        **OPTIONS,
    )
    assert result.info.classes == ("sit", "turn left")
    assert any("say left or right: turn left" in note for note in result.notes)
    clip = read_clip(output, "long_0.4_1.2")
    assert numbers(clip.frames) == list(range(10, 30)) and clip.label_name == "turn left"
    np.testing.assert_allclose(clip.timestamps, np.arange(10, 30) / 25)
    assert numbers(read_clip(output, "long_2_2.48").frames) == list(range(50, 62))
    assert numbers(read_clip(output, "short_0_0.4").frames) == list(range(10))
    assert clip.group == read_clip(output, "long_2_2.48").group == "long"
    (failure,) = read_failures(output)
    assert failure.kept and failure.clip_id == "long_3.6_6"
    assert "ends after 4.0 s, before its segment from 3.6 to 6 s does" in failure.cause


def test_rawframes_by_list_with_their_flow_in_the_same_folders(tmp_path):
    frames = tmp_path / "rawframes"
    for clip in ("a", "b"):
        write_pictures(frames / clip, 8, name="img_{:05d}.png")
        for number in range(1, 8):
            for axis in "xy":
                level = np.full((HEIGHT, WIDTH), 128 + 8 * number * (axis == "x"), np.uint8)
                cv2.imwrite(str(frames / clip / f"flow_{axis}_{number:05d}.jpg"), level)
    lists = make_lists(tmp_path / "lists", train="a 8 0\n", val="b 9 1\n")
    words = ["--dataset=list", f"--videos={frames}", f"--lists={lists}", "--fps_of_frames=25"]
    words += ["--pose=none", "--flow=folder", "--workers=0", f"--short_side={HEIGHT}"]
    output = tmp_path / "records"
    assert main(["prepare", *words, f"--output={output}"]) == 0
    clip = read_clip(output, "a")
    assert numbers(clip.frames) == list(range(8))
    expected = np.minimum(np.array([1, 2, 3, 4, 5, 6, 7, 7]) * 8 * 40 / 255, 20)
    np.testing.assert_allclose(clip.flow[..., 0].mean(axis=(1, 2)), expected, atol=0.2)
    assert not clip.flow[..., 1].any()
    (failure,) = read_failures(output)
    assert "Frames 0 to 8 are wanted" in failure.cause and "has 8" in failure.cause


def test_a_missing_picture_is_reported_and_the_time_kept(tmp_path):
    write_pictures(tmp_path / "frames/Up/a", 8, without=[4])
    write_pictures(tmp_path / "frames/Down/b", 8)
    output = tmp_path / "records"
    perfnet_tf.prepare(tmp_path / "frames", output, fps_of_frames=25, **OPTIONS)
    assert numbers(read_clip(output, "Up/a").frames) == [0, 1, 2, 3, 3, 5, 6, 7]
    (failure,) = read_failures(output)
    assert failure.kept and "pictures that are missing: 1." in failure.cause


def test_a_dive_that_begins_later_is_cut_by_frames(tmp_path):
    write_lossless(tmp_path / "videos/v_00000.avi", 40, fps=30)
    lists = make_lists(tmp_path / "lists")
    (lists / "Diving48_vocab.json").write_text('[["Back", "FREE"]]')
    entry = '[{"vid_name": "v_00000", "label": 0, "start_frame": 12, "end_frame": 30}]'
    (lists / "Diving48_V2_train.json").write_text(entry)
    (lists / "Diving48_V2_test.json").write_text("[]")
    perfnet_tf.prepare(
        tmp_path / "videos",
        tmp_path / "records",
        dataset="diving48",
        lists=lists,
        fps=None,
        **OPTIONS,
    )
    assert numbers(read_clip(tmp_path / "records", "v_00000").frames) == list(range(12, 30))


def test_the_rate_of_pictures_is_for_pictures(tmp_path, refuses):
    write_pictures(tmp_path / "frames/Up/a", 3)
    write_pictures(tmp_path / "frames/Down/b", 3)
    write_lossless(tmp_path / "videos/Up/a.avi", 3)
    write_lossless(tmp_path / "videos/Down/b.avi", 3)
    words = ["prepare", "--dataset=folder", f"--output={tmp_path / 'o'}", "--pose=none"]
    words.append("--flow=none")
    frames, videos = (f"--videos={tmp_path / name}" for name in ("frames", "videos"))
    refuses([*words, frames], "need their frame rate")
    refuses([*words, videos, "--fps_of_frames=25"], "--fps_of_frames is for folders of pictures")
    refuses([*words, frames, "--fps_of_frames=0"], "--fps_of_frames must be in (0, 1000]")


def test_frames_that_cannot_be_read_are_failures(tmp_path):
    for clip in ("Up/a", "Down/b"):
        write_pictures(tmp_path / "frames" / clip, 4)
        (tmp_path / "frames" / clip / "img_00002.png").write_bytes(b"cut off")
    with pytest.raises(PreparationError, match="2, such as Down/b: A picture must decode"):
        perfnet_tf.prepare(tmp_path / "frames", tmp_path / "o", fps_of_frames=25, **OPTIONS)
