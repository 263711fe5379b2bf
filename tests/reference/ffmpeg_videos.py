"""Videos of every kind, made by the ffmpeg program, and what ffmpeg itself decodes from them."""

from __future__ import annotations

import json
import os
import pathlib
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT, NUM_FRAMES = 160, 128, 20


def picture(number: int) -> np.ndarray:
    """Left: the number in six bits, white or black. Right: colours, and a bar that moves."""
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for bit in range(6):
        frame[bit * HEIGHT // 6 : (bit + 1) * HEIGHT // 6, : WIDTH // 2] = 255 * (number >> bit & 1)
    colors = ((200, 40, 40), (40, 160, 60), (50, 60, 190), (128, 128, 128))
    for index, color in enumerate(colors):
        frame[32 * index : 32 * index + 32, WIDTH // 2 :] = color
    frame[:, WIDTH // 2 + 2 * number : WIDTH // 2 + 2 * number + 8] = 235
    return frame


def run(*arguments: str | os.PathLike[str], content: bytes | None = None) -> bytes:
    """Standard output of a program; its error text if it fails."""
    done = subprocess.run(list(map(os.fspath, arguments)), input=content, capture_output=True)
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace")[-2000:])
    return done.stdout


def make(
    path: pathlib.Path,
    options: Sequence[str],
    *,
    num_frames: int = NUM_FRAMES,
    rate: str = "25",
    before: Sequence[str] = (),
) -> None:
    """Encodes the numbered pictures; `before` are further inputs or options of the input."""
    content = np.stack([picture(number) for number in range(num_frames)]).tobytes()
    given = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", rate]
    run("ffmpeg", "-v", "error", "-y", *before, *given, "-i", "-", *options, path, content=content)


@dataclass(frozen=True)
class Case:
    """How a video is made, and how ffmpeg shows it.

    Attributes:
        name: ending in the file's extension.
        options: of ffmpeg, or a function that writes the file.
        shown_by: ffmpeg's filter that shows the video as a player would; empty for none.
        num_frames: expected; 0 takes what ffmpeg decodes.
        rate: of the pictures.
        tolerance: mean difference in steps; None compares no pixels.
    """

    name: str
    options: Sequence[str] | Callable[[pathlib.Path], None]
    shown_by: str = ""
    num_frames: int = NUM_FRAMES
    rate: str = "25"
    tolerance: float | None = 2.0

    def write(self, folder: pathlib.Path) -> pathlib.Path:
        path = folder / self.name.replace(" ", "_")
        if callable(self.options):
            self.options(path)
        else:
            number = 1 if self.num_frames == 1 else NUM_FRAMES
            make(path, self.options, rate=self.rate, num_frames=number)
        return path


def decode_by_ffmpeg(
    path: pathlib.Path, shape: tuple[int, int], shown_by: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """(frames uint8 `[frames, height, width, 3]`, seconds from the first) by ffmpeg and ffprobe."""
    filters = ["-vf", shown_by] if shown_by else []
    content = run(
        "ffmpeg", "-v", "quiet", "-i", path, "-map", "0:v:0", *filters, "-fps_mode", "passthrough",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-",
    )  # fmt: skip
    frames = np.frombuffer(content, np.uint8).reshape(-1, *shape, 3)
    entries = "frame=best_effort_timestamp_time"
    text = run(
        "ffprobe", "-v", "quiet", "-select_streams", "v:0", "-show_entries", entries,
        "-of", "json", path,
    )  # fmt: skip
    stated = [frame.get("best_effort_timestamp_time") for frame in json.loads(text)["frames"]]
    times = np.array([np.nan if time is None else float(time) for time in stated])
    return frames, times - times[0]


BWDIF = "bwdif=mode=send_frame:parity=auto:deint=interlaced"
SQUARE = "scale=round(iw*sar):ih,setsar=1"
NARROW = "scale=iw:round(ih/sar),setsar=1"

H264 = ("-c:v", "libx264", "-crf", "12", "-pix_fmt", "yuv420p")
MPEG2 = ("-c:v", "mpeg2video", "-q:v", "2", "-pix_fmt", "yuv420p")
MPEG4 = ("-c:v", "mpeg4", "-q:v", "2")


def _tagged(matrix: str, *options: str) -> tuple[str, ...]:
    return (
        *("-vf", f"scale=out_color_matrix={matrix},format=yuv420p", *options),
        *("-c:v", "libx264", "-crf", "12", "-colorspace", matrix),
    )


def _fielded(order: str) -> tuple[str, ...]:
    """Fields of two pictures in each frame, 50 a second."""
    mode = "interleave_top" if order == "tff" else "interleave_bottom"
    return ("-vf", f"tinterlace={mode},format=yuv420p")


def display_matrix(*values: int) -> Callable[[pathlib.Path], None]:
    """Writes an MP4 with this display matrix (a, b, c, d) in its track header."""

    def write(path: pathlib.Path) -> None:
        make(path, (*H264, "-movflags", "+faststart"))
        data = bytearray(path.read_bytes())
        place = data.index(b"tkhd") + 4 + 4 + 20 + 16
        a, b, c, d = (value << 16 for value in values)
        struct.pack_into(">9i", data, place, a, b, 0, c, d, 0, 0, 0, 1 << 30)
        path.write_bytes(data)

    return write


def copied(options: Sequence[str], source: str) -> Callable[[pathlib.Path], None]:
    """A part of a longer video, cut without encoding it again."""

    def write(path: pathlib.Path) -> None:
        whole = path.with_name(f"whole{source}")
        make(whole, options, num_frames=50)
        run("ffmpeg", "-v", "error", "-y", "-ss", "0.5", "-i", whole, "-t", "1", "-c", "copy", path)

    return write


def retimed(expression: str, *options: str) -> tuple[str, ...]:
    """Frame N is shown at `expression` seconds."""
    return ("-vf", f"settb=1/1000,setpts='({expression})*1000'", "-fps_mode", "vfr", *options)


def without_index(path: pathlib.Path) -> None:
    """An AVI whose index is cut off, as a recorder leaves it that lost its power."""
    make(path, MPEG4)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"idx1")])


def streamed(form: str, options: Sequence[str] = H264) -> Callable[[pathlib.Path], None]:
    """Written to a pipe: the header knows no duration."""

    def write(path: pathlib.Path) -> None:
        film = path.with_name("film.mkv")
        make(film, options)
        path.write_bytes(run("ffmpeg", "-v", "error", "-i", film, "-c", "copy", "-f", form, "-"))

    return write


def with_sound(*mapped: str) -> Callable[[pathlib.Path], None]:
    """Video with five seconds of sound."""

    def write(path: pathlib.Path) -> None:
        film = path.with_name("film.mkv")
        make(film, H264)
        sound = ("-f", "lavfi", "-i", "sine=duration=5:sample_rate=44100")
        run(
            "ffmpeg", "-v", "error", "-y", "-i", film, *sound, *mapped, "-c:v", "copy",
            "-c:a", "aac", path,
        )  # fmt: skip

    return write


def turned_and_wide(path: pathlib.Path) -> None:
    """Pixels of 2:1 in a film that a player turns by 90 degrees."""
    film = path.with_name("wide.mp4")
    make(film, ("-vf", "setsar=2", *H264))
    run("ffmpeg", "-v", "error", "-y", "-i", film, "-c", "copy", "-metadata:s:v", "rotate=90", path)


def with_picture(path: pathlib.Path) -> None:
    """Video, sound and a cover picture, the picture first."""
    cover, film = path.with_name("cover.png"), path.with_name("film.mp4")
    make(cover, ("-frames:v", "1"))
    make(film, H264)
    run(
        "ffmpeg", "-v", "error", "-y", "-i", cover, "-i", film, "-map", "0", "-map", "1",
        "-c", "copy", "-disposition:v:0", "attached_pic", path,
    )  # fmt: skip


CASES = (
    # Containers and codecs.
    Case("h264.mp4", H264),
    Case("hevc.mp4", ("-c:v", "libx265", "-crf", "10", "-x265-params", "log-level=none")),
    Case("av1.mp4", ("-c:v", "libaom-av1", "-crf", "10", "-cpu-used", "8", "-b:v", "0")),
    Case("av1.webm", ("-c:v", "libaom-av1", "-crf", "10", "-cpu-used", "8", "-b:v", "0")),
    Case("vp8.webm", ("-c:v", "libvpx", "-crf", "4", "-b:v", "2M")),
    Case("vp9.webm", ("-c:v", "libvpx-vp9", "-crf", "10", "-b:v", "0", "-cpu-used", "6")),
    Case("h264.mkv", H264),
    Case("ffv1.mkv", ("-c:v", "ffv1")),
    Case("mpeg4.avi", MPEG4),
    Case("xvid with B-frames.avi", ("-c:v", "libxvid", "-bf", "2", "-q:v", "2"), num_frames=0),
    Case("mpeg4 with B-frames.avi", (*MPEG4, "-bf", "2")),
    Case("h264 with B-frames.avi", (*H264, "-bf", "2")),
    Case("mjpeg.avi", ("-c:v", "mjpeg", "-q:v", "1")),
    Case("huffyuv.avi", ("-c:v", "huffyuv")),
    Case("utvideo.avi", ("-c:v", "utvideo")),
    Case("raw.avi", ("-c:v", "rawvideo", "-pix_fmt", "bgr24")),
    Case("prores.mov", ("-c:v", "prores_ks", "-profile:v", "3")),
    Case("qtrle.mov", ("-c:v", "qtrle")),
    Case("dnxhr.mov", ("-c:v", "dnxhd", "-profile:v", "dnxhr_hq", "-s", "256x128",
        "-pix_fmt", "yuv422p")),
    Case("flv1.flv", ("-c:v", "flv", "-q:v", "1")),
    Case("h264.flv", H264),
    Case("wmv2.wmv", ("-c:v", "wmv2", "-q:v", "1")),
    Case("msmpeg4.asf", ("-c:v", "msmpeg4", "-q:v", "1")),
    Case("mpeg1.mpg", ("-c:v", "mpeg1video", "-q:v", "1")),
    Case("mpeg2.vob", (*MPEG2, "-f", "vob")),
    Case("mpeg2.ts", MPEG2),
    Case("h264.ts", H264),
    Case("h264.m2ts", H264),
    Case("h263.3gp", ("-c:v", "h263", "-q:v", "1", "-s", "176x144"), SQUARE),
    Case("theora.ogv", ("-c:v", "libtheora", "-q:v", "10")),
    Case("palette.gif", ("-vf", "split[a][b];[a]palettegen[p];[b][p]paletteuse")),
    Case("mpeg2.mxf", MPEG2),
    Case("ffv1.nut", ("-c:v", "ffv1")),
    Case("animated.apng", ("-f", "apng", "-plays", "0")),
    Case("elementary.h264", H264),
    Case("elementary.m2v", MPEG2),
    # Pixel formats.
    Case("h264 of 10 bits.mp4", ("-c:v", "libx264", "-crf", "10", "-pix_fmt", "yuv420p10le")),
    Case("vp9 of 10 bits.webm", ("-c:v", "libvpx-vp9", "-crf", "9", "-pix_fmt", "yuv420p10le")),
    Case("hevc 4-2-2 of 10 bits.mkv", (
        *("-c:v", "libx265", "-crf", "10", "-pix_fmt", "yuv422p10le"),
        *("-x265-params", "log-level=none"))),
    Case("h264 4-4-4.mp4", ("-c:v", "libx264", "-crf", "10", "-pix_fmt", "yuv444p")),
    Case("grey.mp4", ("-c:v", "libx264", "-crf", "10", "-pix_fmt", "gray")),
    Case("rgb.mkv", ("-c:v", "libx264rgb", "-crf", "5")),
    Case("alpha.webm", ("-c:v", "libvpx-vp9", "-crf", "10", "-pix_fmt", "yuva420p")),
    # Interlaced.
    Case("top field first.mp4", (
        *_fielded("tff"), *H264[:4], "-flags", "+ildct+ilme", "-x264-params", "tff=1"),
        BWDIF, 10) ,
    Case("bottom field first.mkv", (
        *_fielded("bff"), *H264[:4], "-flags", "+ildct+ilme", "-x264-params", "bff=1"),
        BWDIF, 10),
    Case("interlaced.mts", (
        *_fielded("tff"), *H264[:4], "-flags", "+ildct+ilme", "-x264-params", "tff=1", "-f",
        "mpegts"), BWDIF, 10),
    Case("interlaced mpeg2.ts", (
        *_fielded("tff"), *MPEG2, "-flags", "+ildct+ilme", "-top", "1"), BWDIF, 10),
    Case("bottom first mpeg2.mpg", (
        *_fielded("bff"), *MPEG2, "-flags", "+ildct+ilme", "-top", "0"), BWDIF, 10),
    Case("interlaced mpeg4.avi", (
        *_fielded("tff"), *MPEG4, "-flags", "+ildct+ilme", "-top", "1"), BWDIF, 10),
    Case("interlaced prores.mov", (
        "-vf", "tinterlace=interleave_top,setfield=tff", "-c:v", "prores_ks", "-flags", "+ildct"),
        BWDIF, 10),
    Case("pal.dv", ("-target", "pal-dv", "-an"), f"{BWDIF},{SQUARE}"),
    Case("ntsc.dv", ("-target", "ntsc-dv", "-an"), f"{BWDIF},{NARROW}", rate="30000/1001"),
    # Matrices and ranges.
    Case("bt709.mp4", _tagged("bt709")),
    Case("bt470bg.mp4", _tagged("bt470bg")),
    Case("smpte170m.mp4", _tagged("smpte170m")),
    Case("bt2020.mp4", _tagged("bt2020nc")),
    Case("bt709 mpeg2.ts", (
        *("-vf", "scale=out_color_matrix=bt709,format=yuv420p", *MPEG2),
        *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"))),
    Case("bt709 vp9.webm", (
        *("-vf", "scale=out_color_matrix=bt709,format=yuv420p", "-c:v", "libvpx-vp9", "-crf", "9"),
        *("-colorspace", "bt709"))),
    Case("full range.mp4", (
        *("-vf", "scale=out_range=full,format=yuvj420p", "-c:v", "libx264", "-crf", "10"),
        *("-color_range", "pc"))),
    Case("full range vp9.webm", (
        *("-vf", "scale=out_range=full,format=yuv420p", "-c:v", "libvpx-vp9", "-crf", "9"),
        *("-color_range", "pc"))),
    # Pixels that are not square.
    Case("wide pixels.mp4", ("-vf", "setsar=16/11", *H264), SQUARE),
    Case("narrow pixels.mkv", ("-vf", "setsar=8/9", *H264), NARROW),
    Case("wide pixels mpeg2.mpg", ("-vf", "setdar=16/9", *MPEG2), SQUARE),
    Case("wide pixels mpeg4.avi", ("-vf", "setsar=4/3", *MPEG4), SQUARE),
    # The eight display matrices.
    Case("turned 90.mp4", display_matrix(0, 1, -1, 0)),
    Case("turned 180.mp4", display_matrix(-1, 0, 0, -1)),
    Case("turned 270.mp4", display_matrix(0, -1, 1, 0)),
    Case("mirrored.mp4", display_matrix(-1, 0, 0, 1)),
    Case("upside down.mp4", display_matrix(1, 0, 0, -1)),
    Case("mirrored, turned 90.mp4", display_matrix(0, 1, 1, 0)),
    Case("mirrored, turned 270.mp4", display_matrix(0, -1, -1, 0)),
    # Rates and clocks.
    Case("23.976.mp4", H264, rate="24000/1001"),
    Case("29.97.mkv", H264, rate="30000/1001"),
    Case("10.webm", ("-c:v", "libvpx", "-b:v", "2M"), rate="10"),
    Case("240.mp4", H264, rate="240"),
    Case("variable.mp4", retimed("N/25+0.3*gt(N,4)+0.7*gt(N,11)", *H264)),
    Case("variable.mkv", retimed("N/25+0.3*gt(N,4)+0.7*gt(N,11)", *H264, "-bf", "3")),
    Case("jitter.webm", retimed("N/30+0.004*mod(N*7,5)/5", "-c:v", "libvpx", "-b:v", "2M"),
        num_frames=0),
    Case("pause of 14 s.mp4", retimed("N/25+14*gt(N,9)", *H264)),
    Case("pause of 14 s.mkv", retimed("N/25+14*gt(N,9)", *H264)),
    Case("late start.ts", (*H264, "-output_ts_offset", "7000")),
    Case("late start.mkv", (*H264, "-output_ts_offset", "5")),
    # Cut without encoding again: the lead-in up to the cut is hidden, or is not.
    Case("cut.mp4", copied((*H264, "-g", "50"), ".mp4"), num_frames=0),
    Case("cut from mkv.mp4", copied((*H264, "-g", "50"), ".mkv"), num_frames=0),
    Case("cut.mov", copied((*MPEG4, "-g", "50"), ".mp4"), num_frames=0),
    Case("cut.mkv", copied((*H264, "-g", "12"), ".mkv"), num_frames=0),
    Case("cut.ts", copied((*H264, "-g", "12"), ".ts"), num_frames=0),
    Case("cut.webm", copied(("-c:v", "libvpx", "-b:v", "2M", "-g", "12"), ".webm"), num_frames=0),
    # Others.
    Case("odd size.mp4", ("-vf", "crop=151:121:0:0", *H264[:4], "-pix_fmt", "yuv444p")),
    Case("odd size.webm", ("-vf", "crop=151:121:0:0", "-c:v", "libvpx", "-b:v", "2M")),
    Case("cropped.mp4", ("-vf", "crop=150:122:0:0", *H264)),
    Case("cropped hevc.mp4", (
        *("-vf", "crop=150:122:0:0", "-c:v", "libx265", "-crf", "10"),
        *("-x265-params", "log-level=none"))),
    Case("one frame.mp4", H264, num_frames=1),
    Case("one frame.avi", MPEG4, num_frames=1),
    Case("intra refresh.ts", (*H264, "-x264-params", "intra-refresh=1:keyint=10")),
    Case("fragmented.mp4", (*H264, "-movflags", "frag_keyframe+empty_moov", "-g", "5")),
    Case("two films.mkv", (
        *("-filter_complex", "split[a][b];[b]negate,scale=320:256[c]", "-map", "[a]"),
        *("-map", "[c]", *H264)), tolerance=None),
    Case("cover first.mp4", with_picture, tolerance=None),
    # What else people have.
    Case("gif with transparency and pauses.gif", (
        "-vf", "settb=1/100,setpts='N*10+50*gt(N,7)',colorkey=0x808080:0.1,split[a][b];"
        "[a]palettegen=reserve_transparent=1[p];[b][p]paletteuse", "-fps_mode", "vfr")),
    Case("eight-bit palette.mov", ("-c:v", "qtrle", "-pix_fmt", "gray")),
    Case("msvideo1.avi", ("-c:v", "msvideo1")),
    Case("cinepak.mov", ("-c:v", "cinepak")),
    Case("jpeg2000.mxf", ("-c:v", "libopenjpeg", "-pix_fmt", "yuv422p10le")),
    Case("png.mov", ("-c:v", "png")),
    Case("tiff of 16 bits.mkv", ("-c:v", "tiff", "-pix_fmt", "rgb48le")),
    Case("ffv1 grey of 16 bits.mkv", ("-c:v", "ffv1", "-pix_fmt", "gray16le")),
    Case("ffv1 with alpha.mkv", ("-c:v", "ffv1", "-pix_fmt", "bgra")),
    Case("ffv1 4-1-0.mkv", ("-c:v", "ffv1", "-pix_fmt", "yuv410p")),
    Case("open groups cut.ts", copied((*H264, "-g", "12", "-x264-params", "open-gop=1"), ".ts"),
        num_frames=0),
    Case("open groups cut.mkv", copied((*H264, "-g", "12", "-x264-params", "open-gop=1"), ".mkv"),
        num_frames=0),
    Case("hevc cut.mp4", copied((
        "-c:v", "libx265", "-g", "50", "-x265-params", "log-level=none"), ".mp4"), num_frames=0),
    Case("negative start.mkv", (*H264, "-output_ts_offset", "-0.3", "-avoid_negative_ts", "0")),
    Case("negative start.mp4", (
        *H264, "-output_ts_offset", "-0.3", "-avoid_negative_ts", "0"), num_frames=0),
    Case("delayed.mp4", (*H264, "-output_ts_offset", "2")),
    Case("one frame in 20 s.mp4", (*H264, "-frames:v", "6"), num_frames=6, rate="1/20"),
    Case("without index.avi", without_index),
    Case("live without duration.mkv", streamed("matroska")),
    Case("live without duration.flv", streamed("flv")),
    Case("live without duration.webm", streamed("webm", ("-c:v", "libvpx", "-b:v", "2M"))),
    Case("sound first.mp4", with_sound("-map", "1:a", "-map", "0:v")),
    Case("sound is longer.mkv", with_sound("-map", "0:v", "-map", "1:a")),
    Case("sound is longer.flv", with_sound("-map", "0:v", "-map", "1:a")),
    Case("two programs.ts", (
        *("-filter_complex", "split[a][b];[b]negate[c]", "-map", "[a]", "-map", "[c]", *H264),
        *("-program", "st=0", "-program", "st=1"))),
    Case("soft telecine.mpg", (*MPEG2, "-vf", "telecine,format=yuv420p"), num_frames=0, rate="24"),
    Case("wide pixels, turned.mov", turned_and_wide, "scale=iw:round(ih/sar),setsar=1"),
    Case("hevc alpha-less 4-4-4 of 12 bits.mp4", (
        *("-c:v", "libx265", "-crf", "8", "-pix_fmt", "yuv444p12le"),
        *("-x265-params", "log-level=none"))),
)  # fmt: skip
