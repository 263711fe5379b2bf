"""The boring-video test: a still frame repeated gives the image network's activations."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from perfnet_tf.errors import InputError
from perfnet_tf.models.importers import import_model

#: Keras' ResNet50, layer by layer, where Table 1 has its endpoints.
RESNET_ENDPOINTS = {
    "conv1": "conv1_relu",
    "pool1": "pool1_pool",
    "res2": "conv2_block3_out",
    "res3": "conv3_block4_out",
    "res4": "conv4_block6_out",
    "res5": "conv5_block3_out",
}
CAFFE_MEAN = np.array([103.939, 116.779, 123.68])  # blue, green, red


def still_clip(image, frames):
    return np.repeat(image[:, None], frames, axis=1)


def relative_error(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (1, 47, 65, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def resnet(image):
    """Keras' ResNet50 with weights and statistics that tell layers apart."""
    network = tf_keras.applications.ResNet50(weights=None, input_shape=image.shape[1:])
    rng = np.random.default_rng(2)
    for layer in network.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            size = layer.gamma.shape
            gamma, variance = (rng.uniform(0.5, 1.5, size) for _ in range(2))
            beta, mean = (rng.uniform(-0.3, 0.3, size) for _ in range(2))
            layer.set_weights([gamma, beta, mean, variance])
        elif isinstance(layer, tf_keras.layers.Conv2D):
            kernel, bias = layer.get_weights()
            deviation = np.sqrt(2 / np.prod(kernel.shape[:-1]))
            kernel = rng.normal(0, deviation, kernel.shape)
            layer.set_weights([kernel, rng.normal(0, 0.1, bias.shape)])
    return network


def as_keras_sees(image):
    """What `tf_keras.applications.resnet50.preprocess_input` makes of it."""
    return (image[..., ::-1] - CAFFE_MEAN).astype(np.float32)


@pytest.fixture(scope="module")
def resnet_file(resnet, tmp_path_factory):
    path = tmp_path_factory.mktemp("resnet") / "resnet50.h5"
    resnet.save_weights(str(path))
    return path


@pytest.fixture(scope="module")
def ungated(resnet_file):
    return import_model("imagenet_resnet50", resnet_file, options={"gating": "none"})


@pytest.fixture(scope="module")
def still_endpoints(image, resnet, ungated):
    """Ours without gates, from a still clip, and those of ResNet50, by our names."""
    layers = [resnet.get_layer(name).output for name in RESNET_ENDPOINTS.values()]
    theirs = tf_keras.Model(resnet.inputs, layers)(as_keras_sees(image))
    ours = ungated.model.endpoints(still_clip(image, 24))
    return ours, dict(zip(RESNET_ENDPOINTS, theirs, strict=True))


def test_r3d50_sees_in_a_still_clip_what_resnet50_sees(resnet, ungated, still_endpoints):
    ours, theirs = still_endpoints
    # Padded frames reach 11 frames into the clip: 2 by conv1, then 1 by each kernel of 3 frames.
    for name in RESNET_ENDPOINTS:
        for frame in (11, 12):
            assert relative_error(ours[name][:, frame], theirs[name]) < 1e-4, name
    assert ungated.config.model.backbone == "r3d50"
    assert len(ungated.classes) == 1000
    assert ungated.report.initial == {}
    kernel = resnet.get_layer("predictions").kernel
    np.testing.assert_array_equal(ungated.model.classifier.kernel, kernel)


@pytest.mark.parametrize(
    ("gating", "gates"),
    [
        ("block", 4),
        pytest.param("cell", 16, marks=pytest.mark.slow),
        pytest.param("block_residual", 4, marks=pytest.mark.slow),
    ],
)
def test_gates_leave_the_network_as_it_is(image, resnet_file, still_endpoints, gating, gates):
    imported = import_model("imagenet_resnet50", resnet_file, options={"gating": gating})
    ungated, _ = still_endpoints
    endpoints = imported.model.endpoints(still_clip(image, 24))
    for name in RESNET_ENDPOINTS:
        assert relative_error(endpoints[name], ungated[name]) < 1e-5, name
    assert imported.config.model.backbone == "r3d50_g"
    assert len(imported.report.initial) == 2 * gates


def test_weights_without_a_top_make_a_flow_network_with_a_fresh_classifier(resnet, tmp_path):
    body = tf_keras.applications.ResNet50(weights=None, include_top=False, input_shape=(47, 65, 3))
    body.set_weights(resnet.get_weights()[:-2])
    body.save_weights(str(tmp_path / "notop.h5"))
    imported = import_model(
        "imagenet_resnet50", tmp_path / "notop.h5", classes=["run", "sit"], stream="flow"
    )
    assert imported.classes == ("run", "sit")
    assert "classifier.kernel" in imported.report.initial
    kernel = imported.model.conv1.conv.kernel.numpy()
    assert kernel.shape == (5, 7, 7, 2, 64)
    np.testing.assert_allclose(
        kernel.sum(axis=(0, 3)) / 127.5,
        resnet.get_layer("conv1_conv").kernel.numpy().sum(axis=2),
        rtol=1e-4,
        atol=1e-6,
    )


