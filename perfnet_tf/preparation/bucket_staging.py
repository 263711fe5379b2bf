"""`parts/` of an output in a bucket: objects that are written whole, each by one writer.

    clips/3f/3f...-DIGEST.tfrecord   a clip's TFRecord file, named by its content as well: two
                                     workers with the same clip cannot damage each other's
    journal-*.jsonl                  outcomes of one worker, written again with every clip, and a
                                     new one after every hundred
    drivers/*.json                   signs of life of the commands at work
    finished                         the outcomes that the shards are made of

A part is written before the journal that lists it, so a worker killed at any point loses the clip
in the making. Parts stay until `dataset.json` is written.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pathlib
import platform
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping

from perfnet_tf import storage
from perfnet_tf.errors import InputError
from perfnet_tf.preparation.outcomes import (
    ClipOutcome,
    PreparationError,
    merge_lines,
    outcome_line,
)
from perfnet_tf.preparation.record_file import write_record
from perfnet_tf.preparation.staging import OutcomeWriter, Staging, unwritable
from perfnet_tf.records.schema import PARTS_FOLDER, SourceClip

#: Lines in a journal: each of them writes the whole object.
_LINES_PER_JOURNAL = 100
#: Characters of the SHA-256 in a part's name.
_NAME_DIGITS = 16
#: Seconds between two signs of life of a command.
SIGN_SECONDS = 10.0


class BucketStaging(Staging):
    """The objects under `parts/` of one output in a bucket."""

    def __init__(self, output: str) -> None:
        self._address = output.rstrip("/")
        self._counted: dict[str, tuple[int, int]] = {}  # journal -> size, lines

    @property
    def address(self) -> str:
        """The output, for other processes."""
        return self._address

    @property
    def logs(self) -> pathlib.Path:
        """Local folder for what the libraries print."""
        return pathlib.Path(tempfile.gettempdir())

    def _make_new(self) -> None:
        for file in storage.list_files(self.address):
            name = storage.relative(file.path, self.address)
            if not name.startswith(f"{PARTS_FOLDER}/"):
                raise InputError(
                    "The output must be a new or an empty folder, or a preparation to resume. "
                    f"Received: {self.address}, which holds {name}. Choose another `output`, or "
                    "remove it first."
                )

    def _part_path(self, key: str, sha256: str) -> str:
        name = f"{key}-{sha256[:_NAME_DIGITS]}.tfrecord"
        return self.staged_path(f"clips/{key[:2]}/{name}")

    def write_part(self, key: str, serialized: bytes) -> tuple[int, str]:
        """As of a folder; the part's name has the digest of its content."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "record")
            size, digest = write_record(path, serialized)
            storage.upload(path, self._part_path(key, digest))
        return size, digest

    def read_part(self, outcome: ClipOutcome) -> bytes | None:
        """The content of a clip's TFRecord file; None where there is none."""
        try:
            return storage.read_bytes(self._part_path(outcome.key, outcome.sha256))
        except FileNotFoundError:
            return None

    def drop_part(self, outcome: ClipOutcome) -> None:
        """Removes a part, so that the clip is made again."""
        storage.remove([self._part_path(outcome.key, outcome.sha256)])
        self.reopen()

    def release_parts(self, outcomes: Iterable[ClipOutcome]) -> None:
        """Does nothing: the parts go when the dataset is complete."""

    def outcomes(self) -> dict[str, ClipOutcome]:
        """As of a folder; once clips are finished, the outcomes that they were finished with."""
        with contextlib.suppress(FileNotFoundError):
            finished = storage.read_bytes(self.staged_path("finished"))
            return merge_lines(finished.decode(errors="replace").splitlines())
        return merge_lines(
            line
            for journal in self._journals()
            for line in storage.read_bytes(journal.path).decode(errors="replace").splitlines()
        )

    def count_outcomes(self) -> int:
        """Lines in the journals; reads those that have grown."""
        for journal in self._journals():
            if self._counted.get(journal.path, (0, 0))[0] != journal.size:
                content = storage.read_bytes(journal.path)
                self._counted[journal.path] = len(content), content.count(b"\n")
        return sum(lines for _, lines in self._counted.values())

    def _journals(self) -> list[storage.StoredFile]:
        return storage.list_files(storage.join(self.address, PARTS_FOLDER), "journal-")

    def is_done(self, outcome: ClipOutcome | None) -> bool:
        """Whether the clip's part is there in full."""
        return outcome is not None and outcome.key in self.done({outcome.key: outcome})

    def done(self, outcomes: Mapping[str, ClipOutcome]) -> set[str]:
        """The keys of clips whose parts are there in full, by one listing."""
        prefix = "clips/"
        if len(outcomes) == 1:
            (key,) = outcomes
            prefix += f"{key[:2]}/{key}-"
        folder = storage.join(self.address, PARTS_FOLDER)
        there = {tuple(file) for file in storage.list_files(folder, prefix)}
        return {
            key
            for key, outcome in outcomes.items()
            if outcome.ok and (self._part_path(key, outcome.sha256), outcome.size) in there
        }

    def find_done(self, clip: SourceClip) -> ClipOutcome | None:
        """As of a folder."""
        folder = storage.join(self.address, PARTS_FOLDER, "clips", clip.key[:2])
        if not storage.list_files(folder, f"{clip.key}-"):
            return None
        outcome = self.outcomes().get(clip.key)
        return outcome if self.is_done(outcome) else None

    def journal(self) -> OutcomeWriter:
        """A new journal, for one worker."""
        return _BucketJournal(self)

    def finish(self, outcomes: Mapping[str, ClipOutcome]) -> None:
        """Keeps the outcomes: what workers of a killed command still make changes no shard."""
        if not self.finished:
            lines = "".join(map(outcome_line, outcomes.values()))
            storage.write_atomically(self.staged_path("finished"), lines)

    def reopen(self) -> None:
        """Called when parts were lost after `finish`: they are made again."""
        storage.remove([self.staged_path("finished")])

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        """Holds the output, as `_signs_of_life` does."""
        return _signs_of_life(self)

    def remove(self) -> None:
        """Removes the objects."""
        files = storage.list_files(storage.join(self.address, PARTS_FOLDER))
        storage.remove(file.path for file in files)


