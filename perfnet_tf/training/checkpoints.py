"""Checkpoints from which a run resumes bit for bit."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator

import tensorflow as tf
import tf_keras

from perfnet_tf.distill.distiller import Distiller
from perfnet_tf.errors import InputError, first_line
from perfnet_tf.recognizers.run_directory import CHECKPOINTS_FOLDER
from perfnet_tf.training.workers import Workers


class Checkpoints:
    """The last states of a training: weights, optimizer, metrics of the epoch, dropout's generator.

    The place in the data needs no state: it follows from the number of steps done.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        distiller: Distiller,
        workers: Workers,
        first_step: int = 0,
    ) -> None:
        """Checkpoints of a run.

        Args:
            folder: of the run, which all workers see.
            distiller: compiled, its optimizer built.
            workers: all restore what the chief has saved.
            first_step: steps done before the optimizer was new.
        """
        self.first_step = first_step
        self._folder = folder / CHECKPOINTS_FOLDER
        self._workers = workers
        self._step = distiller.optimizer.iterations
        self._metrics = list(distiller.metrics)
        self._checkpoint = tf.train.Checkpoint(
            model=distiller.student,
            optimizer=distiller.optimizer,
            metrics=self._metrics,
            dropout=_dropout_generators(distiller.student),
        )
        self._own_folder = workers.own_folder(self._folder)
        if workers.is_chief:
            self._mend_list()
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, str(self._own_folder), max_to_keep=2, step_counter=self._step
        )
        if workers.is_chief:
            self._sweep()
        self.saved_at = time.monotonic()

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self._step.numpy()) + self.first_step

    def restore(self) -> Callable[[], None]:
        """Goes back to the last checkpoint if there is one.

        Returns:
            A function that gives the metrics their values of the epoch that was broken off, which
            Keras resets when it begins to fit.

        Raises:
            InputError: the checkpoint cannot be read, or is of another network.
        """
        latest = self.latest
        number = int(latest.rpartition("-")[2]) if latest else -1
        if len(set(self._workers.gather(number)[:, 0])) > 1:
            raise InputError(
                "The workers see different checkpoints. The output must be a folder that all "
                f"workers share. Received: {self._folder}."
            )
        if latest is None:
            return lambda: None
        try:
            self._checkpoint.restore(latest).assert_existing_objects_matched()
        except (AssertionError, ValueError, IndexError, RuntimeError, tf.errors.OpError) as error:
            raise InputError(
                f"The checkpoint {latest} cannot be read: {first_line(error)} "
                f"Delete it, and its line in {self._folder / 'checkpoint'}, to resume from the one "
                "before, or train into a new folder."
            ) from error
        values = [metric.get_weights() for metric in self._metrics]

        def restore_metrics() -> None:
            for metric, weights in zip(self._metrics, values, strict=True):
                metric.set_weights(weights)

        return restore_metrics

    @property
    def latest(self) -> str | None:
        """The last checkpoint that is whole, or None."""
        whole = _whole(self._folder)
        return str(self._folder / whole[-1]) if whole else None

    def save(self) -> None:
        """Saves now. All workers must, at the same step."""
        try:
            self._manager.save(checkpoint_number=self.step)
        except (OSError, tf.errors.OpError):
            self._sweep()
            raise
        self.saved_at = time.monotonic()

    def delete(self) -> None:
        """Removes all of them: a finished run needs its weights only."""
        shutil.rmtree(self._own_folder, ignore_errors=True)

    def _mend_list(self) -> None:
        """Makes TensorFlow's list of the checkpoints name those that are whole."""
        whole = _whole(self._folder)
        if whole != _listed(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            tf.compat.v1.train.update_checkpoint_state(
                str(self._folder),
                whole[-1] if whole else "",
                all_model_checkpoint_paths=whole,
                all_model_checkpoint_timestamps=[time.time()] * len(whole),
            )

    def _sweep(self) -> None:
        """Removes what was being written when a process was killed, or a disk full."""
        whole = _whole(self._own_folder)
        for path in self._own_folder.glob("ckpt-*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.partition(".")[0] not in whole:
                path.unlink(missing_ok=True)


def _whole(folder: pathlib.Path) -> list[str]:
    """The checkpoints that were written to the end, the last one last.

    TensorFlow lists them in one small file: where it is lost or damaged, they are not.
    """
    listed = _listed(folder)
    names = [path.stem for path in folder.glob("ckpt-*.index") if path.stem[5:].isdecimal()]
    whole = [name for name in names if name in listed or _has_index(folder / name)]
    return sorted(whole, key=lambda name: int(name[5:]))


def _listed(folder: pathlib.Path) -> list[str]:
    try:
        state = tf.train.get_checkpoint_state(str(folder))
    except ValueError:  # no text, or a list without entries
        return []
    paths = state.all_model_checkpoint_paths if state else ()
    return [pathlib.PurePath(path).name for path in paths]


def _has_index(prefix: pathlib.Path) -> bool:
    """Whether the index, which is written last, can be read."""
    try:
        tf.train.load_checkpoint(str(prefix))
    except (ValueError, RuntimeError, tf.errors.OpError):
        return False
    return True


@contextlib.contextmanager
def resumable_dropout() -> Iterator[None]:
    """Dropout layers made inside the block draw from a generator that a checkpoint can hold."""
    if tf_keras.backend.experimental.is_tf_random_generator_enabled():
        yield
        return
    tf_keras.backend.experimental.enable_tf_random_generator()
    try:
        yield
    finally:
        tf_keras.backend.experimental.disable_tf_random_generator()


def _dropout_generators(model: tf_keras.Model) -> list[tf.random.Generator]:
    """The generators of all dropout layers, which Keras keeps out of checkpoints on purpose."""
    layers = [layer for layer in model.submodules if isinstance(layer, tf_keras.layers.Dropout)]
    generators = (getattr(layer._random_generator, "_generator", None) for layer in layers)
    return [generator for generator in generators if generator is not None]
