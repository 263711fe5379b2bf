"""What the demo's report says: its results, frames, a prediction and the commands behind it."""

from __future__ import annotations

import json
import pathlib
import platform
import shlex
from collections.abc import Sequence

import numpy as np

from perfnet_tf.demo.stages import PREDICTED, PRESET, ROWS, TABLE, Demo, DemoConfig, DemoFolder
from perfnet_tf.inspection.picture import choose_max_speed, draw_streams
from perfnet_tf.inspection.stored_clip import open_clip
from perfnet_tf.presets import PRESETS
from perfnet_tf.records.folder import read_dataset_info
from perfnet_tf.reporting.html import (
    Picture,
    Report,
    Result,
    ShownPrediction,
    stack_frames,
    write_report,
)
from perfnet_tf.reproduction import content
from perfnet_tf.reproduction.results import RowResult
from perfnet_tf.reproduction.tables import NETWORKS
from perfnet_tf.streams import FLOW, POSE, RGB, STREAM_TITLES
from perfnet_tf.version import __version__
from perfnet_tf.video.decode import read_video
from perfnet_tf.video.sampling import spread_indices

#: What has to be computed from a video before a stream's network sees it.
_NEEDS = {RGB: ("RGB",), FLOW: ("flow",), POSE: ("RGB", "pose")}
#: Two clips that one frame does not tell apart, and one that only the limb does.
_SHOWN = ("SitDown/v_SitDown_g01_c01", "KickLeft/v_KickLeft_g01_c01")
_COLUMNS = 6


def write_demo_report(demo: Demo) -> pathlib.Path:
    """Writes `report.html` of a finished demo; returns its path."""
    return write_report(build_report(demo), demo.folder.report)


def build_report(demo: Demo) -> Report:
    """The report's content."""
    reproduction, config = demo.reproduction, demo.config
    info = read_dataset_info(demo.folder.records)
    num_test = reproduction.results[0].num_clips
    poses = (
        "drawn from the figures' known keypoints" if config.pose_weights is None else "PoseNet's"
    )
    return Report(
        title="PERF-Net for TensorFlow: demo",
        summary=[
            f"Networks learn {info.num_classes} actions from {reproduction.num_train} generated "
            f"videos and are tested on {num_test} others, of people and places that they have not "
            "seen. One sees RGB frames, one optical flow, one frames with the people's poses drawn "
            "on them. Then RGB-only students learn from the labels and from the logits of the flow "
            "and the pose network (PERF-Net, arXiv:2009.13087), which the students do not need at "
            "test.",
            _compare(demo),
            "The videos are drawings of people, made so that some actions differ only in the "
            "direction of time (sit down, stand up; walk forward, backward) and some only in the "
            f"limb (left, right). Poses are {poses}. Every network was trained once, with the seed "
            f"{config.seed}. The numbers say that the software works; they do not say how well "
            "networks of this kind recognise real people.",
        ],
        num_classes=info.num_classes,
        results=[_result(result) for result in reproduction.results],
        result_notes=["Late fusion is the sum of the networks' logits."],
        charts=content.charts(reproduction, demo.folder.workspace),
        pictures=[_streams_picture(demo, clip_id) for clip_id in _SHOWN],
        predictions=[_prediction(demo.folder)],
        settings={
            **content.settings(reproduction),
            "pose": str(info.pose),
            "flow": f"{info.flow}, clipped at {info.flow_bound:g} pixels per frame",
            "versions": f"perfnet_tf {__version__}, Python {platform.python_version()}",
        },
        timings=demo.seconds,
        commands=list_commands(demo.folder, config),
    )


def _result(result: RowResult) -> Result:
    streams = [NETWORKS[name].stream for name in result.row.networks]
    needs = dict.fromkeys(part for stream in streams for part in _NEEDS[stream])
    return Result(
        name=result.row.title,
        group="Late fusion" if result.is_fusion else result.row.group.split(",")[0],
        streams=", ".join(needs),
        top1=result.top1.mean,
        top5=result.top5.mean,
        num_clips=result.num_clips,
    )


