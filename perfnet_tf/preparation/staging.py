"""Where finished clips wait until all are done, so that a killed preparation resumes.

`parts/` in the output holds, until `dataset.json` is written:

    preparation.json           the settings and classes; another preparation is refused
    versions.jsonl             the libraries of each run that differed from those before it
    clips/3f/3f...tfrecord     one TFRecord file per clip, put there in one step
    journal-*.jsonl            one `ClipOutcome` per line, appended by one worker each
    worker-*.log               what the libraries printed
    finished                   all clips are done, shards are being written

A clip is done when a journal says so and its part has the size that the journal names: a process
killed at any point leaves at most a part that no journal lists, which is then made again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import math
import os
import pathlib
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from perfnet_tf.errors import FailureError, InputError
from perfnet_tf.files import check_new_or_empty, exclusive_lock, write_atomically
from perfnet_tf.records.schema import DATASET_FILE, PARTS_FOLDER, SourceClip
from perfnet_tf.records.validation import MAX_OFFSET, check_kind, check_number, check_whole
from perfnet_tf.video.versions import library_versions

_LOCK_FILE = ".prepare.lock"
_VERSIONS_FILE = "versions.jsonl"


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


class Staging:
    """The folder `parts/` of one output."""

    def __init__(self, output: str | os.PathLike[str]) -> None:
        self.output = pathlib.Path(output)
        self.folder = self.output / PARTS_FOLDER

    def begin(self, identity: dict[str, Any]) -> None:
        """Makes the folder, or checks that the one there belongs to the same preparation.

        Raises:
            InputError: it belongs to another or is damaged, or the output holds something else.
        """
        path = self.folder / "preparation.json"
        if path.exists():
            try:
                there = dict(json.loads(path.read_text()))
            except (ValueError, TypeError, RecursionError) as error:
                raise InputError(
                    f"{path} is damaged: {error}. Bring it back, or prepare into another folder."
                ) from error
            check_identity(self.output, there, identity)
            self._note_versions()
            return
        check_new_or_empty(
            self.output,
            ignored=(_LOCK_FILE, PARTS_FOLDER),
            alternative="a preparation to resume",
        )
        (self.folder / "clips").mkdir(parents=True, exist_ok=True)
        self._note_versions(new=True)
        write_atomically(path, json.dumps(identity, indent=2) + "\n")

    def _note_versions(self, *, new: bool = False) -> None:
        known = [] if new else self.versions()
        current = library_versions()
        if current not in known:
            lines = [json.dumps(versions) + "\n" for versions in (*known, current)]
            write_atomically(self.folder / _VERSIONS_FILE, "".join(lines))

    def versions(self) -> list[dict[str, str]]:
        """The libraries (`video.versions`) of the runs that have worked here, each set once."""
        try:
            text = (self.folder / _VERSIONS_FILE).read_text(errors="replace")
        except FileNotFoundError:  # begun by an older version of this package
            return [{"reader": "1"}]
        known = []
        for line in text.splitlines():
            try:
                known.append({str(name): str(value) for name, value in json.loads(line).items()})
            except (ValueError, TypeError, AttributeError, RecursionError):
                continue  # a damaged one
        return known

    def part(self, key: str) -> pathlib.Path:
        """Path of a clip's TFRecord file."""
        return self.folder / "clips" / key[:2] / f"{key}.tfrecord"

    def outcomes(self) -> dict[str, ClipOutcome]:
        """Clip key -> its outcome; a success outweighs failures, a later failure an earlier one."""
        outcomes: dict[str, ClipOutcome] = {}
        for journal in sorted(self.folder.glob("journal-*.jsonl")):
            for line in journal.read_text(errors="replace").splitlines():
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

    def is_done(self, outcome: ClipOutcome | None) -> bool:
        """Whether the clip's part is there in full."""
        if outcome is None or not outcome.ok:
            return False
        try:
            return self.part(outcome.key).stat().st_size == outcome.size
        except FileNotFoundError:
            return False

    def find_done(self, clip: SourceClip) -> ClipOutcome | None:
        """The outcome of a clip whose part is there in full; None of any other.

        Reads no journal unless there is a part.
        """
        if not self.part(clip.key).exists():
            return None
        outcome = self.outcomes().get(clip.key)
        return outcome if self.is_done(outcome) else None

    def journal(self) -> Journal:
        """A new journal, for one worker."""
        return Journal(self)

    @property
    def finished(self) -> bool:
        """Whether every clip is done and shards are being written."""
        return (self.folder / "finished").exists()

    def finish(self) -> None:
        """Notes that every clip is done: from here on parts move into shards."""
        write_atomically(self.folder / "finished", b"")

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Journal:
    """Appends outcomes to its own file."""

    def __init__(self, staging: Staging) -> None:
        self._path = staging.folder / f"journal-{uuid.uuid4().hex}.jsonl"

    def write(self, outcome: ClipOutcome) -> None:
        """Appends a line.

        Raises:
            PreparationError: it cannot be written.
        """
        try:
            with open(self._path, "a") as file:
                file.write(json.dumps(dataclasses.asdict(outcome)) + "\n")
        except OSError as error:
            raise PreparationError(unwritable(self._path.parent.parent, error)) from error


def unwritable(output: pathlib.Path, error: OSError) -> str:
    """Error text for an output that cannot be written."""
    reason = error.strerror or str(error)
    if error.errno == errno.ENOSPC or "No space left" in reason:
        reason = "no space is left on its disk"
    return (
        f"{output} cannot be written to: {reason}. Finished clips are kept. Fix this and rerun "
        "the command to resume."
    )


def check_identity(output: pathlib.Path, there: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises `InputError` unless what is in `output` was prepared with the same settings."""
    # Through JSON, as what is there went through it: tuples are lists.
    wanted = json.loads(json.dumps(wanted))
    differing = sorted(k for k in {*there, *wanted} if there.get(k) != wanted.get(k))
    if differing:
        shown = [
            f"{key}={_short(there.get(key))} there, {_short(wanted.get(key))} now"
            for key in differing
        ]
        raise InputError(
            f"{output} was prepared with other settings: {'; '.join(shown)}. "
            "Choose another `output`, or use the same settings."
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:56]} ..."


@contextlib.contextmanager
def exclusive(output: pathlib.Path) -> Iterator[None]:
    """Holds `output` for this process; the system frees it however the process ends.

    Raises:
        InputError: another process holds it, or it cannot be written to.
    """

    def refuse() -> NoReturn:
        raise InputError(
            f"Another perfnet prepare is writing to {output}. Wait for it, or choose another "
            "`output`."
        ) from None

    path = output / _LOCK_FILE
    with exclusive_lock(path, on_busy=refuse):
        try:
            yield
        finally:
            # Whoever waits for the removed file then sees the finished dataset.
            if (output / DATASET_FILE).exists():
                path.unlink(missing_ok=True)


def pending_clips(clips: Sequence[SourceClip], staging: Staging) -> list[SourceClip]:
    """The clips still to be made; failed ones get another try."""
    outcomes = staging.outcomes()
    return [clip for clip in clips if not staging.is_done(outcomes.get(clip.key))]
