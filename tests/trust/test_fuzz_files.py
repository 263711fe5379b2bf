"""Mutated text files, runs, weights and checkpoints: one clear error, or a value; nothing else."""

import contextlib
import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from mutations import generator, mutate_bytes, mutate_json_file
from pose_graph import random_layers, write_graph
from prepared_clips import write_tiny_dataset
from tiny_network import build_tiny

from perfnet_tf.config import ClipConfig, ExperimentConfig, TrainConfig
from perfnet_tf.datasets.catalog import load_catalog
from perfnet_tf.distill.distiller import Distiller
from perfnet_tf.errors import InputError
from perfnet_tf.evaluation.fusion import ClipScores
from perfnet_tf.models.importers import tensors
from perfnet_tf.pose.estimators.posenet import load_posenet
from perfnet_tf.recognizers import run_directory
from perfnet_tf.recognizers.info import ModelInfo
from perfnet_tf.records import schema
from perfnet_tf.records.folder import read_dataset_info, read_failures, read_index
from perfnet_tf.training.checkpoints import Checkpoints
from perfnet_tf.training.history import History
from perfnet_tf.training.optimizers import build_optimizer
from perfnet_tf.training.strategy import make_strategy
from perfnet_tf.training.workers import Workers

FAST_AND_FULL = [40, pytest.param(1000, marks=pytest.mark.slow)]


@contextlib.contextmanager
def restored(*paths: pathlib.Path):
    kept = {path: path.read_bytes() for path in paths}
    yield
    for path, content in kept.items():
        path.write_bytes(content)


class Tally:
    """How often mutated input was refused and taken."""

    def __init__(self, count):
        self.refused = self.taken = 0
        self._count = count

    @contextlib.contextmanager
    def trial(self):
        try:
            yield
        except InputError as error:
            assert str(error).strip()
            self.refused += 1
        else:
            self.taken += 1

    def check(self, name, least):
        print(f"\n{name}: {self.refused} refused, {self.taken} taken")
        assert self.refused >= least * self._count


@pytest.mark.parametrize("count", FAST_AND_FULL)
def test_files_of_a_prepared_dataset(tmp_path, count):
    data = write_tiny_dataset(tmp_path / "data", clips_per_class=1)
    failure = schema.ClipFailure("a/b", "b.mp4", "train", "It is no video.")
    (data / schema.FAILURES_FILE).write_text(json.dumps(vars(failure)) + "\n")
    random = generator(count)
    for name in (schema.DATASET_FILE, "train.index.jsonl", schema.FAILURES_FILE):
        tally = Tally(count)
        path = data / name
        text = path.read_text()
        with restored(path):
            for _ in range(count):
                line = text if name == schema.DATASET_FILE else text.splitlines()[0]
                mutated = mutate_json_file(line, random)
                path.write_bytes(mutated + text[len(line) :].encode())
                with tally.trial():
                    info = read_dataset_info(data)
                    for split in info.splits:
                        entries = list(read_index(data, split))
                        assert len(entries) == info.split(split)["num_clips"]
                    read_failures(data)
        tally.check(name, 0.3)


LISTS = {
    "ucf101": {
        "classInd.txt": "1 Jump\n2 Run\n",
        "trainlist01.txt": "Jump/v_Jump_g01_c01.avi 1\nRun/v_Run_g01_c01.avi 2\n",
        "testlist01.txt": "Jump/v_Jump_g02_c01.avi\n",
    },
    "hmdb51": {
        "Jump_test_split1.txt": "v_Jump_g01_c01.avi 1 \nv_Jump_g02_c01.avi 2 \n",
        "Run_test_split1.txt": "v_Run_g01_c01.avi 1 \n",
    },
    "kinetics600": {
        "kinetics-600_train.csv": "label,youtube_id,time_start,time_end,split\n"
        'Jump,v_Jump_g01_c01,0,10,train\n"Run",v_Run_g01_c01,3.0,13,validate\n',
    },
    "folder": {
        "splits.csv": "path,split,label\nJump/v_Jump_g01_c01.avi,train,Jump\n"
        "Run/v_Run_g01_c01.avi,test,\n",
    },
}


@pytest.mark.parametrize("dataset", LISTS)
@pytest.mark.parametrize("count", FAST_AND_FULL)
def test_split_lists(tmp_path, dataset, count):
    videos, splits = tmp_path / "videos", tmp_path / "splits"
    for name in ("Jump/v_Jump_g01_c01", "Jump/v_Jump_g02_c01", "Run/v_Run_g01_c01"):
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        (videos / f"{name}.avi").write_bytes(b"")
    splits.mkdir()
    for name, text in LISTS[dataset].items():
        (splits / name).write_text(text)
    assert load_catalog(dataset, videos=videos, splits=splits).clips
    random = generator(count)
    tally = Tally(count)
    paths = [splits / name for name in LISTS[dataset]]
    for _ in range(count):
        path = paths[random.integers(len(paths))]
        with restored(path):
            path.write_bytes(mutate_bytes(path.read_bytes(), random))
            with tally.trial():
                catalog = load_catalog(dataset, videos=videos, splits=splits)
                inside = {str(file.absolute()) for file in videos.rglob("*.avi")}
                assert all(clip.path in inside for clip in catalog.clips)
    tally.check(f"lists of {dataset}", 0.1)


