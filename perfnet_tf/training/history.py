"""The history of a run: one row per epoch, in `history.csv` and for TensorBoard."""

from __future__ import annotations

import csv
import io
import itertools
import pathlib
from collections.abc import Mapping

import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.files import write_atomically
from perfnet_tf.recognizers.run_directory import HISTORY_FILE, TENSORBOARD_FOLDER


def read_history(folder: pathlib.Path) -> list[dict[str, str]]:
    """Rows of a run's `history.csv`, one per epoch in order; a value that is missing is empty.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / HISTORY_FILE
    try:
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        if any(None in row or None in row.values() for row in rows):
            raise ValueError("a line has not as many values as the first")
        epochs = [int(row["epoch"]) for row in rows]
        if any(after != before + 1 for before, after in itertools.pairwise(epochs)):
            raise ValueError("its epochs do not follow each other")
    except (ValueError, KeyError, csv.Error) as error:
        raise InputError(
            f"{path} is damaged: {error}. Bring it back, or delete it: the training resumes "
            "without it, and the history then begins there."
        ) from error
    return rows


class History:
    """Rows of `history.csv`; an epoch that is trained again after a stop replaces its row."""

    def __init__(self, folder: pathlib.Path, *, epochs_done: int) -> None:
        """Goes on with the history of a run.

        Args:
            folder: of the run.
            epochs_done: rows of later epochs are dropped.

        Raises:
            InputError: what is there is no history.
        """
        self._path = folder / HISTORY_FILE
        self._tensorboard = tf.summary.create_file_writer(str(folder / TENSORBOARD_FOLDER))
        self.rows: list[dict[str, str]] = []
        if self._path.exists():
            self.rows = [row for row in read_history(folder) if int(row["epoch"]) <= epochs_done]

    def add(self, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Writes the row of `epoch` (1 is the first), which ended with `step` steps done."""
        row = {"epoch": str(epoch), "step": str(step)}
        row.update({name: f"{value:.6g}" for name, value in values.items()})
        self.rows.append(row)
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        content = io.StringIO(newline="")
        writer = csv.DictWriter(content, names, restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self._path, content.getvalue())
        with self._tensorboard.as_default(step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        self._tensorboard.flush()
