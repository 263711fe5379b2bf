"""What the demo's report says, read from what the stages left in the folder."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import pathlib
import platform
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perfnet_tf.config import ExperimentConfig
from perfnet_tf.demo.stages import (
    EXPORTED,
    FUSIONS,
    LOSSES,
    PREDICTED,
    STUDENT_START,
    DemoConfig,
    DemoFolder,
    Journal,
)
from perfnet_tf.inspection.picture import choose_max_speed, draw_streams
from perfnet_tf.inspection.stored_clip import open_clip
from perfnet_tf.presets import PRESETS
from perfnet_tf.recognizers.run_directory import HISTORY_FILE, read_run
from perfnet_tf.records.folder import read_dataset_info
from perfnet_tf.reporting.html import (
    Chart,
    Picture,
    Prediction,
    Report,
    Result,
    stack_frames,
    write_report,
)
from perfnet_tf.streams import FLOW, POSE, RGB, STREAM_TITLES, STREAMS
from perfnet_tf.version import __version__
from perfnet_tf.video.decode import read_video
from perfnet_tf.video.sampling import spread_indices

#: What has to be computed from a video before a stream's network sees it.
NEEDS = {RGB: "RGB", FLOW: "flow", POSE: "RGB, pose"}
STUDENT_NAMES = {f"student_{loss}": f"student, {loss} loss" for loss in LOSSES}
#: Two clips that one frame does not tell apart, and one that only the limb does.
SHOWN = ("SitDown/v_SitDown_g01_c01", "KickLeft/v_KickLeft_g01_c01")
_COLUMNS = 6


def write_demo_report(folder: DemoFolder, config: DemoConfig) -> pathlib.Path:
    """Writes `report.html` of a demo whose stages are done; returns its path."""
    return write_report(build_report(folder, config), folder.report)


def build_report(folder: DemoFolder, config: DemoConfig) -> Report:
    """The report's content."""
    info = read_dataset_info(folder.records)
    num_train, num_test = (info.split(name)["num_clips"] for name in ("train", "test"))
    results = read_results(folder)
    poses = (
        "drawn from the figures' known keypoints" if config.pose_weights is None else "PoseNet's"
    )
    return Report(
        title="PERF-Net for TensorFlow: demo",
        summary=[
            f"Networks learn {info.num_classes} actions from {num_train} generated videos and are "
            f"tested on {num_test} others, of people and places that they have not seen. One sees "
            "RGB frames, one optical flow, one frames with the people's poses drawn on them. Then "
            "RGB-only students learn from the labels and from the logits of the flow and the pose "
            "network (PERF-Net, arXiv:2009.13087), which the students do not need at test.",
            _compare(results),
            "The videos are drawings of people, made so that some actions differ only in the "
            "direction of time (sit down, stand up; walk forward, backward) and some only in the "
            f"limb (left, right). Poses are {poses}. Every network was trained once, from fresh "
            f"weights, with the seed {config.seed}. The numbers say that the software works; they "
            "do not say how well networks of this kind recognise real people.",
        ],
        num_classes=info.num_classes,
        results=results,
        result_notes=["Late fusion is the sum of the networks' logits."],
        charts=_charts(folder),
        pictures=[_streams_picture(folder, clip_id, config) for clip_id in SHOWN],
        predictions=[_prediction(folder)],
        settings=_settings(folder, config),
        timings=Journal(folder.path, config).seconds,
        commands=list_commands(folder, config),
    )


def read_results(folder: DemoFolder) -> list[Result]:
    """Every accuracy, in the order of the report."""

    def result(name: str, group: str, needs: str, values: Mapping[str, Any]) -> Result:
        return Result(name, group, needs, values["top1"], values["top5"], values["num_clips"])

    def metrics(name: str) -> dict[str, Any]:
        return json.loads((folder.evaluation(name) / "metrics.json").read_text())

    single = {run["stream"]: run for run in metrics("teachers")["runs"]}
    rows = [
        result(STREAM_TITLES[stream], "One stream, labels only", NEEDS[stream], single[stream])
        for stream in STREAMS
    ]
    for streams in FUSIONS:
        name = " + ".join(STREAM_TITLES[stream] for stream in streams)
        needs = ", ".join(STREAM_TITLES[stream] for stream in streams)
        rows.append(result(name, "Late fusion", needs, metrics("+".join(streams))))
    for run, name in STUDENT_NAMES.items():
        rows.append(result(name, "RGB-only, distilled from flow and pose", "RGB", metrics(run)))
    return rows


