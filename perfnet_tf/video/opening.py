"""Opens video files that may be anything: FFmpeg is asked only about what may be a video."""

from __future__ import annotations

import codecs
import mmap
import pathlib
import re
from typing import TYPE_CHECKING, Any

import av

from perfnet_tf.errors import InputError, is_utf8
from perfnet_tf.threads import num_threads

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

#: How what FFmpeg follows to other files begins: an HLS or a "concat" list, XML, a session.
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<", b"v=0")

_LFS_POINTER = b"version https://git-lfs.github.com/"

_PICTURES = (
    av.stream.Disposition.attached_pic
    | av.stream.Disposition.timed_thumbnails
    | av.stream.Disposition.still_image
)


#: The codec's name after AVI's stream type, MP4's video header, or among Matroska's.
_CODEC_NAMES = re.compile(
    rb"strh.{4}vids([ -~]{4})|vmhd.{0,400}?stsd.{12}([ -~]{4})|\x86.(V_[A-Z0-9/_]+)", re.DOTALL
)

_MAKE_UP_TIMES: Any = av.container.Flags.gen_pts


class VideoError(InputError):
    """A file that gives no frame, with the reason in one line."""


def open_video(
    path: pathlib.Path, *, max_pixels: int | None = None
) -> tuple[InputContainer, VideoStream]:
    """Opens a video file by FFmpeg and chooses its first video stream that has a decoder.

    Text and playlists, devices, pipes and folders are refused before FFmpeg sees them. The cover
    picture of a sound file is no video, and a single picture next to a film is not taken for it.
    Decoding uses as many threads as `perfnet_tf.threads` says: the cores in a program, its share of
    them in a worker of `prepare`.

    Args:
        path: the file.
        max_pixels: the largest frame that the decoder may allocate.

    Returns:
        The container, which the caller closes, and its stream.

    Raises:
        VideoError: it is none of a file, readable, and a video; its codec has no decoder; or its
            name is not UTF-8.
    """
    _check_file(path)
    # Nothing but this file: no network, and no "shot%03d.png" that stands for numbered pictures.
    options = {"protocol_whitelist": "file", "pattern_type": "none"}
    limits = {} if max_pixels is None else {"max_pixels": str(max_pixels)}
    try:
        # An absolute path behind "file:", so that no name is taken for a protocol ("concat:...").
        container = av.open(
            f"file:{path.absolute()}",
            metadata_errors="replace",
            container_options=options,
        )
    except (av.FFmpegError, MemoryError) as error:
        raise VideoError(
            f"A video file was expected. Received: {path}, which FFmpeg cannot open: it is no "
            "video, or is cut off before its index."
        ) from error
    try:
        # Times that FFmpeg makes up are wrong for packed B-frames (XviD).
        container.flags &= ~_MAKE_UP_TIMES.value
        stream = _choose_stream(container, path)
        stream.codec_context.options = limits
        stream.codec_context.thread_count = num_threads()
        # Threads that decode several frames at once lose good frames at the end of a damaged file.
        stream.thread_type = "SLICE"
    except BaseException:
        container.close()
        raise
    return container, stream


def _choose_stream(container: InputContainer, path: pathlib.Path) -> VideoStream:
    if not container.streams.video:
        has = "has sound only" if container.streams.audio else "has no video stream"
        raise VideoError(f"A video must hold frames. Received: {path}, which {has}.")
    films = [stream for stream in container.streams.video if not stream.disposition & _PICTURES]
    if not films:
        raise VideoError(
            f"A video must hold frames. Received: {path}, which has sound only and a cover picture."
            if container.streams.audio
            else f"A video must hold frames. Received: {path}, which is a picture."
        )
    # An animated AVIF begins with a picture, and cameras put a preview next to the film.
    for stream in [film for film in films if film.frames != 1] or films:
        if stream.codec_context is not None:
            return stream
    raise VideoError(
        f"No decoder for the codec {_codec_name(path)}. Received: {path}. "
        "Convert it with a program that plays it, such as: "
        "ffmpeg -i IN -c:v libx264 -crf 18 OUT.mp4."
    )


def _codec_name(path: pathlib.Path) -> str:
    """What an AVI, MP4 or Matroska file calls its codec; PyAV does not tell."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        match = re.search(_CODEC_NAMES, data)
        name = next(filter(None, match.groups())) if match else b"of its video"
    return name.decode("latin-1").strip()


def _check_file(path: pathlib.Path) -> None:
    if not is_utf8(path):  # records and lists of files could not hold it
        raise VideoError(f"The name of a video must be UTF-8. Received: {str(path)!r}. Rename it.")
    if not path.exists():
        raise VideoError(f"A video must be a file. Received: {path}, which does not exist.")
    if not path.is_file():
        raise VideoError(f"A video must be a file. Received: {path}, which is a folder or device.")
    try:
        with open(path, "rb") as file:
            beginning = file.read(4096)
    except OSError as error:
        raise VideoError(f"{path} cannot be read: {error.strerror}.") from error
    if not beginning:
        raise VideoError(f"A video must hold frames. Received: {path}, which is empty (0 bytes).")
    if beginning.startswith(_LFS_POINTER):
        raise VideoError(
            f"A video file was expected. Received: {path}, which only points to one in Git LFS. "
            "Fetch it: git lfs pull."
        )
    if _is_text(beginning):
        raise VideoError(f"A video file was expected. Received: {path}, which is text.")


def _is_text(beginning: bytes) -> bool:
    """Whether a file begins as text.

    FFmpeg draws text files as terminal output, a video of letters, and follows playlists to other
    files, also such as are no UTF-8 or hold a zero byte.
    """
    if beginning.removeprefix(codecs.BOM_UTF8).lstrip().startswith(_PLAYLISTS):
        return True
    try:
        # Incremental: the last character may be cut in half.
        return "\0" not in codecs.getincrementaldecoder("utf-8")().decode(beginning)
    except UnicodeDecodeError:
        return False
