import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras
from tiny_network import build_tiny

from perfnet_tf.config import ModelConfig
from perfnet_tf.errors import InputError
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.recognizers import exported
from perfnet_tf.saved_model import (
    export_saved_model,
    load_for_inference,
    load_saved_model,
    restore_model,
)

CLASSES = ("Clapping", "Jumping", "Running")
BACKBONES = ("s3d_g", "r3d50_g")


@pytest.fixture(scope="module", params=BACKBONES)
def network(request, config, trained_looking):
    config = config.replace(model=ModelConfig(request.param, width_multiplier=0.0625))
    model = trained_looking(build_from_config(config.model, len(CLASSES)))
    return model, config


@pytest.fixture(scope="module")
def frozen(network, tmp_path_factory):
    """Exports of the network for inference only, by precision."""
    model, config = network
    folder = tmp_path_factory.mktemp("frozen")
    return {
        precision: export_saved_model(
            model,
            folder / precision,
            classes=CLASSES,
            config=config,
            inference_only=True,
            precision=precision,
        )
        for precision in ("float32", "bfloat16")
    }


def random_clip(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def difference(values, reference):
    return np.abs(values - reference).max() / np.abs(reference).max()


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 2e-5), ("bfloat16", 0.05)])
def test_frozen_export_gives_the_logits_of_the_keras_model(network, frozen, precision, tolerance):
    model, _ = network
    module = hub.load(str(frozen[precision]))
    for shape in ((1, 8, 64, 64, 3), (3, 16, 65, 97, 3), (1, 37, 48, 64, 3)):
        clip = random_clip(*shape)
        named = model.endpoints(clip)
        assert np.ptp(named["logits"]) > 1e-3
        assert difference(module(clip), named["logits"]) < tolerance
        assert difference(module(clip, training=False), named["logits"]) < tolerance
        assert difference(module.features(clip), named["features"]) < tolerance
        scaled = tf.constant(clip / np.float32(255))
        served = module.signatures["serving_default"](frames=scaled)
        assert set(served) == {"logits", "probabilities", "features"}
        assert difference(served["logits"], named["logits"]) < tolerance
        assert served["logits"].dtype == tf.float32


def test_frozen_export_cannot_be_trained_and_says_so(frozen):
    module = tf.saved_model.load(str(frozen["float32"]))
    assert not module.variables and not module.trainable_variables
    with pytest.raises(InputError, match="without `inference_only`"):
        restore_model(frozen["float32"])


def test_model_json_states_precision_and_parity(frozen):
    for precision, path in frozen.items():
        info = json.loads((path / "assets" / "model.json").read_text())
        assert info["inference_precision"] == precision
        parity = info["parity"]["saved_model"]
        assert parity < 2e-5 if precision == "float32" else 2e-5 < parity < 0.05
        golden = np.load(path / "assets.extra" / "golden.npz")
        logits = load_saved_model(path)(golden["frames"])
        assert abs(difference(logits, golden["logits"]) - parity) < (
            2e-5 if precision == "float32" else 0.02
        )


def test_any_export_is_loaded_folded_for_inference(config, frozen, tmp_path, monkeypatch):
    monkeypatch.setattr(exported, "build_from_config", build_tiny)
    tf_keras.utils.set_random_seed(0)
    model = build_tiny(config.model, len(CLASSES))
    model.unit.norm.moving_variance.assign(np.linspace(0.5, 2, 8))
    trainable = export_saved_model(model, tmp_path / "model", classes=CLASSES, config=config)
    loaded = load_for_inference(trainable)
    for frames in (8, 9):
        clip = random_clip(2, frames, 64, 64, 3)
        assert difference(loaded(clip), model(clip)) < 2e-5
    with pytest.raises(InputError, match="training=True"):
        loaded(clip, training=True)
    half = load_for_inference(trainable, precision="bfloat16")
    assert 1e-5 < difference(half(clip), model(clip)) < 0.05
    again = load_for_inference(frozen["bfloat16"])
    assert again.info.inference_precision == "bfloat16"
    with pytest.raises(InputError, match="frozen in bfloat16"):
        load_for_inference(frozen["bfloat16"], precision="float32")


def test_precision_without_freezing_is_refused(small_model, config, tmp_path):
    with pytest.raises(InputError, match="frozen for inference"):
        export_saved_model(
            small_model, tmp_path / "m", classes=CLASSES, config=config, precision="bfloat16"
        )
    with pytest.raises(InputError, match="precision"):
        export_saved_model(
            small_model,
            tmp_path / "m",
            classes=CLASSES,
            config=config,
            inference_only=True,
            precision="int4",
        )
