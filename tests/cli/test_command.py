"""What all commands share: flags, former names, plugins, and errors that name flags."""

import os

import pytest

from perfnet_tf.cli.command import Command
from perfnet_tf.cli.main import load_command
from perfnet_tf.errors import FailureError, InputError
from perfnet_tf.registry import PLUGINS_VARIABLE


@pytest.fixture
def command():
    seen = {}

    def echo(values, positional):
        """Echoes."""
        seen.update(size=values.size, name=values.name, positional=positional)

    command = Command("echo", "--name=NAME", echo, positional="FILE")
    command.integer("size", 3, "A size.")
    command.string("name", None, "A name.")
    command.require("name")
    command.seen = seen
    return command


def test_command_parses_flags_and_files(command):
    assert command(["a.mp4", "--name=x", "--size=5", "b.mp4"]) == 0
    assert command.seen == {"size": 5, "name": "x", "positional": ["a.mp4", "b.mp4"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--name is required"),
        (["--name=x", "--size=big"], "size"),
        (["--name=x", "--sise=3"], "sise"),
    ],
)
def test_command_refuses_bad_flags_in_one_error(command, arguments, message):
    with pytest.raises(InputError, match=message):
        command(arguments)


class TestNamesThatBeginWithADash:
    """One YouTube id in 64 does, and shells expand *.mp4 to such names."""

    FILES = ("-a.mp4", "--b.mp4", "-size=1.mp4", "c.mp4", "-notes")

    @pytest.fixture
    def videos(self, tmp_path, monkeypatch):
        seen = []

        def run(values, positional):
            """Looks at videos."""
            seen.append([os.path.normpath(path) for path in positional])

        command = Command("look", "VIDEO...", run, positional="VIDEO")
        command.integer("size", 3, "A size.")
        command.string("model", None, "A model.")
        command.boolean("json", False, "JSON.")
        for name in self.FILES:
            (tmp_path / name).touch()
        monkeypatch.chdir(tmp_path)
        command.seen = seen
        return command

    def test_files_that_exist_are_taken_as_files(self, videos):
        videos(["-a.mp4", "--size=4", "--b.mp4", "c.mp4", "-notes", "--json"])
        assert videos.seen == [["-a.mp4", "--b.mp4", "c.mp4", "-notes"]]
        assert (videos.flags.size, videos.flags.json) == (4, True)

    def test_words_after_two_dashes_are_files(self, videos):
        videos(["--size=4", "--", "-a.mp4", "-gone.mp4", "--size=5"])
        assert videos.seen == [["-a.mp4", "-gone.mp4", "--size=5"]]
        assert videos.flags.size == 4

    def test_values_of_flags_stay_values(self, videos):
        videos(["--model", "-a.mp4", "-json", "-a.mp4", "--nojson", "c.mp4"])
        assert videos.flags.model == "-a.mp4" and not videos.flags.json
        assert videos.seen == [["-a.mp4", "c.mp4"]]

    def test_a_flag_is_a_flag_though_a_file_is_called_like_it(self, videos):
        with pytest.raises(InputError, match="size"):
            videos(["-size=1.mp4"])

    def test_names_that_do_not_exist_say_how_to_give_them(self, videos):
        with pytest.raises(
            InputError, match=r"flag 'gone.mp4'.*come after --: perfnet look .FLAGS. -- \*.mp4"
        ):
            videos(["-gone.mp4"])
        assert "perfnet look [FLAGS] -- *.mp4" in videos.help()

    @pytest.mark.parametrize("name", ["predict", "explain"])
    def test_commands_that_take_videos_say_it_in_their_help(self, name):
        assert f"perfnet {name} [FLAGS] -- *.mp4" in load_command(name).help()

    def test_commands_without_files_say_nothing_of_them(self, command):
        assert "-- *.mp4" not in command.help()
        with pytest.raises(InputError) as error:
            command(["--name=x", "-gone.mp4"])
        assert "-- *" not in str(error.value)


def test_command_help_names_flags_and_defaults(command):
    text = command.help()
    assert "--name (required): A name." in text
    assert "--size: A size. (default: 3)" in text


def test_a_second_call_starts_from_the_defaults(command):
    command(["--name=x", "--size=5"])
    command(["--name=y"])
    assert command.seen == {"size": 3, "name": "y", "positional": []}
    with pytest.raises(InputError, match="--name is required"):
        command([])


