"""A stream that one plugin file adds goes through every stage, from videos to predictions."""

import contextlib
import io
import json
import os
import pathlib
import sys

import numpy as np
import pytest
import tiny_network  # noqa: F401, registers `tiny`
from small_clips import write_video

import perfnet_tf
from perfnet_tf.cli.main import main
from perfnet_tf.config import ModelConfig
from perfnet_tf.input_pipeline.dataset import build_dataset
from perfnet_tf.inspection.picture import draw_streams
from perfnet_tf.inspection.stored_clip import open_clip
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.models.folding import fold_batch_norm
from perfnet_tf.models.input_normalization import InputNormalization
from perfnet_tf.prediction.videos import predict_videos
from perfnet_tf.preparation.frame_sources import sources_of_frames
from perfnet_tf.records.folder import read_dataset_info
from perfnet_tf.registry import PLUGINS_VARIABLE, load_plugin
from perfnet_tf.streams import SOURCES, STREAMS

PLUGIN = pathlib.Path(__file__).parents[1] / "reference" / "depth_stream.py"
NETWORK = ["--backbone=tiny", "--clip=4x32x32", "--epochs=1"]


@pytest.fixture(scope="module", autouse=True)
def plugin():
    before = os.environ.get(PLUGINS_VARIABLE)
    load_plugin(PLUGIN)
    yield
    STREAMS.unregister("depth")
    SOURCES.unregister("depth")
    sys.modules.pop(PLUGIN.stem)
    if before is None:
        del os.environ[PLUGINS_VARIABLE]
    else:
        os.environ[PLUGINS_VARIABLE] = before


def perfnet(command, *arguments):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main([command, f"--plugin={PLUGIN}", *map(str, arguments)]) == 0
    return printed.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("depth")


@pytest.fixture(scope="module")
def data(folder):
    videos = folder / "videos"
    for split in ("train", "test"):
        for number in range(2):
            for label, name in enumerate(("Down", "Up")):
                path = videos / split / name / f"{split}{number}.mp4"
                write_video(path, frames=8, seed=2 * number + label)
    options = ["--pose=none", "--flow=none", "--short_side=40", "--workers=1", "--sources=depth"]
    output = folder / "data"
    perfnet("prepare", "--dataset=folder", f"--videos={videos}", f"--output={output}", *options)
    return output


def test_records_hold_the_source_that_workers_computed(data):
    info = read_dataset_info(data)
    assert info.sources == ("depth",)
    assert sum(split["num_clips"] for split in info.splits.values()) == 8
    clip = open_clip(data, first_id(data))
    assert clip.streams == ("rgb", "depth")
    decoded = clip.decode([0, 3, 7])
    assert decoded["depth"].dtype == np.float32
    assert decoded["depth"].shape == (*decoded["rgb"].shape[:3], 1)
    # JPEG changes the frames that the source was computed from by some levels.
    expected = SOURCES["depth"].extract(decoded["rgb"], 25.0)
    assert np.abs(decoded["depth"] - expected).mean() < 0.02


def first_id(data):
    return json.loads((data / "test.index.jsonl").read_text().splitlines()[0])["clip_id"]


def test_crops_and_mirroring_are_those_of_the_frames(data):
    options = dict(streams=["rgb", "depth"], batch_size=4, training=True, seed=3)
    batch = next(
        iter(build_dataset(data, "train", clip=perfnet_tf.ClipConfig(4, 32, 32), **options))
    )
    assert batch["depth"].shape == (4, 4, 32, 32, 1)
    for rgb, depth in zip(batch["rgb"].numpy(), batch["depth"].numpy(), strict=True):
        grey = rgb.mean(axis=-1).ravel()  # its brightness and contrast change, the places do not
        assert np.corrcoef(grey, depth.ravel())[0, 1] > 0.9


def test_networks_normalize_as_the_stream_says():
    values = np.array([0.0, 0.25, 1.0], np.float32).reshape(1, 1, 1, 3, 1)
    found = InputNormalization(stream="depth")(values).numpy().ravel()
    assert found.tolist() == [-1.0, -0.5, 1.0]
    with pytest.raises(perfnet_tf.InputError, match="Depth is float, in"):
        InputNormalization(stream="depth")(np.zeros((1, 1, 1, 3, 1), np.uint8))
    network = build_from_config(ModelConfig("s3d_g", width_multiplier=0.1), 3, "depth")
    clip = np.random.default_rng(0).random((1, 4, 32, 32, 1), np.float32)
    expected = network(clip, training=False)
    np.testing.assert_allclose(fold_batch_norm(network)(clip), expected, rtol=1e-4, atol=1e-5)


def test_every_command_takes_the_stream(data, folder):
    runs = {stream: folder / stream for stream in ("rgb", "depth")}
    for stream, run in runs.items():
        options = ["--batch=2", f"--stream={stream}", *NETWORK]
        printed = perfnet("train", f"--data={data}", f"--output={run}", *options)
        following = f"--models={run} --data={data} --output=DIR --plugin={PLUGIN}"
        assert f"next: perfnet evaluate {following}\n" in printed
    both = f"--models={runs['rgb']},{runs['depth']}"
    perfnet("evaluate", both, f"--data={data}", "--split=test", f"--output={folder / 'results'}")
    metrics = json.loads((folder / "results" / "metrics.json").read_text())
    assert metrics["num_clips"] == 4

    picture = folder / "clip.png"
    perfnet("inspect", f"--data={data}", f"--output={picture}")
    assert picture.is_file()
    assert "further sources: depth" in perfnet("inspect", f"--data={data}")
    drawn = draw_streams(open_clip(data, first_id(data)), [0, 5], 1.0)
    assert list(drawn) == ["rgb", "depth"]
    assert drawn["depth"].dtype == np.uint8 and drawn["depth"].shape == drawn["rgb"].shape

    export = folder / "export"
    printed = perfnet("export", f"--model={runs['depth']}", f"--output={export}")
    assert "[batch, frames, height, width, 1] float32" in printed
    loaded = perfnet_tf.load_saved_model(export)
    frames = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    depth = sources_of_frames(frames, 25.0, ["depth"])["depth"]
    expected = perfnet_tf.load_run(runs["depth"]).model(depth[None], training=False)
    np.testing.assert_allclose(loaded(depth[None]), expected, rtol=1e-4, atol=1e-5)

    video = folder / "videos" / "test" / "Up" / "test0.mp4"
    (predicted,) = predict_videos([video], export)
    assert predicted.classes == ("Down", "Up")
    # What `evaluate` says of the same clip, but for JPEG in the records.
    scores = np.load(folder / "results" / "logits_depth.npz")
    (place,) = [i for i, name in enumerate(scores["clip_ids"]) if name.endswith("Up/test0")]
    np.testing.assert_allclose(predicted.logits, scores["logits"][place], atol=0.02)
    assert "Up" in perfnet("predict", video, f"--model={export}")
    seen = folder / "seen.png"
    perfnet("explain", video, f"--model={runs['depth']}", f"--output={seen}")
    assert seen.is_file()


def test_preparing_an_unknown_source_names_those_that_exist():
    from perfnet_tf.preparation.config import PrepareConfig

    with pytest.raises(perfnet_tf.InputError, match="depth"):
        PrepareConfig(name="toy", pose="none", sources=("depht",))
