import os
import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest

from perfnet_tf.video import shapes
from perfnet_tf.video.decode import VideoError, VideoStream, read_video

HEIGHT, WIDTH = 48, 80

FORMATS = [("avi", "MJPG"), ("avi", "XVID"), ("mp4", "mp4v"), ("mkv", "MJPG"), ("webm", "VP80")]


def picture(index):
    """Left half: the frame's number in six bits, white or black. Right half: red."""
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for bit in range(6):
        frame[8 * bit : 8 * bit + 8, : WIDTH // 2] = 255 * (index >> bit & 1)
    frame[:, WIDTH // 2 :, 0] = 220
    return frame


def frame_number(frame):
    bits = frame[4::8, 4 : WIDTH // 2 - 4].mean(axis=(1, 2)) > 128
    return int(np.sum(bits << np.arange(6)))


def write_video(path, codec, num_frames, fps=25.0, size=(WIDTH, HEIGHT), make=picture):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, size)
    if not writer.isOpened():
        pytest.skip(f"this OpenCV writes no {codec} in {path.suffix}")
    for index in range(num_frames):
        writer.write(make(index)[..., ::-1])
    writer.release()
    return path


def rotate_by_metadata(path):
    """Turns an MP4 by 90 degrees clockwise in its track header, leaving the frames alone."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 4 + 20 + 16
    assert struct.unpack_from(">9i", data, matrix)[0] == 1 << 16
    turned = (0, 1 << 16, 0, -(1 << 16), 0, 0, HEIGHT << 16, 0, 1 << 30)
    struct.pack_into(">9i", data, matrix, *turned)
    path.write_bytes(data)


def set_durations(path, durations):
    """Makes an MP4's frames last `durations` times their usual time: variable frame rate."""
    data = bytearray(path.read_bytes())
    assert data.index(b"mdat") < data.index(b"moov"), "insertion would shift the frames"
    at = data.index(b"stts") - 4
    (size,) = struct.unpack_from(">I", data, at)
    (delta,) = struct.unpack_from(">I", data, at + 20)
    table = b"".join(struct.pack(">II", 1, delta * duration) for duration in durations)
    box = struct.pack(">I4sII", 16 + len(table), b"stts", 0, len(durations)) + table
    for parent in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        start = data.index(parent) - 4
        (parent_size,) = struct.unpack_from(">I", data, start)
        struct.pack_into(">I", data, start, parent_size + len(box) - size)
    data[at : at + size] = box
    data = data.replace(b"edts", b"free")  # the edit list holds the old playing time
    path.write_bytes(data)


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


@pytest.mark.parametrize(("extension", "codec"), FORMATS)
def test_each_container_gives_every_frame_in_rgb(tmp_path, extension, codec):
    path = write_video(tmp_path / f"clip.{extension}", codec, 12)
    video = read_video(path)
    assert video.frames.shape == (12, HEIGHT, WIDTH, 3)
    assert video.frames.dtype == np.uint8
    assert video.num_source_frames == 12
    assert video.source_fps == 25
    assert not video.truncated
    np.testing.assert_allclose(video.timestamps, np.arange(12) / 25, atol=1e-3)
    assert [frame_number(frame) for frame in video.frames] == list(range(12))
    red, green, blue = video.frames[11, HEIGHT // 2, WIDTH - 12].astype(int)
    assert red > 200
    assert max(green, blue) < 40


def test_a_stream_gives_the_frames_of_read_video(tmp_path):
    path = write_video(tmp_path / "clip.mp4", "mp4v", 7)
    with VideoStream(path) as stream:
        np.testing.assert_array_equal(list(stream.frames()), read_video(path).frames)


class TestResampling:
    def test_30_fps_to_25(self, tmp_path):
        path = write_video(tmp_path / "clip.avi", "MJPG", 30, fps=30)
        video = read_video(path, fps=25)
        np.testing.assert_allclose(video.timestamps, np.arange(25) / 25)
        assert [frame_number(f) for f in video.frames][:7] == [0, 1, 2, 3, 4, 6, 7]
        assert video.source_fps == 30
        assert video.num_source_frames == 30

    def test_10_fps_to_25(self, tmp_path):
        path = write_video(tmp_path / "clip.avi", "MJPG", 4, fps=10)
        video = read_video(path, fps=25)
        assert [frame_number(f) for f in video.frames] == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]

    def test_30_fps_matroska_to_its_own_rate_loses_no_frame(self, tmp_path):
        path = write_video(tmp_path / "clip.mkv", "MJPG", 40, fps=30)
        video = read_video(path, fps=30)
        assert [frame_number(f) for f in video.frames] == list(range(40))

    def test_variable_frame_rate_keeps_its_speed(self, tmp_path):
        path = write_video(tmp_path / "clip.mp4", "mp4v", 5, fps=25)
        set_durations(path, [1, 1, 5, 2, 1])  # frames at 0, 40, 80, 280, 360 ms
        video = read_video(path)
        np.testing.assert_allclose(video.timestamps, [0, 0.04, 0.08, 0.28, 0.36], atol=1e-6)
        assert not video.truncated
        # The last frame stands one interval of the stated (mean) rate: 80 ms.
        numbers = [frame_number(f) for f in read_video(path, fps=25).frames]
        assert numbers == [0, 1, 2, 2, 2, 2, 2, 3, 3, 4, 4]

    def test_max_frames_stops_the_decoding(self, tmp_path):
        path = write_video(tmp_path / "clip.avi", "MJPG", 40)
        video = read_video(path, max_frames=6)
        assert len(video.frames) == 6
        assert video.num_source_frames == 7  # one more, to know that there is more
        assert video.stopped and not video.truncated
        assert not read_video(path, max_frames=40).stopped
        video = read_video(path, fps=50, max_frames=7)  # stops in the middle of a repeat
        assert [frame_number(f) for f in video.frames] == [0, 0, 1, 1, 2, 2, 3]
        assert video.num_source_frames < 10

    def test_max_bytes_stops_before_the_frames_take_more(self, tmp_path):
        path = write_video(tmp_path / "clip.avi", "MJPG", 40)
        frame = HEIGHT * WIDTH * 3
        video = read_video(path, max_bytes=6 * frame + 1)
        assert len(video.frames) == 6 and video.stopped
        assert len(read_video(path, max_bytes=1).frames) == 1
        assert not read_video(path, max_bytes=40 * frame).stopped
        # It is the resulting frames that count.
        assert len(read_video(path, short_side=24, max_bytes=6 * frame).frames) == 24


class TestResizing:
    @pytest.mark.parametrize(("side", "size"), [(24, (24, 40)), (72, (72, 120)), (48, (48, 80))])
    def test_short_side_is_exact_and_the_aspect_kept(self, tmp_path, side, size):
        path = write_video(tmp_path / "clip.avi", "MJPG", 3)
        assert read_video(path, short_side=side).frames.shape == (3, *size, 3)

    def test_short_side_of_a_portrait_video_is_its_width(self, tmp_path):
        path = write_video(
            tmp_path / "tall.avi",
            "MJPG",
            2,
            size=(HEIGHT, WIDTH),
            make=lambda i: picture(i).transpose(1, 0, 2),
        )
        assert read_video(path, short_side=24).frames.shape == (2, 40, 24, 3)

    def test_shrinking_averages_pixels(self, tmp_path):
        def checkered(index):
            return np.tile(np.uint8([[0, 255], [255, 0]]), (24, 40))[..., None].repeat(3, 2)

        path = write_video(tmp_path / "clip.mkv", "FFV1", 1, make=checkered)
        frames = read_video(path, short_side=24).frames
        assert np.abs(frames.astype(int) - 128).max() <= 2  # picking pixels would give 0 or 255

    def test_rotation_metadata_is_honoured(self, tmp_path):
        path = write_video(tmp_path / "phone.mp4", "mp4v", 3)
        upright = read_video(path).frames
        rotate_by_metadata(path)
        turned = read_video(path).frames
        assert turned.shape == (3, WIDTH, HEIGHT, 3)
        expected = np.rot90(upright, k=-1, axes=(1, 2)).astype(int)  # clockwise
        assert np.abs(turned.astype(int) - expected).mean() < 3


class TestBrokenFiles:
    @pytest.mark.parametrize(
        ("extension", "codec"), [f for f in FORMATS if f[0] != "mp4"], ids=lambda v: v
    )
    def test_truncated_file_gives_what_decodes_and_says_so(self, tmp_path, extension, codec):
        def noisy(index):  # so that frames take about the same number of bytes
            frame = picture(index)
            noise = np.random.default_rng(index).integers(0, 255, (HEIGHT, WIDTH // 2, 1))
            frame[:, WIDTH // 2 :] = noise
            return frame

        path = write_video(tmp_path / f"clip.{extension}", codec, 60, make=noisy)
        cut(path, 0.6)
        video = read_video(path)
        assert 3 <= len(video.frames) < 50
        assert video.num_source_frames == len(video.frames)
        assert video.truncated
        assert [frame_number(f) for f in video.frames[:3]] == [0, 1, 2]

    def test_header_wrong_by_a_few_frames_is_not_truncation(self, tmp_path):
        path = write_video(tmp_path / "clip.avi", "MJPG", 30)
        data = path.read_bytes()
        assert data.count(struct.pack("<I", 30)) >= 1
        header = data.index(b"avih")
        # Total frames in the AVI header, and length in the stream header.
        stream = data.index(b"strh")
        data = bytearray(data)
        struct.pack_into("<I", data, header + 8 + 16, 36)
        struct.pack_into("<I", data, stream + 8 + 32, 36)
        path.write_bytes(data)
        assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT) == 36
        video = read_video(path)
        assert video.num_source_frames == 30
        assert not video.truncated

    def test_mp4_without_its_index_is_one_clear_error(self, tmp_path):
        path = write_video(tmp_path / "clip.mp4", "mp4v", 60)
        cut(path, 0.6)
        with pytest.raises(VideoError, match="clip.mp4, which FFmpeg cannot open.*cut off"):
            read_video(path)

    def test_one_frame_is_a_video(self, tmp_path):
        path = write_video(tmp_path / "one.mp4", "mp4v", 1)
        assert read_video(path).frames.shape == (1, HEIGHT, WIDTH, 3)
        assert read_video(path, fps=25).timestamps.tolist() == [0]
        assert read_video(path, fps=1).timestamps.tolist() == [0]

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("text.avi", b"hello\n" * 300, "which is text"),
            ("umlauts.txt", "grüße\n".encode() * 800, "which is text"),
            ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "which is text"),
            ("noise.mp4", bytes(range(256)) * 40, "cannot open"),
            ("empty.mp4", b"", r"empty \(0 bytes\)"),
        ],
    )
    def test_file_that_is_no_video_is_one_clear_error(self, tmp_path, name, content, message):
        path = tmp_path / name
        path.write_bytes(content)
        for read in (read_video, VideoStream):
            with pytest.raises(VideoError, match=message) as error:
                read(path)
            assert name in str(error.value)
            assert "\n" not in str(error.value)

    @pytest.mark.parametrize("spoiled", [b"# caf\xe9\n", b"#\0\n"], ids=["latin1", "zero"])
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("list.avi", b"ffconcat version 1.0\nfile secret.avi\n"),
            ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nsecret.ts\n"),
            ("bom.avi", b"\xef\xbb\xbfffconcat version 1.0\nfile secret.avi\n"),
        ],
    )
    def test_playlist_that_is_no_clean_text_is_not_followed(self, tmp_path, name, content, spoiled):
        write_video(tmp_path / "secret.avi", "MJPG", 5)
        path = tmp_path / name
        path.write_bytes(content + spoiled)
        if name == "list.avi":  # it is a list that FFmpeg would follow
            assert cv2.VideoCapture(str(path)).isOpened()
        with pytest.raises(VideoError, match="which is text"):
            read_video(path)

    def test_name_that_is_not_utf8_is_one_clear_error(self, tmp_path):
        """OpenCV would end the process."""
        path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")
        os.rename(write_video(tmp_path / "clip.mp4", "mp4v", 5), path)
        for read in (read_video, VideoStream):
            with pytest.raises(VideoError, match=r"must be UTF-8.*caf\\udce9.mp4.*Rename"):
                read(path)

    def test_video_without_frames_is_one_clear_error(self, tmp_path):
        path = write_video(tmp_path / "none.avi", "MJPG", 20)
        data = path.read_bytes()
        path.write_bytes(data[: data.index(b"movi") + 4])
        with pytest.raises(VideoError, match="none.avi"):
            read_video(path)

    def test_missing_file_and_folder_are_named(self, tmp_path):
        with pytest.raises(VideoError, match="does not exist"):
            read_video(tmp_path / "absent.mp4")
        (tmp_path / "folder.mp4").mkdir()
        with pytest.raises(VideoError, match="is a folder"):
            read_video(tmp_path / "folder.mp4")

    def test_numbered_pictures_are_not_taken_for_a_film(self, tmp_path):
        for index in range(3):
            cv2.imwrite(str(tmp_path / f"img_{index:03}.png"), picture(index))
        assert len(read_video(tmp_path / "img_000.png").frames) == 1
        (tmp_path / "img_001.png").rename(tmp_path / "img_%03d.png")
        assert len(read_video(tmp_path / "img_%03d.png").frames) == 1

    def test_absurd_sizes_are_refused(self, tmp_path, monkeypatch):
        path = write_video(tmp_path / "clip.avi", "MJPG", 2)
        with pytest.raises(VideoError, match="at most 16384 pixels"):
            read_video(path, short_side=12000)
        monkeypatch.setattr(shapes, "MAX_SIDE", 64)
        with pytest.raises(VideoError, match="1 to 64 pixels.*80x48"):
            read_video(path)
        monkeypatch.undo()
        monkeypatch.setattr(shapes, "MAX_PIXELS", 1000)
        with pytest.raises(VideoError, match="1000 pixels in all.*80x48"):
            read_video(path)
        monkeypatch.setattr(shapes, "MAX_PIXELS", HEIGHT * WIDTH)
        with pytest.raises(VideoError, match="100 makes 167x100"):
            read_video(path, short_side=100)

    @pytest.mark.parametrize(
        "arguments",
        [{"fps": 0}, {"fps": float("nan")}, {"short_side": 0}, {"max_frames": 0}, {"max_bytes": 0}],
    )
    def test_arguments_out_of_range_are_refused(self, tmp_path, arguments):
        path = write_video(tmp_path / "clip.avi", "MJPG", 2)
        with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be"):
            read_video(path, **arguments)

    def test_broken_files_leave_the_terminal_alone(self, tmp_path):
        cut(write_video(tmp_path / "cut.avi", "XVID", 60), 0.6)
        cut(write_video(tmp_path / "cut.mp4", "mp4v", 60), 0.6)
        code = (
            "import sys\n"
            "from perfnet_tf.video.decode import *\n"
            "for path in sys.argv[1:]:\n"
            "    try: read_video(path)\n"
            "    except VideoError: pass\n"
        )
        paths = [str(tmp_path / "cut.avi"), str(tmp_path / "cut.mp4")]
        done = subprocess.run(
            [sys.executable, "-c", code, *paths],
            capture_output=True,
            text=True,
            env={k: v for k, v in os.environ.items() if not k.startswith("OPENCV")},
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def count_independently(path):
    """Frames by `grab` alone, through another route than `read`."""
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.grab():
        count += 1
    return count


@pytest.mark.data
class TestRealClips:
    def test_single_clips(self, real_data):
        paths = sorted(path for path in (real_data / "clips").iterdir())
        assert len(paths) >= 9
        for path in paths:
            video = read_video(path, short_side=32)
            assert video.num_source_frames == len(video.frames) == count_independently(path)
            assert (np.diff(video.timestamps) > 0).all(), path
            assert not video.truncated, path
            # Constant rates, all of them: time is frames by rate, to a rounded millisecond.
            expected = np.arange(len(video.frames)) / video.source_fps
            np.testing.assert_allclose(video.timestamps, expected, atol=1.1e-3)
            assert len(read_video(path, short_side=32, fps=25).frames) == pytest.approx(
                25 * len(video.frames) / video.source_fps, abs=1
            )

    def test_ucf101_clips(self, real_data):
        paths = sorted((real_data / "videos" / "ucf101_8class").rglob("*.avi"))[::16]
        assert len(paths) >= 15
        for path in paths:
            video = read_video(path, short_side=120)
            assert video.frames.shape[1:] == (120, 160, 3)
            assert video.num_source_frames == len(video.frames) == count_independently(path)
            assert not video.truncated, path
            if video.source_fps == 25:
                assert len(read_video(path, short_side=120, fps=25).frames) == len(video.frames)
