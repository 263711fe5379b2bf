import distill_reference as reference
import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.config import DistillConfig
from perfnet_tf.distill.distiller import in_top
from perfnet_tf.distill.losses import (
    distillation_losses,
    feature_losses,
    term_names,
    weighted_sum,
)
from perfnet_tf.errors import InputError

LABELS = [2, 0, 3, 1, 1]
#: Term -> its settings and its slow reference.
TERMS = {
    "squared_error": ({}, reference.mean_squared_error),
    "standardized": ({"term": "standardized"}, reference.standardized_error),
    "kl": (
        {"term": "kl", "temperature": 3.0},
        lambda teacher, student: reference.divergence(teacher, student, 3.0),
    ),
}
WEIGHTS = {
    "separate": {"flow": 0.5, "pose": 3.0},
    "unified": {"unified": 0.7},
}


@pytest.fixture
def logits():
    random = np.random.default_rng(7)
    return {name: random.normal(0, 2, (5, 4)) for name in ("student", "flow", "pose")}


def loss_of(student, teachers, config, labels=LABELS):
    terms = distillation_losses(labels, student, teachers, config, len(labels))
    return weighted_sum(terms, config)


def test_equation_1_with_numbers_worked_out_by_hand():
    # One clip, two classes: S = (0, 0), so CE = log 2; T_flow = (2, 0): MSE = (4 + 0) / 2 = 2;
    # T_pose = (1, -3): MSE = (1 + 9) / 2 = 5; their sum is (3, -3): MSE = (9 + 9) / 2 = 9.
    student = tf.zeros([1, 2])
    teachers = {"flow": tf.constant([[2.0, 0.0]]), "pose": tf.constant([[1.0, -3.0]])}
    separate = DistillConfig("separate", {"pose": 10.0})
    terms = distillation_losses([0], student, teachers, separate, 1)
    assert list(terms) == ["cross_entropy", "mse_flow", "mse_pose"]
    assert terms["mse_flow"].numpy() == pytest.approx(2.0)
    assert terms["mse_pose"].numpy() == pytest.approx(5.0)
    assert weighted_sum(terms, separate).numpy() == pytest.approx(np.log(2) + 2 + 10 * 5)

    unified = DistillConfig("unified", {"unified": 0.1})
    terms = distillation_losses([0], student, teachers, unified, 1)
    assert list(terms) == ["cross_entropy", "mse_unified"]
    assert terms["mse_unified"].numpy() == pytest.approx(9.0)
    assert weighted_sum(terms, unified).numpy() == pytest.approx(np.log(2) + 0.1 * 9)