class _BucketJournal:
    """Writes outcomes into objects of its own."""

    def __init__(self, staging: BucketStaging) -> None:
        self._staging = staging
        self._name = uuid.uuid4().hex
        self._number = 0
        self._lines: list[str] = []

    def write(self, outcome: ClipOutcome) -> None:
        """Adds a line.

        Raises:
            PreparationError: it cannot be written.
        """
        self._lines.append(outcome_line(outcome))
        path = self._staging.staged_path(f"journal-{self._name}-{self._number:04}.jsonl")
        try:
            storage.write_atomically(path, "".join(self._lines))
        except OSError as error:
            raise PreparationError(unwritable(self._staging.address, error)) from error
        if len(self._lines) == _LINES_PER_JOURNAL:
            self._number += 1
            self._lines = []


@contextlib.contextmanager
def _signs_of_life(staging: BucketStaging) -> Iterator[None]:
    """Holds an output: a bucket has no locks, so commands give signs of life and look for others'.

    A command that finds another's sign waits for the next one, and takes over where none comes.

    Raises:
        InputError: another command is at work, or the bucket cannot be written to.
    """
    name = f"drivers/{uuid.uuid4().hex}.json"
    counter = itertools.count()
    stop = threading.Event()

    def give() -> None:
        sign = {"host": platform.node(), "pid": os.getpid(), "number": next(counter)}
        storage.write_atomically(staging.staged_path(name), json.dumps(sign))

    def give_on() -> None:
        while not stop.wait(SIGN_SECONDS):
            with contextlib.suppress(OSError):
                give()

    def others() -> dict[str, bytes]:
        files = storage.list_files(staging.staged_path("drivers"))
        found = {}
        for file in files:
            if file.path != staging.staged_path(name):
                with contextlib.suppress(FileNotFoundError):
                    found[file.path] = storage.read_bytes(file.path)
        return found

    try:
        give()
        before = others()
        deadline = time.monotonic() + 3 * SIGN_SECONDS
        while before and time.monotonic() < deadline:
            time.sleep(SIGN_SECONDS / 4)
            for path, sign in others().items():
                if before.get(path) != sign:
                    host = json.loads(sign)["host"]
                    raise InputError(
                        f"Another perfnet prepare is writing to {staging.address}, on {host}. Wait "
                        "for it, or choose another `output`."
                    )
        storage.remove(before)
    except OSError as error:
        raise InputError(f"The output cannot be written to: {error.strerror or error}.") from error
    except InputError:
        with contextlib.suppress(OSError):
            storage.remove([staging.staged_path(name)])
        raise
    thread = threading.Thread(target=give_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        with contextlib.suppress(OSError):
            storage.remove([staging.staged_path(name)])