@pytest.mark.parametrize("dataset", ["kinetics600", "folder"])
def test_quotation_mark_that_is_never_closed_is_refused(tmp_path, dataset):
    """It swallows the rest of the table, of which the official ones have megabytes."""
    videos = tmp_path / "videos"
    (videos / "Jump").mkdir(parents=True)
    (videos / "Jump" / "v_Jump_g01_c01.avi").write_bytes(b"")
    ((name, text),) = LISTS[dataset].items()
    path = tmp_path / name
    path.write_text(text.splitlines()[0] + '\n"' + 20_000 * text.splitlines()[1])
    with pytest.raises(InputError, match=f"{name} must be a table.*quotation mark"):
        load_catalog(dataset, videos=videos, splits=path)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(run_directory, "build_from_config", build_tiny)
    config = ExperimentConfig(clip=ClipConfig(4, 32, 32))
    model = build_tiny(config.model, 3)
    return run_directory.save_run(tmp_path / "run", config, ["a", "b", "c"], model).path


@pytest.mark.parametrize("count", [15, pytest.param(300, marks=pytest.mark.slow)])
def test_run_directories(run, count):
    random = generator(count)
    for name in ("config.json", "run.json", "classes.txt"):
        tally = Tally(count)
        path = run / name
        text = path.read_text()
        for _ in range(count):
            with restored(path):
                json_file = name.endswith(".json")
                mutate = mutate_json_file if json_file else lambda t, r: mutate_bytes(t.encode(), r)
                path.write_bytes(mutate(text, random))
                with tally.trial():
                    run_directory.load_run(run)
        tally.check(name, 0.1)


