"""`perfnet demo`: the whole job on generated videos."""

from __future__ import annotations

import pathlib

from absl import flags

from perfnet_tf.cli.command import Command


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Runs the whole job on generated videos, without a download: some ten minutes on two cores.

    Generates videos of people in ten actions; prepares them; trains an RGB, a flow and a pose
    network; distills RGB-only students from flow and pose; evaluates all of them and their late
    fusions; exports a student; classifies a video with it in a new process; and writes
    OUTPUT/report.html. Rerun the command to resume an interrupted demo.
    """
    from perfnet_tf.demo.content import read_prediction, reproduce_command, write_demo_report
    from perfnet_tf.demo.stages import DemoConfig, DemoFolder, run_demo

    config = DemoConfig(
        clips_per_class=arguments.clips_per_class,
        epochs=arguments.epochs,
        seed=arguments.seed,
        pose_weights=arguments.pose_weights,
    )
    folder = DemoFolder(pathlib.Path(arguments.output))
    demo = run_demo(folder.path, config, command=reproduce_command(folder, config))
    report = write_demo_report(demo)
    results = demo.reproduction.results
    width = max(len(result.row.title) for result in results)
    print(f"\n{'':<{width}}  top-1    top-5    ({results[0].num_clips} test clips)")
    for result in results:
        top1, top5 = result.top1.mean, result.top5.mean
        print(f"{result.row.title:<{width}}  {top1:6.1%}   {top5:6.1%}")
    label, probability = read_prediction(folder)[0]
    print(f"\n{folder.predicted_video.name}: {label} ({probability:.0%})")
    print(f"report: {report}")
    return 0


COMMAND = Command("demo", "--output=DIR", _run)
COMMAND.string("output", None, "Folder: new, empty, or of a demo to resume.")
COMMAND.integer(
    "clips_per_class",
    30,
    "Videos of each of the ten actions; a third of them are for the test.",
)
COMMAND.integer("epochs", None, "Epochs of each training; default: the preset demo's.")
COMMAND.integer("seed", 0, "Random seed of the videos and of the trainings.")
COMMAND.string(
    "pose_weights",
    None,
    "Folder of PoseNet: estimate poses with it instead of taking the known keypoints.",
)
COMMAND.require("output")
