"""Nothing in the package runs code from a file, a name or a download."""

import ast
import hashlib
import html.parser
import io
import os
import pathlib
import pickle
import shutil
import tarfile

import numpy as np
import pytest
from pose_graph import random_layers, write_graph

import perfnet_tf
from perfnet_tf.cli.main import main
from perfnet_tf.downloads.cache import CHECKSUMS_FILE
from perfnet_tf.errors import InputError
from perfnet_tf.evaluation.fusion import ClipScores
from perfnet_tf.pose.estimators.download import fetch_weights
from perfnet_tf.pose.estimators.published import cached_model

ROOT = pathlib.Path(perfnet_tf.__file__).parents[1]
SOURCES = sorted([*(ROOT / "perfnet_tf").rglob("*.py"), *(ROOT / "export").rglob("*.py")])

#: Modules that turn bytes into objects of any class, or run what they read.
FORBIDDEN_MODULES = {
    "pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "runpy",
    "imp", "ruamel", "code", "codeop", "commands", "pty",
}  # fmt: skip
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "execfile"}
FORBIDDEN_ATTRIBUTES = {
    ("os", "system"), ("os", "popen"), ("os", "execl"), ("os", "execv"), ("os", "spawnl"),
    ("subprocess", "getoutput"), ("subprocess", "getstatusoutput"), ("tempfile", "mktemp"),
    ("shutil", "unpack_archive"), ("pd", "read_pickle"), ("np", "fromfile"),
}  # fmt: skip


def violations(source: str) -> list[str]:
    """What a module does that could run another's code."""
    found = []
    module = ast.parse(source)
    safe_loaders = {"yaml.SafeLoader", "yaml.CSafeLoader"}
    safe_loaders |= {
        node.name
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef) and safe_loaders & set(map(ast.unparse, node.bases))
    }
    for node in ast.walk(module):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            names += [
                f"{node.module}.{alias.name}"
                for alias in node.names
                if (node.module, alias.name) in FORBIDDEN_ATTRIBUTES
            ]
            if node.module == "yaml":
                found.append("imports from yaml, where the name of a loader is lost")
        found += [
            f"imports {name}"
            for name in names
            if name.split(".")[0] in FORBIDDEN_MODULES
            or tuple(name.split(".")) in FORBIDDEN_ATTRIBUTES
        ]
        if not isinstance(node, ast.Call):
            continue
        function, keywords = node.func, {word.arg: word.value for word in node.keywords}

        def given(name, value, keywords=keywords):
            found = keywords.get(name)
            return isinstance(found, ast.Constant) and repr(found.value) == repr(value)

        if isinstance(function, ast.Name) and function.id in FORBIDDEN_CALLS:
            found.append(f"calls {function.id}")
        if "shell" in keywords and not given("shell", False):
            found.append("runs a shell")
        if not isinstance(function, ast.Attribute):
            continue
        owner = ast.unparse(function.value)
        call = f"{owner}.{function.attr}"
        if (owner, function.attr) in FORBIDDEN_ATTRIBUTES:
            found.append(f"calls {call}")
        if call in ("np.load", "numpy.load") and not given("allow_pickle", False):
            found.append("np.load without allow_pickle=False")
        if owner == "yaml" and function.attr not in ("safe_load", "safe_dump"):
            loaders = [*node.args[1:], *filter(None, [keywords.get("Loader")])]
            if not loaders or ast.unparse(loaders[0]) not in safe_loaders:
                found.append(f"{call} without a SafeLoader")
        if call == "torch.load" and not given("weights_only", True):
            found.append("torch.load without weights_only=True")
        if function.attr in ("extract", "extractall") and not given("filter", "data"):
            # Whatever the object is called: only tarfile takes a filter.
            if "archive" in owner or "tar" in owner or "zip" in owner.lower():
                found.append(f"{call} without filter='data'")
        if function.attr == "load_model" and not given("safe_mode", True):
            found.append("load_model runs the Lambda layers of a file")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_runs_what_it_reads(path):
    assert violations(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import yaml\nyaml.load(x)",
        "yaml.load(x, yaml.Loader)",
        "yaml.load(x, Loader=yaml.FullLoader)",
        "yaml.unsafe_load(x)",
        "class Mine(yaml.Loader): pass\nyaml.load(x, Mine)",
        "from yaml import load",
        "eval(x)",
        "exec(x)",
        "import os\nos.system(x)",
        "from os import system",
        "from subprocess import getoutput as run",
        "import subprocess\nsubprocess.run(x, shell=True)",
        "subprocess.Popen(x, shell=flag)",
        "np.load(x)",
        "np.load(x, allow_pickle=True)",
        "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "tarfile.open(x).extractall(y)",
        "archive.extractall(y, filter='fully_trusted')",
        "zipped_archive.extract(y)",
        "tf_keras.models.load_model(x)",
    ],
)
def test_each_of_these_would_be_found(source):
    assert violations(source)


