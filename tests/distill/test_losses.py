import distill_reference as reference
import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.config import DistillConfig
from perfnet_tf.distill.losses import distillation_losses, term_names, weighted_sum
from perfnet_tf.errors import InputError

LABELS = [2, 0, 3, 1, 1]
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
def test_value_and_gradient_are_those_of_the_slow_reference(kind, logits):
    config = DistillConfig(kind, WEIGHTS[kind])
    teachers = {name: logits[name] for name in ("flow", "pose")}

    def slow(student):
        return reference.loss(kind, student, LABELS, teachers, WEIGHTS[kind])

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


@pytest.mark.parametrize(
    ("loss", "weights", "named"),
    [("separate", {"depth": 1.0}, "depth"), ("unified", {"flow": 2.0}, "flow")],
)
def test_a_weight_for_no_term_is_refused(loss, weights, named):
    with pytest.raises(InputError, match=f"Received: {named}"):
        term_names(["flow", "pose"], DistillConfig(loss, weights))
