import os
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from tiny_network import TINY

from perfnet_tf.config import ClipConfig, ExperimentConfig, ModelConfig
from perfnet_tf.downloads.cache import cache_folder
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.recognizers import frozen_cache
from perfnet_tf.recognizers.frozen_cache import frozen_network
from perfnet_tf.recognizers.frozen_graph import OUTPUTS, FrozenGraph
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


class Maker:
    """Makes graphs of networks that double their input, and counts them."""

    def __init__(self):
        self.made = 0

    def __call__(self):
        self.made += 1
        with tf.Graph().as_default() as graph:
            doubled = 2 * tf.compat.v1.placeholder(tf.float32, [None], name="inputs")
            for name in OUTPUTS:
                tf.identity(doubled, name=f"frozen_{name}")
        return FrozenGraph(graph.as_graph_def(), {})


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"numbers")
    return path


def test_a_network_is_made_once(cache, weights):
    make = Maker()
    for _ in range(3):
        network = frozen_network(CONFIG, [weights], "float32", make)
        assert network(tf.constant([1.0, 3.0])).numpy().tolist() == [2, 6]
    assert make.made == 1 and len(list(cache.iterdir())) == 1


def test_another_precision_and_other_weights_are_other_networks(cache, weights):
    make = Maker()
    frozen_network(CONFIG, [weights], "float32", make)
    frozen_network(CONFIG, [weights], "bfloat16", make)
    weights.write_bytes(b"other numbers")
    frozen_network(CONFIG, [weights], "float32", make)
    assert make.made == len(list(cache.iterdir())) == 3


def test_a_damaged_network_is_made_again(cache, weights):
    make = Maker()
    frozen_network(CONFIG, [weights], "float32", make)
    (graph,) = cache.glob("*/graph.pb")
    graph.write_bytes(graph.read_bytes()[:-9])
    assert frozen_network(CONFIG, [weights], "float32", make)(tf.constant([1.0])).numpy() == [2]
    assert make.made == 2
    frozen_network(CONFIG, [weights], "float32", make)
    assert make.made == 2


def test_networks_of_plugins_are_always_made(cache, weights):
    make = Maker()
    for _ in range(2):
        frozen_network(CONFIG.replace(model=TINY), [weights], "float32", make)
    assert make.made == 2 and not cache.exists()


def test_without_a_place_to_write_there_is_no_cache(weights, monkeypatch):
    monkeypatch.setenv("PERFNET_CACHE", str(weights))
    assert frozen_network(CONFIG, [weights], "float32", Maker())(tf.constant([1.0])).numpy() == [2]


def test_the_cache_keeps_those_that_were_used_last(tmp_path):
    most = frozen_cache.MOST_KEPT
    for number in range(most + 2):
        (tmp_path / str(number)).mkdir()
        os.utime(tmp_path / str(number), (number, number))
    frozen_cache._remove_old(tmp_path)
    assert {int(path.name) for path in tmp_path.iterdir()} == set(range(2, most + 2))


def test_runs_and_exports_answer_out_of_the_cache_as_their_layers_do(cache, tmp_path, monkeypatch):
    # As one of the package's own, which take a minute here.
    own = SimpleNamespace(network="perfnet_tf.models.tiny:TinyNetwork")
    monkeypatch.setattr(frozen_cache, "BACKBONES", {"tiny": own})
    config = CONFIG.replace(model=TINY)
    model = build_from_config(config.model, len(CLASSES), "rgb")
    run = save_run(tmp_path / "run", config, CLASSES, model)
    export_saved_model(run, tmp_path / "export")
    clip = np.random.default_rng(0).random((2, 4, 32, 32, 3), np.float32)
    expected = model(clip, training=False)
    for kind in ("run", "export"):
        np.testing.assert_allclose(
            load(tmp_path / kind, folded=True).predict(clip), expected, rtol=1e-4, atol=1e-5
        )

    def refuse(*args, **options):
        pytest.fail("a network in the cache needs no layers")

    with monkeypatch.context() as patch:
        patch.setattr("perfnet_tf.recognizers.load.load_run", refuse)
        patch.setattr("perfnet_tf.recognizers.exported.restore_model", refuse)
        assert len(list(cache.iterdir())) == 2
        for kind in ("run", "export"):
            network = load(tmp_path / kind, folded=True)
            np.testing.assert_allclose(network.predict(clip), expected, rtol=1e-4, atol=1e-5)
            assert (network.classes, network.clip) == (CLASSES, CONFIG.clip)
    assert network.layers().backbone == "tiny"  # loaded when it is asked for
