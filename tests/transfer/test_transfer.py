"""S3D-G that begins with what an I3D knows."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.config import ClipConfig, ExperimentConfig, ModelConfig
from perfnet_tf.errors import InputError
from perfnet_tf.input_pipeline.dataset import build_dataset
from perfnet_tf.models.factory import build_from_config, build_model
from perfnet_tf.models.importers.s3d_layers import layers_of
from perfnet_tf.models.layers import ConvUnit
from perfnet_tf.preparation.prepare import prepare
from perfnet_tf.recognizers.imported_run import import_weights
from perfnet_tf.recognizers.load import load
from perfnet_tf.recognizers.run_directory import save_run
from perfnet_tf.training.classifier_fitting import fit_classifier
from perfnet_tf.transfer.stages import copy_alike
from perfnet_tf.transfer.transfer import separable_options, transfer

CLASSES = tuple("abcdefg")
CLIP = ClipConfig(16, 64, 64, short_side=64)
#: Of the views to fit to.
FEW = {
    "clip": ClipConfig(16, 64, 64, short_side=72),
    "num_clips": 48,
    "places": 6000,
    "progress": False,
}
THIN = {"width_multiplier": 0.1}


def make_full_network(backbone="i3d", seed=1, **options):
    """An I3D of a tenth of the width whose norms fit its activations, as after a training."""
    tf.keras.utils.set_random_seed(seed)
    config = ModelConfig(backbone, **THIN, dropout_rate=0.25, options=options)
    model = build_from_config(config, len(CLASSES))
    generator = np.random.default_rng(seed)
    for layer in layers_of(model).values():
        if isinstance(layer, ConvUnit) and layer.kernel_size == 3:
            kernel = layer.conv.kernel
            # Neighbouring frames look for the same, as in a network that began with pictures.
            slices = kernel.numpy().mean(axis=0) + 0.3 * kernel.numpy()
            kernel.assign(slices)
            layer.norm.beta.assign(generator.normal(size=layer.filters) * 0.1)
    return config, model


@pytest.fixture(scope="module")
def full(tmp_path_factory, data):
    config, model = make_full_network()
    settle(model, data)
    folder = tmp_path_factory.mktemp("full") / "run"
    config = ExperimentConfig(clip=CLIP, model=config)
    return save_run(folder, config, CLASSES, model, pretrained={"license": "MIT"})


def settle(model, data):
    """Moves the moving averages to the moments of the data's clips."""
    clips = build_dataset(
        data, "train", clip=CLIP, supervised="rgb", batch_size=8, training=True
    ).take(1)
    for layer in model.submodules:
        if hasattr(layer, "moving_mean"):
            layer.momentum = 0.0
    for batch, _ in clips:
        model(batch, training=True)
    for layer in model.submodules:
        if hasattr(layer, "moving_mean"):
            layer.momentum = 0.999


@pytest.fixture(scope="module")
def separable(full, data, tmp_path_factory):
    output = tmp_path_factory.mktemp("separable") / "run"
    return transfer(full.path, data, output, **FEW)


def test_what_both_networks_have_is_copied_and_gates_are_open(full, separable):
    assert separable.model.backbone == "s3d_g"
    ours, theirs = layers_of(separable.model), layers_of(full.model)
    np.testing.assert_array_equal(
        ours["Conv2d_1a_7x7"].conv.kernel, theirs["Conv3d_1a_7x7"].conv.kernel
    )
    np.testing.assert_array_equal(
        ours["Mixed_5c.branch2.conv1x1"].norm.moving_variance,
        theirs["Mixed_5c.branch2.conv1x1"].norm.moving_variance,
    )
    np.testing.assert_array_equal(separable.model.classifier.kernel, full.model.classifier.kernel)
    gates = [layer for place, layer in ours.items() if place.endswith("gating")]
    assert len(gates) == 37  # after 2c, and four in each of nine cells
    for gate in gates:
        assert gate.neutral
        assert not np.any(gate.gate.kernel)


def test_feature_maps_follow_the_full_network_where_copying_alone_does_not(full, separable, data):
    clips = build_dataset(data, "test", clip=CLIP, supervised="rgb", batch_size=7, training=False)
    clip = next(iter(clips))[0]
    wanted = full.model.endpoints(clip)["Mixed_3c"].numpy()
    copied = build_model("s3d_g", len(CLASSES), **separable_options(full.model, "s3d_g"))
    copy_alike(full.model, copied)
    missed = [
        np.sum((model.endpoints(clip)["Mixed_3c"].numpy() - wanted) ** 2)
        / np.sum((wanted - wanted.mean(axis=0)) ** 2)
        for model in (separable.model, copied)
    ]
    assert missed[0] < 0.25
    assert missed[1] > 4 * missed[0]


