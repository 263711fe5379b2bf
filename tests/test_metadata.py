"""What the package says that it needs, in `setup.cfg` and in docs/installing.md."""

import configparser
import pathlib
import re

import pytest
import tensorflow as tf
import tf_keras
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = pathlib.Path(__file__).parents[1]
#: Versions of TensorFlow and tf-keras that the tests were run with, as docs/installing.md has them.
SUPPORTED_TENSORFLOW = ("2.20", "2.21")


def requirements() -> dict[str, Requirement]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"].split("\n")
    parsed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {requirement.name: requirement for requirement in parsed}


def bounds(requirement: Requirement) -> dict[str, str]:
    return {bound.operator: bound.version for bound in requirement.specifier}


@pytest.mark.parametrize("name", ["tensorflow", "tf-keras"])
def test_tensorflow_has_no_upper_bound_of_ours(name):
    assert bounds(requirements()[name]) == {">=": SUPPORTED_TENSORFLOW[0]}


def test_the_model_garden_holds_tensorflow_at_a_supported_version():
    garden = requirements()["tf-models-official"]
    assert bounds(garden) == {">=": "2.20", "<": "2.21"}


def test_these_tests_run_with_a_supported_version():
    for module in (tf, tf_keras):
        version = Version(module.__version__)
        assert f"{version.major}.{version.minor}" in SUPPORTED_TENSORFLOW


def test_every_requirement_has_a_lower_bound():
    unbounded = [
        name
        for name, requirement in requirements().items()
        if ">=" not in bounds(requirement) and name != "setuptools"
    ]
    assert not unbounded


def test_the_page_names_the_supported_versions_and_all_that_is_needed():
    page = (ROOT / "docs" / "installing.md").read_text()
    assert f"TensorFlow {' or '.join(SUPPORTED_TENSORFLOW)}." in page
    (block,) = re.findall(r"^```bash\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    newest = SUPPORTED_TENSORFLOW[-1]
    assert f'"tensorflow=={newest}.*" "tf-keras=={newest}.*"' in block
    named = {Requirement(text).name: text for text in re.findall(r'"([^"]+)"', block)}
    for name, requirement in requirements().items():
        if name not in ("tensorflow", "tf-keras"):
            assert Requirement(named[name]).specifier == requirement.specifier, name
