"""`perfnet prepare`: videos to records."""

from __future__ import annotations

import pathlib
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from absl import flags

from perfnet_tf.cli.command import Command
from perfnet_tf.errors import InputError
from perfnet_tf.preparation.config import PrepareConfig

if TYPE_CHECKING:
    from perfnet_tf.datasets.catalog import Catalog
    from perfnet_tf.datasets.official_splits import Membership
    from perfnet_tf.preparation.build import Preparation


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Turns videos into records with RGB, pose and optical flow, for train, distill and evaluate.

    Resumable: killed and given again, the command goes on where it stopped. Every clip that could
    not be read is in OUTPUT/failures.jsonl with the cause; those with "kept": true broke off or
    were cut at --max_seconds, and what was read of them is in the records. Clips that failed are
    tried again for as long as the preparation is unfinished.

    Workers hold one clip each: at most 4 GiB of frames that make 1.9 GiB of record (longer clips
    are cut there), from frames of at most 16384 pixels a side and 67 megapixels.

    --dataset=synthetic generates its videos in --videos first if the folder does not exist.
    """
    from perfnet_tf.pose.estimators import POSE_ESTIMATORS
    from perfnet_tf.pose.estimators.published import resolve_weights

    pose_weights = arguments.pose_weights
    if arguments.pose in POSE_ESTIMATORS:
        pose_weights = str(resolve_weights(arguments.pose, pose_weights))
    config = PrepareConfig(
        name=arguments.dataset,
        fps=arguments.fps or None,
        short_side=arguments.short_side,
        pose=arguments.pose,
        pose_weights=pose_weights,
        max_people=arguments.max_people,
        flow=arguments.flow,
        flow_bound=arguments.flow_bound,
        max_seconds=arguments.max_seconds,
        clips_per_shard=arguments.clips_per_shard,
    )
    catalog, memberships = _load_catalog(arguments)
    from perfnet_tf.preparation.build import build_records

    result = build_records(
        catalog.clips,
        arguments.output,
        config,
        catalog.classes,
        workers=arguments.workers,
        missing=catalog.missing,
        beam_options=shlex.split(arguments.beam_options or ""),
        clip_time_limit=arguments.clip_time_limit or None,
        show_progress=True,
    )
    print(_summary(result, arguments.output))
    if memberships:
        from perfnet_tf.datasets.official_splits import write_official_splits

        for number, info in write_official_splits(arguments.output, memberships).items():
            counts = ", ".join(f"{name} {s['num_clips']}" for name, s in info.splits.items())
            print(f"  {pathlib.Path(arguments.output) / f'split{number}'}: {counts} clips")
    for note in catalog.notes:
        print(f"note: {note}")
    return 0


def _load_catalog(
    arguments: flags.FlagValues,
) -> tuple[Catalog, Mapping[int, Membership] | None]:
    """The clips to prepare, and with --official_split=all what each official split has of them."""
    from perfnet_tf.datasets.catalog import load_catalog
    from perfnet_tf.datasets.official_splits import load_all_splits

    videos = pathlib.Path(arguments.videos)
    if arguments.dataset == "synthetic" and not videos.exists():
        from tqdm import tqdm

        from perfnet_tf.synthetic.dataset import generate_synthetic_dataset

        generate_synthetic_dataset(
            videos, progress=lambda clips: tqdm(clips, desc="generate", unit="video")
        )
    if arguments.official_split == "all":
        every = load_all_splits(arguments.dataset, videos=videos, splits=arguments.lists)
        return every.catalog, every.memberships
    if not arguments.official_split.isdecimal():
        raise InputError(
            f"--official_split is a number, or all. Received: {arguments.official_split!r}."
        )
    catalog = load_catalog(
        arguments.dataset,
        videos=videos,
        splits=arguments.lists,
        split=int(arguments.official_split),
    )
    return catalog, None


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
            f"{len(split['shards'])} shards"
        )
    empty = [name for name, split in info.splits.items() if not split["num_clips"]]
    if empty:
        lines.append(f"  No clip of the split {', '.join(empty)} could be read.")
    if info.num_failed or info.num_truncated:
        lines.append(
            f"  {info.num_failed} clips failed, {info.num_truncated} are in the records in part: "
            f"see {pathlib.Path(output) / 'failures.jsonl'}"
        )
    return "\n".join(lines)


COMMAND = Command("prepare", "--dataset=NAME --videos=DIR --output=DIR", _run)
COMMAND.string(
    "dataset",
    None,
    "ucf101, hmdb51, kinetics400, kinetics600, kinetics700, folder (one folder a class), or "
    "synthetic.",
)
COMMAND.string("videos", None, "Folder of the videos.")
COMMAND.string(
    "lists", None, "Folder of the official split lists; without it, --videos.", argument="splits"
)
COMMAND.string(
    "official_split",
    "1",
    "Which official split; all stores the clips of all splits of UCF-101 or HMDB-51 once, and "
    "writes OUTPUT/split1, split2 and split3, each of which --data takes.",
    argument="split",
)
COMMAND.string("output", None, "Folder to write to; new, empty, or to go on with.")
COMMAND.string(
    "pose",
    PrepareConfig.pose,
    "posenet, movenet, keypoints (CLIP.keypoints.json beside each video), or none.",
)
COMMAND.string(
    "pose_weights",
    None,
    "Folder of the pose network, or a name of perfnet pose-weights; without it, the one in the "
    "cache.",
)
COMMAND.integer("max_people", PrepareConfig.max_people, "People kept in each frame.")
COMMAND.string(
    "flow",
    PrepareConfig.flow,
    "tvl1, tvl1_fast, dis (another method, much faster, coarser), or none.",
)
COMMAND.number(
    "flow_bound", PrepareConfig.flow_bound, "Pixels per frame; faster motion is clipped."
)
COMMAND.integer("short_side", PrepareConfig.short_side, "Shorter side of the frames, pixels.")
COMMAND.number("fps", PrepareConfig.fps, "Stored frames a second; 0 keeps each video's own.")
COMMAND.number(
    "max_seconds", PrepareConfig.max_seconds, "Only this much of the beginning of each video."
)
COMMAND.integer(
    "clips_per_shard", PrepareConfig.clips_per_shard, "Most clips in one TFRecord file."
)
COMMAND.integer(
    "workers",
    None,
    "Processes side by side; 0 works in this one, for debugging. Without it, one a core.",
)
COMMAND.number(
    "clip_time_limit",
    3600.0,
    "Seconds for a clip; one that takes longer is a failure, such as where a decoder hangs. 0 sets "
    "no limit.",
)
COMMAND.string(
    "beam_options",
    None,
    "Options of Apache Beam, such as '--runner=FlinkRunner --flink_master=HOST:8081'. The videos "
    "and the output must be on a file system that all its workers share.",
)
COMMAND.alias("splits", "lists")
COMMAND.alias("split", "official_split")
COMMAND.require("dataset", "videos", "output")
