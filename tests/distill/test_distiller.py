import distill_reference as reference
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny_network
from graph_order import operations_behind, ready_at_once

from perfnet_tf.config import DistillConfig, ModelConfig, PoseRenderConfig
from perfnet_tf.distill.distiller import Distiller, in_top
from perfnet_tf.distill.mixup import draw_mixing, mix, step_seed
from perfnet_tf.errors import InputError
from perfnet_tf.models.precision import precision_policy
from perfnet_tf.pose.rendering import render_pose
from perfnet_tf.recognizers.load import load
from perfnet_tf.recognizers.recognizer import Teacher

CLASSES = 4


class Linear(tf_keras.Model):
    """Logits that are linear in the clip's mean colour: gradients that NumPy can check."""

    def __init__(self, decay=0.0):
        super().__init__()
        self.dense = tf_keras.layers.Dense(
            CLASSES, kernel_regularizer=tf_keras.regularizers.L2(decay / 2), dtype="float32"
        )

    def call(self, inputs, training=False):
        return self.dense(mean_color(inputs))


def mean_color(frames):
    return tf.reduce_mean(tf.cast(frames, tf.float32) / 255, axis=[1, 2, 3])


def flow_teacher(flow):
    return tf.reduce_mean(flow, axis=[1, 2, 3]) @ tf.reshape(tf.range(8.0), [2, CLASSES])


def built(stream, seed):
    """A network of this package, with weights by the seed."""
    config = ModelConfig("tiny", dropout_rate=0.0)
    network = tiny_network.build_tiny(config, CLASSES, stream)
    tiny_network.fixed_weights(network, seed)
    return network


@pytest.fixture
def batch():
    random = np.random.default_rng(3)
    shape = (5, 3, 8, 10)
    keypoints = random.uniform(0, 1, (5, 3, 2, 17, 3)).astype(np.float32)
    return {
        "rgb": tf.constant(random.integers(0, 256, (*shape, 3)), tf.uint8),
        "flow": tf.constant(random.normal(0, 1, (*shape, 2)), tf.float32),
        "keypoints": tf.constant(keypoints),
        "boxes": tf.tile(tf.constant([0.0, 0.0, 1.0, 1.0]), [30])[None].numpy().reshape(5, 3, 2, 4),
        "label": tf.constant([2, 0, 3, 1, 1]),
    }


def pose_teacher():
    matrix = tf.constant(np.random.default_rng(5).normal(0, 3, (3, CLASSES)), tf.float32)
    return Teacher(
        lambda frames: mean_color(frames) @ matrix, "pose", render=PoseRenderConfig("dot", 6)
    )


def test_teachers_are_computed_one_by_one_before_the_student(batch):
    """Through data: XLA ignores the program's order, and would keep all activations at once."""
    inputs, logits = {}, {}

    def spied(name, predict):
        def spy(frames):
            inputs[name] = frames
            logits[name] = predict(frames)
            return logits[name]

        return spy

    class Student(Linear):
        def call(self, inputs_, training=False):
            inputs["student"] = inputs_
            return super().call(inputs_)

    student = Student()
    student(batch["rgb"])
    pose = pose_teacher()
    teachers = {
        "flow": spied("flow", flow_teacher),
        "pose": Teacher(spied("pose", pose.predict), "pose", render=pose.render),
    }
    distiller = Distiller(student, teachers)
    distiller.compile(tf_keras.optimizers.SGD(1.0))
    tf.function(distiller.train_step, autograph=False).get_concrete_function(batch)
    before = {name: operations_behind([tensor], control=False) for name, tensor in inputs.items()}
    assert logits["flow"].op in before["pose"]
    assert {logits["flow"].op, logits["pose"].op} <= before["student"]
    assert logits["pose"].op not in before["flow"]


