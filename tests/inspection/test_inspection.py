import dataclasses
import json

import browser
import cv2
import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.cli.inspect import COMMAND
from perfnet_tf.errors import InputError
from perfnet_tf.flow.encoding import flow_legend
from perfnet_tf.inspection.picture import (
    _with_legend,
    _write_text,
    choose_max_speed,
    draw_streams,
    write_inspection,
)
from perfnet_tf.inspection.statistics import compute_statistics, format_statistics
from perfnet_tf.inspection.stored_clip import open_clip, open_examples
from perfnet_tf.pose.variants import POSE_VARIANTS
from perfnet_tf.records import schema
from perfnet_tf.records.encoding import encode_clip
from perfnet_tf.records.folder import index_file, write_dataset_info
from perfnet_tf.records.schema import ClipFailure, ClipRecord, DatasetInfo, IndexEntry

HEIGHT, WIDTH, PEOPLE = 32, 48, 2


def make_record(clip_id, label_name, num_frames, *, speed=3.0, truncated=False):
    """A grey clip that brightens, moves to the right, and shows one person in the middle."""
    label = ("jump", "sit", "wave").index(label_name)
    frames = np.zeros((num_frames, HEIGHT, WIDTH, 3), np.uint8)
    frames += np.linspace(20, 200, num_frames).astype(np.uint8)[:, None, None, None]
    keypoints = np.zeros((num_frames, PEOPLE, 17, 3), np.float32)
    keypoints[:, 0] = (0.5, 0.5, 0.9)
    keypoints[:, 0, 5:7] = [(0.25, 0.25, 0.9), (0.75, 0.25, 0.9)]  # shoulders
    boxes = np.zeros((num_frames, PEOPLE, 4), np.float32)
    boxes[:, 0] = (0.25, 0.25, 0.75, 0.5)
    flow = np.zeros((num_frames, HEIGHT, WIDTH, 2), np.float32)
    flow[..., 0] = speed
    return ClipRecord(
        clip_id=clip_id,
        label=label,
        label_name=label_name,
        frames=frames,
        timestamps=np.arange(num_frames) / 10,
        fps=10.0,
        keypoints=keypoints,
        boxes=boxes,
        flow=flow,
        truncated=truncated,
    )


def write_dataset(folder, splits, *, quality=None, failures=(), **changes):
    """Writes records as `perfnet prepare` does; `splits` maps names to records."""
    classes = ("jump", "sit", "wave")
    infos = {}
    for split, records in splits.items():
        if "flow" in changes:
            records = [dataclasses.replace(record, flow=None) for record in records]
        if "pose" in changes:
            records = [dataclasses.replace(r, keypoints=None, boxes=None) for r in records]
        name = f"{split}-00000-of-00001.tfrecord"
        offset, entries = 0, []
        with tf.io.TFRecordWriter(str(folder / name)) as writer:
            for record in records:
                data = encode_clip(record, max_people=PEOPLE, flow_bound=20.0)
                writer.write(data)
                entries.append(
                    IndexEntry(
                        record.clip_id, record.label, record.num_frames, 0, offset + 12, len(data)
                    )
                )
                offset += len(data) + 16
        lines = [json.dumps(dataclasses.asdict(entry)) + "\n" for entry in entries]
        (folder / index_file(split)).write_text("".join(lines))
        infos[split] = {
            "num_clips": len(records),
            "num_frames": sum(record.num_frames for record in records),
            "shards": [name],
            "clips_per_shard": [len(records)],
            "sha256": [""],
            "clips_per_class": {c: sum(r.label_name == c for r in records) for c in classes},
            "pose_quality": (quality or {}).get(split, {}),
        }
    lines = [json.dumps(dataclasses.asdict(failure)) + "\n" for failure in failures]
    (folder / schema.FAILURES_FILE).write_text("".join(lines))
    settings = {"pose": "posenet", "flow": "tvl1", **changes}
    info = DatasetInfo(
        name="tiny",
        classes=classes,
        splits=infos,
        fps=10.0,
        short_side=HEIGHT,
        max_people=PEOPLE,
        flow_bound=20.0,
        num_failed=sum(not failure.kept for failure in failures),
        num_truncated=sum(failure.kept for failure in failures),
        **settings,
    )
    write_dataset_info(folder, info)
    return folder


