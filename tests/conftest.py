"""Fixtures that every room uses."""

from __future__ import annotations

import ctypes
import gc
import os
import pathlib
import sys
from collections.abc import Callable, Sequence

import pytest

import perfnet_tf  # noqa: F401  (before TensorFlow, whose kernels it chooses)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# As the console script does: else TensorFlow imports Keras 3 as well, for two seconds.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")


@pytest.fixture(scope="module", autouse=True)
def _free_networks():
    """Frees the networks of one file before the next one begins."""
    yield
    if "tf_keras" in sys.modules:
        sys.modules["tf_keras"].backend.clear_session()
    gc.collect()
    if sys.platform == "linux":
        # glibc keeps what TensorFlow freed: a worker would hold the most that any file ever needed.
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Keeps the networks that tests freeze out of the user's cache."""
    os.environ["PERFNET_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """A folder of real clips, split lists and pose weights; tests skip where there is none."""
    named = os.environ.get("PERFNET_TEST_DATA")
    if named and not pathlib.Path(named).is_dir():
        pytest.fail(f"PERFNET_TEST_DATA must be a folder. Received: {named}.")
    if not named:
        pytest.skip("no real clips: PERFNET_TEST_DATA names no folder of them")
    return pathlib.Path(named)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A prepared dataset of 15 training clips in 3 classes, with flow and pose."""
    from prepared_clips import write_tiny_dataset

    return write_tiny_dataset(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture
def refuses(capsys) -> Callable[[Sequence[str], str], str]:
    """Asserts that a command line is refused: status 2, one error line, with a message in it."""
    from perfnet_tf.cli.main import main

    def check(argv: Sequence[str], message: str) -> str:
        capsys.readouterr()  # what was printed before
        assert main(list(argv)) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        return error

    return check