@pytest.mark.parametrize(
    ("loss", "weights"),
    [("separate", {"flow": 0.5, "pose": 3.0}), ("unified", {"unified": 0.7})],
)
def test_a_step_goes_down_the_gradient_of_equation_1(batch, loss, weights):
    decay = 0.3
    student = Linear(decay)
    teachers = {"flow": flow_teacher, "pose": pose_teacher()}
    distiller = Distiller(student, teachers, loss, weights)
    distiller.compile(tf_keras.optimizers.SGD(1.0))
    student(batch["rgb"])
    kernel, bias = (v.numpy() for v in student.trainable_variables)
    drawn = render_pose(batch["rgb"], batch["keypoints"], batch["boxes"], teachers["pose"].render)
    targets = {
        "flow": flow_teacher(batch["flow"]).numpy(),
        "pose": teachers["pose"].predict(drawn).numpy(),
    }
    color = mean_color(batch["rgb"]).numpy()
    labels = batch["label"].numpy()

    def slow(weights_and_bias):
        student_logits = color @ weights_and_bias[:-1] + weights_and_bias[-1]
        distillation = reference.loss(loss, student_logits, labels, targets, weights)
        return distillation + decay / 2 * np.sum(weights_and_bias[:-1] ** 2)

    before = np.concatenate([kernel, bias[None]])
    value = distiller.train_step(batch)["loss"]
    after = np.concatenate([student.dense.kernel.numpy(), student.dense.bias.numpy()[None]])
    np.testing.assert_allclose(value, slow(before), rtol=1e-5)
    np.testing.assert_allclose(before - after, reference.gradient(slow, before), atol=1e-5)


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_nothing_the_size_of_the_weights_is_computed_before_the_gradients(batch, optimizer):
    """Decay and an optimizer's state need no clips: an executor would compute them first."""
    student = Linear(decay=0.3)
    student(batch["rgb"])
    kernel = student.dense.kernel.shape
    distiller = Distiller(student, {"flow": flow_teacher})
    options = {"momentum": 0.9} if optimizer == "SGD" else {}
    distiller.compile(getattr(tf_keras.optimizers, optimizer)(1.0, jit_compile=False, **options))
    distiller.optimizer.build(student.trainable_variables)
    step = tf.function(distiller.train_step, autograph=False)
    graph = step.get_concrete_function(batch).graph
    early = ready_at_once(graph)
    computed = [
        operation.name
        for operation in early
        for output in operation.outputs
        if output.shape == kernel and operation.type not in ("ReadVariableOp", "Identity", "Const")
    ]
    # Square of the kernel, whose sum is the loss's.
    assert [name for name in computed if "Regularizer" not in name or "gradient" in name] == []


def test_metrics_are_named_by_what_they_measure_and_average_over_clips(batch):
    student = Linear()
    distiller = Distiller(student, {"flow": flow_teacher})
    distiller.compile(tf_keras.optimizers.SGD(0.0))
    first = {k: v[:2] for k, v in batch.items()}
    rest = {k: v[2:] for k, v in batch.items()}
    distiller.test_step(first)
    parts = {k: float(v) for k, v in distiller.test_step(rest).items()}
    distiller.reset_metrics()
    whole = {k: float(v) for k, v in distiller.test_step(batch).items()}
    assert set(whole) == {"loss", "cross_entropy", "mse_flow", "weight_decay", "top1", "top5"}
    assert whole["loss"] == pytest.approx(whole["cross_entropy"] + whole["mse_flow"], rel=1e-5)
    assert parts == pytest.approx(whole, rel=1e-5)
    distiller.reset_metrics()
    trained = {k: float(v) for k, v in distiller.train_step(batch).items()}
    assert trained == pytest.approx(whole, rel=1e-5)


