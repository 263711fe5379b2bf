import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from perfnet_tf.classes import read_class_names
from perfnet_tf.config import ExperimentConfig, ModelConfig
from perfnet_tf.errors import InputError
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.recognizers.load import load, load_named, load_teacher
from perfnet_tf.recognizers.recognizer import Teacher
from perfnet_tf.recognizers.run_directory import save_run


def identity(inputs):
    return inputs


def test_logits_are_brought_into_the_students_order_by_name():
    teacher = Teacher(identity, "flow", ("run", "jump", "sit")).for_classes(
        "flow", ["sit", "run", "jump"]
    )
    np.testing.assert_array_equal(teacher.predict(tf.constant([[1.0, 2.0, 3.0]])), [[3, 1, 2]])
    assert teacher.classes == ("sit", "run", "jump")


def test_the_same_order_costs_nothing():
    teacher = Teacher(identity, "flow", ("run", "jump"))
    assert teacher.for_classes("flow", ["run", "jump"]) is teacher


def test_other_classes_are_refused_and_named():
    teacher = Teacher(identity, "pose", ("run", "jump", "swim"))
    with pytest.raises(InputError, match="'pose' lacks sit and has jump, swim besides"):
        teacher.for_classes("pose", ["run", "sit"])


def test_a_callable_is_named_by_its_stream():
    assert load_named("flow", identity).stream == "flow"
    with pytest.raises(InputError, match="'motion': .* must say which stream .* Name it by"):
        load_named("motion", identity)
    with pytest.raises(InputError, match="Received: 3"):
        load_named("flow", 3)


def test_a_module_is_called_in_inference_mode():
    class Module(tf.Module):
        stream = "rgb"

        def __call__(self, inputs, training=True):
            return inputs * (2.0 if training else 1.0)

    assert load_named("any", Module()).predict(tf.constant(3.0)).numpy() == 3.0


def test_a_folder_without_a_saved_model_prints_one_error_line(tmp_path):
    with pytest.raises(InputError, match="No run and no SavedModel at"):
        load(tmp_path)


def test_a_foreign_saved_model_is_recognised(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "foreign"))
    with pytest.raises(InputError, match="not one of perfnet export"):
        load(tmp_path / "foreign")


