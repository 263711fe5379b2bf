"""Runs the whole job on generated videos, each stage by the call that its command makes.

What a demo leaves in its folder:

| in the folder                 | holds                                                         |
|-------------------------------|---------------------------------------------------------------|
| `videos/`                     | the generated dataset (`perfnet_tf.synthetic.dataset`)        |
| `records/`                    | the same, prepared: RGB, keypoints and TV-L1 flow             |
| `runs/`, `evaluation/`        | networks of the paper's Table 4 and their scores, by          |
|                               | `perfnet_tf.reproduction`                                     |
| `table4/`                     | the table's own report                                        |
| `saved_model/`                | the student of the separate loss, exported                    |
| `prediction.json`             | its answer to a test video, given in a new process            |
| `report.html`                 | the results of all of it                                      |
| `demo.json`                   | the arguments, and the seconds that each stage has taken      |

Called again, it resumes where it stopped: every stage keeps what is finished.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from perfnet_tf.config import ExperimentConfig
from perfnet_tf.datasets.catalog import load_catalog
from perfnet_tf.errors import FailureError, InputError
from perfnet_tf.files import check_new_or_empty, write_atomically
from perfnet_tf.preparation.build import build_records
from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.presets import PRESETS
from perfnet_tf.recognizers.run_directory import load_run
from perfnet_tf.reproduction.plan import Workspace, run_name
from perfnet_tf.reproduction.reproduce import ReproduceConfig, reproduce_table
from perfnet_tf.reproduction.results import Reproduction
from perfnet_tf.reproduction.runner import Execution
from perfnet_tf.reproduction.settings import REPRODUCTION_PRESETS, choose_settings
from perfnet_tf.reproduction.tables import S3D_G, TABLES
from perfnet_tf.saved_model import export_saved_model
from perfnet_tf.synthetic.dataset import SyntheticConfig, generate_synthetic_dataset

PRESET = "demo"
TABLE = "table4"
#: Of the table: each stream alone, the late fusions with RGB, and a student by each loss.
ROWS = (
    "rgb",
    "flow",
    "pose",
    "rgb+flow",
    "rgb+pose",
    "rgb+flow+pose",
    "student_unified",
    "student_separate",
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
        epochs: of each training; None takes the preset's.
        seed: of the videos, the initial weights, the order and the augmentation.
        pose_weights: folder of PoseNet; None draws the poses from the known keypoints.
    """

    clips_per_class: int = 30
    epochs: int | None = None
    seed: int = 0
    pose_weights: str | None = None

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
            short_side=PRESETS[PRESET].clip.resized_short_side,
            pose="keypoints" if self.pose_weights is None else "posenet",
            pose_weights=self.pose_weights,
            max_people=1,
            # People of 60 pixels hardly move faster, and a lower bound is a finer scale.
            flow_bound=10.0,
        )

    @property
    def reproduce(self) -> ReproduceConfig:
        """The networks to train and measure."""

        def change(kind: str, config: ExperimentConfig) -> ExperimentConfig:
            epochs = config.train.epochs if self.epochs is None else self.epochs
            return config.replace(train=dataclasses.replace(config.train, epochs=epochs))

        preset = REPRODUCTION_PRESETS[PRESET]
        return ReproduceConfig(
            table=TABLES[TABLE],
            settings=choose_settings(PRESET, change),
            preset=PRESET,
            rows=ROWS,
            seeds=(self.seed,),
            student_start=preset.student_start,
            views=preset.views,
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
    def workspace(self) -> Workspace:
        """The networks and their scores."""
        return Workspace(self.path)

    def exported_run(self, seed: int) -> pathlib.Path:
        """The student that is exported."""
        return self.workspace.run(run_name(EXPORTED, S3D_G, seed))

    @property
    def saved_model(self) -> pathlib.Path:
        """The exported student."""
        return self.path / "saved_model"

    @property
    def prediction(self) -> pathlib.Path:
        """What the exported student says about `predicted_video`, as `predict --json` prints it."""
        return self.path / "prediction.json"

    @property
    def report(self) -> pathlib.Path:
        """The report."""
        return self.path / "report.html"

    @property
    def predicted_video(self) -> pathlib.Path:
        """The test video that is classified in the end."""
        return self.videos / "videos" / f"{PREDICTED}.mp4"


@dataclass(frozen=True, eq=False)
class Demo:
    """A finished demo.

    Attributes:
        config: what decided it.
        folder: where it is.
        reproduction: the accuracies.
        seconds: stage -> seconds, of all attempts together.
    """

    config: DemoConfig
    folder: DemoFolder
    reproduction: Reproduction
    seconds: dict[str, float]


def run_demo(
    output: str | os.PathLike[str],
    config: DemoConfig | None = None,
    *,
    command: str = "",
    progress: bool = True,
) -> Demo:
    """Runs the unfinished stages of a demo; `content.write_demo_report` writes its report.

    Args:
        output: folder: new, empty, or of a demo with the same arguments.
        config: what to run; None takes the defaults.
        command: shell command that trains and measures the networks, for the report of `table4`.
        progress: print the stages on standard output, and their progress on standard error.

    Raises:
        InputError: `output` is in use.
        FailureError: the new process that predicts failed.
    """
    config = config or DemoConfig()
    folder = DemoFolder(pathlib.Path(output))
    seconds = _open(folder.path, config)
    results: list[Reproduction] = []

    def reproduce() -> None:
        execution = Execution(progress=progress)
        made, _ = reproduce_table(
            config.reproduce, folder.records, folder.path, command=command, execution=execution
        )
        results.append(made)

    stages: dict[str, Callable[[], None]] = {
        "generate videos": lambda: _generate(folder, config, progress=progress),
        "prepare records": lambda: _prepare(folder, config, progress=progress),
        "train and measure the networks": reproduce,
        "export the student": lambda: _export(folder, config),
        "predict in a new process": lambda: _predict(folder),
    }
    for number, (stage, work) in enumerate(stages.items(), start=1):
        if progress:
            print(f"[{number}/{len(stages)}] {stage}", flush=True)
        began = time.monotonic()
        try:
            work()
        finally:
            seconds[stage] = seconds.get(stage, 0.0) + time.monotonic() - began
            _write(folder.path, config, seconds)
    return Demo(config, folder, results[0], seconds)


def _open(folder: pathlib.Path, config: DemoConfig) -> dict[str, float]:
    """Claims the folder; returns the seconds that each stage has taken so far."""
    path = folder / "demo.json"
    if path.exists():
        content = json.loads(path.read_text())
        if content["arguments"] != dataclasses.asdict(config):
            raise InputError(
                f"{folder} holds a demo with other arguments. "
                "Choose another `output`, or delete that folder."
            )
        return dict(content["seconds"])
    check_new_or_empty(folder, alternative="a demo to resume")
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, config, {})
    return {}


