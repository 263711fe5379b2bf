import contextlib

import pytest
import tiny_network  # noqa: F401  (registers the backbone `tiny`)

from perfnet_tf.training.callbacks import KeepCheckpoints
from perfnet_tf.training.trainer import train


class Killed(Exception):
    pass


@pytest.fixture
def before_step(monkeypatch):
    """A context: `action()` before the step behind `step` others; without one the run dies."""

    @contextlib.contextmanager
    def context(step, action=None):
        def interrupt(self, batch, logs=None):
            if self._step == step and action is None:
                raise Killed
            if self._step == step:
                action()

        with monkeypatch.context() as patch:
            patch.setattr(KeepCheckpoints, "on_train_batch_begin", interrupt)
            if action is not None:
                yield
                return
            with pytest.raises(Killed):
                yield

    return context


@pytest.fixture
def killed_and_resumed(before_step):
    """A function: `train` with these arguments, killed behind `step` steps and called again."""

    def run(step, *arguments, **options):
        with before_step(step):
            train(*arguments, **options, progress=False)
        return train(*arguments, **options, progress=False)

    return run
