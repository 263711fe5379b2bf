import os
import shutil

import numpy as np
import pytest
from tiny_network import TINY

from perfnet_tf.config import ClipConfig, ExperimentConfig, ModelConfig
from perfnet_tf.downloads.cache import cache_folder
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.recognizers import frozen_cache
from perfnet_tf.recognizers.frozen import InferenceModule
from perfnet_tf.recognizers.load import load
from perfnet_tf.recognizers.run_directory import save_run
from perfnet_tf.saved_model import export_saved_model

CONFIG = ExperimentConfig(
    clip=ClipConfig(4, 32, 32), model=ModelConfig("s3d_g", width_multiplier=0.1)
)
CLASSES = ("a", "b", "c")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PERFNET_CACHE", str(tmp_path / "cache"))
    return cache_folder("frozen")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    model = build_from_config(CONFIG.model, len(CLASSES), "rgb")
    run = save_run(folder / "run", CONFIG, CLASSES, model)
    export_saved_model(run, folder / "export")
    return folder


@pytest.fixture
def made(monkeypatch):
    """The networks that were frozen, not taken out of the cache."""
    made = []

    class Counting(InferenceModule):
        def __init__(self, model, **options):
            made.append(model)
            super().__init__(model, **options)

    for module in ("load", "exported"):
        monkeypatch.setattr(f"perfnet_tf.recognizers.{module}.InferenceModule", Counting)
    return made


@pytest.mark.parametrize("kind", ["run", "export"])
def test_a_network_is_frozen_once_and_answers_the_same(trained, tmp_path, cache, made, kind):
    path = tmp_path / "network"
    shutil.copytree(trained / kind, path)
    clip = np.random.default_rng(0).random((2, 4, 32, 32, 3), np.float32)
    expected = load(path, trainable=True).layers()(clip, training=False)
    for _ in range(2):
        network = load(path, folded=True)
        assert len(made) == 1 and len(list(cache.iterdir())) == 1
        np.testing.assert_allclose(network.predict(clip), expected, rtol=1e-4, atol=1e-5)
        assert (network.classes, network.clip) == (CLASSES, CONFIG.clip)
    assert network.layers().backbone == "s3d_g"  # loaded when it is asked for
    # A damaged copy in the cache is made again.
    (graph,) = cache.glob("*/saved_model.pb")
    graph.write_bytes(graph.read_bytes()[:-9])
    np.testing.assert_allclose(
        load(path, folded=True).predict(clip), expected, rtol=1e-4, atol=1e-5
    )
    assert len(made) == 2
    load(path, folded=True, precision="bfloat16")
    assert len(made) == 3  # another precision is another network


def test_a_change_of_the_weights_or_the_code_is_another_network(trained, tmp_path, cache, made):
    path = tmp_path / "run"
    shutil.copytree(trained / "run", path)
    load(path, folded=True)
    model = build_from_config(CONFIG.model, len(CLASSES), "rgb")
    shutil.rmtree(path)
    save_run(path, CONFIG, CLASSES, model)
    clip = np.random.default_rng(0).random((2, 4, 32, 32, 3), np.float32)
    found = load(path, folded=True).predict(clip)
    np.testing.assert_allclose(found, model(clip, training=False), rtol=1e-4, atol=1e-5)
    assert len(made) == 2


def test_networks_of_plugins_are_always_made(tmp_path, cache):
    config = CONFIG.replace(model=TINY)
    save_run(tmp_path / "run", config, CLASSES, build_from_config(config.model, 3, "rgb"))
    load(tmp_path / "run", folded=True)
    assert not cache.exists()


def test_without_a_place_to_write_there_is_no_cache(trained, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PERFNET_CACHE", str(tmp_path / "file"))
    assert load(trained / "run", folded=True).classes == CLASSES


def test_the_cache_keeps_those_that_were_used_last(tmp_path):
    for number in range(frozen_cache.MOST_KEPT + 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        os.utime(folder, (number, number))
    frozen_cache._remove_old(tmp_path)
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == list(
        range(2, frozen_cache.MOST_KEPT + 2)
    )