def test_the_run_says_where_it_comes_from_and_how_alike_it_answers(full, separable):
    record = separable.record
    assert separable.classes == CLASSES
    assert record["initial"] == str(full.path)
    assert record["pretrained"] == {"license": "MIT", "trained_further": True}
    found = record["transferred"]
    assert found["clips"] == 48
    assert found["clip"] == "16x64x64"
    assert len(found["missed"]) == 19
    assert all(0 < missed < 0.6 for missed in found["missed"].values())
    assert 0.8 < found["correlation_of_logits"] < 1
    assert 0 <= found["same_first_answer"] <= 1


def test_the_run_loads_and_begins_other_runs(separable, data, tmp_path):
    clips = np.random.default_rng(0).random((1, 16, 64, 64, 3), np.float32)
    again = load(separable.path)
    np.testing.assert_allclose(again(clips), separable.model(clips), atol=1e-5)
    assert again.clip == CLIP
    fitted = fit_classifier(separable.path, data, tmp_path / "fitted", progress=False)
    assert fitted.model.backbone == "s3d_g"
    assert fitted.config.model.options["neutral_gates"] is True


def test_the_same_seed_makes_the_same_network(full, separable, data, tmp_path):
    again = transfer(full.path, data, tmp_path / "again", **FEW)
    for ours, theirs in zip(again.model.variables, separable.model.variables, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_trained_gates_are_copied(tmp_path, data):
    _, model = make_full_network("i3d_g")
    generator = np.random.default_rng(3)
    for place, layer in layers_of(model).items():
        if place.endswith("gating"):
            layer.gate.kernel.assign(generator.normal(size=layer.gate.kernel.shape))
    target = build_model("s3d_g", len(CLASSES), **separable_options(model, "s3d_g"))
    copy_alike(model, target)
    theirs = layers_of(model)
    for place, layer in layers_of(target).items():
        if place.endswith("gating") and place.startswith("Mixed"):
            np.testing.assert_array_equal(layer.gate.kernel, theirs[place].gate.kernel)


def test_gates_are_not_dropped(tmp_path, data):
    config, model = make_full_network("i3d_g")
    run = save_run(tmp_path / "gated", ExperimentConfig(clip=CLIP, model=config), CLASSES, model)
    with pytest.raises(InputError, match="has gates, which s3d lacks"):
        transfer(run, data, tmp_path / "out", backbone="s3d")


def test_only_an_i3d_is_taken_over(separable, data, tmp_path):
    with pytest.raises(InputError, match="Received: a network of s3d_g"):
        transfer(separable.path, data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_few_clips_are_an_error_that_says_how_many_it_takes(full, data, tmp_path):
    with pytest.raises(InputError, match="at least 8 batches. Received: 28 clips in batches of 4"):
        transfer(full.path, data, tmp_path / "out", num_clips=28)


@pytest.fixture
def kinetics_i3d(tmp_path):
    """I3D with its published weights, which PERFNET_I3D_WEIGHTS names."""
    path = pathlib.Path(os.environ.get("PERFNET_I3D_WEIGHTS", "nothing"))
    if not path.is_file():
        pytest.skip("PERFNET_I3D_WEIGHTS names no file")
    return import_weights("kinetics_i3d", path, tmp_path / "i3d")


@pytest.mark.data
@pytest.mark.slow
def test_kinetics_answers_are_kept(kinetics_i3d, real_data, tmp_path):
    """Real weights and real videos: most of 400 classes' first answers stay the same."""
    data = tmp_path / "data"
    videos = sorted((real_data / "videos" / "ucf101_8class").rglob("*.avi"))[::5]
    (tmp_path / "videos").mkdir()
    for video in videos:
        (tmp_path / "videos" / video.name).symlink_to(video)
    prepare(
        tmp_path / "videos", data, dataset="unlabelled", short_side=128, pose="none", flow="none"
    )
    clip = ClipConfig(32, 112, 112, frame_stride=2)
    made = transfer(
        kinetics_i3d, data, tmp_path / "out", clip=clip, num_clips=64, places=8000, progress=False
    )
    found = made.record["transferred"]
    assert found["correlation_of_logits"] > 0.9
    assert max(found["missed"].values()) < 0.15
