"""TF-slim's and torchvision's S3D, from files in their formats, against their layer tables."""

import json

import numpy as np
import published_s3d
import pytest
import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.models.importers import import_model

#: Batch, frames, height, width; no stride divides them.
CLIP = (2, 11, 33, 43)


def relative_error(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def write_tf1(path, tensors):
    """As `tf.compat.v1.train.Saver` does."""
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        for name, value in tensors.items():
            tf.compat.v1.Variable(value, name=name, use_resource=False)
        session.run(tf.compat.v1.global_variables_initializer())
        return tf.compat.v1.train.Saver().save(session, str(path), write_meta_graph=False)


def write_safetensors(path, tensors):
    """The published layout: length of the table, table, bytes."""
    kinds = {"float32": "F32", "int64": "I64", "float16": "F16"}
    table, blob = {"__metadata__": {"format": "pt"}}, b""
    for name, value in tensors.items():
        begin, blob = len(blob), blob + value.tobytes()
        table[name] = {
            "dtype": kinds[value.dtype.name],
            "shape": list(value.shape),
            "data_offsets": [begin, len(blob)],
        }
    header = json.dumps(table).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + blob)
    return path


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
    assert report.unused == {"Conv2d_1a_7x7/weights/Momentum": "of the optimizer"}
    assert report.initial == {}
    assert "1 tensors outside the scope InceptionV1" in report.notes
    assert any("fed to the network as [-1, 1]" in note for note in report.notes)


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


def test_torchvisions_windows_weigh_a_wide_clip_as_published(torch_network, torch_file):
    # 9 columns of the last map: more than the 7 of a window.
    imported = import_model("torchvision_s3d", torch_file)
    clip = np.random.default_rng(1).random((1, 9, 32, 290, 3)).astype(np.float32)
    mean, deviation = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
    expected = torch_network.logits((np.float64(clip) - mean) / deviation)
    assert imported.model.endpoints(clip)["Mixed_5c"].shape[3] == 9
    assert relative_error(imported.model(clip), expected) < 1e-4


def test_a_state_dict_of_torch_is_read_without_running_code(torch_network, torch_file, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[torch]'")
    state = {f"module.{k}": torch.from_numpy(v) for k, v in torch_network.tensors.items()}
    torch.save({"model": state, "epoch": 3}, tmp_path / "s3d.pth")
    imported = import_model("torchvision_s3d", tmp_path / "s3d.pth")
    expected = import_model("torchvision_s3d", torch_file).model.get_weights()
    for ours, theirs in zip(imported.model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)

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
    network = video.s3d(weights=None, num_classes=5).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d):
            torch.nn.init.kaiming_normal_(module.weight)
    torch.save(network.state_dict(), tmp_path / "s3d.pth")
    model = import_model("torchvision_s3d", tmp_path / "s3d.pth").model
    clip = np.random.default_rng(0).random((1, 14, 224, 260, 3)).astype(np.float32)
    mean, deviation = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
    normalized = ((clip - mean) / deviation).astype(np.float32).transpose(0, 4, 1, 2, 3)
    with torch.no_grad():
        expected = network(torch.from_numpy(normalized)).numpy()
    assert relative_error(model(clip), expected) < 1e-4


@pytest.mark.parametrize(
    ("options", "tensor", "remedy"),
    [
        (
            {"stem_temporal_kernel": 7},
            r"Conv2d_1a_7x7/weights is \[3, 7, 7, 3, 16\], Conv2d_1a_7x7.kernel is "
            r"\[7, 7, 7, 3, 16\]",
            "--option=stem_temporal_kernel=3",
        ),
        (
            {"width_multiplier": 0.5},
            r"Conv2d_1a_7x7/weights is \[3, 7, 7, 3, 16\], Conv2d_1a_7x7.kernel is "
            r"\[3, 7, 7, 3, 32\]",
            "--option=width_multiplier=0.25",
        ),
        (
            {"gating": "none"},
            r"it holds Conv2d_2c_3x3/self_gating/transformer_W/weights \[1, 1, 1, 48, 48\]",
            '--option=gating="branch"',
        ),
        (
            {"batch_norm_scale": True},
            r"it has no Conv2d_1a_7x7/BatchNorm/gamma, which would be Conv2d_1a_7x7.gamma \[16\]",
            "--option=batch_norm_scale=false",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_what_would(slim_file, options, tensor, remedy):
    with pytest.raises(InputError, match=tensor) as refusal:
        import_model("slim_s3dg", slim_file, options=options)
    assert remedy in str(refusal.value)


def test_the_stream_is_checked(slim_file):
    with pytest.raises(InputError, match=r"\[3, 7, 7, 2, 16\].* --stream=rgb"):
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
    with pytest.raises(InputError, match="NaN or infinity in Logits"):
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
def test_damaged_files_are_told_in_one_line(tmp_path, source, content, message):
    path = tmp_path / "file.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        import_model(source, path)
    with pytest.raises(InputError, match="no (file|checkpoint)"):
        import_model(source, tmp_path / "missing.safetensors")
