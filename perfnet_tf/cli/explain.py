"""`perfnet explain`: where networks look, by Grad-CAM."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from absl import flags

from perfnet_tf.cli.command import Command, quick_imports
from perfnet_tf.cli.network_flags import default_network
from perfnet_tf.cli.view_flags import parse_clip
from perfnet_tf.errors import InputError
from perfnet_tf.pose.estimators import POSE_ESTIMATORS

if TYPE_CHECKING:
    from perfnet_tf.explanation.explainer import Footage
    from perfnet_tf.recognizers.recognizer import Recognizer


def _run(arguments: flags.FlagValues, videos: list[str]) -> int:
    """Shows what networks receive of a clip and, by Grad-CAM, which parts their answer rests on.

    The clip is the middle of a video, or with --data and --clip_id of a prepared record, cut as
    for evaluation; a video that is shorter repeats its last frame. --output=FILE.png shows some of
    its frames, FILE.mp4 all. Several networks, such as the RGB, pose and flow ones or a student and
    its teachers, are shown side by side; with --frames=1 as in the paper's Figure 5.
    """
    from perfnet_tf.video.writing import check_picture_or_video_output

    check_picture_or_video_output(arguments.output)
    if bool(videos) == bool(arguments.data):
        raise InputError(f"Name videos, or --data and --clip_id. Usage: {COMMAND.usage()}")
    if arguments.data and not arguments.clip_id:
        raise InputError("--data needs --clip_id, ids of its clips. See its .index.jsonl files.")
    if videos and arguments.clip_id:
        raise InputError("--clip_id names clips of --data. Received: --clip_id and videos.")
    with quick_imports():
        from perfnet_tf.explanation.explainer import Explainer
        from perfnet_tf.explanation.picture import write_explanation
        from perfnet_tf.recognizers.load import load

    networks = [load(path, trainable=True) for path in arguments.model or [default_network()]]
    cut = None
    if arguments.clip is not None:
        cut = parse_clip(arguments.clip, networks[0].expected_clip())
    explain = Explainer(networks, endpoint=arguments.endpoint, label=arguments.label, clip=cut)
    clips = []
    for footage in _footage(arguments, videos, networks):
        clips.append(explain(footage))
        answers = "; ".join(
            f"{stream.title}: {stream.predicted}"
            + (f" (shown: {stream.explained})" if stream.explained != stream.predicted else "")
            + f" {stream.probability:.0%}"
            for stream in clips[-1].streams
        )
        print(f"{clips[-1].name}: {answers}", flush=True)
    write_explanation(clips, arguments.output, num_frames=arguments.frames)
    print(f"{arguments.output}: {', '.join(dict.fromkeys(explain.endpoints))}")
    return 0


def _footage(
    arguments: flags.FlagValues, videos: list[str], networks: list[Recognizer]
) -> list[Footage]:
    """The videos, or the clips of the records, in the order they were named."""
    from perfnet_tf.explanation.explainer import RecordFootage, VideoFootage
    from perfnet_tf.inspection.stored_clip import open_clip
    from perfnet_tf.recognizers.recognizer import DEFAULT_SHORT_SIDE

    if arguments.data:
        footage: list[Footage] = []
        for name in arguments.clip_id:
            footage.append(RecordFootage(open_clip(arguments.data, name, split=arguments.split)))
        return footage
    rates = {(one.fps, one.short_side) for one in networks if one.short_side is not None}
    if len(rates) > 1:
        raise InputError(
            "Networks side by side must know records of one rate and size. Received (fps, short "
            f"side): {', '.join(map(str, sorted(rates, key=str)))}. Explain them one by one."
        )
    known = next((one for one in networks if one.short_side is not None), networks[0])
    return [
        VideoFootage(
            path,
            fps=known.fps,
            short_side=known.short_side or DEFAULT_SHORT_SIDE,
            square_pixels=known.square_pixels,
            pose=arguments.pose,
            pose_weights=arguments.pose_weights,
        )
        for path in videos
    ]


COMMAND = Command(
    "explain", "VIDEO... [--model=RUN[,RUN...]] --output=FILE.png|.mp4", _run, positional="VIDEO"
)
COMMAND.list(
    "model",
    [],
    "Runs, exports that can be trained, or names of perfnet pretrained, separated by commas; "
    "without it, i3d_kinetics400.",
)
COMMAND.string("output", None, "Picture (.png) or video (.mp4, H.264) to write.")
COMMAND.string("data", None, "Prepared dataset, in place of videos.")
COMMAND.list("clip_id", [], "With --data: ids of clips.")
COMMAND.string("split", None, "With --data: look in this split only.")
COMMAND.string(
    "endpoint", None, "Feature map to explain; without it, the last: res5, or Mixed_5c of S3D-G."
)
COMMAND.string("label", None, "Class to explain; without it, each network's own answer.")
COMMAND.string(
    "clip",
    None,
    "FRAMESxHEIGHTxWIDTH that the networks see; without it, the evaluation clip of each. Larger "
    "frames give finer maps.",
)
COMMAND.integer("frames", 6, "Frames of each clip in a picture.")
COMMAND.string(
    "pose",
    "posenet",
    f"For a pose network and videos: {', '.join(POSE_ESTIMATORS)}, or keypoints for files next to "
    "the videos.",
)
COMMAND.string("pose_weights", None, "Folder of --pose's weights.")
COMMAND.alias("run", "model")
COMMAND.alias("clip", "clip_id", when=lambda value: not re.fullmatch(r"\d+x\d+x\d+", value))
COMMAND.alias("clip_size", "clip")
COMMAND.require("output")
