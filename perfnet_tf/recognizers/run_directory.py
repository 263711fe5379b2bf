"""A run on disk: what was trained, how, and the weights.

| in the folder    | holds                                                                  |
|------------------|------------------------------------------------------------------------|
| `config.json`    | the `ExperimentConfig`                                                 |
| `classes.txt`    | class names, one per line, in label order                                |
| `run.json`       | status, data, teachers, initial weights, steps, versions, digest of    |
|                  | the classes                                                            |
| `history.csv`    | one row per epoch: losses, accuracy, learning rate, clips per second      |
| `checkpoints/`   | what an interrupted run resumes from (`tf.train.CheckpointManager`)    |
| `best/`          | while it trains: the best weights so far, where those are kept         |
| `weights.index`, `weights.data-*` | the final weights, `tf.train.Checkpoint(model=...)`   |
| `features/`      | while a classifier is fitted: the features of each view so far         |
| `tensorboard/`   | the history as TensorBoard scalars                                     |

Importers of others' weights write a run too (`save_run`), without history and checkpoints.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from perfnet_tf.classes import check_class_names, classes_digest
from perfnet_tf.config import ExperimentConfig
from perfnet_tf.errors import InputError, first_line
from perfnet_tf.files import check_new_or_empty, write_atomically
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.models.precision import precision_policy
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.version import __version__

CONFIG_FILE = "config.json"
CLASSES_FILE = "classes.txt"
RUN_FILE = "run.json"
HISTORY_FILE = "history.csv"
WEIGHTS_PREFIX = "weights"
CHECKPOINTS_FOLDER = "checkpoints"
BEST_FOLDER = "best"
FEATURES_FOLDER = "features"
TENSORBOARD_FOLDER = "tensorboard"

TRAINING, FINISHED = "training", "finished"


@dataclass(frozen=True, eq=False)
class Run:
    """A trained network and what made it.

    Attributes:
        path: the run's folder.
        config: what was trained, and how.
        classes: class names in the order of the logits.
        model: the network, with its final weights.
        record: `run.json`: `status`, `dataset`, `teachers`, `initial`, `steps`, `versions`, ...
    """

    path: pathlib.Path
    config: ExperimentConfig
    classes: tuple[str, ...]
    model: VideoModel
    record: Mapping[str, Any] = field(default_factory=dict)


def load_run(path: str | pathlib.Path, *, precision: str = "float32") -> Run:
    """Loads a finished run, under the current strategy.

    Args:
        path: the run's folder.
        precision: the network computes in; the weights are float32 in any case.

    Raises:
        InputError: no run, a run without weights (its training has not finished), or weights that
            are not those of the network that `config.json` names.
    """
    folder = pathlib.Path(path)
    config, classes, record = read_run(folder)
    if not has_weights(folder):
        raise InputError(
            f"{folder} has no weights: its training has not finished. "
            "Rerun the command that trains it to resume it."
        )
    if not classes:
        raise InputError(f"{folder / CLASSES_FILE} names no class: the run is damaged.")
    try:
        with precision_policy(precision):
            model = build_from_config(config.model, len(classes), config.stream)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{folder / CONFIG_FILE} describes no network that can be built: {first_line(error)}"
        ) from error
    checkpoint = tf.train.Checkpoint(model=model)
    try:
        status = checkpoint.read(str(folder / WEIGHTS_PREFIX))
        status.assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError, IndexError, RuntimeError, tf.errors.OpError) as error:
        raise InputError(
            f"The weights in {folder} are not those of the network in its {CONFIG_FILE}: "
            f"{first_line(error)} Train or import it again."
        ) from error
    return Run(folder, config, classes, model, record)


def read_run(
    path: str | pathlib.Path,
) -> tuple[ExperimentConfig, tuple[str, ...], dict[str, Any]]:
    """Configuration, classes and `run.json` of a run, finished or not, without its weights.

    Raises:
        InputError: `path` is no run, or a file of it is damaged.
    """
    folder = pathlib.Path(path)
    config = ExperimentConfig.from_json(_read_text(folder / CONFIG_FILE))
    classes = tuple(_read_text(folder / CLASSES_FILE).splitlines())
    try:
        record = json.loads(_read_text(folder / RUN_FILE))
        if not isinstance(record, dict) or "status" not in record:
            raise ValueError("it is no record of a run")
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{folder / RUN_FILE} is not valid JSON: {error}.") from error
    if record.get("classes_sha256", classes_digest(classes)) != classes_digest(classes):
        raise InputError(
            f"The classes in {folder / CLASSES_FILE}, or their order, are not those of the run: "
            "the file was changed. Bring it back."
        )
    return config, classes, record


def _read_text(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"A run is a folder with {CONFIG_FILE}, {CLASSES_FILE} and {RUN_FILE}, as perfnet "
            f"train, distill, finetune and import make it. Received: {path.parent}."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error


def is_run(path: str | pathlib.Path) -> bool:
    """Whether `path` is the folder of a run, finished or not."""
    return (pathlib.Path(path) / RUN_FILE).is_file()


def has_weights(path: str | pathlib.Path) -> bool:
    """Whether a run has its final weights."""
    return (pathlib.Path(path) / f"{WEIGHTS_PREFIX}.index").exists()


def create_run(
    path: str | pathlib.Path,
    config: ExperimentConfig,
    classes: Sequence[str],
    **record: Any,
) -> pathlib.Path:
    """Makes the folder of a run that is about to train.

    Args:
        path: made if missing.
        config: what is to be trained.
        classes: class names in label order.
        **record: what goes into `run.json` besides status and versions; JSON values.

    Returns:
        The folder.

    Raises:
        InputError: the folder holds something already, or a class name is not one line.
    """
    folder = check_new_or_empty(path)
    check_class_names(classes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(config.to_json())
    (folder / CLASSES_FILE).write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")
    record["classes_sha256"] = classes_digest(classes)
    versions = {"perfnet_tf": __version__, "tensorflow": tf.__version__}
    # Last: a folder with it is a whole run.
    _write_record(folder, {"status": TRAINING, **record, "versions": versions})
    return folder


def update_config(path: str | pathlib.Path, config: ExperimentConfig) -> None:
    """Replaces `config.json`, in one step."""
    write_atomically(pathlib.Path(path) / CONFIG_FILE, config.to_json())


def update_record(path: str | pathlib.Path, **changes: Any) -> None:
    """Changes entries of `run.json`, in one step."""
    folder = pathlib.Path(path)
    record = json.loads((folder / RUN_FILE).read_text())
    _write_record(folder, {**record, **changes})


def save_weights(path: str | pathlib.Path, model: VideoModel, **changes: Any) -> None:
    """Writes the final weights and marks the run as finished, with `changes` to `run.json`."""
    tf.train.Checkpoint(model=model).write(str(pathlib.Path(path) / WEIGHTS_PREFIX))
    update_record(path, status=FINISHED, **changes)


def save_run(
    path: str | pathlib.Path,
    config: ExperimentConfig,
    classes: Sequence[str],
    model: VideoModel,
    **record: Any,
) -> Run:
    """Writes a network that was not trained here, such as imported weights, as a finished run.

    Arguments and errors as in `create_run`; `model` is built.
    """
    folder = create_run(path, config, classes, **record)
    save_weights(folder, model)
    return Run(folder, config, tuple(classes), model, read_run(folder)[2])


def _write_record(folder: pathlib.Path, record: Mapping[str, Any]) -> None:
    write_atomically(folder / RUN_FILE, json.dumps(record, indent=2) + "\n")
