"""Files that appear whole, locks of outputs, and folders that must be new."""

import pathlib

import pytest

from perfnet_tf.errors import InputError
from perfnet_tf.files import (
    atomic_file,
    atomic_path,
    check_new_or_empty,
    exclusive_lock,
    write_atomically,
)


@pytest.mark.parametrize("content", ["ä\r\nb\n", "ä\r\nb\n".encode()])
@pytest.mark.parametrize("per_process", [False, True])
def test_a_file_is_replaced_by_exactly_the_content(tmp_path, content, per_process):
    path = tmp_path / "a.csv"
    path.write_text("old")
    write_atomically(path, content, per_process=per_process)
    assert path.read_bytes() == "ä\r\nb\n".encode()
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_leaves_the_old_content_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_file(path) as file:
        file.write(b"half")
        raise error
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_processes_that_write_one_file_use_different_names(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_path(path) as shared, atomic_path(path, per_process=True) as own:
        assert shared != own
        shared.write_text("shared")
        own.write_text("own")
    assert path.read_text() == "shared"


def test_a_held_lock_is_refused_or_waited_for(tmp_path):
    path = tmp_path / "folder" / ".lock"

    def refuse():
        raise InputError("held")

    with exclusive_lock(path, on_busy=refuse):
        with pytest.raises(InputError, match="held"), exclusive_lock(path, on_busy=refuse):
            pass
    with exclusive_lock(path, on_busy=refuse):
        pass


def test_a_lock_in_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    lock = exclusive_lock(tmp_path / "file" / ".lock", on_busy=lambda: None)
    with pytest.raises(InputError, match="cannot be written to"), lock:
        pass


def test_an_output_is_new_or_empty(tmp_path):
    assert check_new_or_empty(tmp_path / "new") == tmp_path / "new"
    assert check_new_or_empty(str(tmp_path)) == tmp_path
    (tmp_path / "thesis.tex").touch()
    assert check_new_or_empty(tmp_path, ignored=["thesis.tex"]) == tmp_path
    with pytest.raises(InputError, match="empty folder, or a run.* holds thesis.tex"):
        check_new_or_empty(tmp_path, alternative="a run to resume")
    with pytest.raises(InputError, match="which is a file"):
        check_new_or_empty(tmp_path / "thesis.tex")


@pytest.mark.parametrize("path", ["gs://bucket/run", pathlib.Path("gs://bucket/run")])
def test_a_remote_output_is_refused_before_a_folder_of_its_name_is_made(
    tmp_path, monkeypatch, path
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="local folder. Received: gs:/"):
        check_new_or_empty(path)
    lock = exclusive_lock(pathlib.Path(path), on_busy=lambda: None)
    with pytest.raises(InputError, match="local folder"), lock:
        pass
    assert not list(tmp_path.iterdir())