def test_commands_for_other_programs_are_lists():
    """So no file name is ever read by a shell."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and ast.unparse(node.func.value) == "subprocess"
                and node.func.attr in ("run", "Popen", "call", "check_call", "check_output")
            ):
                command = node.args[0]
                while isinstance(command, ast.BinOp):
                    command = command.left
                assert isinstance(command, (ast.List, ast.Name)), path


def test_names_that_a_shell_would_run_are_only_names(tmp_path, monkeypatch):
    from small_clips import write_video

    from perfnet_tf.preparation.build import build_records
    from perfnet_tf.preparation.config import PrepareConfig
    from perfnet_tf.records.folder import read_failures
    from perfnet_tf.records.schema import SourceClip

    witness = tmp_path / "witness"
    names = [f"a; touch {witness.name} #", "$(touch witness)", "-i concat:x|y", "a'b\"c", "é\tü"]
    clips = []
    for name in names:
        path = tmp_path / "videos" / f"{name}.mp4"
        write_video(path, frames=4)
        clips.append(SourceClip(f"x/{name}", str(path), 0, "x", "train"))
    config = PrepareConfig("toy", short_side=16, pose="none", flow="none")
    monkeypatch.chdir(tmp_path)
    result = build_records(clips, tmp_path / "records", config, ["x"], workers=0)
    assert result.info.splits["train"]["num_clips"] == len(names)
    assert read_failures(tmp_path / "records") == [] and not witness.exists()


@pytest.mark.parametrize("name", ["caf\udce9.mp4", "B\udce9/clip.mp4"])
def test_names_that_are_no_text_are_refused_before_any_work(tmp_path, name):
    """Python cannot write them, and OpenCV would end the process."""
    from perfnet_tf.datasets.catalog import load_catalog

    videos = tmp_path / "videos" / "A"
    for path in (videos / "clip.mp4", videos / name):
        os.makedirs(path.parent, exist_ok=True)
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"must be UTF-8.*1 are not.*\\udce9.*Rename"):
        load_catalog("folder", videos=tmp_path / "videos")


@pytest.mark.parametrize("name", ["a\nb", "a\u2028b", " a", "a\udce9", ""])
def test_class_names_that_no_list_can_hold_are_refused_before_any_work(tmp_path, name):
    """A training would refuse them, after weeks of preparation."""
    from perfnet_tf.preparation.build import build_records
    from perfnet_tf.preparation.config import PrepareConfig
    from perfnet_tf.records.schema import SourceClip

    config = PrepareConfig("toy", short_side=16, pose="none", flow="none")
    clip = SourceClip("x", str(tmp_path / "x.mp4"), 0, name, "train")
    with pytest.raises(InputError, match="one line without.*Rename"):
        build_records([clip], tmp_path / "records", config, [name], workers=0)
    assert not (tmp_path / "records").exists()


class Witness:
    """An object that runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_among_the_scores_is_not_opened(tmp_path):
    path = tmp_path / "logits.npz"
    evil = np.array([Witness(tmp_path / "ran")], dtype=object)
    np.savez(path, clip_ids=evil, labels=evil, logits=evil, classes=evil)
    with pytest.raises(InputError, match="not an .npz of scores"):
        ClipScores.load(path)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_as_pytorch_weights_is_not_opened(tmp_path):
    pytest.importorskip("torch")
    from perfnet_tf.models.importers.tensors import read_torch

    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps({"state_dict": Witness(tmp_path / "ran")}))
    with pytest.raises(InputError, match="without code"):
        read_torch(path)
    assert not (tmp_path / "ran").exists()


class _Zeros(io.RawIOBase):
    """So many zero bytes."""

    def __init__(self, size):
        self._left = size

    def read(self, size=-1):
        size = self._left if size < 0 else min(size, self._left)
        self._left -= size
        return bytes(size)