def _write(folder: pathlib.Path, config: DemoConfig, seconds: dict[str, float]) -> None:
    content = {"arguments": dataclasses.asdict(config), "seconds": seconds}
    write_atomically(folder / "demo.json", json.dumps(content, indent=2) + "\n")


def _generate(folder: DemoFolder, config: DemoConfig, *, progress: bool) -> None:
    def bar(clips: Any) -> Any:
        return tqdm(clips, desc="generate", unit="video", disable=not progress)

    generate_synthetic_dataset(folder.videos, config.synthetic, progress=bar)


def _prepare(folder: DemoFolder, config: DemoConfig, *, progress: bool) -> None:
    catalog = load_catalog("synthetic", videos=folder.videos)
    build_records(
        catalog.clips, folder.records, config.prepare, catalog.classes, show_progress=progress
    )


def _export(folder: DemoFolder, config: DemoConfig) -> None:
    if (folder.saved_model / "saved_model.pb").exists():
        return
    run = folder.exported_run(config.seed)
    metrics = json.loads((folder.workspace.evaluation(run.name) / "metrics.json").read_text())
    kept = {key: metrics[key] for key in ("top1", "top5", "num_clips", "dataset", "split")}
    export_saved_model(load_run(run), folder.saved_model, metrics=kept)


def _predict(folder: DemoFolder) -> None:
    """Classifies a test video in a process that has only the SavedModel."""
    if folder.prediction.exists():
        return
    command = [sys.executable, "-m", "perfnet_tf", "predict", str(folder.predicted_video)]
    command += [f"--model={folder.saved_model}", "--json"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        reason = process.stderr.strip().splitlines()[-1:] or ["no message"]
        raise FailureError(f"perfnet predict failed: {reason[0]}")
    write_atomically(folder.prediction, process.stdout)
