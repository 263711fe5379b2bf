"""`perfnet inspect`: look at prepared records."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence

from absl import flags

from perfnet_tf.cli.command import Command


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Shows clips as the networks get them (RGB, pose drawn, flow in colours), and the statistics.

    --output=FILE.png shows frames spread over each clip, FILE.mp4 every frame, with the streams
    side by side; --streams=pose shows that one alone, and --pose_variant=all each drawing of
    PERF-Net Table 2. Without --clip_id it shows the first clip of
    each of up to three classes; without --output it prints the statistics only. Ids of clips are in
    the .index.jsonl files of --data.

    --verify reads every byte instead and compares it with what perfnet prepare wrote: a line for
    each shard or record that is missing, cut off or altered, and status 2 if there is any.

    --progress says how far a preparation is that perfnet prepare works on, on this machine or
    elsewhere.
    """
    if arguments.progress:
        from perfnet_tf.preparation.progress import read_progress

        options = shlex.split(arguments.beam_options or "")
        print(f"{arguments.data}: {read_progress(arguments.data, options)}")
        return 0
    if arguments.verify:
        return _verify(arguments.data)
    from tqdm import tqdm

    from perfnet_tf.errors import check_choice
    from perfnet_tf.inspection.picture import write_inspection
    from perfnet_tf.inspection.statistics import compute_statistics, format_statistics
    from perfnet_tf.inspection.stored_clip import open_clip, open_examples
    from perfnet_tf.pose.variants import POSE_VARIANTS, current_variant_name
    from perfnet_tf.video.writing import check_picture_or_video_output

    names = list(POSE_VARIANTS) if arguments.pose_variant == ["all"] else arguments.pose_variant
    names = [current_variant_name(name) for name in names or ()]
    for name in names:
        check_choice("--pose_variant", name, POSE_VARIANTS)
    render = {name: POSE_VARIANTS[name] for name in names} if names else None
    output = arguments.output
    clips = []
    if output is not None:  # first: a misspelt id should not wait for the statistics
        check_picture_or_video_output(output)
        if arguments.clip_id is None:
            clips = open_examples(arguments.data, split=arguments.split)
        else:
            clips = [open_clip(arguments.data, arguments.clip_id, split=arguments.split)]
    statistics = compute_statistics(
        arguments.data,
        progress=lambda entries: tqdm(entries, desc="flow", unit="clip", leave=False),
    )
    print(format_statistics(statistics))
    if output is not None:
        write_inspection(
            clips, output, num_columns=arguments.frames, render=render, streams=arguments.streams
        )
        print(f"{output}: {', '.join(clip.entry.clip_id for clip in clips)}")
    return 0


def _verify(data: str) -> int:
    from tqdm import tqdm

    from perfnet_tf.records.verification import verify_dataset

    def shown(shards: Sequence[tuple[str, str]]) -> Iterable[tuple[str, str]]:
        # Only on a terminal: in a log every line of standard error is a damage.
        result: Iterable[tuple[str, str]] = tqdm(
            shards, desc="verify", unit="shard", leave=False, disable=None
        )
        return result

    result = verify_dataset(data, progress=shown)
    for damage in result.damages:
        print(f"perfnet inspect: {' '.join(str(damage).split())}", file=sys.stderr)
    print(
        f"{data}: {result.num_clips} intact clips in {result.num_shards} shards, "
        f"{result.num_bytes / 2**20:.1f} MiB: {len(result.damages) or 'no'} damages found."
    )
    return 2 if result.damages else 0


COMMAND = Command("inspect", "--data=DIR [--clip_id=ID] --output=FILE.png|.mp4", _run)
COMMAND.string("data", None, "Folder that perfnet prepare made.")
COMMAND.string("clip_id", None, "Id of the clip to show.")
COMMAND.alias("clip", "clip_id")
COMMAND.string("split", None, "Look in this split only: train, val or test.")
COMMAND.string("output", None, "Picture (.png) or video (.mp4, H.264) to write.")
COMMAND.boolean("progress", False, "Show how far the preparation of --data is; nothing else.")
COMMAND.string(
    "beam_options",
    None,
    "Options of Apache Beam to reach a bucket with --progress, such as '--s3_endpoint_url=URL'.",
)
COMMAND.boolean("verify", False, "Check every shard and record; show nothing.")
COMMAND.integer("frames", 8, "Frames of each clip in a picture.")
COMMAND.list("streams", None, "Which to show, such as rgb,pose; without it, all.")
COMMAND.list(
    "pose_variant",
    None,
    "How people are drawn: one or several rows of PERF-Net Table 2, such as rgb_bar_13_ratio,"
    "rgb_dot_13_ratio (perfnet_tf.pose.variants), or all of them: all.",
)
COMMAND.require("data")
