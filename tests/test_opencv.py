"""The one place that imports OpenCV."""

import ast
import importlib
import pathlib
import sys

import pytest

import perfnet_tf
from perfnet_tf import installed, opencv
from perfnet_tf.errors import FailureError, MissingLibraryError

PACKAGE = pathlib.Path(perfnet_tf.__file__).parent


@pytest.fixture
def installed_as(monkeypatch):
    """Sets which packages of OpenCV are installed, in which versions."""

    def set_versions(**versions):
        versions = {name.replace("_", "-"): version for name, version in versions.items()}

        def version(name):
            if name not in versions:
                raise importlib.metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(importlib.metadata, "version", version)

    return set_versions


def imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    return {node.module} if isinstance(node, ast.ImportFrom) and node.module else set()


@pytest.mark.parametrize(
    ("library", "places"),
    [
        ("cv2", {"opencv.py"}),
        # The benchmark measures the Model Garden's own network.
        ("official", {"training/model_garden.py", "benchmark/tensorflow_contender.py"}),
    ],
)
def test_a_library_is_imported_in_one_place(library, places):
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if library in {name.split(".")[0] for name in imported(node)}
    }
    assert found == places


def test_packages_of_two_versions_are_warned_of(installed_as):
    installed_as(opencv_python="4.10.0.84", opencv_python_headless="5.0.0.93")
    with pytest.warns(RuntimeWarning) as warnings:
        importlib.reload(opencv)
    (warning,) = warnings
    message = str(warning.message)
    assert "Received: opencv-python-headless 5.0.0, opencv-python 4.10.0." in message
    assert "pip uninstall --yes opencv-python-headless opencv-python" in message
    assert "pip install --no-deps opencv-python-headless==5.0.0.93" in message


@pytest.mark.parametrize(
    "versions",
    [
        {"opencv_python_headless": "5.0.0.93"},
        {"opencv_python": "5.0.0.90", "opencv_python_headless": "5.0.0.93"},  # builds differ only
        {},
    ],
)
@pytest.mark.filterwarnings("error")
def test_one_version_is_nothing_to_warn_of(installed_as, versions):
    installed_as(**versions)
    importlib.reload(opencv)


def test_a_missing_library_is_a_failure_with_its_remedy(installed_as, monkeypatch):
    installed_as(opencv_python="4.13.0.92")
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.delitem(sys.modules, "perfnet_tf.opencv")
    with pytest.raises(MissingLibraryError, match="OpenCV cannot be loaded") as raised:
        importlib.import_module("perfnet_tf.opencv")
    assert issubclass(MissingLibraryError, FailureError)
    assert "pip uninstall --yes opencv-python && pip install" in str(raised.value)


def test_versions_are_those_of_opencv_without_the_build(installed_as):
    installed_as(opencv_python="5.0.0.90", opencv_python_headless="5.0.0.93")
    assert installed.opencv_versions() == {
        "opencv-python-headless": "5.0.0",
        "opencv-python": "5.0.0",
    }