RECORDS = {
    "train": [
        make_record("wave/v_wave_g02_c01", "wave", 12, speed=1.0),
        make_record("wave/v_wave_g01_c01", "wave", 4, speed=2.0),
        make_record("jump/v_jump_g01_c01", "jump", 8, speed=20.0, truncated=True),
    ],
    "test": [make_record("jump/v_jump_g03_c01", "jump", 6, speed=4.0)],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    quality = {
        "train": {
            "jump": {"person": 0.5, "keypoints": 0.25},
            "wave": {"person": 1.0, "keypoints": 0.5},
        },
        "test": {"jump": {"person": 0.0, "keypoints": 0.0}},
    }
    failures = [
        ClipFailure("sit/v_sit_g01_c01", "/videos/sit.avi", "train", "The file is empty."),
        ClipFailure("jump/v_jump_g01_c01", "/videos/j.avi", "train", "Breaks off.", kept=True),
    ]
    folder = tmp_path_factory.mktemp("tiny")
    return write_dataset(folder, RECORDS, quality=quality, failures=failures)


class TestStatistics:
    def test_numbers(self, data):
        stats = compute_statistics(data)
        assert stats.frames_per_clip == (4, 7, 12)
        assert stats.empty_classes == ("sit",)
        # Frames: wave 12 + 4 all with a person, jump 8 half of them, jump (test) 6 without.
        assert stats.pose.person == pytest.approx((16 + 4) / 30)
        assert stats.pose.keypoints == pytest.approx((8 + 2) / 30)
        assert list(stats.pose.by_class) == ["jump", "wave"]
        assert stats.pose.by_class["jump"] == pytest.approx((4 / 14, 2 / 14))
        assert stats.pose.by_class["wave"] == pytest.approx((1.0, 0.5))

    def test_flow_speeds(self, data):
        flow = compute_statistics(data).flow
        # 3 to 4 frames of each clip: 4 of 1 px, 3 of 2 px, 4 of 4 px, 4 of 20 px.
        assert (flow.num_clips, flow.num_frames) == (4, 15)
        assert flow.percentiles[50] == pytest.approx(4, abs=0.08)
        assert flow.percentiles[90] == flow.percentiles[99] == pytest.approx(20, abs=1e-5)
        assert flow.clipped == pytest.approx(4 / 15)

    def test_text(self, data):
        lines = format_statistics(compute_statistics(data)).splitlines()
        assert lines[0] == "tiny: 4 clips, 30 frames, 3 classes; 10 fps, short side 32"
        assert lines[1] == "  train: 3 clips, 24 frames, 0 to 2 clips per class"
        assert lines[2] == "  test: 1 clips, 6 frames, 0 to 1 clips per class"
        assert "  frames per clip: 4 to 12, median 7" in lines
        assert "  classes without a clip: sit" in lines
        assert "  failed: 1 clips; in part: 1" in lines
        assert any("posenet: 66.7% of frames with a person, 33.3% with" in line for line in lines)
        assert "    jump   28.6%   14.3%" in lines  # the worst class is first
        assert lines.index("    jump   28.6%   14.3%") < lines.index("    wave  100.0%   50.0%")
        assert "26.67% of pixels at the bound of 20" in lines[-1]

    def test_of_many_classes_the_worst_are_named(self, data, monkeypatch):
        monkeypatch.setattr("perfnet_tf.inspection.statistics.MOST_CLASSES", 1)
        text = format_statistics(compute_statistics(data))
        assert "jump   28.6%" in text and "wave  " not in text
        assert "1 more classes, with better coverage: see dataset.json" in text

    def test_records_of_rgb_only(self, tmp_path):
        write_dataset(tmp_path, RECORDS, pose=None, flow=None)
        stats = compute_statistics(tmp_path)
        assert (stats.pose, stats.flow) == (None, None)
        assert "  pose: none\n  flow: none" in format_statistics(stats)

    def test_dataset_without_clips_is_refused(self, tmp_path):
        write_dataset(tmp_path, {"train": []})
        with pytest.raises(InputError, match="must hold clips"):
            compute_statistics(tmp_path)
        with pytest.raises(InputError, match="must be a clip"):
            open_examples(tmp_path)


class TestClips:
    def test_open_clip_finds_it_in_any_split(self, data):
        clip = open_clip(data, "jump/v_jump_g03_c01")
        assert (clip.split, clip.label_name, clip.fps) == ("test", "jump", 10.0)
        assert clip.entry.num_frames == 6
        np.testing.assert_allclose(clip.timestamps, np.arange(6) / 10)
        assert clip.streams == ("rgb", "pose", "flow")

    def test_decodes_the_frames_asked_for(self, data):
        decoded = open_clip(data, "wave/v_wave_g02_c01").decode([11, 0])
        assert decoded["rgb"].shape == (2, HEIGHT, WIDTH, 3)
        assert decoded["rgb"].mean(axis=(1, 2, 3)) == pytest.approx([200, 20], abs=3)

    def test_unknown_clip_names_the_nearest(self, data):
        with pytest.raises(InputError, match="Received: 'G03_c01'. Did you mean jump/v_jump_g03"):
            open_clip(data, "G03_c01")
        with pytest.raises(InputError, match="Did you mean wave/v_wave_g01_c01"):
            open_clip(data, "wave/v_wav_g01_c01")
        with pytest.raises(InputError, match="in the split train.*'jump/v_jump_g03_c01'"):
            open_clip(data, "jump/v_jump_g03_c01", split="train")

    def test_failed_clip_says_why_it_has_no_record(self, data):
        with pytest.raises(InputError, match="no record, because: The file is empty."):
            open_clip(data, "sit/v_sit_g01_c01")

    def test_unknown_split_is_refused(self, data):
        for call in (
            lambda: open_clip(data, "x", split="val"),
            lambda: open_examples(data, split="val"),
        ):
            with pytest.raises(InputError, match="split must be one of train, test"):
                call()

    def test_examples_are_the_first_clip_of_each_class(self, data):
        ids = [clip.entry.clip_id for clip in open_examples(data)]
        assert ids == ["jump/v_jump_g01_c01", "wave/v_wave_g01_c01"]
        assert len(open_examples(data, num_classes=1)) == 1
        assert open_examples(data, split="test")[0].entry.clip_id == "jump/v_jump_g03_c01"

    def test_damaged_shard_is_one_clear_error(self, tmp_path):
        write_dataset(tmp_path, RECORDS)
        shard = tmp_path / "test-00000-of-00001.tfrecord"
        shard.write_bytes(shard.read_bytes()[:100])
        with pytest.raises(InputError, match="cut off"):
            open_clip(tmp_path, "jump/v_jump_g03_c01")
        shard.unlink()
        with pytest.raises(InputError, match="missing"):
            open_clip(tmp_path, "jump/v_jump_g03_c01")


class TestPictures:
    def test_streams_are_drawn(self, data):
        clip = open_clip(data, "jump/v_jump_g03_c01")
        pictures = draw_streams(clip, [0, 5], max_speed=4.0)
        assert list(pictures) == ["rgb", "pose", "flow"]
        assert all(p.shape == (2, HEIGHT, WIDTH, 3) for p in pictures.values())
        changed = (pictures["pose"] != pictures["rgb"]).any(axis=-1)
        assert changed[:, 8, 14:34].all()  # the shoulders' line: y = 0.25, x = 0.25 to 0.75
        assert not changed[:, 24:].any()
        red, green, blue = pictures["flow"][0, 16, 24].astype(int)  # to the right is red
        assert red > 200
        assert max(green, blue) < 60

    def test_full_colour_shows_the_fast_pixels_and_not_for_noise(self, data):
        assert choose_max_speed(open_clip(data, "jump/v_jump_g03_c01")) == pytest.approx(4, abs=0.1)
        assert choose_max_speed(open_clip(data, "wave/v_wave_g02_c01")) == pytest.approx(1, abs=0.1)

    def test_png_shows_every_frame_of_every_stream(self, data, tmp_path):
        path = tmp_path / "new" / "sheet.png"
        clips = open_examples(data)
        write_inspection(clips, path, num_columns=3)
        picture = cv2.imread(str(path))[..., ::-1]
        # 3 frames of 1.9 inches at 120 dpi, margin, gaps and legend; 2 clips of a title and 3 rows.
        row = 1.9 * HEIGHT / WIDTH + 0.03
        assert picture.shape[1] == pytest.approx(120 * (0.5 + 3 * 1.93 + 1.35), abs=2)
        assert picture.shape[0] == pytest.approx(120 * 2 * (0.5 + 3 * row), abs=2)
        for number, clip in enumerate(clips):
            top = number * (0.5 + 3 * row) + 0.5
            expected = draw_streams(clip, [clip.entry.num_frames * 5 // 6], choose_max_speed(clip))
            for line, stream in enumerate(("rgb", "pose", "flow")):
                # Well inside the third tile, lower part: nobody stands there.
                y, x = 120 * (top + line * row + 0.9), 120 * (0.5 + 2 * 1.93 + 0.5)
                tile = picture[int(y) : int(y) + 20, int(x) : int(x) + 60].mean(axis=(0, 1))
                wanted = expected[stream][0, 24:28, 14:20].mean(axis=(0, 1))
                np.testing.assert_allclose(tile, wanted, atol=4)

    def test_frames_at_rest_have_an_outline(self, tmp_path):
        """Their flow is as white as the page."""
        path = tmp_path / "sheet.png"
        write_dataset(tmp_path, {"train": [make_record("sit/still", "sit", 4, speed=0.0)]})
        write_inspection(open_examples(tmp_path), path, num_columns=2, streams=["flow"])
        picture = cv2.imread(str(path))
        middle = picture[round(120 * (0.5 + 0.95 * HEIGHT / WIDTH))].max(axis=-1)
        edges = [round(120 * (0.5 + place)) for place in (0, 1.9, 1.93, 3.83)]
        assert all(middle[edge - 2 : edge + 3].min() < 245 for edge in edges)
        inside = middle[edges[0] + 3 : edges[1] - 2]
        assert inside.min() == 255

    def test_mp4_shows_streams_side_by_side_over_time(self, data, tmp_path):
        path = tmp_path / "clip.mp4"
        clip = open_clip(data, "jump/v_jump_g03_c01")
        write_inspection([clip], path)
        capture = cv2.VideoCapture(str(path))
        assert capture.get(cv2.CAP_PROP_FPS) == 10
        frames = []
        while (read := capture.read())[0]:
            frames.append(read[1][..., ::-1])
        assert np.shape(frames) == (6, 28 + HEIGHT, 3 * WIDTH, 3)
        lower = np.array(frames)[:, -8:-4]
        rgb, pose, flow = (lower[:, :, i * WIDTH + 8 : i * WIDTH + 16] for i in range(3))
        expected = np.linspace(20, 200, 6)
        np.testing.assert_allclose(rgb.mean(axis=(1, 2, 3)), expected, atol=12)
        np.testing.assert_allclose(pose.mean(axis=(1, 2, 3)), expected, atol=12)
        assert (flow[..., 0].mean() > 200) and (flow[..., 1:].mean() < 80)
        assert np.array(frames)[:, :28].max() > 128  # the title

    def test_a_browser_plays_the_mp4(self, data, tmp_path):
        clip = open_clip(data, "jump/v_jump_g03_c01")
        write_inspection([clip], tmp_path / "clip.mp4")
        points = [(WIDTH * column + WIDTH // 2, 28 + HEIGHT - 6) for column in range(3)]
        shown = browser.play(tmp_path / "clip.mp4", 0.55, points)  # the last frame of six
        assert (shown.width, shown.height) == (3 * WIDTH, 28 + HEIGHT)
        assert shown.duration == pytest.approx(0.6, abs=0.01)
        rgb, pose, flow = np.array(shown.colors)
        assert abs(rgb - 200).max() <= 4 and abs(pose - 200).max() <= 4
        assert flow[0] > 200 and flow[1:].max() < 80

    @pytest.mark.parametrize("name", ["größe", "Бег", "Χορός"])
    def test_names_in_any_script_are_written_as_they_are(self, tmp_path, name):
        canvas = {}
        for written in (name, "?" * len(name), "\u0378" * len(name)):
            canvas[written] = np.zeros((28, 200, 3), np.uint8)
            _write_text(canvas[written], f"1.20 s  {written}")
        one, asked, box = canvas.values()
        assert one.max() > 200 and (one != asked).any() and (one != box).any()
        record = dataclasses.replace(make_record("wave/a", "wave", 4), clip_id=f"wave/{name}")
        write_dataset(tmp_path, {"train": [record]})
        for output in ("a.mp4", "a.png"):
            write_inspection(open_examples(tmp_path), tmp_path / output, num_columns=2)

    def test_a_title_that_is_too_long_fills_two_lines(self):
        canvas = np.zeros((28, 200, 3), np.uint8)
        _write_text(canvas, "a name | " * 30)
        for line in (canvas[:14], canvas[14:]):
            columns = np.nonzero(line.any(axis=(0, 2)))[0]
            assert columns.min() < 10 and 160 < columns.max() < 198

    def test_mp4_of_the_pose_stream_alone_in_a_chosen_drawing(self, data, tmp_path):
        clip = open_clip(data, "jump/v_jump_g03_c01")
        path = tmp_path / "pose.mp4"
        render = POSE_VARIANTS["black_bar_13_ratio"]
        write_inspection([clip], path, streams=["pose"], render=render)
        frame = cv2.VideoCapture(str(path)).read()[1]
        assert frame.shape == (28 + HEIGHT, WIDTH, 3)
        assert frame[-8:].max() < 40  # no background
        assert frame[28 + 8, 16:32].max(axis=-1).min() > 90  # the shoulders' line
        with pytest.raises(InputError, match="some of rgb, pose, flow .*Received: depth"):
            write_inspection([clip], path, streams=["depth"])

    def test_drawings_are_shown_under_their_names(self, data, tmp_path):
        clip = open_clip(data, "jump/v_jump_g03_c01")
        names = ["rgb_bar_6_uniform", "black_dot_13_ratio"]
        render = {name: POSE_VARIANTS[name] for name in names}
        pictures = draw_streams(clip, [2], max_speed=4.0, render=render)
        assert list(pictures) == ["rgb", *names, "flow"]
        for name in names:
            alone = draw_streams(clip, [2], max_speed=4.0, render=render[name])["pose"]
            np.testing.assert_array_equal(pictures[name], alone)
        write_inspection([clip], tmp_path / "all.mp4", render=render)
        frame = cv2.VideoCapture(str(tmp_path / "all.mp4")).read()[1]
        assert frame.shape == (28 + HEIGHT, 4 * WIDTH, 3)
        path = tmp_path / "all.png"
        arguments = [f"--data={data}", "--clip=jump/v_jump_g03_c01", f"--output={path}"]
        heights = []
        for more in (["--pose_variant=rgb_bar_6"], ["--pose_variant=all"]):
            assert COMMAND([*arguments, *more]) == 0
            heights.append(cv2.imread(str(path)).shape[0])
        row = 1.9 * HEIGHT / WIDTH + 0.03
        assert heights[1] - heights[0] == pytest.approx(120 * 6 * row, abs=2)

    def test_the_wheel_says_which_speed_its_rim_is(self):
        plain = np.full((90, 160, 3), 200, np.uint8)
        drawn = _with_legend(plain, flow_legend(20), "3.5 px")
        assert (drawn[-20:, -20:] != 200).any()
        text = (drawn[:, :-20] != 200).any(axis=-1)
        assert text[-16:, 90:].sum() > 30 and not text[:-20].any()
        np.testing.assert_array_equal(
            drawn[-20:, -20:], _with_legend(plain, flow_legend(20), "")[-20:, -20:]
        )
        small = _with_legend(plain[:40, :50], flow_legend(16), "3.5 px")
        assert (small[:, :-16] == 200).all()  # no room

    def test_mp4_of_clips_with_other_streams_and_sizes(self, data, tmp_path):
        wide = make_record("wave/wide", "wave", 5)
        wide = dataclasses.replace(
            wide,
            frames=np.full((5, HEIGHT, WIDTH + 15, 3), 90, np.uint8),
            flow=np.zeros((5, HEIGHT, WIDTH + 15, 2), np.float32),
        )
        folder = tmp_path / "wide"
        folder.mkdir()
        write_dataset(folder, {"train": [wide]}, pose=None)
        clips = [open_clip(data, "jump/v_jump_g03_c01"), open_clip(folder, "wave/wide")]
        write_inspection(clips, tmp_path / "both.mp4")
        capture = cv2.VideoCapture(str(tmp_path / "both.mp4"))
        sizes = []
        while (read := capture.read())[0]:
            sizes.append(read[1].shape)
        assert sizes == [(60, 3 * (WIDTH + 15) + 1, 3)] * 11
        write_inspection(clips, tmp_path / "both.png", num_columns=2)

    def test_refusals(self, data, tmp_path):
        clip = open_clip(data, "jump/v_jump_g03_c01")
        with pytest.raises(InputError, match="FILE.png or FILE.mp4. Received: .*clip.gif"):
            write_inspection([clip], tmp_path / "clip.gif")
        with pytest.raises(InputError, match="0 columns"):
            write_inspection([clip], tmp_path / "clip.png", num_columns=0)
        (tmp_path / "file").touch()
        for name in ("clip.png", "clip.mp4"):
            with pytest.raises(InputError, match="cannot be written"):
                write_inspection([clip], tmp_path / "file" / name)


class TestCommand:
    def test_prints_statistics_and_writes_the_picture(self, data, tmp_path, capsys):
        path = tmp_path / "sheet.png"
        assert COMMAND([f"--data={data}", f"--output={path}", "--frames=2"]) == 0
        printed = capsys.readouterr().out
        assert printed.startswith("tiny: 4 clips")
        assert f"{path}: jump/v_jump_g01_c01, wave/v_wave_g01_c01" in printed
        assert path.stat().st_size > 1000

    def test_statistics_alone(self, data, capsys):
        assert COMMAND([f"--data={data}"]) == 0
        assert "26.67% of pixels" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--output=x.gif"], "FILE.png or FILE.mp4"),
            (["--output=x.png", "--clip=wave"], "Did you mean wave/v_wave_g01_c01"),
            (["--output=x.png", "--split=trian"], "Did you mean 'train'"),
            (["--pose_variant=rgb_bar_7"], "Did you mean 'rgb_bar_"),
        ],
    )
    def test_refuses_before_the_work(self, data, capsys, arguments, message):
        with pytest.raises(InputError, match=message):
            COMMAND([f"--data={data}", *arguments])
        assert capsys.readouterr().out == ""
