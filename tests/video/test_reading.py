"""What a player does with a file beyond decoding: fields, mirrors, shapes, colours, times."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from written_videos import copy_from, flat, numbered, read_number, write

from perfnet_tf.video import reader
from perfnet_tf.video.colour import tone_map
from perfnet_tf.video.decode import VideoError, VideoStream, read_video
from perfnet_tf.video.orientation import orientation_from_matrix

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


class TestInterlaced:
    def interlaced(self, path, top_first=True):
        """A bar that moves 4 pixels from field to field, in an H.264 file of 10 frames."""
        pictures = []
        for number in range(10):
            picture = np.full((64, 160, 3), 40, np.uint8)
            for field in range(2):
                place = 8 * number + 4 * (field if top_first else 1 - field)
                picture[field::2, place : place + 16] = 220
            pictures.append(picture)
        options = {"crf": "4", "flags": "+ildct+ilme"}
        return write(path, pictures, options=options, fields="tff" if top_first else "bff")

    @pytest.mark.parametrize("top_first", [True, False])
    def test_fields_of_two_times_become_one_picture(self, tmp_path, top_first):
        video = read_video(self.interlaced(tmp_path / "fields.mp4", top_first))
        assert video.deinterlaced and len(video.frames) == video.num_source_frames == 10
        np.testing.assert_allclose(video.timestamps, np.arange(10) / 25)
        # No comb: neighbouring rows show the bar at one place. (By weaving it is 4 pixels off.)
        inside = video.frames[2:-2, 8:-8].astype(int)
        comb = np.abs(inside[:, 1:-1] - (inside[:, :-2] + inside[:, 2:]) / 2).mean()
        assert comb < 1.5
        edges = [np.flatnonzero(frame[32, :, 0] > 130)[0] for frame in video.frames]
        assert np.abs(np.diff(edges) - 8).max() <= 1  # each frame at the time of its first field
        assert abs(edges[4] - 32) <= 1

    def test_progressive_video_is_left_alone(self, tmp_path):
        video = read_video(write(tmp_path / "clip.mp4", PICTURES))
        assert not video.deinterlaced

    def test_stream_says_so_as_well(self, tmp_path):
        with VideoStream(self.interlaced(tmp_path / "fields.mp4")) as stream:
            assert len(list(stream.frames())) == 10 and stream.deinterlaced


def quarters():
    """Four different corners."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32], picture[:24, 32:] = (200, 30, 30), (30, 200, 30)
    picture[24:, :32], picture[24:, 32:] = (30, 30, 200), (200, 200, 200)
    return picture


class TestDisplayMatrix:
    @pytest.mark.parametrize(
        ("degrees", "mirror", "flip", "expected"),
        [  # counterclockwise turns, then a mirror (left and right) or a flip (top and bottom)
            (0, False, False, lambda picture: picture),
            (90, False, False, lambda picture: np.rot90(picture)),
            (180, False, False, lambda picture: np.rot90(picture, 2)),
            (270, False, False, lambda picture: np.rot90(picture, 3)),
            (0, True, False, lambda picture: picture[:, ::-1]),
            (0, False, True, lambda picture: picture[::-1]),
            (90, True, False, lambda picture: np.rot90(picture)[:, ::-1]),
            (270, True, False, lambda picture: np.rot90(picture, 3)[:, ::-1]),
        ],
    )
    def test_turns_and_mirrors_are_honoured(self, tmp_path, degrees, mirror, flip, expected):
        def orient(stream):
            if not hasattr(stream, "set_display_rotation"):
                pytest.skip("this PyAV writes no display matrix")
            stream.set_display_rotation(degrees, hflip=mirror, vflip=flip)

        picture = quarters()
        path = write(tmp_path / "phone.mp4", [picture] * 3, options={"crf": "4"}, on_stream=orient)
        shown = expected(picture)
        frames = read_video(path).frames
        assert frames.shape == (3, *shown.shape)
        assert np.abs(frames[1].astype(int) - shown).mean() < 6
        assert read_video(path, short_side=24).frames.shape[1:3] == tuple(
            side // 2 for side in shown.shape[:2]
        )

    def test_pixel_shape_turns_with_the_picture(self, tmp_path):
        def orient(stream):
            if not hasattr(stream, "set_display_rotation"):
                pytest.skip("this PyAV writes no display matrix")
            stream.set_display_rotation(90)
            stream.codec_context.sample_aspect_ratio = Fraction(2, 1)

        path = write(tmp_path / "wide.mp4", [quarters()] * 2, on_stream=orient)
        assert read_video(path).frames.shape == (2, 128, 48, 3)


