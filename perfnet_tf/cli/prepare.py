"""`perfnet prepare`: videos to records."""

from __future__ import annotations

import pathlib
import shlex
from typing import TYPE_CHECKING

from absl import flags

from perfnet_tf import storage
from perfnet_tf.cli.command import Command
from perfnet_tf.pose.keypoint_formats import KEYPOINT_FORMATS
from perfnet_tf.preparation.config import CLIP_TIME_LIMIT, PrepareConfig

if TYPE_CHECKING:
    from perfnet_tf.preparation.build import Preparation

#: Flags that are settings of `PrepareConfig` of the same name.
_SETTINGS = (
    *("short_side", "pose", "pose_weights", "keypoints", "fps_of_keypoints", "pose_every"),
    *("flow", "flow_bound", "flow_path", "flow_bound_of_files", "flow_zero"),
    *("max_people", "max_seconds", "clips_per_shard", "square_pixels"),
)

#: How many kinds of failures the summary shows.
_KINDS_SHOWN = 8


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Turns videos into records with RGB, pose and optical flow, for train, distill and evaluate.

    Rerun the command to resume an interrupted preparation. Every clip that could not be read is in
    OUTPUT/failures.jsonl with the cause; those with "kept": true broke off or were cut at
    --max_seconds, and what was read of them is in the records. Clips that failed are tried again
    for as long as the preparation is unfinished.

    Workers hold one clip each: at most 4 GiB of frames that make 1.9 GiB of record (longer clips
    are cut there), from frames of at most 16384 pixels a side and 67 megapixels.

    --dataset=folder takes CLASS/FILE, SPLIT/CLASS/FILE (train, val or dev, test or eval, in any
    case) or a list splits.csv with the columns path, split or group, and label. The classes are
    printed before the work, the causes of failures after it, with their numbers.

    --dataset=list reads lines "path label", "path frames label" (folders of pictures) and
    "path,start,end,label" (seconds); perfnet_tf/datasets/annotation_list.py has them all.

    --dataset=synthetic generates its videos in --videos first if the folder does not exist.
    """
    from perfnet_tf.preparation.prepare import prepare

    result = prepare(
        arguments.videos,
        arguments.output,
        dataset=arguments.dataset,
        lists=arguments.lists,
        official_split=arguments.official_split,
        classes=arguments.classes,
        label_separator=arguments.label_separator,
        fps=arguments.fps or None,
        fps_of_frames=arguments.fps_of_frames,
        workers=arguments.workers,
        runner=arguments.runner,
        dask_address=arguments.dask_address,
        beam_options=shlex.split(arguments.beam_options or ""),
        clip_time_limit=arguments.clip_time_limit or None,
        show_progress=True,
        sources=arguments.sources,
        **{name: arguments[name].value for name in _SETTINGS},
    )
    print(_summary(result, arguments.output))
    for number, info in result.official_splits.items():
        counts = ", ".join(f"{name} {s['num_clips']}" for name, s in info.splits.items())
        print(f"  {pathlib.Path(arguments.output) / f'split{number}'}: {counts} clips")
    for note in result.notes:
        print(f"note: {note}")
    return 0


def _summary(result: Preparation, output: str) -> str:
    info = result.info
    lines = []
    if result.already_complete:
        lines.append(f"{output} is already complete; nothing to do.")
    else:
        rate = result.num_made / max(result.seconds, 1e-9)
        lines.append(
            f"{output}: made {result.num_made} clips in {result.seconds:.0f} s "
            f"({rate:.2f} clips/s), {result.num_bytes / 2**20:.1f} MiB."
        )
    for name, split in info.splits.items():
        lines.append(
            f"  {name}: {split['num_clips']} clips, {split['num_frames']} frames, "
            f"{len(split['shards'])} shard{'s' * (len(split['shards']) != 1)}"
        )
    empty = [name for name, split in info.splits.items() if not split["num_clips"]]
    if empty:
        lines.append(f"  No clip of the split {', '.join(empty)} could be read.")
    if info.num_failed or info.num_truncated:
        lines.append(
            f"  {info.num_failed} clips failed, {info.num_truncated} are in the records in part: "
            f"see {storage.join(output, 'failures.jsonl')}"
        )
        lines += _failure_lines(result, output)
    if info.num_deinterlaced:
        lines.append(f"  {info.num_deinterlaced} videos were interlaced: they are deinterlaced.")
    if info.num_flow_rescaled:
        lines.append(
            f"  The flow of {info.num_flow_rescaled} clips was of another size than the frames: "
            "it was resampled, and its vectors scaled."
        )
    return "\n".join(lines)


def _failure_lines(result: Preparation, output: str) -> list[str]:
    """The kinds of failures, a line each: how many, and the cause of one of them."""
    from perfnet_tf.records.failure_kinds import group_failures
    from perfnet_tf.records.folder import read_failures

    failures = result.failures
    if failures is None and storage.is_bucket(output):
        return []  # of a dataset that was complete
    kinds = group_failures(read_failures(output) if failures is None else failures)
    lines = [f"    {kind}" for kind in kinds[:_KINDS_SHOWN]]
    if len(kinds) > _KINDS_SHOWN:
        rest = sum(len(kind.clip_ids) for kind in kinds[_KINDS_SHOWN:])
        lines.append(f"    {rest} of {len(kinds) - _KINDS_SHOWN} other kinds")
    return lines


COMMAND = Command("prepare", "--dataset=NAME --videos=DIR --output=DIR", _run)
COMMAND.string(
    "dataset",
    None,
    "ucf101, hmdb51, kinetics400, kinetics600, kinetics700, ssv2, diving48, charades, folder (one "
    "folder per class), list (annotation lists of mmaction2, SlowFast or PyTorchVideo, and "
    "segments), unlabelled (any videos, for --unlabelled), synthetic, or a dataset of a "
    "plugin.",
)
COMMAND.string(
    "videos",
    None,
    "Folder or bucket (gs://, s3://) of the videos, or of folders of numbered pictures.",
)
COMMAND.string(
    "lists",
    None,
    "Folder of the official split lists, for folder a CSV file, for list one list, several with "
    "commas between, or their folder; without it, --videos.",
    argument="splits",
)
COMMAND.string(
    "classes",
    None,
    "File of class names in label order, where lists number the classes: a name on each line, or "
    "JSON.",
)
COMMAND.string(
    "label_separator",
    None,
    "For list: clips have several labels, with this between them in a table's column label, such "
    "as ';'. Lines without a header are then 'path label label ...' or path,label,label,...",
)
COMMAND.string(
    "official_split",
    "1",
    "Number of the official split; all stores the clips of all splits of UCF-101 or HMDB-51 once, "
    "and writes OUTPUT/split1, split2 and split3, each of which --data takes.",
)
COMMAND.string("output", None, "Output folder or bucket; new, empty, or an unfinished preparation.")
COMMAND.string(
    "pose",
    PrepareConfig.pose,
    "posenet, movenet, an estimator of a plugin, none, or the format of keypoints that are there: "
    f"{', '.join(KEYPOINT_FORMATS)} (CLIP.keypoints.json, next to each video without --keypoints).",
)
COMMAND.string(
    "keypoints",
    None,
    "File or folder of the keypoints for --pose: "
    + "; ".join(
        f"{name}, {entry.content}" for name, entry in KEYPOINT_FORMATS.items() if entry.needs_path
    )
    + ". Scores are clipped to [0, 1].",
)
COMMAND.number(
    "fps_of_keypoints",
    None,
    "Frames per second at which --keypoints were extracted, where they are not of each frame of "
    "the videos; stored frames get those nearest in time.",
)
COMMAND.string(
    "pose_weights",
    None,
    "Folder of the pose network, or a name of perfnet pose-weights; without it, the one in the "
    "cache.",
)
COMMAND.integer(
    "pose_every",
    PrepareConfig.pose_every,
    "Estimate the pose in every n-th frame; between, people move in straight lines.",
)
COMMAND.integer("max_people", PrepareConfig.max_people, "People kept in each frame.")
COMMAND.string(
    "flow",
    PrepareConfig.flow,
    "tvl1, tvl1_fast, dis (another method, much faster, coarser), folder (computed before, see "
    "--flow_path), none, or a method of a plugin.",
)
COMMAND.string(
    "flow_path",
    None,
    "Folder of optical flow that other programs computed, for --flow=folder: "
    "CLASS/CLIP/flow_x_00001.jpg and flow_y_00001.jpg (denseflow, mmaction2), u/CLIP and v/CLIP "
    "with frame000001.jpg (twostreamfusion), CLASS/CLIP/NAME_00001.flo, or CLASS/CLIP.npy. "
    "Without it, --videos.",
)
COMMAND.number(
    "flow_bound_of_files",
    PrepareConfig.flow_bound_of_files,
    "Pixels per frame at the ends of 8-bit pictures of flow: denseflow's -b.",
)
COMMAND.number(
    "flow_zero",
    PrepareConfig.flow_zero,
    "Level of no flow in 8-bit pictures: 128 of denseflow, dense_flow and twostreamfusion, 127 of "
    "mmaction2's flow_extraction.py.",
)
COMMAND.number(
    "flow_bound", PrepareConfig.flow_bound, "Pixels per frame; faster motion is clipped."
)
COMMAND.integer("short_side", PrepareConfig.short_side, "Shorter side of the frames, pixels.")
COMMAND.number(
    "fps",
    PrepareConfig.fps,
    "Stored frames per second: slower videos repeat frames, faster ones lose some; 0 keeps each "
    "video's own.",
)
COMMAND.boolean(
    "square_pixels",
    PrepareConfig.square_pixels,
    "Stretch pixels that are not square (DV, DVD) to the shape in which players show them; "
    "--nosquare_pixels keeps the stored shape.",
)
COMMAND.number(
    "fps_of_frames",
    None,
    "Frames per second of clips that are folders of numbered pictures, such as "
    "CLASS/CLIP/img_00001.jpg; --videos then holds such folders and no videos.",
)
COMMAND.number(
    "max_seconds", PrepareConfig.max_seconds, "Only this much of the beginning of each video."
)
COMMAND.integer(
    "clips_per_shard", PrepareConfig.clips_per_shard, "Most clips in one TFRecord file."
)
COMMAND.list(
    "sources",
    [],
    "Further sources, of plugins (--plugin), to compute from the stored frames and to store, such "
    "as depth.",
)
COMMAND.integer(
    "workers",
    None,
    "Worker processes; 0 works in this process, for debugging. Without it, one per core.",
)
COMMAND.number(
    "clip_time_limit",
    CLIP_TIME_LIMIT,
    "Seconds per clip; one that takes longer is a failure, such as where a decoder hangs. 0 sets "
    "no limit.",
)
COMMAND.string(
    "runner",
    None,
    "Work on a cluster, by a runner of Apache Beam: dask (extra [dask]), dataflow (extra [gcp]), "
    "flink, spark, or the full name of a class. Videos and output are in buckets (gs://, s3://) "
    "or in folders that all workers see under the same path. docs/clusters.md.",
)
COMMAND.string(
    "dask_address",
    None,
    "Address of the Dask scheduler for --runner=dask, such as tcp://HOST:8786; without it, Dask's "
    "workers are processes of this machine.",
)
COMMAND.string(
    "beam_options",
    None,
    "Further options of Apache Beam, such as '--flink_master=HOST:8081' for --runner, or "
    "'--s3_endpoint_url=URL' for buckets.",
)
COMMAND.alias("split", "official_split")
COMMAND.alias("splits", "lists")
COMMAND.require("dataset", "videos", "output")