class TestArchives:
    @pytest.fixture
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PERFNET_CACHE", str(tmp_path / "cache"))
        return tmp_path / "cache" / "pose"

    @pytest.mark.parametrize("kind", ["parent", "absolute", "symbolic", "hard", "device"])
    def test_nothing_is_unpacked_outside_of_the_folder(self, tmp_path, cache, kind):
        archive = tmp_path / "weights.tar.gz"
        outside = tmp_path / "outside.txt"
        (tmp_path / "secret.txt").write_text("secret")
        with tarfile.open(archive, "w:gz") as tar:
            member = tarfile.TarInfo("x")
            content = b"evil"
            if kind == "parent":
                member.name = "../../../outside.txt"
            elif kind == "absolute":
                member.name = str(outside)
            elif kind == "symbolic":
                member.type, member.linkname = tarfile.SYMTYPE, str(tmp_path)
                tar.addfile(member)
                member = tarfile.TarInfo("x/outside.txt")
            elif kind == "hard":
                member.type, member.linkname = tarfile.LNKTYPE, "../../../secret.txt"
            else:
                member.type = tarfile.CHRTYPE
            if member.type == tarfile.REGTYPE:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            else:
                tar.addfile(member)
        with pytest.raises(InputError):
            fetch_weights("posenet_mobilenet", source=archive)
        assert not outside.exists()
        assert cached_model("posenet_mobilenet") is None

    def test_an_archive_that_would_fill_the_disk_is_refused(self, tmp_path, cache):
        archive = tmp_path / "weights.tar.gz"
        member = tarfile.TarInfo("weights.bin")
        member.size = (1 << 30) + 1
        with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
            tar.addfile(member, _Zeros(member.size))
        assert archive.stat().st_size < 20 << 20
        with pytest.raises(InputError, match="over 1 GiB"):
            fetch_weights("posenet_mobilenet", source=archive)

    def test_a_graph_that_names_files_elsewhere_is_refused(self, tmp_path, cache):
        folder = tmp_path / "graph"
        write_graph(folder, random_layers(np.random.default_rng(0)), fused=True)
        path = next(folder.glob("*.json"))
        weights = next(folder.glob("*.bin"))
        shutil.copy(weights, tmp_path / weights.name)
        path.write_text(path.read_text().replace(f'"{weights.name}"', f'"../{weights.name}"'))
        with pytest.raises(InputError, match="outside"):
            fetch_weights("posenet_mobilenet", source=folder)

    @pytest.mark.parametrize("op", ["WriteFile", "ReadFile", "PyFunc", "RestoreV2", "While"])
    def test_a_graph_that_does_more_than_arithmetic_is_refused(self, op):
        from perfnet_tf.pose.estimators.graph_function import graph_function
        from perfnet_tf.pose.estimators.graph_model import GraphModel

        nodes = [
            {"name": "x", "op": "Placeholder", "attr": {"dtype": {"type": "DT_FLOAT"}}},
            {"name": "y", "op": op, "input": ["x"]},
        ]
        named = {node["name"]: node for node in nodes}
        graph = GraphModel(pathlib.Path("x.json"), named, {}, {"node": nodes}, {})
        with pytest.raises(InputError, match=f"plain arithmetic.*{op}"):
            graph_function(graph, "x", {"y": "y"}, [None, 3])

    def test_every_file_in_the_cache_is_held_to_its_sha256(self, tmp_path, cache):
        folder = tmp_path / "graph"
        write_graph(folder, random_layers(np.random.default_rng(0)), fused=True)
        stored = fetch_weights("posenet_mobilenet", source=folder)
        lines = (stored / CHECKSUMS_FILE).read_text().splitlines()
        digests = dict(reversed(line.split("  ")) for line in lines)
        for path in folder.iterdir():
            assert digests[path.name] == hashlib.sha256(path.read_bytes()).hexdigest()
        weights = next(stored.glob("*.bin"))
        content = bytearray(weights.read_bytes())
        content[7] ^= 1
        weights.write_bytes(content)
        with pytest.raises(InputError, match=f"{weights.name} is missing or was changed"):
            cached_model("posenet_mobilenet")


EVIL = "<img src=x onerror=alert(1)>\"'&<script>alert(2)</script>"


class _Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, {name for name, _ in attributes}))