def rename_the_head(path, name):
    import h5py

    with h5py.File(path, "a") as file:
        names = [
            name.encode() if layer == b"predictions" else layer
            for layer in (
                n.encode() if isinstance(n, str) else n for n in file.attrs["layer_names"]
            )
        ]
        file.move("predictions", name)
        file.attrs["layer_names"] = names


@pytest.mark.slow
def test_published_weights_whose_head_has_another_name_are_read(resnet, resnet_file, tmp_path):
    path = tmp_path / "probs.h5"
    path.write_bytes(resnet_file.read_bytes())
    rename_the_head(path, "probs")
    imported = import_model("imagenet_resnet50", path, options={"gating": "none"})
    kernel = resnet.get_layer("predictions").kernel
    np.testing.assert_array_equal(imported.model.classifier.kernel, kernel)


@pytest.mark.slow
def test_a_network_with_a_top_of_ones_own_is_read(resnet, image, tmp_path):
    body = tf_keras.applications.ResNet50(weights=None, include_top=False, pooling="avg")
    body.set_weights(resnet.get_weights()[:-2])
    classifier = tf_keras.Sequential([body, tf_keras.layers.Dense(5, name="mine")])
    classifier.build((None, *image.shape[1:]))
    classifier.save(str(tmp_path / "mine.h5"))
    imported = import_model("imagenet_resnet50", tmp_path / "mine.h5", options={"gating": "none"})
    expected = classifier(as_keras_sees(image))
    clip = still_clip(image, 24)
    features = imported.model.endpoints(clip)["res5"][:, 12].numpy().mean(axis=(1, 2))
    assert relative_error(imported.model.classifier(features), expected) < 1e-4


def test_an_image_network_that_does_not_fit_is_refused(resnet, tmp_path):
    other = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,), name="dense")])
    other.save_weights(str(tmp_path / "other.h5"))
    with pytest.raises(InputError, match="conv1_conv/kernel.*such as dense/kernel"):
        import_model("imagenet_resnet50", tmp_path / "other.h5")


def image_inception(slim, image):
    """TF-slim's InceptionV1 with random weights: its variables, endpoints and logits' kernel."""
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        from tf_slim.nets import inception_v1

        rng = np.random.default_rng(3)
        norm = {"epsilon": 0.001, "decay": 0.9997}
        with (
            slim.arg_scope([slim.conv2d], normalizer_fn=slim.batch_norm, normalizer_params=norm),
            slim.arg_scope([slim.batch_norm], is_training=False),
        ):
            inputs = tf.compat.v1.placeholder(tf.float32, image.shape)
            _, endpoints = inception_v1.inception_v1_base(inputs)
        ranges = {"beta": (0, 0.5), "moving_mean": (-0.1, 0.1), "moving_variance": (0.5, 1.5)}
        tensors = {}
        for variable in tf.compat.v1.global_variables():
            shape, kind = variable.shape.as_list(), variable.op.name.split("/")[-1]
            if kind == "weights":
                value = rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
            else:
                value = rng.uniform(*ranges[kind], shape)
            tensors[variable.op.name] = value.astype(np.float32)
            variable.load(tensors[variable.op.name], session)
        return tensors, session.run(endpoints, {inputs: image / 127.5 - 1})


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_s3d_g_sees_in_a_still_clip_what_inception_v1_sees(slim_layers, image, tmp_path):
    tensors, expected = image_inception(slim_layers, image)
    head = "InceptionV1/Logits/Conv2d_0c_1x1"
    rng = np.random.default_rng(4)
    tensors["global_step"] = np.int64(5)
    tensors[f"{head}/weights"] = rng.normal(size=(1, 1, 1024, 1001)).astype(np.float32)
    tensors[f"{head}/biases"] = rng.normal(size=1001).astype(np.float32)
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        for name, value in tensors.items():
            tf.compat.v1.Variable(value, name=name, use_resource=False)
        session.run(tf.compat.v1.global_variables_initializer())
        # The format of the published file: one file, as TF wrote before 2016.
        saver = tf.compat.v1.train.Saver(write_version=tf.compat.v1.train.SaverDef.V1)
        saver.save(session, str(tmp_path / "inception_v1.ckpt"), write_meta_graph=False)

    clip = still_clip(image, 56)
    for options in ({}, {"gating": "none"}, {"separable_stem": True, "temporal_batch_norm": True}):
        imported = import_model(
            "imagenet_inception_v1", tmp_path / "inception_v1.ckpt", options=options
        )
        endpoints = imported.model.endpoints(clip)
        for name, wanted in expected.items():
            # The first frame: TensorFlow pads an even number of frames at their end only, and
            # poolings over time carry that over half of the steps.
            assert relative_error(endpoints[name][:, 0], wanted) < 1e-4, (options, name)
    assert imported.config.model.backbone == "s3d_g"
    kernel = tensors[f"{head}/weights"][0, 0]
    np.testing.assert_array_equal(imported.model.classifier.kernel, kernel)
    with pytest.raises(InputError, match="need batch norms with a scale"):
        import_model(
            "imagenet_inception_v1",
            tmp_path / "inception_v1.ckpt",
            options={"batch_norm_scale": False},
        )