@pytest.mark.parametrize("count", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_checkpoints(run, count):
    """What is taken has the weights that were saved: their checksums find altered numbers."""
    random = generator(count)
    expected = [value.numpy() for value in run_directory.load_run(run).model.variables]
    for path in sorted(run.glob("weights.*")):
        tally = Tally(count)
        whole = path.read_bytes()
        for number in range(count):
            with restored(path):
                path.write_bytes(mutate_bytes(whole, random))
                with tally.trial():
                    dict(tensors.read_checkpoint(run / "weights"))
                if number % 10:
                    continue
                with tally.trial():
                    loaded = run_directory.load_run(run).model
                    for variable, value in zip(loaded.variables, expected, strict=True):
                        np.testing.assert_array_equal(variable.numpy(), value)
        tally.check(path.name, 0.1)


@pytest.mark.parametrize("count", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_what_an_interrupted_training_resumes_from(tmp_path, count):
    """It goes on from the last checkpoint whose numbers are whole, or refuses; none is lost."""
    config = ExperimentConfig(clip=ClipConfig(4, 32, 32), train=TrainConfig(epochs=2, batch_size=4))
    model = build_tiny(config.model, 3)
    distiller = Distiller(model, {}, "separate", None, classes=("a", "b", "c"))
    distiller.compile(build_optimizer(config.train, 12))
    distiller.optimizer.build(model.trainable_variables)
    workers = Workers(make_strategy())
    checkpoints = Checkpoints(tmp_path / "run", distiller, workers)
    for step in (3, 6):
        distiller.optimizer.iterations.assign(step)
        checkpoints.save()
    History(tmp_path / "run", epochs_done=0).add(1, 3, {"loss": 0.5})
    expected = [variable.numpy() for variable in model.variables]
    folder = tmp_path / "run" / "checkpoints"
    files = [*sorted(folder.iterdir()), tmp_path / "run" / "history.csv"]
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    random = generator(count)
    tally = Tally(count)
    for number in range(count):
        path = files[number % len(files)]
        with restored(path):
            path.write_bytes(mutate_bytes(path.read_bytes(), random))
            if number % 7 == 0:
                path.unlink()
            with tally.trial():
                for variable in model.variables:
                    variable.assign(tf.zeros_like(variable))
                History(tmp_path / "run", epochs_done=2)
                found = Checkpoints(tmp_path / "run", distiller, workers)
                found.restore()
                assert found.step == (3 if path.name == "ckpt-6.index" and not path.exists() else 6)
                for variable, value in zip(model.variables, expected, strict=True):
                    np.testing.assert_array_equal(variable.numpy(), value)
            lost = whole.keys() - {path.name for path in folder.iterdir()}
            # Of a checkpoint whose index is lost the numbers go, too: it may be half written.
            assert lost <= {path.name, path.name.replace("index", "data-00000-of-00001")}
        for name in whole:  # the list was mended, too
            (folder / name).write_bytes(whole[name])
    tally.check("checkpoints", 0.2)


@pytest.mark.parametrize("count", FAST_AND_FULL)
def test_tensorflow_js_weights(tmp_path, count):
    folder = tmp_path / "graph"
    write_graph(folder, random_layers(np.random.default_rng(0)), fused=True)
    paths = sorted(folder.iterdir())
    random = generator(count)
    tally = Tally(count)
    for number in range(count):
        path = paths[0] if number % 3 else paths[random.integers(len(paths))]
        path = next(p for p in paths if p.suffix == ".json") if number % 3 else path
        with restored(path):
            if path.suffix == ".json":
                path.write_bytes(mutate_json_file(path.read_text(), random))
            else:
                path.write_bytes(mutate_bytes(path.read_bytes(), random))
            with tally.trial():
                load_posenet(folder)
    tally.check("TensorFlow.js", 0.2)


@pytest.mark.parametrize("count", FAST_AND_FULL)
def test_weights_of_others(tmp_path, count):
    """Safetensors, HDF5 and, where torch is installed, PyTorch files."""
    random = generator(count)
    values = {"a": random.normal(size=(3, 4)).astype("f4"), "b": np.arange(5, dtype="i8")}
    table, data = {}, b""
    for name, value in values.items():
        dtype = {"f": "F32", "i": "I64"}[value.dtype.kind]
        begin = len(data)
        data += value.tobytes()
        table[name] = {"dtype": dtype, "shape": value.shape, "data_offsets": [begin, len(data)]}
    header = json.dumps(table).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
    import h5py

    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["layer_names"] = [b"conv"]
        group = file.create_group("conv")
        group.attrs["weight_names"] = [b"conv/kernel:0"]
        group.create_dataset("conv/kernel:0", data=values["a"])
    readers = {"x.safetensors": tensors.read_safetensors, "x.h5": tensors.read_keras_h5}
    with contextlib.suppress(ImportError):
        import torch

        torch.save({k: torch.tensor(v) for k, v in values.items()}, tmp_path / "x.pth")
        readers["x.pth"] = tensors.read_torch
    for name, read in readers.items():
        path = tmp_path / name
        whole = path.read_bytes()
        assert dict(read(path))
        trials = count if name != "x.h5" else max(20, count // 5)  # a process each
        tally = Tally(trials)
        for _ in range(trials):
            # A new file each time: memory maps keep open what they read.
            other = tmp_path / f"y{path.suffix}"
            other.unlink(missing_ok=True)
            other.write_bytes(mutate_bytes(whole, random))
            with tally.trial():
                dict(read(other))
        tally.check(name, 0.1)


@pytest.mark.parametrize("count", FAST_AND_FULL)
def test_model_info_and_logits(tmp_path, count):
    random = generator(count)
    text = ModelInfo(ExperimentConfig(), dataset={"fps": 25.0}, metrics={"top1": 0.5}).to_json()
    tally = Tally(count)
    for _ in range(count):
        mutated = mutate_json_file(text, random).decode("utf-8", "replace")
        with tally.trial():
            ModelInfo.from_json(mutated)
    tally.check("model.json", 0.2)
    scores = ClipScores(("a", "b"), np.array([0, 1]), np.eye(2, dtype=np.float32), ("x", "y"))
    path = tmp_path / "logits.npz"
    scores.save(path)
    whole = path.read_bytes()
    tally = Tally(count)
    for _ in range(count):
        path.write_bytes(mutate_bytes(whole, random))
        with tally.trial():
            ClipScores.load(path)
    tally.check("logits.npz", 0.2)


@pytest.mark.slow
def test_saved_models(tmp_path, run):
    from perfnet_tf.saved_model import export_saved_model, load_saved_model, restore_model

    loaded = run_directory.load_run(run)
    good = export_saved_model(
        loaded.model, tmp_path / "good", classes=loaded.classes, config=loaded.config
    )
    files = sorted(path.relative_to(good) for path in good.rglob("*") if path.is_file())
    random = generator(100)
    tally = Tally(100)
    for number in range(100):
        folder = shutil.copytree(good, tmp_path / f"copy{number}")
        path = folder / files[number % len(files)]
        path.write_bytes(mutate_bytes(path.read_bytes(), random))
        with tally.trial():
            load_saved_model(folder)
        with tally.trial():
            restore_model(folder)
        shutil.rmtree(folder)
    tally.check("SavedModels", 0.2)