def test_fit_learns_and_leaves_teachers_as_they_were(batch):
    student, teacher = Linear(), Linear()
    teacher.stream = "rgb"
    teacher(batch["rgb"])
    frozen = [v.numpy() for v in teacher.variables]
    distiller = Distiller(student, {"colour": teacher})
    distiller.compile(tf_keras.optimizers.SGD(0.5))
    data = tf.data.Dataset.from_tensors(batch).repeat()
    history = distiller.fit(data, steps_per_epoch=20, epochs=2, verbose=0).history
    assert history["loss"][1] < history["loss"][0]
    for variable, value in zip(teacher.variables, frozen, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert {v.ref() for v in distiller.trainable_variables} == {
        v.ref() for v in student.trainable_variables
    }
    assert not {v.ref() for v in distiller.variables} & {v.ref() for v in teacher.variables}


def test_class_weights_mean_what_they_mean_in_keras(batch):
    weights = {0: 0.5, 1: 3.0, 2: 0.0, 3: 1.25}
    expected, student, given = Linear(0.1), Linear(0.1), Linear(0.1)
    for model in (expected, student, given):
        model(batch["rgb"])
        model.set_weights([np.full((3, CLASSES), 0.3), np.arange(4.0)])
    expected.compile(
        tf_keras.optimizers.SGD(0.5),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    pairs = tf.data.Dataset.from_tensors((batch["rgb"], batch["label"]))
    loss = expected.fit(pairs, class_weight=weights, verbose=0).history["loss"]

    distiller = Distiller(student, {"flow": flow_teacher}, teacher_weights={"flow": 0.0})
    distiller.compile(tf_keras.optimizers.SGD(0.5))
    data = tf.data.Dataset.from_tensors(batch)
    history = distiller.fit(data, class_weight=weights, verbose=0).history
    assert history["loss"] == pytest.approx(loss, rel=1e-6)
    plain = distiller.evaluate(data, verbose=0, return_dict=True)["cross_entropy"]

    other = Distiller(given, class_weights=[w for _, w in sorted(weights.items())])
    other.compile(tf_keras.optimizers.SGD(0.5))
    assert other.fit(data, verbose=0).history["loss"] == pytest.approx(loss, rel=1e-6)
    for model in (student, given):
        for one, reference_value in zip(model.get_weights(), expected.get_weights(), strict=True):
            np.testing.assert_allclose(one, reference_value, rtol=1e-5)
    # Evaluation is not weighted, and neither is the next call of `fit`.
    unweighted = distiller.fit(data, verbose=0).history["cross_entropy"]
    assert unweighted == pytest.approx([plain], rel=1e-6)


def test_class_weights_that_do_not_fit_are_refused(batch):
    distiller = Distiller(Linear(), classes=["a", "b", "c", "d"])
    distiller.compile(tf_keras.optimizers.SGD(0.5))
    data = tf.data.Dataset.from_tensors(batch)
    with pytest.raises(InputError, match="labels 0, 1, 2, ... as keys"):
        distiller.fit(data, class_weight={0: 1.0, 2: 1.0})
    with pytest.raises(InputError, match="2 weights, .* for 4 classes"):
        distiller.fit(data, class_weight={0: 1.0, 1: 1.0})
    with pytest.raises(InputError, match="0 or greater"):
        Distiller(Linear(), class_weights=[1.0, -1.0])


def test_clips_without_labels_learn_from_the_teachers_only(batch):
    """A step on clips of which some have labels, and what each kind adds to it."""
    labels = np.array([2, -1, 3, -1, 1])
    known = np.flatnonzero(labels >= 0)

    def gradient(chosen, config, labels):
        student = Linear()
        student(batch["rgb"])
        student.set_weights([np.full((3, CLASSES), 0.3), np.arange(4.0)])
        distiller = Distiller(student, {"flow": flow_teacher}, config)
        distiller.compile(tf_keras.optimizers.SGD(1.0))
        clips = {key: tf.gather(value, chosen) for key, value in batch.items()}
        metrics = distiller.train_step({**clips, "label": tf.constant(labels[chosen])})
        changes = np.arange(4.0) - student.dense.bias.numpy()
        return changes, {name: float(value) for name, value in metrics.items()}

    everything = np.arange(5)
    both, metrics = gradient(everything, DistillConfig(), labels)
    taught, _ = gradient(everything, DistillConfig(), np.full(5, -1))
    alone, plain = gradient(known, DistillConfig(teacher_weights={"flow": 0.0}), labels)
    np.testing.assert_allclose(both, taught + alone, atol=1e-5)
    for name in ("cross_entropy", "top1", "top5"):
        assert metrics[name] == pytest.approx(plain[name], rel=1e-5)


def test_evaluation_counts_clips_without_labels_as_training_does(batch):
    student = Linear()
    student(batch["rgb"])
    distiller = Distiller(student, {"flow": flow_teacher})
    distiller.compile(tf_keras.optimizers.SGD(0.0))
    batch["label"] = tf.constant([2, -1, 3, -1, 1])
    trained = {name: float(value) for name, value in distiller.train_step(batch).items()}
    distiller.reset_metrics()
    measured = {name: float(value) for name, value in distiller.test_step(batch).items()}
    assert measured == pytest.approx(trained, rel=1e-5)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_features_are_matched_on_mixed_clips_and_those_without_labels(batch, accumulate):
    """Class weights and the teachers' own weights leave the term alone."""
    config = DistillConfig(teacher_weights={"flow": 0.0}, feature_weight=2.0)
    student, flow = (
        tiny_network.build_tiny(
            ModelConfig("tiny", dropout_rate=0.0, weight_decay=0.0, options={"batch_norm": False}),
            CLASSES,
            stream,
        )
        for stream in ("rgb", "flow")
    )
    for seed, network in enumerate((student, flow)):
        tiny_network.fixed_weights(network, seed)
    batch = {name: tf.convert_to_tensor(values[:4]) for name, values in batch.items()}
    batch["label"] = tf.constant([-1, -1, -1, -1])
    distiller = Distiller(
        student,
        {"flow": flow},
        config,
        class_weights=[9.0, 8.0, 7.0, 6.0],
        mixup=0.8,
        seed=11,
        accumulate=accumulate,
    )
    distiller.compile(tf_keras.optimizers.SGD(1.0))
    start = step_seed(11, tf.constant(0, tf.int64))
    mixing = draw_mixing(batch, batch["label"], 0.8, start)
    seen = {name: mix(batch[name], mixing.others[name], mixing.share) for name in ("rgb", "flow")}
    wanted = flow.endpoints(seen["flow"])["features"]
    with tf.GradientTape() as tape:
        features = student.endpoints(seen["rgb"], training=True)["features"]
        term = tf.reduce_mean((features - wanted) ** 2)
        loss = 2 * term
    kernel = student.unit.trainable_variables[0]
    expected = kernel - tape.gradient(loss, kernel)
    found = {name: float(value) for name, value in distiller.train_step(batch).items()}
    assert found["feature_mse_flow"] == pytest.approx(float(term), rel=1e-5)
    assert found["loss"] == pytest.approx(float(loss), rel=1e-5)
    np.testing.assert_allclose(kernel, expected, atol=1e-6)


def test_features_are_compared_in_float32_under_mixed_precision(batch):
    with precision_policy("mixed_bfloat16"):
        student, flow = (built(stream, seed) for seed, stream in enumerate(("rgb", "flow")))
        distiller = Distiller(student, {"flow": flow}, DistillConfig(feature_weight=2.0))
    distiller.compile(tf_keras.optimizers.SGD(0.0))
    of_student = student.endpoints(batch["rgb"], training=True)["features"]
    of_teacher = flow.endpoints(batch["flow"])["features"]
    assert of_student.dtype == of_teacher.dtype == tf.float32
    found = distiller.train_step(batch)["feature_mse_flow"]
    assert float(found) == pytest.approx(float(np.mean((of_student - of_teacher) ** 2)), rel=1e-5)


def test_features_of_teachers_are_matched_whatever_the_order_of_their_classes(batch):
    names = ["a", "b", "c", "d"]
    student, flow = (built(stream, seed) for seed, stream in enumerate(("rgb", "flow")))
    teacher = load(flow).renamed(["d", "b", "a", "c"])
    config = DistillConfig(teacher_weights={"flow": 0.2}, feature_weight=2.0)
    distiller = Distiller(student, {"flow": teacher}, config, classes=names)
    distiller.compile(tf_keras.optimizers.SGD(0.0))
    of_student = student.endpoints(batch["rgb"], training=True)
    of_teacher = flow.endpoints(batch["flow"])
    found = {name: float(value) for name, value in distiller.train_step(batch).items()}
    distances = (of_student["features"] - of_teacher["features"]) ** 2
    assert found["feature_mse_flow"] == pytest.approx(np.mean(distances), rel=1e-5)
    ordered = tf.gather(of_teacher["logits"], [2, 1, 3, 0], axis=1)
    errors = (of_student["logits"] - ordered) ** 2
    assert found["mse_flow"] == pytest.approx(np.mean(errors), rel=1e-5)
    terms = found["cross_entropy"] + 0.2 * found["mse_flow"] + 2 * found["feature_mse_flow"]
    assert found["loss"] == pytest.approx(terms + found["weight_decay"], rel=1e-5)
    distiller.reset_metrics()
    assert distiller.test_step(batch)["feature_mse_flow"] > 0


def test_features_are_matched_between_networks_that_give_them(batch):
    config = DistillConfig(feature_weight=1.0)
    teachers = {"flow": flow_teacher, "pose": built("pose", 0)}
    with pytest.raises(InputError, match="the student and the teacher 'flow' without"):
        Distiller(Linear(), teachers, config)


def test_weights_are_given_once(batch):
    with pytest.raises(InputError, match="has the teachers' weights"):
        Distiller(Linear(), {"flow": flow_teacher}, DistillConfig(), {"flow": 2.0})


def test_a_step_compiles_under_xla_and_gives_the_same(batch):
    results = []
    for jit_compile in (False, True):
        student = Linear(0.1)
        student(batch["rgb"])
        student.set_weights([np.full((3, CLASSES), 0.3), np.arange(4.0)])
        distiller = Distiller(student, {"flow": flow_teacher, "pose": pose_teacher()})
        distiller.compile(tf_keras.optimizers.SGD(0.1, momentum=0.9))
        distiller.optimizer.build(student.trainable_variables)
        tf.function(distiller.train_step, jit_compile=jit_compile)(batch)
        metrics = {m.name: float(m.result()) for m in distiller.metrics}
        results.append((metrics, student.get_weights()))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    for plain, compiled in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(plain, compiled, rtol=1e-5)


def test_a_batch_must_hold_every_stream_that_is_asked_for(batch):
    distiller = Distiller(Linear(), {"flow": flow_teacher, "pose": pose_teacher()})
    assert distiller.streams == ("rgb", "flow", "pose")
    del batch["flow"]
    with pytest.raises(InputError, match="'flow' needs flow"):
        distiller.test_step(batch)


def test_what_a_step_refuses_while_it_is_traced_is_one_line(batch):
    narrow, wide = built("rgb", 0), built("flow", 1)
    wide.pool = lambda features: tf.concat([tf.reduce_mean(features, [1, 2, 3])[:, None]] * 2, -1)
    wide.classifier = tf_keras.layers.Dense(CLASSES)
    wide.classifier.build([None, 16])
    distiller = Distiller(narrow, {"flow": wide}, DistillConfig(feature_weight=1.0))
    distiller.compile(tf_keras.optimizers.SGD(0.1))
    data = tf.data.Dataset.from_tensors(batch)
    with pytest.raises(InputError, match="^A student matches the features .* 8 of the student"):
        distiller.fit(data, verbose=0)
    del batch["flow"]
    with pytest.raises(InputError, match="^The stream 'flow' needs flow"):
        distiller.evaluate(tf.data.Dataset.from_tensors(batch), verbose=0)


def test_top_k_gives_ties_to_the_lower_index_and_nan_is_never_right():
    logits = tf.constant([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, np.nan, 1.0]])
    labels = tf.constant([0, 1, 0, 2])
    np.testing.assert_array_equal(in_top(logits, labels, 1), [1, 0, 0, 0])
    np.testing.assert_array_equal(in_top(logits, labels, 2), [1, 1, 0, 0])
    np.testing.assert_array_equal(in_top(logits, labels, 5), [1, 1, 1, 0])
