"""`perfnet predict`: classifies videos, or what a camera sees, with an exported model."""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from perfnet_tf.cli.command import Command, warn_runs_code
from perfnet_tf.config import INFERENCE_PRECISIONS, ClipConfig
from perfnet_tf.errors import InputError

if TYPE_CHECKING:
    from perfnet_tf.prediction import Prediction, WindowPrediction
    from perfnet_tf.prediction.windows import Segment
    from perfnet_tf.saved_model import LoadedModel

_BAR_CELLS = 20
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def _run(arguments: flags.FlagValues, videos: list[str]) -> int:
    """Classifies the central clip of each video; folders stand for the videos in them.

    With --sliding, windows all along each video, and what follows on what in it; --output writes
    the video with the running answer on its frames. --camera=0 classifies what a camera sees until
    Ctrl-C. Memory stays that of a window, however long a video is.

    The network runs with its batch norm folded. --precision=bfloat16 is faster still where the
    processor has it; probabilities change in the third digit.

    A video that cannot be read is told on standard error; the others are answered, and the exit
    status is 2. Loading what export --inference_only wrote runs code from it: use models that you
    trust. Of other exports only the numbers are read.
    """
    if arguments.camera is None and not videos:
        raise InputError(f"Name at least one video. Usage: {COMMAND.usage()}")
    if arguments.camera is not None and videos:
        raise InputError("--camera takes no videos. Received both.")
    if arguments.top < 1:
        raise InputError(f"--top must be 1 or greater. Received: {arguments.top}.")
    if arguments.show and arguments.camera is None:
        raise InputError("--show is for --camera. Play what --output writes instead.")
    from perfnet_tf.prediction import list_videos
    from perfnet_tf.saved_model import load_for_inference
    from perfnet_tf.saved_model.loading import runs_code

    files = list_videos(videos)
    outputs = _outputs(arguments.output, files) if arguments.output else [None] * len(files)
    if runs_code(arguments.model):
        warn_runs_code(arguments.model)
    model = load_for_inference(arguments.model, precision=arguments.precision)
    clip = None
    if arguments.clip is not None:
        own = model.info.experiment.resolved_eval_clip
        clip = ClipConfig.parse(arguments.clip, frame_stride=own.frame_stride)
    if arguments.camera is not None:
        return _watch(arguments, model, clip)
    if arguments.sliding or arguments.output:
        return _slide(arguments, model, clip, files, outputs)
    return _middles(arguments, model, clip, files)


def _middles(
    arguments: flags.FlagValues,
    model: LoadedModel,
    clip: ClipConfig | None,
    files: Sequence[pathlib.Path],
) -> int:
    from perfnet_tf.prediction.videos import DEFAULT_MAX_SECONDS, predict_videos

    limit = DEFAULT_MAX_SECONDS if arguments.max_seconds is None else arguments.max_seconds
    num_failed = 0
    for result in predict_videos(files, model, clip=clip, max_seconds=limit):
        if isinstance(result, InputError):
            num_failed += 1
            _tell(result)
        elif arguments.json:
            values = {
                "video": str(result.video),
                "top": _top(result, arguments.top),
                "incomplete": result.incomplete,
            }
            print(json.dumps(values, ensure_ascii=False), flush=True)
        else:
            print(_text(result, arguments.top), flush=True)
    return _status(num_failed, len(files))


def _slide(
    arguments: flags.FlagValues,
    model: LoadedModel,
    clip: ClipConfig | None,
    files: Sequence[pathlib.Path],
    outputs: Sequence[pathlib.Path | None],
) -> int:
    from perfnet_tf.prediction import Prediction, predict_windows
    from perfnet_tf.prediction.annotation import write_annotated
    from perfnet_tf.prediction.windows import mean_logits, merge_segments

    num_failed = 0
    for file, output in zip(files, outputs, strict=True):
        try:
            windows = list(
                predict_windows(
                    file, model, clip=clip, hop=arguments.hop, max_seconds=arguments.max_seconds
                )
            )
            if output is not None:
                write_annotated(file, windows, output, top=min(3, arguments.top))
        except InputError as error:
            num_failed += 1
            _tell(error)
            continue
        whole = Prediction(file, mean_logits(windows), model.labels)
        if arguments.json:
            values = {
                "video": str(file),
                "top": _top(whole, arguments.top),
                "output": None if output is None else str(output),
                "windows": [_window(window, arguments.top) for window in windows],
            }
            print(json.dumps(values, ensure_ascii=False), flush=True)
        else:
            print(_text(whole, arguments.top))
            for segment in merge_segments(windows):
                print(f"  {_segment(segment)}")
            if output is not None:
                print(f"  written to {output}")
            sys.stdout.flush()
    return _status(num_failed, len(files))


