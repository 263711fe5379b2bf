"""Runs every stage of the job on generated videos, each by the call that its command makes.

What a demo leaves in its folder:

| in the folder | holds                                                               |
|---------------|---------------------------------------------------------------------|
| `videos/`     | the generated dataset (`perfnet_tf.synthetic.dataset`)             |
| `records/`    | the same, prepared: RGB, keypoints and TV-L1 flow                   |
| `runs/`       | `rgb`, `flow`, `pose`, `student_separate`, `student_unified`        |
| `evaluation/` | accuracies of all of them and of the late fusions                   |
| `saved_model/`| the student of the separate loss, exported                          |
| `report.html` | what came out                                                       |
| `demo.json`   | the arguments, and the seconds that each stage has taken            |

Called again it goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from perfnet_tf.config import DistillConfig, ExperimentConfig
from perfnet_tf.datasets.catalog import load_catalog
from perfnet_tf.errors import FailureError, InputError
from perfnet_tf.evaluation.fusion import ClipScores, fuse
from perfnet_tf.evaluation.metrics import accuracy_summary
from perfnet_tf.evaluation.protocol import evaluate_runs
from perfnet_tf.files import check_new_or_empty, write_atomically
from perfnet_tf.preparation.build import build_records
from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.presets import PRESETS
from perfnet_tf.recognizers.run_directory import load_run
from perfnet_tf.saved_model import export_saved_model
from perfnet_tf.streams import FLOW, POSE, RGB, STREAMS
from perfnet_tf.synthetic.dataset import SyntheticConfig, generate_synthetic_dataset
from perfnet_tf.training.trainer import train

LOSSES = ("separate", "unified")
#: Streams of the teachers, in the order of the report.
TEACHERS = (FLOW, POSE)
#: The network whose weights both students start from: it has seen RGB frames, with poses on them.
STUDENT_START = POSE
#: Late fusions: PERF-Net Table 3's, of networks that each see a stream of their own.
FUSIONS = (
    (RGB, FLOW),
    (RGB, POSE),
    (RGB, FLOW, POSE),
)
#: The student that is exported. Named before the test is looked at, and not by its result.
EXPORTED = "student_separate"
#: The test video that is classified in the end; its person and place are in the test split.
PREDICTED = "WaveLeft/v_WaveLeft_g01_c01"


@dataclass(frozen=True)
class DemoConfig:
    """What decides a demo.

    Attributes:
        clips_per_class: videos of each of the ten classes, a third of them for the test.
        epochs: of each training; None takes `experiment`'s.
        seed: of the videos, the initial weights, the order and the augmentation.
        pose_weights: folder of PoseNet; None draws the poses from the known keypoints.
        experiment: the settings of every training but its stream and teachers.
    """

    clips_per_class: int = 30
    epochs: int | None = None
    seed: int = 0
    pose_weights: str | None = None
    experiment: ExperimentConfig = PRESETS["demo"]

    @property
    def synthetic(self) -> SyntheticConfig:
        """The videos."""
        return SyntheticConfig(clips_per_class=self.clips_per_class, seed=self.seed)

    @property
    def prepare(self) -> PrepareConfig:
        """The records: half of the videos' frame rate, and the size that training resizes to."""
        return PrepareConfig(
            name="synthetic",
            fps=12.5,
            short_side=self.experiment.clip.resized_short_side,
            pose="keypoints" if self.pose_weights is None else "posenet",
            pose_weights=self.pose_weights,
            max_people=1,
            # People of 60 pixels hardly move faster, and a lower bound is a finer scale.
            flow_bound=10.0,
        )

    def training(self, stream: str, loss: str | None = None) -> ExperimentConfig:
        """One training: of a stream, or of a student by one of `LOSSES`."""
        base = self.experiment
        distill = None
        if loss is not None:
            distill = (base.distill or DistillConfig()).of(loss, TEACHERS)
        changes: dict[str, Any] = {"seed": self.seed}
        if self.epochs is not None:
            changes["epochs"] = self.epochs
        return base.replace(
            stream=stream,
            train=dataclasses.replace(base.train, **changes),
            distill=distill,
        )


@dataclass(frozen=True)
class DemoFolder:
    """Paths in the folder of a demo."""

    path: pathlib.Path

    @property
    def videos(self) -> pathlib.Path:
        """The generated dataset."""
        return self.path / "videos"

    @property
    def records(self) -> pathlib.Path:
        """The prepared dataset."""
        return self.path / "records"

    @property
    def saved_model(self) -> pathlib.Path:
        """The exported student."""
        return self.path / "saved_model"

    @property
    def report(self) -> pathlib.Path:
        """The report."""
        return self.path / "report.html"

    @property
    def predicted_video(self) -> pathlib.Path:
        """The test video that is classified in the end."""
        return self.videos / "videos" / f"{PREDICTED}.mp4"

    def run(self, name: str) -> pathlib.Path:
        """A run."""
        return self.path / "runs" / name

    def evaluation(self, name: str) -> pathlib.Path:
        """An evaluation."""
        return self.path / "evaluation" / name


