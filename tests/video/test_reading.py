"""What is read of a file: every frame at its time, of the right stream, or why not."""

from fractions import Fraction

import av
import numpy as np
import pytest
from written_videos import copy_from, numbered, read_number, write

from perfnet_tf.threads import set_num_threads
from perfnet_tf.video.decode import VideoError, read_video

PICTURES = [numbered(number) for number in range(12)]


def numbers(video):
    return [read_number(frame) for frame in video.frames]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("av1.mp4", "libsvtav1", {"crf": "20", "preset": "12"}),
        ("av1.webm", "libsvtav1", {"crf": "20", "preset": "12"}),
        ("hevc.mkv", "libx265", {"x265-params": "log-level=none"}),
        ("vp9.webm", "libvpx-vp9", {"b": "1M"}),
        ("h264.ts", "libx264", {}),
        ("mpeg2.mpg", "mpeg2video", {"qscale": "2"}),
    ],
)
def test_codecs_of_today_give_every_frame(tmp_path, name, codec, options):
    pictures = [numbered(number, 96, 160) for number in range(12)]
    video = read_video(write(tmp_path / name, pictures, codec=codec, options=options))
    assert numbers(video) == list(range(12))
    np.testing.assert_allclose(video.timestamps, np.arange(12) / 25, atol=1e-3)
    assert not video.truncated and not video.deinterlaced


@pytest.mark.parametrize(
    ("extension", "codec"),
    [
        ("rm", "rv20"),
        ("wtv", "mpeg2video"),
        ("3g2", "mpeg4"),
        ("qt", "mjpeg"),
        ("mpe", "mpeg1video"),
        ("m2t", "mpeg2video"),
    ],
)
def test_containers_of_yesterday_give_every_frame(tmp_path, extension, codec):
    form = {"qt": "mov", "mpe": "mpg", "m2t": "ts"}.get(extension, extension)
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    pictures = [numbered(number, 96, 160) for number in range(12)]
    path = write(tmp_path / f"clip.{form}", pictures, codec=codec, pix_fmt=pix_fmt)
    video = read_video(path.rename(tmp_path / f"clip.{extension}"))
    assert numbers(video) == list(range(12)) and not video.truncated
    np.testing.assert_allclose(video.timestamps, np.arange(12) / 25, atol=1e-3)


class TestTimes:
    def test_pause_is_a_pause(self, tmp_path):
        times = [*np.arange(6) / 25, *(20 + np.arange(6) / 25)]
        path = write(tmp_path / "pause.mp4", PICTURES, times=times, time_base=Fraction(1, 12800))
        video = read_video(path)
        np.testing.assert_allclose(video.timestamps, times, atol=1e-3)
        assert not video.truncated
        shown = numbers(read_video(path, fps=5))
        assert shown[:2] == [0, 5] and shown[99:101] == [5, 6] and len(shown) == 102

    @pytest.mark.parametrize("seed", range(4))
    def test_jitter_drops_and_repeats_no_frame(self, tmp_path, seed):
        jitter = np.random.default_rng(seed).uniform(-6e-3, 6e-3, 60)
        times = np.maximum(0, np.arange(60) / 30 + jitter)
        pictures = [numbered(number) for number in range(60)]
        path = write(
            tmp_path / "camera.webm",
            pictures,
            codec="libvpx",
            options={"b": "1M"},
            times=times - times[0],
            time_base=Fraction(1, 1000),
            rate=30,
        )
        shown = numbers(read_video(path, fps=30))
        assert len(set(shown)) >= 58 and abs(len(shown) - 60) <= 1

    def test_beginning_that_an_edit_list_hides_is_not_shown(self, tmp_path):
        pictures = [numbered(number) for number in range(60)]
        whole = write(tmp_path / "whole.mp4", pictures, options={"g": "60", "bf": "2"})
        copy_from(whole, tmp_path / "cut.mp4", 0.8)
        video = read_video(tmp_path / "cut.mp4")
        assert numbers(video) == list(range(20, 60))
        assert not video.truncated
        np.testing.assert_allclose(video.timestamps, np.arange(40) / 25, atol=1e-3)

    def test_late_start_is_no_truncation(self, tmp_path):
        times = 5 + np.arange(12) / 25
        for name in ("late.mkv", "late.ts", "late.mp4"):
            path = write(tmp_path / name, PICTURES, times=times, time_base=Fraction(1, 90000))
            video = read_video(path)
            assert numbers(video) == list(range(12)) and not video.truncated
            np.testing.assert_allclose(video.timestamps, times - 5, atol=1e-3)

    def test_sound_that_outlasts_the_video_is_no_truncation(self, tmp_path):
        path = tmp_path / "concert.mkv"
        with av.open(str(path), "w") as container:
            film = container.add_stream("mpeg4", rate=25)
            film.width, film.height, film.pix_fmt = 80, 48, "yuv420p"
            sound = container.add_stream("flac", rate=8000)
            sound.layout = "mono"
            for index, picture in enumerate(PICTURES):
                frame = av.VideoFrame.from_ndarray(picture)
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(film.encode(frame))
            container.mux(film.encode())
            for index in range(40):
                samples = av.AudioFrame.from_ndarray(
                    np.zeros((1, 4000), np.int16), format="s16", layout="mono"
                )
                samples.sample_rate, samples.pts = 8000, 4000 * index
                container.mux(sound.encode(samples))
            container.mux(sound.encode())
        video = read_video(path)
        assert numbers(video) == list(range(12)) and not video.truncated

    def test_clock_that_restarts_in_a_transport_stream_continues(self, tmp_path):
        parts = []
        for part in range(2):
            times = 1000.0 * (1 - part) + np.arange(12) / 25
            path = tmp_path / f"{part}.ts"
            pictures = [numbered(12 * part + number) for number in range(12)]
            write(path, pictures, times=times, time_base=Fraction(1, 90000), options={"bf": "0"})
            parts.append(path.read_bytes())
        path = tmp_path / "joined.ts"
        path.write_bytes(b"".join(parts))
        video = read_video(path)
        assert numbers(video) == list(range(24))
        np.testing.assert_allclose(video.timestamps, np.arange(24) / 25, atol=2e-3)


