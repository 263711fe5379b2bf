"""Fixtures that every room uses."""

from __future__ import annotations

import gc
import os
import pathlib
import sys
from collections.abc import Callable, Sequence

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


#: Where the data tests look unless PERFNET_TEST_DATA names a folder: beside the checkout.
DEFAULT_DATA = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="module", autouse=True)
def _free_networks():
    """Lets the networks of one file go before the next one's come."""
    yield
    if "tf_keras" in sys.modules:
        sys.modules["tf_keras"].backend.clear_session()
    gc.collect()


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """A folder of real clips, split lists and pose weights; tests skip where there is none."""
    named = os.environ.get("PERFNET_TEST_DATA")
    if named and not pathlib.Path(named).is_dir():
        pytest.fail(f"PERFNET_TEST_DATA is not a folder: {named}")
    path = pathlib.Path(named) if named else DEFAULT_DATA
    if not path.is_dir():
        pytest.skip("no real clips: PERFNET_TEST_DATA names no folder of them")
    return path


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
