"""How a decoded picture is shown: fields, mirrors, shapes, colours."""

from fractions import Fraction

import numpy as np
import pytest
from written_videos import flat, numbered, write

from perfnet_tf.video import reader
from perfnet_tf.video.colour import tone_map
from perfnet_tf.video.decode import VideoStream, read_video
from perfnet_tf.video.orientation import orientation_from_matrix

PICTURES = [numbered(number) for number in range(12)]


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


@pytest.mark.parametrize("fields", [None, "tff"])
@pytest.mark.parametrize("fps", [None, 25.0])
def test_pixel_shape_that_changes_is_fitted_into_the_first(tmp_path, fields, fps):
    """As in broadcasts, where 4:3 and 16:9 follow each other at one size."""
    parts = []
    for number, aspect in enumerate([Fraction(1, 1), Fraction(2, 1)]):

        def shape(stream, aspect=aspect):
            stream.codec_context.sample_aspect_ratio = aspect * Fraction(9, 10)

        path = tmp_path / f"{number}.ts"
        pictures = [np.full((48, 80, 3), 150, np.uint8)] * 6
        options = {"flags": "+ildct+ilme", "bf": "2"} if fields else {"bf": "2"}
        write(path, pictures, options=options, on_stream=shape, fields=fields)
        parts.append(path.read_bytes())
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(parts))
    video = read_video(path, fps=fps)
    assert video.frames.shape == (12, 53, 80, 3) and video.deinterlaced == bool(fields)
    for number, frame in enumerate(video.frames):  # 144x48 as it is shown: 80x27 here
        light = np.flatnonzero(frame[:, 40, 0] > 100)
        assert light[[0, -1]].tolist() == ([0, 52] if number < 6 else [13, 39]), number
        np.testing.assert_allclose(frame[light][2:-2], 150, atol=4)
    stored = read_video(path, square_pixels=False).frames
    assert stored.shape == (12, 48, 80, 3)
    np.testing.assert_allclose(stored, 150, atol=4)


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
