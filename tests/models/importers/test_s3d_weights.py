"""TF-slim's and torchvision's S3D, from files in their formats, against their layer tables."""

import argparse

import numpy as np
import published_s3d
import pytest
from weight_files import write_safetensors, write_tf1

from perfnet_tf.errors import InputError
from perfnet_tf.models.importers import import_model

#: Batch, frames, height, width; no stride divides them.
CLIP = (2, 11, 33, 43)


def relative_error(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


@pytest.fixture(scope="module")
def slim():
    return published_s3d.SlimS3DG()


@pytest.fixture(scope="module")
def slim_file(slim, tmp_path_factory):
    scoped = {f"InceptionV1/{name}": value for name, value in slim.tensors.items()}
    scoped["InceptionV1/Conv2d_1a_7x7/weights/Momentum"] = np.zeros((3, 7, 7, 3, 16), np.float32)
    scoped["global_step"] = np.array(3, np.int64)
    return write_tf1(tmp_path_factory.mktemp("slim") / "model.ckpt", scoped)


@pytest.fixture(scope="module")
def slim_weights(slim_file):
    return import_model("slim_s3dg", slim_file).model.get_weights()


@pytest.fixture(scope="module")
def torch_weights(torch_file):
    return import_model("torchvision_s3d", torch_file).model.get_weights()


@pytest.fixture(scope="module")
def torch_network():
    return published_s3d.TorchvisionS3D()


@pytest.fixture(scope="module")
def torch_file(torch_network, tmp_path_factory):
    path = tmp_path_factory.mktemp("torchvision") / "s3d.safetensors"
    return write_safetensors(path, torch_network.tensors)


def test_slims_s3dg_gives_its_logits(slim, slim_file):
    imported = import_model("slim_s3dg", slim_file)
    clip = np.random.default_rng(1).random((*CLIP, 3)).astype(np.float32)
    expected = slim.logits(np.float64(clip) * 2 - 1)
    assert np.ptp(expected, axis=0).max() > 1e-2 * np.abs(expected).max()
    assert relative_error(imported.model(clip), expected) < 1e-4
    assert (imported.config.model.backbone, imported.config.stream) == ("s3d_g", "rgb")
    assert imported.config.model.width_multiplier == 0.25
    report = imported.report
    assert len(report.used) == len(imported.model.variables) == len(slim.tensors)
    assert report.unused == {
        "InceptionV1/Conv2d_1a_7x7/weights/Momentum": "next to a variable, for training: of the "
        "optimizer or an average",
        "global_step": "outside the scope InceptionV1",
    }
    assert report.initial == {}
    assert any("fed to the network as [-1, 1]" in note for note in report.notes)


def test_slims_pooling_weighs_a_wide_clip_as_published(slim, slim_file):
    # 9 columns of the last map: more than the 7 of TF-slim's pooling.
    imported = import_model("slim_s3dg", slim_file)
    clip = np.random.default_rng(1).random((1, 9, 32, 288, 3)).astype(np.float32)
    assert imported.model.endpoints(clip)["Mixed_5c"].shape[3] == 9
    assert relative_error(imported.model(clip), slim.logits(np.float64(clip) * 2 - 1)) < 1e-4


def beside(name, value, kinds):
    return {f"{name}/{kind}": np.zeros_like(value) for kind in kinds}


def keep_axes(tensors):
    """Batch norm as TF-slim's was before it was fused."""
    return {
        name: value.reshape(1, 1, 1, 1, -1) if "/BatchNorm/" in name else value
        for name, value in tensors.items()
    }


def trained_by_adam(tensors):
    unit, head = "Conv2d_2b_1x1", "Logits/Conv2d_0c_1x1"
    slots = {f"{unit}/BatchNorm/renorm_mean": np.zeros(16, np.float32)}
    for name in (f"{unit}/weights", f"{unit}/BatchNorm/beta", f"{head}/biases"):
        slots |= beside(name, tensors[name], ("Adam", "Adam_1", "ExponentialMovingAverage"))
    mean = f"{unit}/BatchNorm/moving_mean"  # of zero_debias_moving_mean
    slots |= beside(mean, tensors[mean], ("biased", "local_step"))
    return {**tensors, **slots}


def named_by_dimension(tensors):
    return {name.replace("Conv2d_", "Conv3d_"): value for name, value in tensors.items()}


def misnamed_as_inception(tensors):
    place = "Mixed_5b/Branch_2/Conv2d_0"
    return {name.replace(f"{place}b", f"{place}a"): value for name, value in tensors.items()}


@pytest.mark.parametrize(
    ("scope", "variants"),
    [("RGB/InceptionV1/", (keep_axes, misnamed_as_inception)),
     ("", (trained_by_adam, named_by_dimension))],
)  # fmt: skip
def test_checkpoints_as_trainings_wrote_them_give_the_same_weights(
    slim, slim_weights, tmp_path, scope, variants
):
    varied = slim.tensors
    for variant in variants:
        varied = variant(varied)
    tensors = {scope + name: value for name, value in varied.items()}
    tensors |= {"global_step": np.int64(7), "beta1_power": np.float32(0.5)}
    imported = import_model("slim_s3dg", write_tf1(tmp_path / "model.ckpt-7", tensors))
    for ours, theirs in zip(imported.model.get_weights(), slim_weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    report = imported.report
    assert {"global_step", "beta1_power"} <= set(report.unused)
    seen = [name for variable in report.used for name in variable["source"].split()]
    assert sorted([*seen, *report.unused]) == sorted(tensors)


def test_one_of_two_networks_is_named_by_its_scope(slim, tmp_path):
    flow = published_s3d.SlimS3DG(0.1, channels=2)
    tensors = {f"RGB/InceptionV1/{name}": value for name, value in slim.tensors.items()}
    tensors |= {f"Flow/InceptionV1/{name}": value for name, value in flow.tensors.items()}
    path = write_tf1(tmp_path / "both", tensors)
    with pytest.raises(InputError, match="scopes Flow/InceptionV1, RGB/InceptionV1. Name one by"):
        import_model("slim_s3dg", path)
    imported = import_model("slim_s3dg", path, scope="Flow/InceptionV1")
    assert imported.config.stream == "flow"
    assert len(imported.report.used) == len(flow.tensors)
    assert imported.report.unused == {
        name: "outside the scope Flow/InceptionV1" for name in tensors if name.startswith("RGB/")
    }


def test_slims_flow_network_without_gates_and_with_a_longer_first_kernel(tmp_path):
    network = published_s3d.SlimS3DG(0.1, channels=2, stem_frames=7, gated=False)
    scoped = {f"Flow/InceptionV1/{name}": value for name, value in network.tensors.items()}
    imported = import_model("slim_s3dg", write_tf1(tmp_path / "flow", scoped))
    config = imported.config
    assert (config.stream, config.model.backbone) == ("flow", "s3d")
    assert config.model.options["stem_temporal_kernel"] == 7
    flow = np.random.default_rng(1).normal(0, 9, (*CLIP, 2)).astype(np.float32)
    expected = network.logits(np.clip(np.float64(flow), -20, 20) / 20)
    assert relative_error(imported.model(flow), expected) < 1e-4


def test_moving_averages_are_taken_on_demand_and_where_nothing_else_is(tmp_path, slim):
    plain = {f"A/{name}": value for name, value in slim.tensors.items()}
    stem, average = "A/Conv2d_2b_1x1/weights", "/ExponentialMovingAverage"
    both = {**plain, stem + average: plain[stem] * 2}
    path = write_tf1(tmp_path / "both", both)
    kernels = {
        taken: import_model("slim_s3dg", path, average=taken).model.stages["Conv2d_2b_1x1"].conv
        for taken in (False, True)
    }
    np.testing.assert_array_equal(kernels[False].kernel, plain[stem])
    np.testing.assert_array_equal(kernels[True].kernel, 2 * plain[stem])
    with pytest.raises(InputError, match="`average` .* which has none"):
        import_model("slim_s3dg", write_tf1(tmp_path / "plain", plain), average=True)
    del both[stem]
    alone = import_model("slim_s3dg", write_tf1(tmp_path / "alone", both))
    kernel = alone.model.stages["Conv2d_2b_1x1"].conv.kernel
    np.testing.assert_array_equal(kernel, 2 * plain[stem])


def test_torchvisions_s3d_gives_its_logits(torch_network, torch_file):
    imported = import_model("torchvision_s3d", torch_file)
    clip = np.random.default_rng(1).random((*CLIP, 3)).astype(np.float32)
    mean, deviation = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
    expected = torch_network.logits((np.float64(clip) - mean) / deviation)
    assert np.ptp(expected, axis=0).max() > 1e-2 * np.abs(expected).max()
    assert relative_error(imported.model(clip), expected) < 1e-4
    assert imported.config.model.backbone == "s3d"
    report = imported.report
    assert len(report.used) == len(imported.model.variables)
    assert set(report.unused.values()) == {"counters"}


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.backbone."])
def test_a_network_within_modules_is_found(torch_network, torch_weights, tmp_path, prefix):
    wrapped = {prefix + name: value for name, value in torch_network.tensors.items()}
    wrapped["n_averaged"] = np.array(3, np.int64)
    path = write_safetensors(tmp_path / "wrapped.safetensors", wrapped)
    imported = import_model("torchvision_s3d", path)
    for ours, theirs in zip(imported.model.get_weights(), torch_weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    report = imported.report
    assert report.used[0]["source"] == f"{prefix}features.0.0.0.weight"
    assert report.unused["n_averaged"] == f"outside the module {prefix.rstrip('.')}"


def test_one_of_two_modules_is_named_by_its_scope(torch_network, tmp_path):
    halves = {
        f"{module}.{name}": value * np.array(factor, value.dtype)
        for module, factor in (("student", 1), ("teacher", 2))
        for name, value in torch_network.tensors.items()
    }
    path = write_safetensors(tmp_path / "both.safetensors", halves)
    with pytest.raises(InputError, match="scopes student, teacher. Name one by `scope`"):
        import_model("torchvision_s3d", path)
    classifier = import_model("torchvision_s3d", path, scope="teacher").model.classifier
    np.testing.assert_array_equal(classifier.bias, 2 * torch_network.tensors["classifier.1.bias"])


def test_torchvisions_windows_weigh_a_wide_clip_as_published(torch_network, torch_file):
    # 9 columns of the last map: more than the 7 of a window.
    imported = import_model("torchvision_s3d", torch_file)
    clip = np.random.default_rng(1).random((1, 9, 32, 290, 3)).astype(np.float32)
    mean, deviation = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
    expected = torch_network.logits((np.float64(clip) - mean) / deviation)
    assert imported.model.endpoints(clip)["Mixed_5c"].shape[3] == 9
    assert relative_error(imported.model(clip), expected) < 1e-4


def test_a_state_dict_of_torch_is_read_without_running_code(torch_network, torch_weights, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[torch]'")
    state = {f"module.{k}": torch.from_numpy(v) for k, v in torch_network.tensors.items()}
    # As torchvision's training script saves, and another with averages.
    command_line = argparse.Namespace(batch_size=24, output_dir=".")
    saved = {"model": state, "optimizer": {"state": {}}, "epoch": 3, "args": command_line}
    torch.save(saved, tmp_path / "s3d.pth")
    doubled = {name: 2 * value for name, value in state.items()}
    torch.save({"state_dict": state, "model_ema": doubled}, tmp_path / "averaged.pt")
    for name, average in (("s3d.pth", False), ("averaged.pt", False), ("averaged.pt", True)):
        imported = import_model("torchvision_s3d", tmp_path / name, average=average)
        for ours, theirs in zip(imported.model.get_weights(), torch_weights, strict=True):
            np.testing.assert_array_equal(ours, 2 * theirs if average else theirs)
    with pytest.raises(InputError, match="`average` .* which has none"):
        import_model("torchvision_s3d", tmp_path / "s3d.pth", average=True)

    class Code:
        def __reduce__(self):
            return exit, (3,)

    torch.save(Code(), tmp_path / "code.pth")
    with pytest.raises(InputError, match="without code"):
        import_model("torchvision_s3d", tmp_path / "code.pth")


def test_torchs_own_s3d_gives_the_same_logits(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[torch]'")
    video = pytest.importorskip("torchvision.models.video", exc_type=Exception)
    torch.manual_seed(0)
    network = video.s3d(weights=None, num_classes=5, dropout=0.0)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d):
            torch.nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, torch.nn.BatchNorm3d):
            for parameter in (module.weight, module.running_var):
                torch.nn.init.uniform_(parameter, 0.5, 1.5)
            for parameter in (module.bias, module.running_mean):
                torch.nn.init.uniform_(parameter, -0.3, 0.3)
    torch.save(network.state_dict(), tmp_path / "s3d.pth")
    model = import_model("torchvision_s3d", tmp_path / "s3d.pth").model
    model.dropout.rate = 0.0
    clip = np.random.default_rng(0).random((1, 14, 224, 260, 3)).astype(np.float32)
    mean, deviation = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
    normalized = ((clip - mean) / deviation).astype(np.float32).transpose(0, 4, 1, 2, 3)
    for training in (False, True):
        with torch.no_grad():
            expected = network.train(training)(torch.from_numpy(normalized)).numpy()
        assert relative_error(model(clip, training=training), expected) < 1e-4


@pytest.mark.parametrize(
    ("options", "tensor", "remedy"),
    [
        (
            {"stem_temporal_kernel": 7},
            r"Conv2d_1a_7x7/weights is \[3, 7, 7, 3, 16\], Conv2d_1a_7x7.kernel is "
            r"\[7, 7, 7, 3, 16\]",
            "`options` stem_temporal_kernel=3",
        ),
        (
            {"width_multiplier": 0.5},
            r"Conv2d_1a_7x7/weights is \[3, 7, 7, 3, 16\], Conv2d_1a_7x7.kernel is "
            r"\[3, 7, 7, 3, 32\]",
            "`options` width_multiplier=0.25",
        ),
        (
            {"gating": "none"},
            r"it holds InceptionV1/Conv2d_2c_3x3/self_gating/transformer_W/weights "
            r"\[1, 1, 1, 48, 48\]",
            '`options` gating="branch"',
        ),
        (
            {"batch_norm_scale": True},
            r"it has no Conv2d_1a_7x7/BatchNorm/gamma, which would be Conv2d_1a_7x7.gamma \[16\]",
            "`options` batch_norm_scale=false",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_what_would(slim_file, options, tensor, remedy):
    with pytest.raises(InputError, match=tensor) as refusal:
        import_model("slim_s3dg", slim_file, options=options)
    assert remedy in str(refusal.value)


def test_the_stream_is_checked(slim_file):
    with pytest.raises(InputError, match=r"\[3, 7, 7, 2, 16\].* `stream` rgb"):
        import_model("slim_s3dg", slim_file, stream="flow")
    assert import_model("slim_s3dg", slim_file, stream="pose").config.stream == "pose"


def test_a_tensor_of_another_network_is_refused_without_a_remedy(tmp_path, slim):
    tensors = {f"InceptionV1/{name}": value for name, value in slim.tensors.items()}
    name = "InceptionV1/Mixed_4c/Branch_1/Conv2d_0b_3x3/weights"
    tensors[name] = tensors[name][..., :-1]
    with pytest.raises(InputError, match=r"Mixed_4c.*No option makes it fit"):
        import_model("slim_s3dg", write_tf1(tmp_path / "odd", tensors))


def test_values_that_are_not_finite_are_refused(tmp_path, slim):
    tensors = {f"InceptionV1/{name}": value.copy() for name, value in slim.tensors.items()}
    tensors["InceptionV1/Logits/Conv2d_0c_1x1/biases"][0] = np.nan
    with pytest.raises(InputError, match="NaN or infinity in InceptionV1/Logits"):
        import_model("slim_s3dg", write_tf1(tmp_path / "nan", tensors))


def test_class_names_must_be_as_many_as_logits(slim_file):
    assert import_model("slim_s3dg", slim_file, classes=list("abcde")).classes == tuple("abcde")
    with pytest.raises(InputError, match="4 names, 5 logits"):
        import_model("slim_s3dg", slim_file, classes=list("abcd"))


@pytest.mark.parametrize(
    ("source", "content", "message"),
    [
        ("torchvision_s3d", b"\xff" * 40, "not a whole .safetensors"),
        ("slim_s3dg", b"nothing", "TensorFlow checkpoint was expected"),
    ],
)
def test_damaged_files_print_one_error_line(tmp_path, source, content, message):
    path = tmp_path / "file.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        import_model(source, path)
    with pytest.raises(InputError, match="no (file|checkpoint)"):
        import_model(source, tmp_path / "missing.safetensors")