class TestOtherStreams:
    def with_cover(self, path, film):
        """Sound with a cover picture, and a film if one is given."""
        cover = write(path.with_name("cover.png"), PICTURES[:1], codec="png", pix_fmt="rgb24")
        with av.open(str(path), "w") as container:
            container.add_attachment("cover.png", "image/png", cover.read_bytes())
            sound = container.add_stream("flac", rate=8000)
            sound.layout = "mono"
            video = container.add_stream("mpeg4", rate=25) if film else None
            if video is not None:
                video.width, video.height, video.pix_fmt = 80, 48, "yuv420p"
            samples = np.zeros((1, 4096), np.int16)
            sample_frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            sample_frame.sample_rate, sample_frame.pts = 8000, 0
            container.mux(sound.encode(sample_frame))
            container.mux(sound.encode())
            for index, picture in enumerate(PICTURES if film else ()):
                frame = av.VideoFrame.from_ndarray(picture)
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(video.encode(frame))
            if video is not None:
                container.mux(video.encode())
        with av.open(str(path)) as container:
            assert len(container.streams.video) == 1 + film
        return path

    def test_sound_with_a_cover_picture_is_no_video(self, tmp_path):
        path = self.with_cover(tmp_path / "song.mkv", film=False)
        with pytest.raises(VideoError, match="song.mkv, which has sound only and a cover picture"):
            read_video(path)

    def test_cover_picture_is_not_taken_for_the_film(self, tmp_path):
        video = read_video(self.with_cover(tmp_path / "film.mkv", film=True))
        assert numbers(video) == list(range(12))

    @pytest.mark.parametrize("first", [True, False])
    def test_single_picture_is_not_taken_for_the_film(self, tmp_path, first):
        path = tmp_path / "camera.mp4"
        with av.open(str(path), "w") as container:
            streams = [container.add_stream("mpeg4", rate=25) for _ in range(2)]
            for stream in streams:
                stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
            preview, film = streams if first else streams[::-1]
            for index, picture in enumerate(PICTURES):
                frame = av.VideoFrame.from_ndarray(picture)
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(film.encode(frame))
                if index == 7:
                    container.mux(preview.encode(frame))
            for stream in streams:
                container.mux(stream.encode())
        assert numbers(read_video(path)) == list(range(12))

    def test_animated_avif_is_more_than_its_first_picture(self, tmp_path):
        options = {"crf": "20", "preset": "12"}
        pictures = [numbered(number, 96, 160) for number in range(12)]
        path = write(tmp_path / "clip.avif", pictures, codec="libsvtav1", options=options)
        with av.open(str(path)) as container:
            assert container.streams.video[0].frames == 1
        assert numbers(read_video(path)) == list(range(12))

    def test_sound_is_no_video(self, tmp_path):
        path = tmp_path / "song.wav"
        with av.open(str(path), "w") as container:
            sound = container.add_stream("pcm_s16le", rate=8000)
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
            samples.sample_rate = 8000
            container.mux(sound.encode(samples))
        with pytest.raises(VideoError, match="song.wav, which has sound only"):
            read_video(path)

    @pytest.mark.parametrize(
        ("extension", "old", "new"),
        [
            ("avi", b"MJPG", b"QQQQ"),
            ("mp4", b"avc1", b"evc1"),
            ("mkv", b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ"),
        ],
    )
    def test_codec_without_a_decoder_is_named(self, tmp_path, extension, old, new):
        codec = "mjpeg" if extension == "avi" else "libx264"
        pix_fmt = "yuvj420p" if extension == "avi" else "yuv420p"
        path = write(tmp_path / f"clip.{extension}", PICTURES, codec=codec, pix_fmt=pix_fmt)
        path.write_bytes(path.read_bytes().replace(old, new))
        with pytest.raises(VideoError) as error:
            read_video(path)
        message = str(error.value)
        assert message.startswith("No decoder for the codec") and new.decode() in message
        assert "ffmpeg -i" in message and "damaged" not in message and "\n" not in message


def test_animated_webp_is_refused_with_the_way_out(tmp_path):
    path = write(tmp_path / "clip.webp", PICTURES, codec="libwebp_anim", pix_fmt="bgra")
    with pytest.raises(VideoError, match=r"animated WebP.*clip.webp. Convert it to GIF or MP4"):
        read_video(path)


def test_damaged_file_gives_the_same_frames_with_any_number_of_threads(tmp_path):
    pictures = [numbered(number, 96, 160) for number in range(30)]
    path = write(tmp_path / "zeros.mp4", pictures, options={"g": "5", "crf": "1"})
    data = path.read_bytes()
    start, end = data.index(b"mdat"), data.index(b"moov") - 4
    middle = (start + end) // 2
    path.write_bytes(data[:middle] + bytes(end - middle) + data[end:])
    counts = []
    try:
        for number in (1, 4):
            set_num_threads(number)
            video = read_video(path)
            counts.append(len(video.frames))
            assert video.truncated
    finally:
        set_num_threads(None)
    assert counts[0] == counts[1] >= 5


def test_pointer_of_git_lfs_is_named(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(VideoError, match=r"clip.mp4, which only points .* Git LFS.*git lfs pull"):
        read_video(path)