class TestPixelShape:
    @pytest.mark.parametrize(
        ("aspect", "size"),
        [
            (Fraction(16, 11), (48, 116)),
            (Fraction(8, 9), (54, 80)),
            (Fraction(4096, 4083), (48, 80)),  # what half of UCF-101 states
            (Fraction(1, 1), (48, 80)),
            (Fraction(40, 1), (48, 80)),
        ],
    )
    def test_shown_at_the_display_shape(self, tmp_path, aspect, size):
        def shape(stream):
            stream.codec_context.sample_aspect_ratio = aspect

        path = write(tmp_path / "clip.mp4", PICTURES, on_stream=shape)
        assert read_video(path).frames.shape[1:3] == size
        assert read_video(path, square_pixels=False).frames.shape[1:3] == (48, 80)
        with VideoStream(path, square_pixels=False) as stream:
            assert next(stream.frames()).shape == (48, 80, 3)
        height, width = size
        shown = read_video(path, short_side=24).frames.shape[1:3]
        assert shown == (24, round(24 * width / height))


class TestColour:
    #: Full-range R'G'B' of a luma and two chromas by the definition of each matrix.
    KR_KB = {
        "bt709": (1, 0.2126, 0.0722),
        "bt470bg": (5, 0.299, 0.114),
        "smpte170m": (6, 0.299, 0.114),
        "bt2020": (9, 0.2627, 0.0593),
        "untagged": (2, 0.299, 0.114),
    }

    @pytest.mark.parametrize("matrix", KR_KB)
    @pytest.mark.parametrize("full", [False, True])
    @pytest.mark.parametrize("patch", [(120, 90, 180), (180, 160, 100), (126, 128, 128)])
    def test_matrix_and_range_are_those_of_the_stream(self, tmp_path, matrix, full, patch):
        code, red_share, blue_share = self.KR_KB[matrix]

        def tag(stream):
            stream.codec_context.colorspace = code
            stream.codec_context.color_range = 2 if full else 1

        def tag_frame(frame):
            frame.colorspace, frame.color_range = code, 2 if full else 1

        path = write(
            tmp_path / "clip.mp4",
            [],
            planes=[flat(*patch)] * 2,
            options={"qp": "0"},
            on_stream=tag,
            on_frame=tag_frame,
        )
        luma, blue, red = patch
        y = luma if full else (luma - 16) * 255 / 219
        pb, pr = ((chroma - 128) * (1 if full else 255 / 224) for chroma in (blue, red))
        r = y + 2 * (1 - red_share) * pr
        b = y + 2 * (1 - blue_share) * pb
        g = (y - red_share * r - blue_share * b) / (1 - red_share - blue_share)
        expected = np.clip([r, g, b], 0, 255)
        found = read_video(path).frames[0, 24, 32]
        assert np.abs(found - expected).max() <= 2.5, (found, expected)

    def hdr(self, path, transfer, code):
        """A grey patch of a 10-bit code, limited range, BT.2020."""

        def tag(what):
            what.colorspace, what.color_primaries, what.color_trc, what.color_range = (
                9, 9, transfer, 1,
            )  # fmt: skip

        return write(
            path,
            [],
            planes=[flat(code, 512, 512, np.uint16)] * 2,
            pix_fmt="yuv420p10le",
            codec="ffv1",
            on_stream=lambda stream: tag(stream.codec_context),
            on_frame=tag,
        )

    @pytest.mark.parametrize(
        ("nits", "code", "expected"),
        # PQ codes of BT.2100, limited range; up to the knee a screen of 203 cd/m2 shows the same
        # light: 255 * (nits / 203) ** (1 / 2.4).
        [
            (0, 64, 0),
            (1, 195, 28),
            (10, 327, 73),
            (50, 450, 142),
            (100, 509, 190),
            (1000, 723, 255),
        ],
    )
    def test_pq_is_shown_as_on_an_ordinary_screen(self, tmp_path, nits, code, expected):
        frame = read_video(self.hdr(tmp_path / "hdr.mkv", 16, code)).frames[0]
        assert np.abs(frame[24, 32].astype(int) - expected).max() <= 2
        assert frame.dtype == np.uint8

    def test_hlg_is_shown_as_on_an_ordinary_screen(self, tmp_path):
        # BT.2408: 38 % of HLG is an 18 % grey card at 26 cd/m2; 75 % is reference white.
        grey = read_video(self.hdr(tmp_path / "a.mkv", 18, round(64 + 876 * 0.38))).frames[
            0, 24, 32
        ]
        assert np.abs(grey.astype(int) - 255 * (26 / 203) ** (1 / 2.4)).max() <= 2
        white = read_video(self.hdr(tmp_path / "b.mkv", 18, round(64 + 876 * 0.75))).frames[
            0, 24, 32
        ]
        brighter = read_video(self.hdr(tmp_path / "c.mkv", 18, 64 + 876)).frames[0, 24, 32]
        assert (white > 220).all() and (brighter > white).all() and (brighter >= 254).all()

    def test_hdr_colours_keep_their_hue(self):
        """BT.709's primaries, as BT.2020 has them, are pure again."""
        to_2020 = np.array(
            [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
        )
        for channel in range(3):
            light = 80 * to_2020[:, channel] / 10000
            m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
            power = light**m1
            code = ((c1 + c2 * power) / (1 + c3 * power)) ** m2
            patch = np.broadcast_to((code * 65535).round().astype(np.uint16), (4, 4, 3))
            shown = tone_map(np.ascontiguousarray(patch), 16)[2, 2].astype(int)
            assert abs(shown[channel] - 255 * (80 / 203) ** (1 / 2.4)) <= 2
            assert np.delete(shown, channel).max() <= 20

    def test_hdr_is_resized_like_any_video(self, tmp_path):
        path = self.hdr(tmp_path / "hdr.mkv", 16, 450)
        frame = read_video(path, short_side=24).frames[0]
        assert frame.shape == (24, 32, 3) and np.abs(frame.astype(int) - 142).max() <= 2


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


def test_size_that_changes_is_fitted_into_the_first(tmp_path):
    parts = []
    for number, (height, width) in enumerate([(48, 80), (96, 96)]):
        picture = np.full((height, width, 3), 150, np.uint8)
        path = tmp_path / f"{number}.ts"
        parts.append(write(path, [picture] * 6, codec="mpeg2video").read_bytes())
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(parts))
    frames = read_video(path).frames
    assert frames.shape == (11, 48, 80, 3)  # FFmpeg loses the last frame before the change
    np.testing.assert_allclose(frames[-1][4:-4, 20:60], 150, atol=4)
    assert frames[-1][:, :14].max() == frames[-1][:, -14:].max() == 0  # a square, black around
    assert frames[0][:, :14].min() > 130


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


