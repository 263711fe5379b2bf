"""Fixtures that every room uses."""

from __future__ import annotations

import os
import pathlib

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder of real clips, split lists and pose weights that PERFNET_TEST_DATA names."""
    folder = os.environ.get("PERFNET_TEST_DATA")
    if not folder:
        pytest.skip("PERFNET_TEST_DATA names no folder of real clips, split lists and weights")
    path = pathlib.Path(folder)
    if not path.is_dir():
        pytest.fail(f"PERFNET_TEST_DATA is not a folder: {path}")
    return path
