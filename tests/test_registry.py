import os
import subprocess
import sys

import pytest

from perfnet_tf.errors import InputError
from perfnet_tf.registry import PLUGINS_VARIABLE, Registry, load_plugin, load_plugins


def test_entries_keep_their_order_and_are_chosen_by_name():
    registry = Registry("stream", {"rgb": 1})
    registry.register("depth", 2)
    assert dict(registry) == {"rgb": 1, "depth": 2} and registry.choose("depth") == 2
    registry.unregister("depth")
    assert "depth" not in registry and len(registry) == 1


@pytest.mark.parametrize(
    ("name", "message"), [("rgb", "'rgb', which exists"), ("Depth map", "lower-case")]
)
def test_a_name_that_is_taken_or_no_identifier_is_refused(name, message):
    with pytest.raises(InputError, match=message):
        Registry("stream", {"rgb": 1}).register(name, 2)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="stream must be one of rgb, flow.*Did you mean 'flow'"):
        Registry("stream", {"rgb": 1, "flow": 2}).choose("flwo")


def test_a_name_that_resembles_none_may_be_a_plugins():
    with pytest.raises(InputError, match="'edges'. If a plugin registers that stream, give the"):
        Registry("stream", {"rgb": 1}).choose("edges")


def test_a_plugin_file_is_imported_once_and_by_processes_started_later(tmp_path, monkeypatch):
    monkeypatch.delenv(PLUGINS_VARIABLE, raising=False)
    plugin = tmp_path / "counting_plugin.py"
    plugin.write_text(f"open({str(tmp_path / 'imports')!r}, 'a').write('x')\n")
    load_plugin(plugin)
    load_plugin(plugin)
    load_plugins()
    assert (tmp_path / "imports").read_text() == "x"
    assert os.environ[PLUGINS_VARIABLE] == str(plugin)
    code = "from perfnet_tf.registry import load_plugins; load_plugins()"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "imports").read_text() == "xx"
    sys.modules.pop("counting_plugin")


def test_a_plugin_that_fails_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.delenv(PLUGINS_VARIABLE, raising=False)
    broken = tmp_path / "broken_plugin.py"
    broken.write_text("1 / 0\n")
    with pytest.raises(InputError, match="ZeroDivisionError"):
        load_plugin(broken)
    with pytest.raises(InputError, match="No module named 'no_such_plugin'"):
        load_plugin("no_such_plugin")
    same_name = tmp_path / "json.py"
    same_name.write_text("")
    with pytest.raises(InputError, match="Rename it"):
        load_plugin(same_name)
    assert PLUGINS_VARIABLE not in os.environ
