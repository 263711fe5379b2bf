"""`perfnet predict`: classifies videos, or what a camera sees, with a trained network."""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from perfnet_tf.cli.command import Command, quick_imports
from perfnet_tf.cli.network_flags import default_network, define_network_flags, load_named_network
from perfnet_tf.cli.view_flags import parse_clip
from perfnet_tf.config import INFERENCE_PRECISIONS, ClipConfig
from perfnet_tf.errors import InputError
from perfnet_tf.pose.estimators import POSE_ESTIMATORS

if TYPE_CHECKING:
    from perfnet_tf.prediction import Prediction, WindowPrediction
    from perfnet_tf.prediction.answers import PoseSource
    from perfnet_tf.prediction.windows import Segment
    from perfnet_tf.recognizers.recognizer import Recognizer

_BAR_CELLS = 20
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def _run(arguments: flags.FlagValues, videos: list[str]) -> int:
    """Classifies the middle of each video, or of all videos in a folder.

    Without --model the network is I3D, trained on Kinetics-400: 400 actions, no training needed. It
    is fetched once (perfnet pretrained). Else it is a run, a SavedModel, or a TF Hub or Kaggle
    handle; a SavedModel that is not of perfnet export needs --stream, --classes and --clip. For
    networks of the flow and pose streams, flow (TV-L1, slow) and people are computed.

    With --sliding, it classifies windows along the whole video and prints the resulting segments;
    --output writes the video with the current answer on its frames. --camera=0 classifies what a
    camera films until Ctrl-C. Memory holds one window, however long a video is. A video that is
    shorter than a clip repeats its last frame.

    Batch norm is folded into the weights. --precision=bfloat16 is faster where the processor
    supports it; probabilities change in the third digit.

    A video that cannot be read is reported on standard error; the others are classified, and the
    exit status is 2. Loading a SavedModel runs code from it: use models that you trust. An export
    of this package that can be trained is read as numbers only.
    """
    if arguments.camera is None and not videos:
        raise InputError(f"Name at least one video. Usage: {COMMAND.usage()}")
    if arguments.camera is not None and videos:
        raise InputError("--camera takes no videos. Received both.")
    if arguments.top < 1:
        raise InputError(f"--top must be 1 or greater. Received: {arguments.top}.")
    if arguments.show and arguments.camera is None:
        raise InputError("--show is for --camera. Play what --output writes instead.")
    slides = bool(arguments.sliding or arguments.output)
    if arguments.hop is not None and not slides and arguments.camera is None:
        raise InputError(
            "--hop is from window to window. Received: --hop without windows. Give --sliding as "
            "well, or leave it out."
        )
    with quick_imports():
        from perfnet_tf.datasets.video_files import describe_left_out, list_videos
        from perfnet_tf.models.precision import slow_precision
        from perfnet_tf.prediction.answers import PoseSource
        from perfnet_tf.video.versions import reading_difference

    files, left_out = list_videos(videos)
    if left_out:
        print(f"note: {describe_left_out(left_out)}", file=sys.stderr, flush=True)
    outputs = _outputs(arguments.output, files) if arguments.output else [None] * len(files)
    handle = arguments.model or default_network()
    model = load_named_network(arguments, handle, folded=True, precision=arguments.precision)
    if note := reading_difference(model.record_versions):
        print(f"note: {handle}: {note}", file=sys.stderr, flush=True)
    frozen = model.info.inference_precision if model.info else None
    if note := slow_precision(frozen or arguments.precision or "float32", frozen=True):
        print(f"note: {note}", file=sys.stderr, flush=True)
    people = PoseSource(arguments.pose, arguments.pose_weights)
    clip = None if arguments.clip is None else parse_clip(arguments.clip, model.clip)
    if arguments.camera is not None:
        return _watch(arguments, model, clip, people)
    if slides:
        return _slide(arguments, model, clip, people, files, outputs)
    return _middles(arguments, model, clip, people, files)


def _middles(
    arguments: flags.FlagValues,
    model: Recognizer,
    clip: ClipConfig | None,
    people: PoseSource,
    files: Sequence[pathlib.Path],
) -> int:
    from perfnet_tf.prediction.videos import DEFAULT_MAX_SECONDS, predict_videos

    limit = DEFAULT_MAX_SECONDS if arguments.max_seconds is None else arguments.max_seconds
    num_failed = 0
    for result in predict_videos(files, model, clip=clip, people=people, max_seconds=limit):
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
    model: Recognizer,
    clip: ClipConfig | None,
    people: PoseSource,
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
                    file,
                    model,
                    clip=clip,
                    hop=arguments.hop,
                    people=people,
                    max_seconds=arguments.max_seconds,
                )
            )
            if output is not None:
                write_annotated(file, windows, output, top=min(3, arguments.top))
        except InputError as error:
            num_failed += 1
            _tell(error)
            continue
        whole = Prediction(
            file, mean_logits(windows), model.known_classes(), label_kind=model.label_kind
        )
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


def _watch(
    arguments: flags.FlagValues,
    model: Recognizer,
    clip: ClipConfig | None,
    people: PoseSource,
) -> int:
    from perfnet_tf.prediction.camera import open_camera, watch_camera

    predictions = watch_camera(
        open_camera(arguments.camera),
        model,
        clip=clip,
        people=people,
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
            "Videos written into one folder need different names. "
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


COMMAND = Command("predict", "VIDEO... [--model=NETWORK]", _run, positional="VIDEO")
COMMAND.string(
    "model",
    None,
    "Run, SavedModel, Hub handle, or a name of perfnet pretrained; without it, i3d_kinetics400.",
)
define_network_flags(COMMAND)
COMMAND.string(
    "pose",
    "posenet",
    f"Finds the people for a network of the pose stream: {', '.join(POSE_ESTIMATORS)}.",
)
COMMAND.string("pose_weights", None, "Folder of --pose's weights.")
COMMAND.alias("run", "model")
COMMAND.integer("top", 5, "Classes to show.")
COMMAND.boolean("json", False, "One JSON object a line instead of text.")
COMMAND.string(
    "clip",
    None,
    "FRAMESxHEIGHTxWIDTH that the model sees; without it, the evaluation clip of its run.",
)
COMMAND.string(
    "precision",
    None,
    "What the network computes in; without it, float32, or what it was frozen in.",
    choices=list(INFERENCE_PRECISIONS),
)
COMMAND.boolean("sliding", False, "Classify windows all along each video, not its middle.")
COMMAND.number(
    "hop",
    None,
    "With --sliding or --camera: seconds from window to window; without it, half a window.",
)
COMMAND.string(
    "output",
    None,
    "FILE.mp4, or a folder for several videos: the video with the running answer on its frames, "
    "without sound, in H.264, which browsers and notebooks play. Slides.",
)
COMMAND.integer("camera", None, "Classify what the camera of this number sees (0: the first).")
COMMAND.boolean("show", False, "With --camera: open a window; q quits.")
COMMAND.number(
    "max_seconds",
    None,
    "Look at this much of the beginning of each video, or stop the camera then; without it, 300 "
    "where the middle is classified, else all.",
)