class Journal:
    """`demo.json`: the arguments, and how long each stage took, over all attempts."""

    def __init__(self, folder: pathlib.Path, config: DemoConfig) -> None:
        """Opens or begins the journal.

        Raises:
            InputError: the folder holds a demo with other arguments, or something else.
        """
        self._path = folder / "demo.json"
        arguments = json.loads(json.dumps(dataclasses.asdict(config)))
        self._content: dict[str, Any] = {"arguments": arguments, "seconds": {}, "done": []}
        if self._path.exists():
            self._content = json.loads(self._path.read_text())
            if self._content["arguments"] != arguments:
                raise InputError(
                    f"{folder} holds a demo with other arguments. "
                    "Choose another --output, or delete that folder."
                )
        else:
            check_new_or_empty(folder, alternative="a demo to resume")
            folder.mkdir(parents=True, exist_ok=True)
            self._write()

    @property
    def seconds(self) -> dict[str, float]:
        """Stage -> seconds."""
        return dict(self._content["seconds"])

    def is_done(self, stage: str) -> bool:
        """Whether the stage has been finished."""
        return stage in self._content["done"]

    @contextlib.contextmanager
    def measured(self, stage: str) -> Iterator[None]:
        """Adds the time spent inside to the stage's, and marks it done if nothing is raised."""
        began = time.monotonic()
        try:
            yield
            self._content["done"].append(stage)
        finally:
            seconds = self._content["seconds"]
            seconds[stage] = seconds.get(stage, 0.0) + time.monotonic() - began
            self._write()

    def _write(self) -> None:
        write_atomically(self._path, json.dumps(self._content, indent=2) + "\n")


def run_demo(
    output: str | os.PathLike[str], config: DemoConfig | None = None, *, progress: bool = True
) -> DemoFolder:
    """Runs what is not done yet of a demo, all but its report.

    Args:
        output: folder: new, empty, or of a demo with the same arguments.
        config: what to run; None takes the defaults.
        progress: tell the stages on standard output, and how far each is on standard error.

    Raises:
        InputError: `output` is in use.
        FailureError: the new process that predicts failed.
    """
    config = config or DemoConfig()
    folder = DemoFolder(pathlib.Path(output))
    journal = Journal(folder.path, config)
    stages = _stages(folder, config, progress=progress)
    for number, (stage, work) in enumerate(stages.items(), start=1):
        done = journal.is_done(stage)
        if progress:
            print(f"[{number}/{len(stages)}] {stage}{': done before' if done else ''}", flush=True)
        if not done:
            with journal.measured(stage):
                work()
    return folder


def _stages(
    folder: DemoFolder, config: DemoConfig, *, progress: bool
) -> dict[str, Callable[[], object]]:
    """Stage -> its work, in order."""
    teachers = {stream: folder.run(stream) for stream in TEACHERS}

    def train_stream(stream: str) -> Callable[[], object]:
        return lambda: train(
            config.training(stream), folder.records, folder.run(stream), progress=progress
        )

    def distill(loss: str) -> Callable[[], object]:
        return lambda: train(
            config.training(RGB, loss),
            folder.records,
            folder.run(f"student_{loss}"),
            teachers=teachers,
            initial=folder.run(STUDENT_START),
            progress=progress,
        )

    return {
        "generate videos": lambda: _generate(folder, config, progress=progress),
        "prepare records": lambda: _prepare(folder, config, progress=progress),
        "train on RGB, without teachers": train_stream(RGB),
        "train the flow teacher": train_stream(FLOW),
        "train the pose teacher": train_stream(POSE),
        "distill the student, separate loss": distill("separate"),
        "distill the student, unified loss": distill("unified"),
        "evaluate and fuse": lambda: _evaluate(folder, progress=progress),
        "export the student": lambda: _export(folder),
        "predict in a new process": lambda: _predict(folder),
    }


def _generate(folder: DemoFolder, config: DemoConfig, *, progress: bool) -> None:
    def bar(clips: Any) -> Any:
        return tqdm(clips, desc="generate", unit="video", disable=not progress)

    generate_synthetic_dataset(folder.videos, config.synthetic, progress=bar)


def _prepare(folder: DemoFolder, config: DemoConfig, *, progress: bool) -> None:
    catalog = load_catalog("synthetic", videos=folder.videos)
    build_records(
        catalog.clips, folder.records, config.prepare, catalog.classes, show_progress=progress
    )


def _evaluate(folder: DemoFolder, *, progress: bool) -> None:
    everyone = folder.evaluation("teachers")
    paths = [folder.run(stream) for stream in STREAMS]
    evaluate_runs(paths, folder.records, everyone, progress=progress)
    for loss in LOSSES:
        name = f"student_{loss}"
        evaluate_runs(
            [folder.run(name)], folder.records, folder.evaluation(name), progress=progress
        )
    for streams in FUSIONS:
        scores = [ClipScores.load(everyone / f"logits_{stream}.npz") for stream in streams]
        fused = fuse(scores)
        output = folder.evaluation("+".join(streams))
        output.mkdir(parents=True, exist_ok=True)
        fused.save(output / "logits.npz")
        summary = accuracy_summary(fused.logits, fused.labels)
        (output / "metrics.json").write_text(json.dumps(summary, indent=2) + "\n")


def _export(folder: DemoFolder) -> None:
    if (folder.saved_model / "saved_model.pb").exists():
        return
    metrics = json.loads((folder.evaluation(EXPORTED) / "metrics.json").read_text())
    kept = {key: metrics[key] for key in ("top1", "top5", "num_clips", "dataset", "split")}
    export_saved_model(load_run(folder.run(EXPORTED)), folder.saved_model, metrics=kept)


def _predict(folder: DemoFolder) -> None:
    """Has a process that knows the SavedModel only classify a test video."""
    command = [sys.executable, "-m", "perfnet_tf", "predict", str(folder.predicted_video)]
    command += [f"--model={folder.saved_model}", "--json"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        raise FailureError(f"perfnet predict failed: {process.stderr.strip()[-500:]}")
    (folder.path / "prediction.json").write_text(process.stdout)
