"""What `import perfnet_tf` offers, to people, editors and type checkers."""

import ast
import os
import pathlib
import platform
import subprocess
import sys

import pytest

import perfnet_tf

SOURCE = pathlib.Path(perfnet_tf.__file__).read_text()
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"


def test_type_checkers_see_every_public_name_from_the_module_that_defines_it():
    (block,) = [
        node
        for node in ast.parse(SOURCE).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    seen = {
        alias.asname: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == alias.asname
    }
    assert seen == perfnet_tf._PUBLIC


def test_every_public_name_is_there_and_has_a_docstring():
    for name in perfnet_tf.__all__:
        value = getattr(perfnet_tf, name)
        assert name in dir(perfnet_tf)
        if callable(value):
            assert value.__doc__, name


def test_a_misspelt_name_is_an_error():
    with pytest.raises(AttributeError, match="bild_model"):
        perfnet_tf.bild_model  # noqa: B018


@pytest.mark.skipif(
    platform.machine() != "x86_64" or sys.platform != "linux", reason="TensorFlow has it there"
)
@pytest.mark.parametrize(("setting", "expected"), [(None, "True"), ("0", "False")])
def test_tensorflow_computes_with_onednn_unless_told_not_to(setting, expected):
    environment = {key: value for key, value in os.environ.items() if key != ONEDNN}
    if setting is not None:
        environment[ONEDNN] = setting
    program = (
        "import perfnet_tf\n"
        "from tensorflow.python.framework.test_util import IsMklEnabled\n"
        "print(IsMklEnabled())\n"
    )
    command = [sys.executable, "-c", program]
    assert subprocess.check_output(command, env=environment, text=True).split()[-1] == expected


@pytest.mark.slow
def test_mypy_finds_wrong_calls_and_misspelt_names(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import perfnet_tf\n"
        "reveal_type(perfnet_tf.ClipConfig(4).num_frames)\n"
        "perfnet_tf.ClipConfig(num_frame=4)\n"
        "perfnet_tf.bild_model('s3d_g', 4)\n"
    )
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "--ignore-missing-imports", str(program)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    ).stdout
    assert 'Revealed type is "builtins.int"' in found or 'Revealed type is "int"' in found
    assert 'program.py:3: error: Unexpected keyword argument "num_frame"' in found
    assert "program.py:4: error: Module has no attribute" in found
