"""Lets these tests import the slow references of tests/reference by name."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "reference"))