def _compare(results: Sequence[Result]) -> str:
    """The outcome in a sentence, whichever way it came out."""
    by_name = {result.name: result for result in results}
    plain = by_name[STREAM_TITLES[RGB]]

    def right(result: Result) -> str:
        return f"{round(result.top1 * result.num_clips)} of {result.num_clips}"

    students = " and ".join(
        f"{right(by_name[STUDENT_NAMES[f'student_{loss}']])} ({loss} loss)" for loss in LOSSES
    )
    return (
        f"Trained on RGB and labels alone, the network answers {right(plain)} test clips right; "
        f"the same network as a student {students}. The flow teacher answers "
        f"{right(by_name[STREAM_TITLES[FLOW]])}, the pose teacher "
        f"{right(by_name[STREAM_TITLES[POSE]])}."
    )


def _charts(folder: DemoFolder) -> list[Chart]:
    runs = {**STREAM_TITLES, **STUDENT_NAMES}
    histories = {name: _read_history(folder.run(run)) for run, name in runs.items()}

    def chart(title: str, y_label: str, column: str, scale: float = 1.0) -> Chart:
        series = {
            name: (rows["epoch"], [scale * value for value in rows[column]])
            for name, rows in histories.items()
        }
        return Chart(title, "epoch", y_label, series)

    return [
        chart("Cross-entropy on the training clips", "nats", "cross_entropy"),
        chart("Top-1 on the training clips, as augmented", "%", "top1", 100.0),
    ]


def _read_history(run: pathlib.Path) -> dict[str, list[float]]:
    with open(run / HISTORY_FILE, newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name] or "nan") for row in rows] for name in rows[0]}


def _streams_picture(folder: DemoFolder, clip_id: str, config: DemoConfig) -> Picture:
    clip = open_clip(folder.records, clip_id)
    indices = spread_indices(clip.entry.num_frames, _COLUMNS)
    drawn = draw_streams(clip, indices, choose_max_speed(clip), config.experiment.pose_render)
    rows = {STREAM_TITLES[stream]: pictures for stream, pictures in drawn.items()}
    streams = ", ".join(rows)
    return stack_frames(
        rows,
        caption=f"{clip.label_name}, a {clip.split} clip. From top to bottom: {streams}. The "
        "colour of the flow is its direction, the saturation its speed.",
    )


def _prediction(folder: DemoFolder) -> Prediction:
    answer = json.loads((folder.path / "prediction.json").read_text())
    video = read_video(folder.predicted_video)
    frames = video.frames[np.asarray(spread_indices(len(video.frames), _COLUMNS))]
    return Prediction(
        video=folder.predicted_video.name,
        truth=PREDICTED.split("/")[0],
        scores=[(entry["label"], entry["probability"]) for entry in answer["top"]],
        picture=stack_frames(
            {STREAM_TITLES[RGB]: frames},
            caption="A test video, chosen before training. The SavedModel classified it in a "
            "process of its own, from the MP4 file.",
        ),
    )


def _settings(folder: DemoFolder, config: DemoConfig) -> dict[str, str]:
    experiment, _, record = read_run(folder.run(EXPORTED))
    train, model, clip = experiment.train, experiment.model, experiment.clip
    options = ", ".join(f"{name} {value}" for name, value in model.options.items())
    info = read_dataset_info(folder.records)
    return {
        "network": f"{model.backbone}, {model.width_multiplier:g} of its width"
        + (f" ({options})" if options else ""),
        "clip": f"{clip} (frames x height x width), every {clip.frame_stride}. of "
        f"{info.fps:g} frames a second"
        if clip.frame_stride > 1
        else f"{clip} (frames x height x width) at {info.fps:g} frames a second",
        "training": f"{train.epochs} epochs ({record['steps']} steps) of SGD with momentum "
        f"{train.momentum:g}, batches of {train.batch_size}, peak learning rate "
        f"{train.peak_learning_rate:g}, weight decay {model.weight_decay:g}, dropout "
        f"{model.dropout_rate:g}",
        "mirroring": "on" if train.mirror else "off: the classes tell left from right",
        "distillation": f"mean squared error of the logits, weight {_weight(experiment):g} for "
        f"each term; the students start from the {STUDENT_START} network's weights",
        "pose": f"{info.pose}, drawn as {experiment.pose_render.num_colors}-colour "
        f"{experiment.pose_render.marker}s on the frame",
        "flow": f"{info.flow}, clipped at {info.flow_bound:g} pixels a frame",
        "seed": str(config.seed),
        "versions": f"perfnet_tf {__version__}, TensorFlow {record['versions']['tensorflow']}, "
        f"Python {platform.python_version()}",
        "computed on": f"{os.cpu_count()} CPU cores ({platform.machine()})"
        if not _gpus()
        else f"{len(_gpus())} GPU",
    }


