"""What became of each clip: the lines of a preparation's journals."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from perfnet_tf.errors import FailureError
from perfnet_tf.records.validation import MAX_OFFSET, check_kind, check_number, check_whole


class PreparationError(FailureError):
    """Preparation failed for a reason other than bad input."""


@dataclass(frozen=True)
class ClipOutcome:
    """What became of a clip: a line of a journal.

    Attributes:
        key: `SourceClip.key` of the clip.
        size, sha256: bytes of its part and their SHA-256; 0 and empty for a failure.
        num_frames, person_frames, keypoint_frames, flow_rescaled: as in
            `preparation.extract.Extraction`.
        cause: why there is no record, or why a part of the video is missing; None: all well.
        deinterlaced: as in `preparation.extract.Extraction`.
        scores_clipped: as in `preparation.extract.Extraction`.
        time: seconds since 1970, to order failures.
    """

    key: str
    size: int = 0
    sha256: str = ""
    num_frames: int = 0
    person_frames: int = 0
    keypoint_frames: int = 0
    flow_rescaled: bool = False
    cause: str | None = None
    deinterlaced: bool = False
    scores_clipped: bool = False
    time: float = dataclasses.field(default_factory=time.time)

    @property
    def ok(self) -> bool:
        """Whether there is a record."""
        return self.size > 0


def check_outcome(values: Any) -> None:
    """Checks a line of a preparation's journal."""
    check_kind(values, "a line", dict)
    for name in ("key", "sha256"):
        check_kind(values[name], name, str)
    for name in ("size", "num_frames", "person_frames", "keypoint_frames"):
        check_whole(values[name], name, 0, MAX_OFFSET)
    check_kind(values.get("deinterlaced", False), "deinterlaced", bool)
    check_kind(values.get("flow_rescaled", False), "flow_rescaled", bool)
    if values["cause"] is not None:
        check_kind(values["cause"], "cause", str)
    check_kind(values.get("scores_clipped", False), "scores_clipped", bool)
    check_number(values["time"], "time", most=math.inf)


def outcome_line(outcome: ClipOutcome) -> str:
    """The line of a journal, with its end."""
    return json.dumps(dataclasses.asdict(outcome)) + "\n"


def merge_lines(lines: Iterable[str]) -> dict[str, ClipOutcome]:
    """Clip key -> its outcome; a success outweighs failures, a later failure an earlier one."""
    outcomes: dict[str, ClipOutcome] = {}
    for line in lines:
        try:
            values = json.loads(line)
            check_outcome(values)
            outcome = ClipOutcome(**values)
        except (ValueError, TypeError, KeyError, RecursionError):
            continue  # The line during which the writer was killed, or a damaged one.
        known = outcomes.get(outcome.key)
        if known is None or (outcome.ok, outcome.time) > (known.ok, known.time):
            outcomes[outcome.key] = outcome
    return outcomes