@pytest.mark.parametrize("kind", ["separate", "unified"])
@pytest.mark.parametrize("term", [*TERMS])
def test_value_and_gradient_are_those_of_the_slow_reference(kind, term, logits):
    options, slow_term = TERMS[term]
    config = DistillConfig(kind, WEIGHTS[kind], **options)
    teachers = {name: logits[name] for name in ("flow", "pose")}

    def slow(student):
        return reference.loss(kind, student, LABELS, teachers, WEIGHTS[kind], slow_term)

    student = tf.constant(logits["student"], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(student)
        value = loss_of(student, teachers, config)
    np.testing.assert_allclose(value, slow(logits["student"]), rtol=1e-6)
    np.testing.assert_allclose(
        tape.gradient(value, student), reference.gradient(slow, logits["student"]), atol=1e-6
    )


def test_teachers_get_no_gradient(logits):
    teacher = tf.constant(logits["flow"], tf.float32)
    student = tf.constant(logits["student"], tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(teacher)
        tape.watch(student)
        value = loss_of(student, {"flow": teacher}, DistillConfig())
    assert tape.gradient(value, teacher) is None
    assert tape.gradient(value, student) is not None


def test_shares_of_replicas_sum_to_the_loss_of_the_whole_batch(logits):
    config = DistillConfig("separate", WEIGHTS["separate"])
    teachers = {name: logits[name] for name in ("flow", "pose")}
    whole = loss_of(logits["student"], teachers, config)
    shares = []
    for part in (slice(0, 3), slice(3, 5)):
        terms = distillation_losses(
            LABELS[part],
            logits["student"][part],
            {name: value[part] for name, value in teachers.items()},
            config,
            5,
        )
        shares.append(weighted_sum(terms, config).numpy())
    assert sum(shares) == pytest.approx(float(whole), rel=1e-6)


def test_bfloat16_logits_give_float32_terms(logits):
    student = tf.cast(logits["student"], tf.bfloat16)
    terms = distillation_losses(LABELS, student, {"flow": student}, DistillConfig(), 5)
    assert {term.dtype for term in terms.values()} == {tf.float32}
    assert terms["mse_flow"].numpy() == 0


def test_features_are_matched_with_numbers_worked_out_by_hand():
    # Two of a step's four clips: squared errors (1 + 9) / 2 and (0 + 4) / 2, their sum over four.
    student = tf.constant([[1.0, 2.0], [0.0, 3.0]])
    teacher = tf.constant([[2.0, 5.0], [0.0, 1.0]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([student, teacher])
        terms = feature_losses(student, {"flow": teacher}, 4)
    assert list(terms) == ["feature_mse_flow"]
    assert terms["feature_mse_flow"].numpy() == pytest.approx((5 + 2) / 4)
    np.testing.assert_allclose(
        tape.gradient(terms["feature_mse_flow"], student), (student - teacher) / 4
    )
    assert tape.gradient(terms["feature_mse_flow"], teacher) is None
    config = DistillConfig(teacher_weights={"flow": 0.5}, feature_weight=3.0)
    assert weighted_sum(terms, config).numpy() == pytest.approx(3 * 7 / 4)
    assert term_names(["flow"], config) == ["cross_entropy", "mse_flow", "feature_mse_flow"]
    unified = DistillConfig("unified", feature_weight=3.0)
    assert term_names(["flow", "pose"], unified)[2:] == ["feature_mse_flow", "feature_mse_pose"]


def test_features_are_matched_to_those_that_are_as_many():
    with pytest.raises(InputError, match="2 of the student and 3 of 'flow'"):
        feature_losses(tf.zeros([1, 2]), {"flow": tf.zeros([1, 3])}, 1)


@pytest.mark.parametrize(
    ("loss", "weights", "named"),
    [("separate", {"depth": 1.0}, "depth"), ("unified", {"flow": 2.0}, "flow")],
)
def test_a_weight_for_no_term_is_refused(loss, weights, named):
    with pytest.raises(InputError, match=f"Received: {named}"):
        term_names(["flow", "pose"], DistillConfig(loss, weights))


@pytest.mark.parametrize("term", ["squared_error", "standardized", "kl"])
def test_a_student_that_answers_as_its_teacher_has_no_error(term, logits):
    config = DistillConfig(term=term)
    terms = distillation_losses(LABELS, logits["flow"], {"flow": logits["flow"]}, config, 5)
    assert list(terms) == term_names(["flow"], config)
    assert terms[term_names(["flow"], config)[1]].numpy() == pytest.approx(0, abs=1e-6)


def test_a_teachers_scale_does_not_matter_to_standardized_logits(logits):
    config = DistillConfig(term="standardized")
    student = logits["student"]
    values = [
        distillation_losses(LABELS, student, {"flow": teacher}, config, 5)
        for teacher in (logits["flow"], 100 * logits["flow"] + 7)
    ]
    name = "standardized_mse_flow"
    assert values[0][name].numpy() == pytest.approx(float(values[1][name]), rel=1e-4)


def test_equal_logits_have_a_finite_gradient():
    student = tf.zeros([1, 3])
    with tf.GradientTape() as tape:
        tape.watch(student)
        config = DistillConfig(term="standardized")
        value = loss_of(student, {"flow": tf.zeros([1, 3])}, config, [1])
    assert np.isfinite(tape.gradient(value, student)).all()


def test_a_confident_teacher_weighs_more_with_numbers_worked_out_by_hand():
    # Two classes. T = (log 3, 0) gives 3/4 to class 0; its squared error against S = (0, 0) is
    # log(3)^2 / 2. Labelled 1 the clip weighs 1/4; without a label, by its first answer, 3/4.
    config = DistillConfig(clip_weights="confidence")
    teacher = {"flow": tf.constant([[np.log(3.0), 0.0]], tf.float32)}
    error = np.log(3) ** 2 / 2
    for label, weight in ((0, 3 / 4), (1, 1 / 4), (-1, 3 / 4)):
        terms = distillation_losses([label], tf.zeros([1, 2]), teacher, config, 1)
        assert terms["mse_flow"].numpy() == pytest.approx(weight * error, rel=1e-6)


def test_clips_without_labels_count_for_the_teachers_only(logits):
    teachers = {"flow": logits["flow"]}
    config = DistillConfig(teacher_weights={"flow": 0.5})
    labels = [2, -1, 3, -1, 1]
    known = [0, 2, 4]
    terms = distillation_losses(labels, logits["student"], teachers, config, 5, global_labelled=3)
    wanted = reference.cross_entropy(logits["student"][known], [2, 3, 1])
    assert terms["cross_entropy"].numpy() == pytest.approx(wanted, rel=1e-6)
    whole = reference.mean_squared_error(logits["flow"], logits["student"])
    assert terms["mse_flow"].numpy() == pytest.approx(whole, rel=1e-6)

    student = tf.constant(logits["student"], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(student)
        terms = distillation_losses(
            labels, student, teachers, config, 5, [1.0, 2.0, 3.0, 4.0], global_labelled=3
        )
        value = terms["cross_entropy"]
    assert (tape.gradient(value, student).numpy()[[1, 3]] == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"term": "mse"}, "term"),
        ({"clip_weights": "sure"}, "clip_weights"),
        ({"temperature": 2.0}, "`term=kl`"),
        ({"term": "kl", "temperature": 0.0}, "temperature"),
        ({"unlabelled_batch": 0}, "unlabelled_batch"),
        ({"feature_weight": -1.0}, "feature_weight"),
        (
            {"feature_weight": 1.0, "teacher_windows": 2},
            "`feature_weight=1` with `teacher_windows=2`",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        DistillConfig(**options)


class TestSeveralLabels:
    LABELS = np.array([[1, 0, 0, 1], [0, 1, 0, 0]], np.float32)

    def test_cross_entropy_is_the_mean_of_the_sigmoids(self):
        student = np.array([[0.5, -1.0, 2.0, 3.0], [1.5, 0.0, -2.0, 0.25]])
        share = 1 / (1 + np.exp(-student))
        each = -(self.LABELS * np.log(share) + (1 - self.LABELS) * np.log(1 - share))
        student = tf.constant(student, tf.float32)
        terms = distillation_losses(self.LABELS, student, {}, DistillConfig(), 2)
        np.testing.assert_allclose(terms["cross_entropy"], each.mean(), rtol=1e-6)

    def test_squared_errors_of_teachers_are_those_of_one_label(self, logits):
        student, flow = logits["student"][:2], logits["flow"][:2]
        config = DistillConfig()
        several = distillation_losses(self.LABELS, student, {"flow": flow}, config, 2)
        one = distillation_losses([0, 1], student, {"flow": flow}, config, 2)
        assert several["mse_flow"] == one["mse_flow"]

    def test_class_weights_are_refused(self):
        with pytest.raises(InputError, match="clips with one label"):
            distillation_losses(
                self.LABELS, tf.zeros([2, 4]), {}, DistillConfig(), 2, [1.0, 1.0, 1.0, 1.0]
            )

    def test_one_of_the_labels_is_enough_for_top_k(self):
        logits = tf.constant([[5.0, 9.0, 1.0, 2.0], [9.0, 1.0, 8.0, 1.0]])
        np.testing.assert_array_equal(in_top(logits, self.LABELS, 1), [0, 0])
        np.testing.assert_array_equal(in_top(logits, self.LABELS, 2), [1, 0])
        np.testing.assert_array_equal(in_top(logits, self.LABELS, 3), [1, 1])

    def test_clips_without_labels_count_for_the_teachers_only(self, logits):
        labels = np.concatenate([self.LABELS, -np.ones([1, 4], np.float32)])
        student, flow = logits["student"][:3], logits["flow"][:3]
        config = DistillConfig()
        terms = distillation_losses(labels, student, {"flow": flow}, config, 3, global_labelled=2)
        known = distillation_losses(self.LABELS, student[:2], {}, config, 2)
        assert terms["cross_entropy"].numpy() == pytest.approx(float(known["cross_entropy"]))
        whole = reference.mean_squared_error(flow, student)
        assert terms["mse_flow"].numpy() == pytest.approx(whole, rel=1e-6)

    @pytest.mark.parametrize("options", [{"term": "kl"}, {"clip_weights": "confidence"}])
    def test_terms_of_probabilities_that_sum_to_1_are_refused(self, options):
        with pytest.raises(InputError, match="clips with one label"):
            distillation_losses(self.LABELS, tf.zeros([2, 4]), {}, DistillConfig(**options), 2)


@pytest.mark.parametrize("class_weights", [None, [0.5, 3.0, 1.0, 0.25]])
def test_smoothed_labels_are_those_of_the_slow_reference(logits, class_weights):
    terms = distillation_losses(
        LABELS, logits["student"], {}, DistillConfig(), 5, class_weights, label_smoothing=0.3
    )
    expected = reference.smoothed_cross_entropy(logits["student"], LABELS, 0.3, class_weights)
    np.testing.assert_allclose(terms["cross_entropy"], expected, rtol=1e-6)


def test_smoothed_labels_of_several_classes_move_towards_a_half(logits):
    labels = np.array([[1, 0, 1, 0]] * 4 + [[-1] * 4], np.float32)
    terms = distillation_losses(
        labels, logits["student"], {}, DistillConfig(), 5, global_labelled=4, label_smoothing=0.2
    )
    # 1 becomes 0.9 and 0 becomes 0.1; the last clip has no labels.
    expected = reference.sigmoid_cross_entropy(logits["student"][:4], 0.1 + 0.8 * labels[:4])
    np.testing.assert_allclose(terms["cross_entropy"], expected, rtol=1e-6)
