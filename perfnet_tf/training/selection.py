"""Early stopping and the best weights by validation."""

from __future__ import annotations

import pathlib
import shutil

import tensorflow as tf
import tf_keras

from perfnet_tf.config import TrainConfig
from perfnet_tf.recognizers.run_directory import BEST_FOLDER
from perfnet_tf.training.history import History
from perfnet_tf.training.workers import Workers


class Selection:
    """Chooses epochs by their rows of the history, so that a resumed run chooses alike.

    Better is a higher validation top-1, then a lower cross-entropy, as the history writes them; of
    equals the earlier. The weights of the best epoch are in the run's folder `best`. Methods are
    exchanges: all workers call them.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: pathlib.Path,
        student: tf_keras.Model,
        history: History | None,
        workers: Workers,
        first_epoch: int,
    ) -> None:
        """Watches a run.

        Args:
            config: of the run.
            folder: of the run.
            student: whose weights are kept.
            history: of the run, on the chief worker; else None.
            workers: of the run.
            first_epoch: epochs done before this training; patience begins there.
        """
        self._config, self._student = config, student
        self._folder = folder / BEST_FOLDER
        self._history, self._workers = history, workers
        self._first_epoch = first_epoch

    def note_epoch(self, epoch: int) -> bool:
        """Keeps the weights of `epoch`, which just ended, if it is the best; whether it is."""
        if not self._config.selects:
            return False
        improved = self._workers.ask_chief(lambda: self._best() == epoch)
        if improved:
            self.keep_weights(epoch)
        return improved

    def keep_weights(self, epoch: int) -> None:
        """Writes the student's weights as those of `epoch`."""
        if self._config.keep != "best":
            return
        folder = self._workers.own_folder(self._folder)
        folder.mkdir(parents=True, exist_ok=True)
        # Variables that differ among replicas are averaged by all of them.
        tf.train.Checkpoint(model=self._student).write(str(folder / f"epoch-{epoch}"))
        if not self._workers.is_chief:
            shutil.rmtree(folder, ignore_errors=True)

    def drop_former(self) -> None:
        """Removes weights that are no longer the best; for when a checkpoint has been saved."""
        if self._workers.is_chief and self._config.keep == "best":
            kept = f"epoch-{self._best()}"
            for path in self._folder.glob("epoch-*"):
                if path.name.partition(".")[0] != kept:
                    path.unlink(missing_ok=True)

    def is_exhausted(self) -> bool:
        """Whether early stopping ends the run."""
        patience = self._config.early_stopping_epochs
        if not patience:
            return False
        return self._workers.ask_chief(
            lambda: self._last() - max(self._best(), self._first_epoch) >= patience
        )

    def take_best(self) -> int | None:
        """Gives the student its best weights; their epoch, or None where the last are kept."""
        if self._config.keep != "best":
            return None
        epoch = self._best_everywhere()
        if not epoch:
            return None
        checkpoint = tf.train.Checkpoint(model=self._student)
        checkpoint.read(str(self._folder / f"epoch-{epoch}")).assert_existing_objects_matched()
        return epoch

    def _best_everywhere(self) -> int:
        best = self._best() if self._workers.is_chief else 0
        return int(self._workers.gather(best)[0, 0])

    def _best(self) -> int:
        """The best epoch; 1 is the first, 0 none."""
        assert self._history is not None
        rows = [row for row in self._history.rows if row.get("val_top1")]
        if not rows:
            return 0
        best = max(rows, key=lambda row: (float(row["val_top1"]), -float(row["val_cross_entropy"])))
        return int(best["epoch"])

    def _last(self) -> int:
        """The last epoch that was validated; 0 is none."""
        assert self._history is not None
        return max((int(r["epoch"]) for r in self._history.rows if r.get("val_top1")), default=0)