def test_each_method_defines_a_flag_of_its_type():
    command = Command("echo", "", lambda values, positional: None)
    command.string("text", None, "Text.")
    command.string("word", "a", "A word.", choices=["a", "b"])
    command.integer("whole", None, "A whole number.", lower_bound=1)
    command.number("share", 0.5, "A number.")
    command.boolean("switch", True, "A switch.")
    command.list("names", ["x"], "Names.")
    command.repeated("option", [], "Options.")
    command.parse(
        ["--text=t", "--word=b", "--whole=2", "--share=1", "--noswitch", "--names=x,y"]
        + ["--option=c", "--option=d"]
    )
    values = command.flags.flag_values_dict()
    assert values == {
        "text": "t",
        "word": "b",
        "whole": 2,
        "share": 1.0,
        "switch": False,
        "names": ["x", "y"],
        "option": ["c", "d"],
        "plugin": [],
    }
    for bad in ("--whole=0", "--word=c", "--share=x"):
        with pytest.raises(InputError):
            command.parse([bad])


@pytest.fixture
def renamed():
    """A command whose --runs became --models, and whose --clip became --clip_id if a name."""
    command = Command("echo", "", lambda values, positional: None)
    command.list("models", [], "Models.")
    command.list("clip_id", [], "Ids.")
    command.string("clip", None, "A size.")
    command.alias("runs", "models")
    command.alias("clip", "clip_id", when=lambda value: "x" not in value)
    command.require("models")
    return command


@pytest.mark.parametrize("words", [["--runs=a,b"], ["--runs", "a,b"], ["-runs=a,b"]])
def test_a_former_name_sets_the_flag_with_a_note(renamed, capsys, words):
    renamed(words)
    assert renamed.flags.models == ["a", "b"]
    assert capsys.readouterr().err == "note: --runs is now --models.\n"


def test_a_former_name_is_not_accepted_with_the_new_one(renamed):
    with pytest.raises(InputError, match=r"--runs is the former name of --models\. Received: both"):
        renamed(["--runs=a", "--models=b"])


def test_a_former_name_with_another_meaning_now_is_recognised_by_its_value(renamed, capsys):
    renamed(["--models=a", "--clip=some_clip", "--clip=2x2"])
    assert renamed.flags.clip_id == ["some_clip"] and renamed.flags.clip == "2x2"
    assert capsys.readouterr().err == "note: --clip is now --clip_id.\n"
    renamed(["--models=a", "--clip", "2x2"])
    assert renamed.flags.clip_id == [] and renamed.flags.clip == "2x2"
    assert not capsys.readouterr().err


def test_words_after_two_dashes_are_no_flags(renamed):
    assert renamed.parse(["--models=a", "--", "--runs=b"]) == ["--runs=b"]


def test_help_shows_a_former_name_next_to_its_flag(renamed):
    text = renamed.help()
    assert "--models (required) (was --runs): Models." in text
    assert "--runs:" not in text


@pytest.mark.parametrize("error", [InputError, FailureError])
def test_errors_name_flags_in_place_of_arguments(error):
    def fail(values, positional):
        raise error("`batch_size` and `size` go with `other`, not with size. Received: `batch=8`.")

    command = Command("echo", "", fail)
    command.integer("batch", 8, "Clips at once.", argument="batch_size")
    command.integer("size", 3, "A size.")
    with pytest.raises(error) as caught:
        command([])
    assert str(caught.value) == (
        "--batch and --size go with `other`, not with size. Received: --batch=8."
    )


def test_plugins_are_imported_before_the_command_runs(tmp_path, monkeypatch):
    for name in ("given", "named"):
        (tmp_path / f"perfnet_plugin_{name}.py").write_text(
            f"from perfnet_tf import registry\nregistry.seen_{name} = True\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(PLUGINS_VARIABLE, "perfnet_plugin_named")
    from perfnet_tf import registry

    seen = []

    def look(values, positional):
        seen.append(registry.seen_given and registry.seen_named)

    Command("echo", "", look)([f"--plugin={tmp_path / 'perfnet_plugin_given.py'}"])
    assert seen == [True]
    with pytest.raises(InputError, match="A plugin is a module"):
        Command("echo", "", look)([f"--plugin={tmp_path / 'absent.py'}"])
    assert seen == [True]
