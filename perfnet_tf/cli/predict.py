"""`perfnet predict`: classifies videos with an exported model."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from absl import flags

from perfnet_tf.cli.command import Command
from perfnet_tf.errors import InputError

if TYPE_CHECKING:
    from perfnet_tf.saved_model.prediction import Prediction

_BAR_CELLS = 20
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def _run(arguments: flags.FlagValues, videos: list[str]) -> int:
    """Classifies the central clip of each video; folders stand for the videos in them.

    A video that cannot be read is told on standard error; the others are answered, and the exit
    status is 2. Loading a SavedModel runs code from it: use models that you trust.
    """
    if not videos:
        raise InputError(f"Name at least one video. Usage: {COMMAND.usage()}")
    if arguments.top < 1:
        raise InputError(f"--top must be 1 or greater. Received: {arguments.top}.")
    from perfnet_tf.config import ClipConfig
    from perfnet_tf.saved_model import load_saved_model
    from perfnet_tf.saved_model.prediction import list_videos, predict_videos

    files = list_videos(videos)
    model = load_saved_model(arguments.model)
    clip = None
    if arguments.clip is not None:
        own = model.info.experiment.resolved_eval_clip
        clip = ClipConfig.parse(arguments.clip, frame_stride=own.frame_stride)
    num_failed = 0
    for result in predict_videos(files, model, clip=clip, max_seconds=arguments.max_seconds):
        if isinstance(result, InputError):
            num_failed += 1
            print(f"perfnet predict: {' '.join(str(result).split())}", file=sys.stderr, flush=True)
        elif arguments.json:
            print(_json_line(result, arguments.top), flush=True)
        else:
            print(_text(result, arguments.top), flush=True)
    if num_failed:
        print(f"perfnet predict: {num_failed} of {len(files)} videos failed", file=sys.stderr)
    return 2 if num_failed else 0


def _json_line(prediction: Prediction, count: int) -> str:
    top = [{"label": name, "probability": share} for name, share in prediction.top(count)]
    values = {"video": str(prediction.video), "top": top, "incomplete": prediction.incomplete}
    return json.dumps(values, ensure_ascii=False)


def _text(prediction: Prediction, count: int) -> str:
    top = prediction.top(count)
    width = max(len(name) for name, _ in top)
    note = f" ({prediction.incomplete})" if prediction.incomplete else ""
    lines = [f"  {share:6.1%} {bar(share)} {name:<{width}}".rstrip() for name, share in top]
    return "\n".join([f"{prediction.video}{note}", *lines])


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
flags.DEFINE_float(
    "max_seconds",
    300.0,
    "Look at this much of the beginning of each video; its middle is classified.",
    flag_values=_FLAGS,
)
COMMAND.require("model")