def _compare(demo: Demo) -> str:
    """The outcome in a sentence, whichever way it came out."""

    def right(row: str) -> str:
        (result,) = (r for r in demo.reproduction.results if r.row.name == row)
        return f"{round(result.top1.mean * result.num_clips)} of {result.num_clips}"

    return (
        f"Trained on RGB and labels alone, the network answers {right(RGB)} test clips right; the "
        f"same network as a student {right('student_separate')} (separate loss) and "
        f"{right('student_unified')} (unified loss). The flow teacher answers {right(FLOW)}, the "
        f"pose teacher {right(POSE)}."
    )


def _streams_picture(demo: Demo, clip_id: str) -> Picture:
    clip = open_clip(demo.folder.records, clip_id)
    indices = spread_indices(clip.entry.num_frames, _COLUMNS)
    drawn = draw_streams(clip, indices, choose_max_speed(clip), PRESETS[PRESET].pose_render)
    rows = {STREAM_TITLES[stream]: pictures for stream, pictures in drawn.items()}
    return stack_frames(
        rows,
        caption=f"{clip.label_name}, a {clip.split} clip. From top to bottom: {', '.join(rows)}. "
        "The colour of the flow is its direction, the saturation its speed.",
    )


def _prediction(folder: DemoFolder) -> ShownPrediction:
    video = read_video(folder.predicted_video)
    frames = video.frames[np.asarray(spread_indices(len(video.frames), _COLUMNS))]
    return ShownPrediction(
        video=folder.predicted_video.name,
        truth=PREDICTED.split("/")[0],
        scores=read_prediction(folder),
        picture=stack_frames(
            {STREAM_TITLES[RGB]: frames},
            caption="A test video, chosen before training. The SavedModel classified it in a "
            "separate process, from the MP4 file.",
        ),
    )


def read_prediction(folder: DemoFolder) -> Sequence[tuple[str, float]]:
    """(class, probability) of the classified test video, the best first."""
    answer = json.loads(folder.prediction.read_text())
    return [(entry["label"], entry["probability"]) for entry in answer["top"]]


def reproduce_command(folder: DemoFolder, config: DemoConfig) -> str:
    """Shell command that trains and measures the networks."""
    changed = [] if config.epochs is None else [f"--epochs={config.epochs}"]
    changed += [] if not config.seed else [f"--seeds={config.seed}"]
    where = [f"--data={folder.records}", f"--output={folder.path}"]
    rows = f"--rows={','.join(ROWS)}"
    return shlex.join(["perfnet", "reproduce", TABLE, f"--preset={PRESET}", rows, *changed, *where])


def list_commands(folder: DemoFolder, config: DemoConfig) -> list[tuple[str, str]]:
    """(what it does, shell command) for the whole demo, and for each stage."""
    prepare = config.prepare
    demo = [f"--output={folder.path}", f"--clips_per_class={config.clips_per_class}"]
    demo += [] if config.epochs is None else [f"--epochs={config.epochs}"]
    demo += [] if not config.seed else [f"--seed={config.seed}"]
    demo += [] if config.pose_weights is None else [f"--pose_weights={config.pose_weights}"]
    pose = [f"--pose={prepare.pose}"]
    if prepare.pose_weights is not None:
        pose.append(f"--pose_weights={prepare.pose_weights}")
    run = folder.exported_run(config.seed)
    metrics = folder.workspace.evaluation(run.name) / "metrics.json"

    def command(*words: str) -> str:
        return shlex.join(["perfnet", *words])

    return [
        ("All of it:", command("demo", *demo)),
        (
            "The same, stage by stage. Videos to records:",
            command(
                "prepare",
                "--dataset=synthetic",
                f"--videos={folder.videos}",
                f"--output={folder.records}",
                *pose,
                f"--max_people={prepare.max_people}",
                f"--flow={prepare.flow}",
                f"--flow_bound={prepare.flow_bound:g}",
                f"--short_side={prepare.short_side}",
                f"--fps={prepare.fps:g}",
            ),
        ),
        ("The networks, their late fusions and the students:", reproduce_command(folder, config)),
        (
            "A SavedModel of the student:",
            command(
                "export", f"--model={run}", f"--metrics={metrics}", f"--output={folder.saved_model}"
            ),
        ),
        (
            "Classify a video:",
            command("predict", str(folder.predicted_video), f"--model={folder.saved_model}"),
        ),
    ]