def _weight(experiment: ExperimentConfig) -> float:
    """Of each of the student's terms, which weigh alike."""
    assert experiment.distill is not None
    return max(experiment.distill.teacher_weights.values(), default=1.0)


def _gpus() -> list[Any]:
    import tensorflow as tf

    return tf.config.list_physical_devices("GPU")


def list_commands(folder: DemoFolder, config: DemoConfig) -> list[tuple[str, str]]:
    """(what it does, shell command) for each stage but the first, which `prepare` does, too."""
    prepare = config.prepare

    def command(*words: str) -> str:
        return shlex.join(["perfnet", *words])

    def training(run: str, experiment: ExperimentConfig, *words: str) -> tuple[str, ...]:
        preset = PRESETS["demo"].train
        changed = {
            "epochs": experiment.train.epochs != preset.epochs,
            "seed": experiment.train.seed != preset.seed,
        }
        values = dataclasses.asdict(experiment.train)
        flags = [f"--{name}={values[name]}" for name, differs in changed.items() if differs]
        where = (f"--data={folder.records}", f"--output={folder.run(run)}")
        return (*words, "--preset=demo", *flags, *where)

    demo = ["demo", f"--output={folder.path}", f"--clips_per_class={config.clips_per_class}"]
    demo += [] if config.epochs is None else [f"--epochs={config.epochs}"]
    demo += [] if not config.seed else [f"--seed={config.seed}"]
    demo += [] if config.pose_weights is None else [f"--pose_weights={config.pose_weights}"]
    pose = [f"--pose={prepare.pose}"]
    if prepare.pose_weights is not None:
        pose.append(f"--pose_weights={prepare.pose_weights}")
    teachers = ",".join(f"{name}={folder.run(name)}" for name in (FLOW, POSE))
    everyone = ",".join(str(folder.run(stream)) for stream in STREAMS)
    commands = [
        ("All of it:", command(*demo)),
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
    ]
    for stream in STREAMS:
        words = training(stream, config.training(stream), "train", f"--stream={stream}")
        commands.append((f"One network, {STREAM_TITLES[stream]}:", command(*words)))
    for loss in LOSSES:
        experiment = config.training(RGB, loss)
        words = training(
            f"student_{loss}",
            experiment,
            "distill",
            f"--teachers={teachers}",
            f"--loss={loss}",
            f"--from={folder.run(STUDENT_START)}",
        )
        commands.append((f"The student, {loss} loss:", command(*words)))
    student = folder.evaluation(EXPORTED)
    commands += [
        (
            "Accuracies, and the late fusion of the three:",
            command(
                "evaluate",
                f"--runs={everyone}",
                f"--data={folder.records}",
                f"--output={folder.evaluation('teachers')}",
            ),
        ),
        (
            "The student's accuracy:",
            command(
                "evaluate",
                f"--runs={folder.run(EXPORTED)}",
                f"--data={folder.records}",
                f"--output={student}",
            ),
        ),
        (
            "A SavedModel of the student:",
            command(
                "export",
                f"--run={folder.run(EXPORTED)}",
                f"--metrics={student / 'metrics.json'}",
                f"--output={folder.saved_model}",
            ),
        ),
        (
            "Classify a video:",
            command("predict", str(folder.predicted_video), f"--model={folder.saved_model}"),
        ),
    ]
    return commands