class Foreign(tf.Module):
    """Someone's network: two classes, the mean of either flow channel; doubled in training."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, None, 2])])
    def plain(self, clip):
        return tf.reduce_mean(clip, axis=[1, 2, 3])

    @tf.function
    def __call__(self, inputs, training=False):
        return self.plain(inputs) * (2.0 if training else 1.0)


def save_foreign(path, **options):
    module = Foreign()
    for training in (False, True):
        spec = tf.TensorSpec([None, None, None, None, 2])
        module.__call__.get_concrete_function(spec, training=training)
    tf.saved_model.save(module, str(path), **options)
    return path


def test_a_foreign_saved_model_teaches_with_a_label_map(tmp_path):
    path = save_foreign(tmp_path / "foreign")
    with pytest.raises(InputError, match="Give `stream` and `classes`"):
        load(path)
    teacher = load(path, classes=["run", "sit"], stream="flow")
    clip = np.broadcast_to(np.float32([3, -1]), (4, 2, 5, 6, 2))
    np.testing.assert_allclose(teacher.predict(tf.constant(clip)), [[3, -1]] * 4)
    turned = teacher.for_classes("flow", ["sit", "run"])
    np.testing.assert_allclose(turned.predict(tf.constant(clip)), [[-1, 3]] * 4)
    with pytest.raises(InputError, match="lacks jump and has run"):
        teacher.for_classes("flow", ["sit", "jump"])


def test_a_label_map_of_another_length_is_refused_when_the_logits_are_seen(tmp_path):
    teacher = load(
        save_foreign(tmp_path / "foreign"), classes=["run", "sit", "jump"], stream="flow"
    )
    with pytest.raises(InputError, match=r"logits \[batch, 3\].*\(4, 2\)"):
        teacher.predict(tf.zeros([4, 2, 5, 6, 2]))


def test_a_signature_teaches_and_bytes_become_fractions(tmp_path):
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, None, 3], name="video")])
    def serve(video):
        return {"logits": tf.reduce_mean(video, axis=[1, 2, 3]), "features": video}

    tf.saved_model.save(module, str(tmp_path / "served"), signatures=serve)
    teacher = load(tmp_path / "served", classes=["r", "g", "b"], stream="rgb")
    clip = tf.constant(np.broadcast_to(np.uint8([0, 51, 255]), (2, 1, 4, 5, 3)))
    np.testing.assert_allclose(teacher.predict(clip), [[0, 0.2, 1]] * 2, rtol=1e-6)


def test_a_network_that_takes_its_clip_by_name_teaches(tmp_path):
    class Named(tf.Module):
        @tf.function(
            input_signature=[{"image": tf.TensorSpec([None, None, None, None, 3], name="image")}]
        )
        def __call__(self, inputs):
            return tf.reduce_mean(inputs["image"], axis=[1, 2, 3])

    tf.saved_model.save(Named(), str(tmp_path / "named"))
    teacher = load(tmp_path / "named", classes=["r", "g", "b"], stream="rgb")
    clip = tf.constant(np.broadcast_to(np.float32([0, 0.2, 1]), (2, 1, 4, 5, 3)))
    np.testing.assert_allclose(teacher.predict(clip), [[0, 0.2, 1]] * 2, rtol=1e-6)


def test_other_names_must_be_as_many():
    teacher = Teacher(identity, "rgb", ("class_0", "class_1"))
    assert teacher.renamed(["run", "sit"]).classes == ("run", "sit")
    with pytest.raises(InputError, match="3 names for the 2"):
        teacher.renamed(["run", "sit", "jump"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "run\nsit\n"),
        ("a.json", '["run", "sit"]'),
        ("a.json", '{"sit": 1, "run": 0}'),
        ("a.json", '{"1": "sit", "0": "run"}'),
    ],
)
def test_label_maps_are_read_in_the_order_of_the_logits(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_class_names(tmp_path / name) == ("run", "sit")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "run\nrun\n", "'run' twice"),
        ("a.txt", "run\n\nsit\n", "Received: ''"),
        ("a.txt", "", "no name"),
        ("a.json", '{"run": 0, "sit": 2}', "0, 1, 2"),
        ("a.json", "{", "could not be read"),
        ("a.json", "3", "list of names"),
    ],
)
def test_other_label_maps_are_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_class_names(tmp_path / name)


@pytest.fixture(scope="module")
def run_of_flow(tmp_path_factory):
    """A run whose batch norms have something to fold."""
    config = ExperimentConfig(stream="flow", model=ModelConfig("s3d_g", width_multiplier=0.1))
    model = build_from_config(config.model, 3, "flow")
    generator = np.random.default_rng(0)
    for layer in model.submodules:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.moving_mean.assign(generator.normal(size=layer.moving_mean.shape) * 0.1)
            layer.moving_variance.assign(generator.uniform(0.01, 0.1, layer.moving_mean.shape))
            layer.beta.assign(generator.normal(size=layer.beta.shape) * 0.1)
    return save_run(tmp_path_factory.mktemp("flow") / "run", config, ["a", "b", "c"], model)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("mixed_bfloat16", 0.05)])
def test_a_run_teaches_folded_and_answers_as_before(run_of_flow, precision, tolerance):
    teacher = load_teacher("flow", run_of_flow.path, precision=precision)
    flow = np.random.default_rng(1).normal(size=(2, 16, 32, 32, 2)).astype(np.float32) * 5
    with tf.GradientTape(watch_accessed_variables=True) as tape:
        logits = teacher.predict(tf.constant(flow))
    assert logits.dtype == tf.float32
    norms = [v.name for v in tape.watched_variables() if "moving" in v.name or "beta" in v.name]
    assert not norms  # folded
    expected = run_of_flow.model(flow, training=False).numpy()
    np.testing.assert_allclose(logits, expected, atol=tolerance * np.abs(expected).max())
    assert teacher.classes == run_of_flow.classes


def test_a_network_that_may_change_teaches_as_it_is():
    model = build_from_config(ModelConfig("s3d_g", width_multiplier=0.1), 3)
    teacher = load_teacher("rgb", model)
    frames = np.random.default_rng(1).random((1, 16, 32, 32, 3), np.float32)
    before = teacher.predict(tf.constant(frames)).numpy()
    model.classifier.bias.assign([1.0, 2.0, 3.0])
    np.testing.assert_allclose(teacher.predict(tf.constant(frames)), before + [1, 2, 3], atol=1e-5)
