"""Whether the run in a folder is the one that is wanted."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perfnet_tf.config import ExperimentConfig
from perfnet_tf.errors import InputError
from perfnet_tf.files import check_new_or_empty
from perfnet_tf.recognizers import run_directory

VALIDATION = "train.validate_every_epochs"
#: Settings that may change on resume; they do not affect the weights, unless weights are chosen by
#: validation: then how often that is measured does.
FREE = (
    "eval_clip",
    "train.checkpoint_every_steps",
    "train.rematerialize",
    "train.activation_gib",
    "train.steps_per_execution",
    VALIDATION,
)
#: Of a dataset, as `run.json` describes it: `DatasetInfo.records_digest`. Earlier versions did not
#: state it.
RECORDS_DIGEST = "records_sha256"
_LONGEST_VALUE = 80


@dataclass(frozen=True)
class EarlierRun:
    """What an output folder already holds.

    Attributes:
        folder: of the run.
        config, record: as `run_directory.read_run` gives them.
        changed: name -> how it differs from the run that is wanted, see `differences`.
    """

    folder: pathlib.Path
    config: ExperimentConfig
    record: Mapping[str, Any]
    changed: Mapping[str, str]

    @property
    def is_finished(self) -> bool:
        """Whether it has its final weights."""
        return bool(self.record["status"] == run_directory.FINISHED)

    def check_unchanged(self) -> None:
        """Raises `InputError` if it is not the run that is wanted."""
        if not self.changed:
            return
        first, *others = self.changed.values()
        more = f" ({len(self.changed)} differences)" if others else ""
        raise InputError(
            f"{self.folder} holds another run: {first}{more}. Choose another `output`, or delete "
            "that folder."
        )


def find_earlier_run(
    folder: pathlib.Path,
    config: ExperimentConfig,
    classes: Sequence[str],
    entries: Mapping[str, Any],
) -> EarlierRun | None:
    """The run in an output folder, compared with the wanted one; None if the folder is empty.

    Args:
        folder: of the output.
        config, classes, entries: of the wanted run, as for `describe_run`.

    Raises:
        InputError: the folder holds something else, or a run that cannot be read.
    """
    if not run_directory.is_run(folder):
        check_new_or_empty(folder, alternative="a run to resume")
        return None
    old_config, old_classes, record = run_directory.read_run(folder)
    found = describe_run(old_config, old_classes, **{key: record.get(key) for key in entries})
    wanted = describe_run(config, classes, **entries)
    for name in [name for name in wanted if name.endswith(f".{RECORDS_DIGEST}")]:
        if name not in found:
            del wanted[name]
    return EarlierRun(folder, old_config, record, differences(found, wanted))


def describe_run(
    config: ExperimentConfig, classes: Sequence[str], **entries: Any
) -> dict[str, Any]:
    """What decides a run's weights: dotted name -> value.

    Args:
        config: of the run.
        classes: class names in label order.
        **entries: what else decides it, such as data and teachers; JSON values. Those of a mapping
            have dotted names as well.
    """
    flat: dict[str, Any] = {}

    def add(values: Mapping[str, Any], prefix: str) -> None:
        for key, value in values.items():
            name = prefix + key
            if name in FREE and not (name == VALIDATION and config.train.selects):
                continue
            if isinstance(value, Mapping):
                add(value, f"{name}.")
            else:
                flat[name] = value

    add(json.loads(config.to_json()), "")  # tuples as the lists that a file has
    flat["classes"] = list(classes)
    add({name: value for name, value in entries.items() if value is not None}, "")
    return flat


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, str]:
    """What distinguishes two runs of `describe_run`: name -> "NAME was VALUE, is VALUE".

    A name that is missing from one of them counts as None.
    """
    return {
        name: f"{name} was {_shorten(found.get(name))}, is {_shorten(wanted.get(name))}"
        for name in {**found, **wanted}
        if found.get(name) != wanted.get(name)
    }


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."
