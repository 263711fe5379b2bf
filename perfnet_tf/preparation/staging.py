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

`preparation.bucket_staging` does the same in a bucket; `preparation.open_staging` chooses.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, Protocol

from perfnet_tf import storage
from perfnet_tf.errors import InputError
from perfnet_tf.files import check_new_or_empty, exclusive_lock, write_atomically
from perfnet_tf.preparation.outcomes import (
    ClipOutcome,
    PreparationError,
    merge_lines,
    outcome_line,
)
from perfnet_tf.preparation.record_file import write_record
from perfnet_tf.records.schema import DATASET_FILE, PARTS_FOLDER, SourceClip
from perfnet_tf.video.versions import library_versions

_LOCK_FILE = ".prepare.lock"
_VERSIONS_FILE = "versions.jsonl"
_FINISHED_FILE = "finished"


class OutcomeWriter(Protocol):
    """Keeps the outcomes of one worker."""

    def write(self, outcome: ClipOutcome) -> None:
        """Adds an outcome.

        Raises:
            PreparationError: it cannot be written.
        """


class Staging:
    """The folder `parts/` of one output."""

    def __init__(self, output: str | os.PathLike[str]) -> None:
        self.output = pathlib.Path(output)
        self.folder = self.output / PARTS_FOLDER

    @property
    def address(self) -> str:
        """The output, for other processes."""
        return str(self.output.absolute())

    @property
    def logs(self) -> pathlib.Path:
        """Local folder for what the libraries print."""
        return self.folder

    def path(self, name: str) -> str:
        """Path of a file in the output."""
        return storage.join(self.address, name)

    def staged_path(self, name: str) -> str:
        """Path of a file in `parts/`."""
        return storage.join(self.address, PARTS_FOLDER, name)

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Makes the folder, or checks that the one there belongs to the same preparation.

        Raises:
            InputError: it belongs to another or is damaged, or the output holds something else.
        """
        path = self.staged_path("preparation.json")
        if storage.exists(path):
            try:
                there = dict(json.loads(storage.read_bytes(path)))
            except (ValueError, TypeError, RecursionError) as error:
                raise InputError(
                    f"{path} is damaged: {error}. Bring it back, or prepare into another folder."
                ) from error
            check_identity(self.address, there, dict(identity))
            self._note_versions()
            return
        self._make_new()
        self._note_versions(new=True)
        storage.write_atomically(path, json.dumps(identity, indent=2) + "\n")

    def _make_new(self) -> None:
        check_new_or_empty(
            self.output,
            ignored=(_LOCK_FILE, PARTS_FOLDER),
            alternative="a preparation to resume",
        )
        (self.folder / "clips").mkdir(parents=True, exist_ok=True)

    def _note_versions(self, *, new: bool = False) -> None:
        known = [] if new else self.versions()
        current = library_versions()
        if current not in known:
            lines = [json.dumps(versions) + "\n" for versions in (*known, current)]
            storage.write_atomically(self.staged_path(_VERSIONS_FILE), "".join(lines))

    def versions(self) -> list[dict[str, str]]:
        """The libraries (`video.versions`) of the runs that have worked here, each set once."""
        try:
            content = storage.read_bytes(self.staged_path(_VERSIONS_FILE))
        except FileNotFoundError:  # begun by an older version of this package
            return [{"reader": "1"}]
        known = []
        for line in content.decode(errors="replace").splitlines():
            try:
                known.append({str(name): str(value) for name, value in json.loads(line).items()})
            except (ValueError, TypeError, AttributeError, RecursionError):
                continue  # a damaged one
        return known

    def part(self, key: str) -> pathlib.Path:
        """Path of a clip's TFRecord file."""
        return self.folder / "clips" / key[:2] / f"{key}.tfrecord"

    def write_part(self, key: str, serialized: bytes) -> tuple[int, str]:
        """Puts a clip's TFRecord file in place in one step; returns its size and SHA-256.

        Raises:
            OSError: it cannot be written.
        """
        return write_record(self.part(key), serialized)

    def read_part(self, outcome: ClipOutcome) -> bytes | None:
        """The content of a clip's TFRecord file; None where there is none."""
        try:
            return self.part(outcome.key).read_bytes()
        except FileNotFoundError:
            return None

    def drop_part(self, outcome: ClipOutcome) -> None:
        """Removes a part, so that the clip is made again."""
        self.part(outcome.key).unlink(missing_ok=True)

    def release_parts(self, outcomes: Iterable[ClipOutcome]) -> None:
        """Removes parts that are in a finished shard: nothing is on the disk twice."""
        for outcome in outcomes:
            self.drop_part(outcome)

    def outcomes(self) -> dict[str, ClipOutcome]:
        """Clip key -> its outcome; a success outweighs failures, a later failure an earlier one."""
        return merge_lines(
            line
            for journal in sorted(self.folder.glob("journal-*.jsonl"))
            for line in journal.read_text(errors="replace").splitlines()
        )

    def count_outcomes(self) -> int:
        """Lines in the journals."""
        return sum(path.read_bytes().count(b"\n") for path in self.folder.glob("journal-*.jsonl"))

    def is_done(self, outcome: ClipOutcome | None) -> bool:
        """Whether the clip's part is there in full."""
        if outcome is None or not outcome.ok:
            return False
        try:
            return self.part(outcome.key).stat().st_size == outcome.size
        except FileNotFoundError:
            return False

    def done(self, outcomes: Mapping[str, ClipOutcome]) -> set[str]:
        """The keys of clips whose parts are there in full."""
        return {key for key, outcome in outcomes.items() if self.is_done(outcome)}

    def find_done(self, clip: SourceClip) -> ClipOutcome | None:
        """The outcome of a clip whose part is there in full; None of any other.

        Reads no journal unless there is a part.
        """
        if not self.part(clip.key).exists():
            return None
        outcome = self.outcomes().get(clip.key)
        return outcome if self.is_done(outcome) else None

    def journal(self) -> OutcomeWriter:
        """A new journal, for one worker."""
        return Journal(self)

    @property
    def finished(self) -> bool:
        """Whether every clip is done and shards are being written."""
        return storage.exists(self.staged_path(_FINISHED_FILE))

    def finish(self, outcomes: Mapping[str, ClipOutcome]) -> None:
        """Notes that every clip is done: from here on parts move into shards."""
        write_atomically(self.folder / _FINISHED_FILE, b"")

    def reopen(self) -> None:
        """Called when parts were lost after `finish`: they are made again."""

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        """Holds the output for this process, as `exclusive` does."""
        return exclusive(self.output)

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
                file.write(outcome_line(outcome))
        except OSError as error:
            raise PreparationError(unwritable(self._path.parent.parent, error)) from error


def unwritable(output: str | os.PathLike[str], error: OSError) -> str:
    """Error text for an output that cannot be written."""
    reason = error.strerror or str(error)
    if error.errno == errno.ENOSPC or "No space left" in reason:
        reason = "no space is left on its disk"
    return (
        f"{output} cannot be written to: {reason}. Finished clips are kept. Fix this and rerun "
        "the command to resume."
    )


def check_identity(
    output: str | os.PathLike[str], there: dict[str, Any], wanted: dict[str, Any]
) -> None:
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
    done = staging.done(staging.outcomes())
    return [clip for clip in clips if clip.key not in done]