def test_class_and_file_names_are_escaped_in_every_part_of_a_report(tmp_path):
    from perfnet_tf.reporting.html import (
        Chart,
        Picture,
        Report,
        Result,
        ShownPrediction,
        Table,
        write_report,
    )

    picture = Picture(np.zeros((8, 8, 3), np.uint8), EVIL)
    report = Report(
        title=EVIL,
        summary=[EVIL],
        num_classes=2,
        results=[Result(EVIL, EVIL, EVIL, 0.5, 1.0, 4)],
        result_notes=[EVIL],
        tables=[Table(EVIL, [EVIL, EVIL], [[EVIL], [EVIL, EVIL]], [EVIL])],
        charts=[Chart("chart", "x", "y", {"line": ([0, 1], [1, 2])})],
        pictures=[picture],
        pictures_title=EVIL,
        predictions=[ShownPrediction(EVIL, EVIL, [(EVIL, 0.9), ("b", 0.1)], picture)],
        settings={EVIL: EVIL},
        timings={EVIL: 1.0},
        commands=[(EVIL, EVIL)],
    )
    document = write_report(report, tmp_path / "report.html").read_text()
    tags = _Tags()
    tags.feed(document)
    assert {tag for tag, _ in tags.seen}.isdisjoint({"script", "iframe", "object", "embed", "link"})
    assert not any(name.startswith("on") for _, names in tags.seen for name in names)
    pictures = [names for tag, names in tags.seen if tag == "img"]
    assert all(names == {"alt", "src"} for names in pictures) and len(pictures) == 3


@pytest.mark.parametrize("command", ["predict", "distill"])
def test_help_says_that_a_saved_model_runs_code(command, capsys):
    assert main([command, "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "runs code from it" in said and "you trust" in said


def test_predict_says_that_a_frozen_model_runs_code(tmp_path, capsys):
    from perfnet_tf.config import ClipConfig, ExperimentConfig, ModelConfig
    from perfnet_tf.models.factory import build_from_config
    from perfnet_tf.saved_model import export_saved_model

    config = ExperimentConfig(
        clip=ClipConfig(4, 32, 32), model=ModelConfig("s3d_g", width_multiplier=0.0625)
    )
    model = build_from_config(config.model, 2, config.stream)
    path = export_saved_model(
        model, tmp_path / "model", classes=["a", "b"], config=config, inference_only=True
    )
    assert main(["predict", str(tmp_path / "absent.mp4"), f"--model={path}"]) == 2
    said = capsys.readouterr().err
    assert f"{path} is a SavedModel: loading it runs code from it" in said


def test_fine_tuning_a_saved_model_reads_its_numbers_only(tmp_path, monkeypatch):
    """Its graph may be anything: it is not read."""
    import tensorflow as tf
    from tiny_network import build_tiny

    from perfnet_tf.config import ClipConfig, ExperimentConfig
    from perfnet_tf.recognizers import exported
    from perfnet_tf.saved_model import export_saved_model, restore_model

    monkeypatch.setattr(exported, "build_from_config", build_tiny)
    config = ExperimentConfig(clip=ClipConfig(4, 32, 32))
    model = build_tiny(config.model, 2)
    path = export_saved_model(model, tmp_path / "model", classes=["a", "b"], config=config)
    (path / "saved_model.pb").write_bytes(b"no graph at all")
    restored, labels, _ = restore_model(path)
    assert labels == ("a", "b")
    for mine, theirs in zip(restored.variables, model.variables, strict=True):
        tf.debugging.assert_equal(mine, theirs)


def test_modules_next_to_the_videos_are_not_imported(tmp_path, monkeypatch):
    """Whoever prepares a downloaded folder may stand in it."""
    from small_clips import write_video

    from perfnet_tf.preparation.config import PrepareConfig
    from perfnet_tf.preparation.staging import Staging
    from perfnet_tf.preparation.worker_process import WorkerProcess
    from perfnet_tf.records.schema import SourceClip

    write_video(tmp_path / "clip.mp4", frames=4)
    for name in ("cv2", "json", "numpy", "tensorflow", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open('ran-{name}', 'w')\n")
    monkeypatch.chdir(tmp_path)
    staging = Staging(tmp_path / "records")
    staging.output.mkdir()
    staging.begin({})
    config = PrepareConfig("toy", short_side=16, pose="none", flow="none")
    worker = WorkerProcess(staging, config, num_threads=1)
    try:
        assert worker(SourceClip("x/clip", str(tmp_path / "clip.mp4"), 0, "x", "train")).ok
    finally:
        worker.close()
    assert not list(tmp_path.glob("ran-*"))
