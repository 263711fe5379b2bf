"""Whether the run in a folder is the one that is wanted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from perfnet_tf.config import ExperimentConfig

VALIDATION = "train.validate_every_epochs"
#: Settings that may change on resume; they do not affect the weights, unless weights are chosen by
#: validation: then how often that is measured does.
FREE = (
    "eval_clip",
    "train.checkpoint_every_steps",
    "train.rematerialize",
    "train.steps_per_execution",
    VALIDATION,
)
_LONGEST_VALUE = 80


def describe_run(
    config: ExperimentConfig, classes: Sequence[str], **entries: Any
) -> dict[str, Any]:
    """What decides a run's weights: dotted name -> value.

    Args:
        config: of the run.
        classes: class names in label order.
        **entries: what else decides it, such as data and teachers; JSON values.
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
    return {**flat, "classes": list(classes), **entries}


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What distinguishes two runs of `describe_run`: "NAME was VALUE, is VALUE"; empty: nothing.

    A name that is missing from one of them counts as None.
    """
    return [
        f"{name} was {_shorten(found.get(name))}, is {_shorten(wanted.get(name))}"
        for name in {**found, **wanted}
        if found.get(name) != wanted.get(name)
    ]


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."