def _watch(arguments: flags.FlagValues, model: LoadedModel, clip: ClipConfig | None) -> int:
    from perfnet_tf.prediction.camera import open_camera, watch_camera

    predictions = watch_camera(
        open_camera(arguments.camera),
        model,
        clip=clip,
        hop=arguments.hop,
        output=arguments.output,
        show=arguments.show,
        max_seconds=arguments.max_seconds,
        top=min(3, arguments.top),
    )
    try:
        for window in predictions:
            if arguments.json:
                print(json.dumps(_window(window, arguments.top), ensure_ascii=False), flush=True)
            else:
                shares = "  ".join(f"{name} {share:.0%}" for name, share in window.top(3))
                print(f"{window.end:7.1f} s  {shares}", flush=True)
    except KeyboardInterrupt:
        pass  # how one stops a camera
    finally:
        predictions.close()
    if arguments.output:
        print(f"written to {arguments.output}", file=sys.stderr)
    return 0


def _outputs(output: str, files: Sequence[pathlib.Path]) -> list[pathlib.Path]:
    """Where each video goes: the file named, or a folder's file of the video's own name."""
    from perfnet_tf.video.writing import check_video_output

    target = pathlib.Path(output)
    if target.suffix == ".mp4" and not target.is_dir():
        if len(files) > 1:
            raise InputError(
                f"--output must be a folder for {len(files)} videos. Received: {output}."
            )
        return [target] * len(files)
    if not target.is_dir() and target.suffix:
        check_video_output(target)
    paths = [target / f"{file.stem}.mp4" for file in files]
    twice = sorted({path.name for path in paths if paths.count(path) > 1})
    if twice:
        raise InputError(
            "Videos written into one folder need names of their own. "
            f"Received several for {', '.join(twice[:3])}. Give them one by one."
        )
    return paths


def _tell(error: InputError) -> None:
    print(f"perfnet predict: {' '.join(str(error).split())}", file=sys.stderr, flush=True)


def _status(num_failed: int, num_files: int) -> int:
    if num_failed:
        print(f"perfnet predict: {num_failed} of {num_files} videos failed", file=sys.stderr)
    return 2 if num_failed else 0


def _top(prediction: Prediction | WindowPrediction, count: int) -> list[dict[str, Any]]:
    return [{"label": name, "probability": share} for name, share in prediction.top(count)]


def _window(window: WindowPrediction, count: int) -> dict[str, Any]:
    return {
        "start": round(window.start, 3),
        "end": round(window.end, 3),
        "top": _top(window, count),
    }


def _text(prediction: Prediction, count: int) -> str:
    top = prediction.top(count)
    width = max(len(name) for name, _ in top)
    note = f"  ({prediction.incomplete})" if prediction.incomplete else ""
    lines = [f"  {share:6.1%} {bar(share)} {name:<{width}}".rstrip() for name, share in top]
    return "\n".join([f"{prediction.video}{note}", *lines])


def _segment(segment: Segment) -> str:
    return f"{segment.start:7.1f} to {segment.end:.1f} s  {segment.label} {segment.probability:.0%}"


def bar(share: float) -> str:
    """A share in [0, 1] as a bar of block characters, padded with spaces to its full length."""
    eighths = round(share * _BAR_CELLS * 8)
    full, rest = divmod(eighths, 8)
    text = _EIGHTHS[8] * full + (_EIGHTHS[rest] if rest else "")
    return text.ljust(_BAR_CELLS)


COMMAND = Command("predict", "VIDEO... --model=SAVEDMODEL", _run, positional="VIDEO")
_FLAGS = COMMAND.flags
flags.DEFINE_string("model", None, "SavedModel of perfnet export.", flag_values=_FLAGS)
flags.DEFINE_integer("top", 5, "Classes to show.", flag_values=_FLAGS)
flags.DEFINE_bool("json", False, "One JSON object a line instead of text.", flag_values=_FLAGS)
flags.DEFINE_string(
    "clip",
    None,
    "FRAMESxHEIGHTxWIDTH that the model sees; without it, the evaluation clip of its run.",
    flag_values=_FLAGS,
)
flags.DEFINE_enum(
    "precision",
    None,
    list(INFERENCE_PRECISIONS),
    "What the network computes in; without it, float32, or what it was frozen in.",
    flag_values=_FLAGS,
)
flags.DEFINE_bool(
    "sliding", False, "Classify windows all along each video, not its middle.", flag_values=_FLAGS
)
flags.DEFINE_float(
    "hop",
    None,
    "With --sliding or --camera: seconds from window to window; without it, half a window.",
    flag_values=_FLAGS,
)
flags.DEFINE_string(
    "output",
    None,
    "FILE.mp4, or a folder for several videos: the video with the running answer on its frames. "
    "Slides.",
    flag_values=_FLAGS,
)
flags.DEFINE_integer(
    "camera", None, "Classify what the camera of this number sees (0: the first).",
    flag_values=_FLAGS,
)  # fmt: skip
flags.DEFINE_bool("show", False, "With --camera: open a window; q quits.", flag_values=_FLAGS)
flags.DEFINE_float(
    "max_seconds",
    None,
    "Look at this much of the beginning of each video, or stop the camera then; without it, 300 "
    "where the middle is classified, else all.",
    flag_values=_FLAGS,
)
COMMAND.require("model")