def test_side_data_that_pyav_does_not_know_hides_no_turn():
    class Frame:
        """A frame with EXIF data."""

        def __init__(self, rotation):
            self.rotation = rotation

        @property
        def side_data(self):
            raise ValueError("31 is not a valid Type")

    for degrees in (0, 90, 180, -90):
        matrix = reader._display_matrix(Frame(degrees))
        shown = orientation_from_matrix(matrix).apply(quarters())
        np.testing.assert_array_equal(shown, np.rot90(quarters(), degrees // 90))


def test_damaged_file_gives_the_same_frames_with_any_number_of_threads(tmp_path):
    pictures = [numbered(number, 96, 160) for number in range(30)]
    path = write(tmp_path / "zeros.mp4", pictures, options={"g": "5", "crf": "1"})
    data = path.read_bytes()
    start, end = data.index(b"mdat"), data.index(b"moov") - 4
    middle = (start + end) // 2
    path.write_bytes(data[:middle] + bytes(end - middle) + data[end:])
    counts = []
    threads = cv2.getNumThreads()
    try:
        for number in (1, 4):
            cv2.setNumThreads(number)
            video = read_video(path)
            counts.append(len(video.frames))
            assert video.truncated
    finally:
        cv2.setNumThreads(threads)
    assert counts[0] == counts[1] >= 5
