"""MP4 files that browsers play, written a frame at a time and complete when they appear."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from perfnet_tf.errors import FailureError, InputError, check_positive

#: Encoders that may write, the best first, with their options: H.264, which all wheels of PyAV
#: have, and VP9 for an FFmpeg that was built without x264. Next to MPEG-4 at OpenCV's bit rate,
#: x264 with these options writes 0.81 of the bytes, 0.4 dB nearer to the frames, in 0.63 s of
#: processor time instead of 0.16 s (medians of nine real clips, 320x240, 10 s).
_ENCODERS = {
    # Without B-frames times need no edit list, which some readers pass over.
    "libx264": {"preset": "veryfast", "crf": "18", "bf": "0"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "5", "crf": "24", "b": "0"},
}
#: A thread for each so many rows of a frame. Not one for each core: how many there are decides the
#: bytes, and the same frames give the same file on every machine.
_ROWS_PER_THREAD = 480
# FFmpeg's codes. Primaries and transfer are those of sRGB pictures. The matrix is the one that
# readers assume which pass over what a file says of itself, among them OpenCV.
_BT709, _BT601, _LIMITED_RANGE = 1, 6, 1
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


class VideoFile:
    """An H.264 MP4 that is being written; a context manager.

    The file appears under its name when it is complete. Browsers, Jupyter and Colab play it, from
    the first bytes on. The same frames give the same bytes, with the same PyAV. Where PyAV's FFmpeg
    was built without x264, which its wheels have, the file holds VP9.
    """

    def __init__(self, path: str | os.PathLike[str], fps: float | Fraction) -> None:
        """Names the file; the first frame decides its size.

        Args:
            path: ends in `.mp4`; folders on the way to it are made.
            fps: frames per second. 23.976, 29.97 and 59.94 stand for 24, 30 and 60 times
                1000 / 1001.

        Raises:
            InputError: `path` does not end in `.mp4`, or `fps` is not greater than 0.
        """
        self.path = pathlib.Path(path)
        check_positive(fps=float(fps))
        check_video_output(self.path)
        self._partial = self.path.with_suffix(".partial.mp4")
        self._rate = _exact_rate(fps)
        self._encoder: _Encoder | None = None

    def __enter__(self) -> VideoFile:
        return self

    def write(self, frame: np.ndarray) -> None:
        """Appends a frame.

        Args:
            frame: uint8 RGB `[height, width, 3]`, of one size in a file. H.264 has even sizes: an
                odd one loses its last row or column, and a single one is doubled.

        Raises:
            InputError: the file cannot be written, or the frame has another size than the first.
            FailureError: the disk is full, or FFmpeg has no encoder.
        """
        with self._naming_errors():
            if self._encoder is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._encoder = _Encoder(self._partial, self._rate, frame.shape[:2])
            self._encoder.encode(frame)

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self._encoder is None:
            return
        # What a camera has seen until Ctrl-C is wanted; half a file is not.
        if error is None or issubclass(error, (KeyboardInterrupt, GeneratorExit)):
            try:
                with self._naming_errors():
                    self._encoder.finish()
                    self._partial.replace(self.path)
            except BaseException:
                self._partial.unlink(missing_ok=True)
                raise
        else:
            self._encoder.abandon()
            self._partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _naming_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, av.FFmpegError) as error:
            reason = f"{self.path} cannot be written: {error.strerror}."
            if error.errno in _FULL_DISK:
                raise FailureError(reason) from error
            raise InputError(reason) from error


def check_picture_or_video_output(path: str | os.PathLike[str]) -> None:
    """Raises `InputError` unless `path` ends in `.png` or `.mp4`."""
    if pathlib.Path(path).suffix not in (".png", ".mp4"):
        raise InputError(f"output must be FILE.png or FILE.mp4. Received: {os.fspath(path)!r}.")


def check_video_output(path: str | os.PathLike[str]) -> None:
    """Raises `InputError` unless `path` ends in `.mp4`."""
    if pathlib.Path(path).suffix != ".mp4":
        raise InputError(f"A video is written as FILE.mp4. Received: {os.fspath(path)!r}.")


class _Encoder:
    """An open file and its encoder."""

    def __init__(self, path: pathlib.Path, rate: Fraction, size: tuple[int, int]) -> None:
        name = next((name for name in _ENCODERS if name in av.codecs_available), None)
        if name is None:
            raise FailureError(
                f"PyAV's FFmpeg has no encoder among {', '.join(_ENCODERS)}, so that no video can "
                "be written. Install PyAV from its wheels: pip install --force-reinstall av."
            )
        self._size = size
        self._height, self._width = (max(2, side // 2 * 2) for side in size)
        # "file:" because of names such as "a:b.mp4", which would be a protocol.
        self._container = av.open(
            f"file:{path}", "w", format="mp4", options={"movflags": "+faststart"}
        )
        stream = self._container.add_stream(name, rate=rate, options=_ENCODERS[name])
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = self._width, self._height, "yuv420p"
        codec = stream.codec_context
        codec.color_primaries, codec.color_trc = _BT709, _BT709
        codec.colorspace, codec.color_range = _BT601, _LIMITED_RANGE
        codec.thread_count = 1 + self._height // _ROWS_PER_THREAD
        self._stream = stream
        self._reformatter = VideoReformatter()  # one for all frames: it keeps its tables
        self._num_frames = 0

    def encode(self, frame: np.ndarray) -> None:
        if frame.shape[:2] != self._size:
            raise InputError(
                f"Frames of a video must have one size, here {self._size}. "
                f"Received: {frame.shape[:2]}."
            )
        if min(self._size) == 1:
            frame = np.pad(frame, ((0, 1), (0, 1), (0, 0)), mode="edge")
        even = np.ascontiguousarray(frame[: self._height, : self._width])
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(even, format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC,
        )
        picture.pts = self._num_frames
        self._num_frames += 1
        self._container.mux(self._stream.encode(picture))

    def finish(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def abandon(self) -> None:
        with contextlib.suppress(OSError, av.FFmpegError):
            self._container.close()


def _exact_rate(fps: float | Fraction) -> Fraction:
    """The fraction that a rounded frame rate stands for."""
    exact = Fraction(fps)
    ntsc = Fraction(round(exact * 1001 / 1000) * 1000, 1001)
    return ntsc if abs(ntsc / exact - 1) < 2e-6 else exact.limit_denominator(10_000)
